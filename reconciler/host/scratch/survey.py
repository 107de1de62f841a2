"""Counts what would go, instead of removing it."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable

from reconciler.core.cleanup import Figures
from reconciler.host.scratch.walk import Entry, Walk

_LARGEST = 10
_BLOCK = 512  # bytes that st_blocks counts in, on every Linux


class Surveyor:
    """Takes entries by asking how large they are. `told`: is given each of them, with its bytes."""

    def __init__(self, walk: Walk, told: Callable[[Entry, int], None] = lambda _entry, _size: None) -> None:
        self._walk, self._told = walk, told
        self._figures = Figures()
        self._largest: list[tuple[int, str]] = []

    def __call__(self, folder: int, entry: Entry) -> None:
        entries, size = self._measured(folder, entry.name, entry.path, 0)
        if not entries:
            return
        date, old = entry.date / 1e9, self._figures
        self._figures = old._replace(
            tops=old.tops + 1,
            entries=old.entries + entries,
            size=old.size + size,
            oldest=min(old.oldest or date, date or old.oldest),
            newest=max(old.newest, date),
        )
        heapq.heappush(self._largest, (size, entry.path))
        if len(self._largest) > _LARGEST:
            heapq.heappop(self._largest)
        self._told(entry, size)

    def figures(self) -> Figures:
        return self._figures._replace(
            largest=tuple(sorted(self._largest, reverse=True)), whole=not self._walk.tally.stopped
        )

    def _measured(self, folder: int, name: str, path: str, level: int) -> tuple[int, int]:
        """How many entries, and how many bytes of them would be free. What has several names counts its part."""
        try:
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return 0, 0
        is_folder = info.st_mode & 0o170000 == 0o040000
        if not is_folder:
            return 1, info.st_blocks * _BLOCK // max(info.st_nlink, 1)
        entries, size = 1, info.st_blocks * _BLOCK
        if self._walk.tally.must_stop():
            return entries, size
        with self._walk.opened(folder, name, path, level) as inner:
            try:
                with os.scandir(inner if inner >= 0 else os.devnull) as found:
                    for entry in found:
                        more, bytes_ = self._measured(inner, entry.name, f"{path}/{entry.name}", level + 1)
                        entries, size = entries + more, size + bytes_
            except OSError:
                return entries, size  # `opened` has told of it
        return entries, size
