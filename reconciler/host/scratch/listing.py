"""Lists folders, by name where another pass may have to go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest
from itertools import chain, islice
from operator import attrgetter

from reconciler.host.scratch.crew import BEHIND, Tally

GLANCE = 64  # entries of a folder between two looks at the clock
SORTED = 100_000  # entries of a folder that are held at once to go through them by name
_BY_NAME = attrgetter("name")


class Listing:
    """What lies in a folder. What cannot be listed is told, and then it is not `whole`."""

    __slots__ = ("_args", "whole")

    def __init__(self, tally: Tally, folder: int, path: str) -> None:
        self._args, self.whole = (tally, folder, path), False

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        tally, folder, path = self._args
        try:
            with os.scandir(folder) as entries:
                yield from entries
            self.whole = True
        except OSError as error:
            tally.trouble(path, error)


def timed(tally: Tally, entries: Iterable[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
    """They end where the time is over."""
    for count, entry in enumerate(entries):
        if not count % GLANCE and tally.must_stop():
            return
        yield entry


def in_order(
    tally: Tally,
    entries: Iterable[os.DirEntry[str]],
    again: Callable[[], Iterable[os.DirEntry[str]]],
    path: str,
    begin: str,
) -> Iterator[os.DirEntry[str]]:
    """What lies in the folder `path` by name, from the name `begin` on, whatever else `entries` have as well.

    A larger folder is listed time and again, so that it need not be held. Where the time is over that is told the
    tally, so that the next pass comes to all that did not come here.
    """
    found = _first(tally, entries, path, begin)
    while found:
        yield from found
        if len(found) < SORTED:
            return
        begin = max(begin, found[-1].name + BEHIND)
        found = _first(tally, _later(timed(tally, again()), begin), path, begin)


def _later(entries: Iterable[os.DirEntry[str]], begin: str) -> Iterator[os.DirEntry[str]]:
    return (one for one in entries if one.name >= begin)


def _first(tally: Tally, entries: Iterable[os.DirEntry[str]], path: str, begin: str) -> list[os.DirEntry[str]]:
    """The first of them by name; none where the time is over before they are known."""
    entries = iter(entries)
    found = sorted(islice(entries, SORTED), key=_BY_NAME)
    if len(found) == SORTED:
        found = nsmallest(SORTED, chain(found, entries), key=_BY_NAME)
    if tally.must_stop():
        tally.left(f"{path}/{begin}".strip("/"))
        return []
    return found
