"""Counts what would go, instead of removing it."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable
from functools import partial
from threading import Lock

from reconciler.core.cleanup import Figures
from reconciler.host.scratch.crew import Helpers
from reconciler.host.scratch.walk import BLOCK, Entry, Walk, size_of

_LARGEST = 10

Below = tuple[int, int, os.stat_result | None]  # entries in a folder, their bytes, and what it says itself


class Surveyor:
    """Takes entries by counting them. `told`: is given each of them, with its bytes."""

    def __init__(self, walk: Walk, told: Callable[[Entry, int], None] = lambda _entry, _size: None) -> None:
        self._walk, self._told = walk, told
        self._tops = self._entries = self._size = 0
        self._oldest = self._newest = 0
        self._largest: list[tuple[int, str]] = []
        self._lock = Lock()

    def __call__(self, folder: int, entry: Entry) -> None:
        """What the walk has seen of it is not asked again."""
        entries, size = entry.entries, entry.size
        if not entry.whole:
            below, bytes_, own = self._below(folder, entry.name, entry.path, 0)
            if own is None and not entries:
                return  # it has gone by itself
            entries, size = 1 + below, (size if entries or own is None else size_of(own)) + bytes_
        with self._lock:
            self._count(entry, entries, size)

    def _count(self, entry: Entry, entries: int, size: int) -> None:
        self._tops, self._entries, self._size = self._tops + 1, self._entries + entries, self._size + size
        if not entry.begun:
            self._oldest = min(self._oldest or entry.date, entry.date)
            self._newest = max(self._newest, entry.date)
        if len(self._largest) < _LARGEST:
            heapq.heappush(self._largest, (size, entry.named))
        else:
            heapq.heappushpop(self._largest, (size, entry.named))
        self._told(entry, size)

    def figures(self) -> Figures:
        return Figures(
            self._tops,
            self._entries,
            self._size,
            self._oldest / 1e9,
            self._newest / 1e9,
            tuple(sorted(self._largest, reverse=True)),
            not self._walk.tally.stopped,
        )

    def _below(self, folder: int, name: str, path: str, level: int) -> Below:
        """How many entries are in a folder, and their bytes; what it says itself, None where it cannot be entered."""
        if self._walk.tally.must_stop():
            return 0, 0, None
        opened = self._walk.opened(folder, name, path, level)
        with opened as inner:
            if inner < 0:
                return 0, 0, None
            lent = [0, 0]
            helpers: Helpers[Below] = Helpers(self._walk.crew, partial(_add, lent))
            try:
                entries, size = self._within(inner, path, level + 1, helpers)
            finally:
                helpers.wait()
            return entries + lent[0], size + lent[1], opened.info

    def _within(self, folder: int, path: str, level: int, helpers: Helpers[Below]) -> tuple[int, int]:
        """What is in a folder, but for the folders that colleagues have taken."""
        entries = size = 0
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        where = (entry.name, f"{path}/{entry.name}", level)
                        if helpers.wanted() and helpers.take(folder, partial(self._part, where)):
                            continue
                        below, bytes_, own = self._below(folder, *where)
                        entries, size = entries + below, size + bytes_ + _own(own)
                        continue
                    try:
                        info = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    size += info.st_blocks * BLOCK // (info.st_nlink or 1)  # `size_of`, without the call
        except OSError as error:
            self._walk.tally.trouble(path, error)
        return entries, size

    def _part(self, where: tuple[str, str, int], folder: int) -> Below:
        return self._below(folder, *where)


def _add(sums: list[int], one: Below) -> None:
    sums[0] += one[0]
    sums[1] += one[1] + _own(one[2])


def _own(info: os.stat_result | None) -> int:
    return size_of(info) if info is not None else 0
