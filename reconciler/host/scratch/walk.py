"""Finds what goes by a rule, folder by folder. Each entry is asked for its date once, where its date counts at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from reconciler.core.cleanup import Kept, Stay, Why, limit_of, reach
from reconciler.core.desired import Age, Cleanup
from reconciler.core.retention import GONE
from reconciler.host.scratch.crew import Crew, Tally
from reconciler.host.scratch.root import FOLDER, Ground

DEEPEST = 150  # folders in one another that are held open; what lies deeper is told, and stays
_SORTED = 100_000  # names in the root up to which they are gone through in order, so that a pass can go on at one
_PENDING = 10_000  # entries of a folder that wait for whether it goes as a whole


class Entry(NamedTuple):
    """Something that goes."""

    name: str
    path: str  # from the root on
    is_folder: bool
    date: int  # nanoseconds since the epoch, by which it is old; 0: a pass has begun to remove it


class Task(NamedTuple):
    """A rule, with all that it takes to decide what goes by it."""

    rule: Cleanup
    kept: Kept
    now: float  # seconds since the epoch
    begin: str = ""  # the name in the root to go on at
    why: Why = Why.SCHEDULE


class Take(Protocol):
    """What is done with an entry that goes. `folder` holds it; it is closed by whoever opened it."""

    def __call__(self, folder: int, entry: Entry, /) -> None: ...


class _Judged(NamedTuple):
    goes: bool
    date: int  # of its newest file


_STAYS, _GOES = _Judged(False, 0), _Judged(True, 0)


class Walk:
    """One walk through a root."""

    def __init__(self, task: Task, ground: Ground, tally: Tally, crew: Crew | None = None) -> None:
        """`crew`: who may share the work; None: it is done in order."""
        self.rule, self.kept = task.rule, task.kept
        self.ground, self.tally, self.crew = ground, tally, crew
        self.before = limit_of(task.rule, task.now)

    def run(self, take: Take, begin: str = "") -> None:
        """Everything in the root, from the name `begin` on."""
        self.take = take
        try:
            names = _names(self.ground.descriptor, begin)
        except OSError as error:
            self.tally.trouble(self.rule.root, error)
            return
        if names is None:
            self._folder(self.ground.descriptor, 0, "")
            return
        for name in names:
            if self.tally.must_stop():
                self.tally.left(name)
                return
            self._named(name)

    def _named(self, name: str) -> None:
        """An entry of the root, which was listed before."""
        try:
            info = os.stat(name, dir_fd=self.ground.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            self.tally.trouble(name, error)
            return
        self._entry(self.ground.descriptor, _Named(name, info), 1, name)

    def _folder(self, folder: int, depth: int, path: str) -> None:
        """What lies in a folder that itself stays."""
        for entry in self._entries(folder, path):
            if self.tally.must_stop():
                self.tally.left(path or entry.name)
                return
            self._entry(folder, entry, depth + 1, f"{path}/{entry.name}" if path else entry.name)

    def _entries(self, folder: int, path: str) -> Iterator[os.DirEntry[str] | _Named]:
        try:
            with os.scandir(folder) as entries:
                yield from entries
        except OSError as error:
            self.tally.trouble(path, error)

    def _entry(self, folder: int, entry: os.DirEntry[str] | _Named, depth: int, path: str) -> None:
        name = entry.name
        stay = self.kept.stays(name, path) if self.kept.any else Stay.NO
        if stay is Stay.ALL:
            return
        try:
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_folder and name.startswith(GONE) and depth >= self.rule.min_depth:
                self.take(folder, Entry(name, path, True, 0))
                return
            may = reach(self.rule, depth, is_folder=is_folder, is_file=entry.is_file(follow_symlinks=False))
            if may.may_go and is_folder and self.rule.age is Age.NEWEST:
                self._share(folder, path, lambda held: self._newest(held, name, depth, path))
                return
            if may.may_go and stay is Stay.NO:
                date = entry.stat(follow_symlinks=False).st_mtime_ns
                if date < self.before:
                    self._old(folder, Entry(name, path, is_folder, date), depth)
                    return
        except FileNotFoundError:
            return
        except OSError as error:
            self.tally.trouble(path, error)
            return
        if may.may_hold:
            self._share(folder, path, lambda held: self._down(held, name, depth, path))

    def _share(self, folder: int, path: str, work: Callable[[int], None]) -> None:
        """Have a colleague do it who is idle, with a descriptor of his own, or do it here."""
        if self.crew is None or not self.crew.wants():
            work(folder)
            return
        held = os.dup(folder)

        def job() -> None:
            try:
                if self.tally.must_stop():
                    self.tally.left(path)
                else:
                    work(held)
            finally:
                os.close(held)

        self.crew.give(job)

    def _old(self, folder: int, entry: Entry, depth: int) -> None:
        """An entry that is old by its own date."""
        if not entry.is_folder:
            self.take(folder, entry)
        elif not self.kept.any or not self._holds_kept(folder, entry.name, entry.path, depth):
            self._share(folder, entry.path, lambda held: self.take(held, entry))

    def _down(self, folder: int, name: str, depth: int, path: str) -> None:
        with self.opened(folder, name, path, depth) as inner:
            if inner >= 0:
                self._folder(inner, depth, path)

    def opened(self, folder: int, name: str, path: str, depth: int) -> _Opened:
        """A folder within another, for `with`; -1 where it cannot be entered, or must not be."""
        return _Opened(self, folder, name, path, depth)

    # ------------------------------------------------------------ what must stay

    def _holds_kept(self, folder: int, name: str, path: str, depth: int) -> bool:
        """Something below it must stay, or cannot be seen: then so must the folder."""
        with self.opened(folder, name, path, depth) as inner:
            if inner < 0:
                return True
            for entry in self._entries(inner, path):
                below = f"{path}/{entry.name}"
                if self.kept.stays(entry.name, below) is not Stay.NO:
                    return True
                if entry.is_dir(follow_symlinks=False) and self._holds_kept(inner, entry.name, below, depth + 1):
                    return True
        return False

    # ------------------------------------------------------------ by the newest file

    def _newest(self, folder: int, name: str, depth: int, path: str) -> None:
        judged = self._judge(folder, name, depth, path)
        if judged.goes:
            self.take(folder, Entry(name, path, True, judged.date))

    def _judge(self, folder: int, name: str, depth: int, path: str) -> _Judged:
        """Whether a folder goes as a whole: all that is in it is old, and an empty one is so itself.

        What may go by itself waits for that, as it needs no removing where its folder goes.
        """
        with self.opened(folder, name, path, depth) as inner:
            if inner < 0:
                return _STAYS
            goes, date, seen = self.kept.stays(name, path) is Stay.NO, 0, False
            waiting: list[Entry] = []
            for entry in self._entries(inner, path):
                seen = True
                below = f"{path}/{entry.name}"
                judged, found = self._part(inner, entry, depth + 1, below)
                goes, date = goes and judged.goes, max(date, judged.date)
                waiting += [found] if found is not None else []
                if not goes or len(waiting) > _PENDING:
                    self._flush(inner, waiting)
                    if not goes and not self._deeper(depth + 1):
                        break
                if self.tally.must_stop():
                    self.tally.left(path)
                    return _STAYS
            if not seen:
                date = os.fstat(inner).st_mtime_ns
                goes = goes and date < self.before
            if not goes:
                self._flush(inner, waiting)
            return _Judged(goes, date)

    def _deeper(self, depth: int) -> bool:
        """Something at this depth may go by itself."""
        return not self.rule.max_depth or depth <= self.rule.max_depth

    def _flush(self, folder: int, waiting: list[Entry]) -> None:
        for entry in waiting:
            self.take(folder, entry)
        waiting.clear()

    def _part(
        self, folder: int, entry: os.DirEntry[str] | _Named, depth: int, path: str
    ) -> tuple[_Judged, Entry | None]:
        """One entry of a folder that is judged, and what of it goes by itself where that one stays."""
        name = entry.name
        try:
            if self.kept.any and self.kept.stays(name, path) is Stay.ALL:
                return _STAYS, None
            is_folder = entry.is_dir(follow_symlinks=False)
            may = reach(self.rule, depth, is_folder=is_folder, is_file=entry.is_file(follow_symlinks=False))
            if not is_folder:
                date = entry.stat(follow_symlinks=False).st_mtime_ns
                judged = _Judged(date < self.before, date)
            elif name.startswith(GONE):
                judged = _GOES
                may = may._replace(may_go=True)
            else:
                judged = self._judge(folder, name, depth, path)
        except FileNotFoundError:
            return _GOES, None
        except OSError as error:
            self.tally.trouble(path, error)
            return _STAYS, None
        return judged, Entry(name, path, is_folder, judged.date) if judged.goes and may.may_go else None


class _Named:
    """An entry of the root as `os.scandir` would give it."""

    __slots__ = ("_info", "name")

    def __init__(self, name: str, info: os.stat_result) -> None:
        self.name, self._info = name, info

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        return not follow_symlinks and self._info.st_mode & 0o170000 == 0o040000

    def is_file(self, *, follow_symlinks: bool) -> bool:
        return not follow_symlinks and self._info.st_mode & 0o170000 == 0o100000

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        assert not follow_symlinks  # noqa: S101 - it was not asked so
        return self._info


class _Opened:
    """Holds a folder open that is no link and lies on the root's file system."""

    __slots__ = ("_args", "_descriptor", "_walk")

    def __init__(self, walk: Walk, folder: int, name: str, path: str, depth: int) -> None:
        self._walk, self._args, self._descriptor = walk, (folder, name, path, depth), -1

    def __enter__(self) -> int:
        folder, name, path, depth = self._args
        tally = self._walk.tally
        if depth > DEEPEST:
            tally.trouble(path, f"lies deeper than {DEEPEST} folders, and stays")
            return -1
        try:
            self._descriptor = os.open(name, FOLDER, dir_fd=folder)
            if self._walk.ground.is_own(os.fstat(self._descriptor)):
                return self._descriptor
            tally.trouble(path, "is another file system, and stays")
        except FileNotFoundError:
            pass
        except OSError as error:
            tally.trouble(path, error)
        return -1

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _names(folder: int, begin: str) -> list[str] | None:
    """The names in a root in order, from one on; None where they are too many to be held."""
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if len(names) >= _SORTED:
                return None
            names.append(entry.name)
    return sorted(name for name in names if name >= begin)
