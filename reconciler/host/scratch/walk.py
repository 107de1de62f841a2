"""Finds what goes by a rule, folder by folder. Each entry is asked for its date once, where its date counts at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from stat import S_ISDIR
from typing import NamedTuple, Protocol

from reconciler.core.cleanup import Kept, Reach, Stay, Why, limit_of, reach
from reconciler.core.desired import Age, Cleanup
from reconciler.core.digest import keyed
from reconciler.core.retention import GONE
from reconciler.host.scratch.crew import Crew, Tally
from reconciler.host.scratch.listing import GLANCE, Listing, in_order, timed
from reconciler.host.scratch.names import NO_NAMES, Names
from reconciler.host.scratch.root import FOLDER, NO_LIMITS, Ground, Limits

DEEPEST = 150  # folders in one another that are held open; what lies deeper is told, and stays
BLOCK = 512  # bytes that st_blocks counts in, on every Linux
_PENDING = 10_000  # entries of a folder that wait for whether it goes as a whole


class Entry(NamedTuple):
    """Something that goes. Sizes are bytes on disk; what has several names counts its part of them."""

    name: str
    path: str  # from the root on
    is_folder: bool
    inode: int
    date: int  # nanoseconds since the epoch, by which it is old; 0: a pass has begun to remove it
    size: int = 0  # of all that is counted
    entries: int = 0  # that are counted: itself, and with `whole` all that is below it
    whole: bool = False
    begun: bool = False  # a pass has begun to remove it
    was: str = ""  # its path before that, where it is known
    asked: int = 0  # how many times it had been asked what is in use when the look at it began

    @property
    def named(self) -> str:
        """Its path as people know it."""
        return self.was or self.path


class Task(NamedTuple):
    """A rule, with all that it takes to decide what goes by it."""

    rule: Cleanup
    kept: Kept
    now: float  # seconds since the epoch
    begin: str = ""  # the path to go on at, see `Tally.goes_on_at`
    why: Why = Why.SCHEDULE
    key: str = ""  # what the names of folders are made with that are being removed
    limits: Limits = NO_LIMITS
    names: Names = NO_NAMES  # where it is written down what goes
    again: Callable[[], Kept] | None = None  # what must stay by now; raises `RootError`. None: that does not change


def name_of(key: str, inode: int) -> str:
    """How a folder is called while it is being removed.

    By such a name the next pass knows what a killed one has left, whatever its date. So it must be a name that nobody
    else can give to a folder of his own choice, or of another's.
    """
    return f"{GONE}{keyed(key, str(inode).encode())}"


class Take(Protocol):
    """What is done with an entry that goes. `folder` holds it; it is closed by whoever opened it."""

    def __call__(self, folder: int, entry: Entry, /) -> None: ...


class _Level(NamedTuple):
    """What a rule says of all that lies at one depth."""

    depth: int
    folder: Reach
    file: bool  # may go
    other: bool  # so may a link, a socket or a pipe

    @property
    def any(self) -> bool:
        """Something may go by itself here, or deeper."""
        return self.folder.may_go or self.file or self.folder.may_hold


class _Judging:
    """A folder by all that is in it, as far as that was seen."""

    __slots__ = ("date", "entries", "goes", "seen", "size", "waiting", "whole")

    def __init__(self, info: os.stat_result, *, goes: bool) -> None:
        self.goes, self.date, self.seen = goes, 0, False
        self.size, self.entries, self.whole = size_of(info), 1, True
        self.waiting: list[Entry] = []  # goes by itself where the folder stays

    def add(self, part: Entry, *, alone: bool) -> None:
        self.date = max(self.date, part.date)
        self.size += part.size
        self.entries += part.entries
        self.whole = self.whole and part.whole
        if alone:
            self.waiting.append(part)

    def hand_over(self) -> list[Entry]:
        """What waits goes by itself after all, and is no longer counted here."""
        waiting, self.waiting = self.waiting, []
        self.size -= sum(part.size for part in waiting)
        self.entries -= sum(part.entries for part in waiting)
        return waiting


class Walk:
    """One walk through a root.

    Most of a scratch folder are files that stay: of each its date is asked, once, and nothing is made of it, not even
    its path.
    """

    def __init__(self, task: Task, ground: Ground, tally: Tally, crew: Crew | None = None) -> None:
        """`crew`: who may share the work; None: it is done in order."""
        self.rule, self.kept = task.rule, task.kept
        self.ground, self.tally, self.crew = ground, tally, crew
        self.before = limit_of(task.rule, task.now)
        self.key, self.names = task.key, task.names
        self._picky, self._levels = task.kept.any, dict[int, _Level]()
        self._asked = 0

    def run(self, take: Take, begin: str = "", *, in_order: bool = False) -> None:
        """Everything in the root, from the path `begin` on. `in_order`: by name, so that a later one can go on there;
        what may go by itself is looked at as one."""
        self.take, self._ordered = take, in_order
        names = begin.split("/") if begin else []
        self._begin = {"/".join(names[:depth]): name for depth, name in enumerate(names)}
        self._folder(self.ground.descriptor, 0, "")

    def keep(self, kept: Kept) -> None:
        """What must stay from now on, asked for once more."""
        self.kept, self._picky, self._asked = kept, kept.any, self._asked + 1

    def _level(self, depth: int) -> _Level:
        level = self._levels.get(depth)
        if level is None:
            folder, file, other = (
                reach(self.rule, depth, is_folder=is_folder, is_file=is_file)
                for is_folder, is_file in ((True, False), (False, True), (False, False))
            )
            level = self._levels[depth] = _Level(depth, folder, file.may_go, other.may_go)
        return level

    def _folder(self, folder: int, depth: int, path: str) -> None:
        """What lies in a folder that itself stays."""
        level, above = self._level(depth + 1), f"{path}/" if path else ""
        must_stop, one = self.tally.must_stop, self._entry
        begin = self._begin.get(path, "")
        entries: Iterable[os.DirEntry[str]] = self.entries(folder, path)
        if begin or self._ordered:
            entries = timed(self.tally, entries)
        if begin:
            entries = self._from(folder, entries, begin)
        if self._ordered:
            entries = in_order(self.tally, entries, partial(self.entries, folder, path), path, begin)
        for count, entry in enumerate(entries):
            if not count % GLANCE and must_stop():
                self.tally.left(above + entry.name)
                return
            one(folder, entry, level, above)

    def entries(self, folder: int, path: str) -> Listing:
        return Listing(self.tally, folder, path or self.rule.root)

    def _from(self, folder: int, entries: Iterable[os.DirEntry[str]], begin: str) -> Iterator[os.DirEntry[str]]:
        """Those from a name on, and before that what a pass has begun to remove: that had another name."""
        for one in entries:
            if one.name >= begin or self._begun_inode(folder, one.name) is not None:
                yield one

    def _entry(self, folder: int, entry: os.DirEntry[str], level: _Level, above: str) -> None:
        """`above`: its path without its name."""
        stay = Stay.NO
        if self._picky:
            stay = self.kept.stays(entry.name, above + entry.name)
            if stay is Stay.ALL:
                return
        try:
            if entry.is_dir(follow_symlinks=False):
                info = None
            elif stay is Stay.NO and (level.file if entry.is_file(follow_symlinks=False) else level.other):
                info = entry.stat(follow_symlinks=False)
                if info.st_mtime_ns >= self.before:
                    return
            else:
                return
        except FileNotFoundError:
            return
        except OSError as error:
            self.tally.trouble(above + entry.name, error)
            return
        if info is None:
            self._inner(folder, entry, level, above + entry.name, stay)
        else:
            self.take(folder, _going(entry.name, above + entry.name, info))

    def _inner(self, folder: int, entry: os.DirEntry[str], level: _Level, path: str, stay: Stay) -> None:
        """A folder in another that stays."""
        name, depth, may = entry.name, level.depth, level.folder
        if may.may_go and (begun := self._begun(folder, name, path)) is not None:
            self.take(folder, begun)
            return
        if may.may_go and self.rule.age is Age.NEWEST:
            self._share(folder, path, lambda held: self._newest(held, name, depth, path))
            return
        if may.may_go and stay is Stay.NO:
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                return
            except OSError as error:
                self.tally.trouble(path, error)
                return
            if info.st_mtime_ns < self.before:
                self._old(folder, _going(name, path, info), depth)
                return
        if may.may_hold:
            self._share(folder, path, lambda held: self._down(held, name, depth, path))

    def _begun(self, folder: int, name: str, path: str) -> Entry | None:
        """A folder that a pass has begun to remove."""
        inode = self._begun_inode(folder, name)
        return None if inode is None else Entry(name, path, True, inode, 0, begun=True, was=self.names.was(path))

    def _begun_inode(self, folder: int, name: str) -> int | None:
        """None for any other one, whatever it is called."""
        if not name.startswith(GONE):
            return None
        try:
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)  # a listing may tell other numbers
        except OSError:
            return None
        if name != name_of(self.key, info.st_ino):
            return None
        return info.st_ino

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

        if not self.crew.give(job):
            job()

    def _old(self, folder: int, entry: Entry, depth: int) -> None:
        """A folder that is old by its own date."""
        entry = entry._replace(asked=self._asked)
        if not self._picky or not self._holds_kept(folder, entry.name, entry.path, depth):
            self._share(folder, entry.path, lambda held: self.take(held, entry))
        elif self.tally.must_stop():
            self.tally.left(entry.path)

    def still_free(self, folder: int, entry: Entry) -> bool:
        """Whether nothing of it has come into use since the walk came there."""
        if not self._asked or entry.begun:
            return True
        if self.kept.covers(entry.path):
            return False
        depth = entry.path.count("/") + 1
        return (
            not entry.is_folder
            or entry.asked == self._asked
            or not self._holds_kept(folder, entry.name, entry.path, depth)
        )

    def still_goes(self, folder: int, entry: Entry) -> bool:
        """Whether what was found a while ago is what it was. Raises `OSError`."""
        if entry.begun or (entry.is_folder and self.rule.age is Age.SELF):
            return True  # of a folder, whoever removes it looks at its date again
        if entry.is_folder:
            return self._judge(folder, entry.name, entry.path.count("/") + 1, entry.path) is not None
        return os.stat(entry.name, dir_fd=folder, follow_symlinks=False).st_mtime_ns == entry.date

    def _down(self, folder: int, name: str, depth: int, path: str) -> None:
        with self.opened(folder, name, path, depth) as inner:
            if inner >= 0:
                self._folder(inner, depth, path)

    def opened(self, folder: int, name: str, path: str, depth: int) -> Opened:
        """A folder within another, for `with`; -1 where it cannot be entered, or must not be."""
        return Opened(self, folder, name, path, depth)

    # ------------------------------------------------------------ what must stay

    def _holds_kept(self, folder: int, name: str, path: str, depth: int) -> bool:
        """Something below it must stay, or cannot be seen: then so must the folder."""
        with self.opened(folder, name, path, depth) as inner:
            if inner < 0:
                return True
            entries = self.entries(inner, path)
            for count, entry in enumerate(entries):
                if not count % GLANCE and self.tally.must_stop():
                    return True
                below = f"{path}/{entry.name}"
                if self.kept.stays(entry.name, below) is not Stay.NO:
                    return True
                try:
                    is_folder = entry.is_dir(follow_symlinks=False)
                except OSError as error:
                    self.tally.trouble(below, error)
                    return True
                if is_folder and self._holds_kept(inner, entry.name, below, depth + 1):
                    return True
            return not entries.whole

    # ------------------------------------------------------------ by the newest file

    def _newest(self, folder: int, name: str, depth: int, path: str) -> None:
        entry = self._judge(folder, name, depth, path)
        if entry is not None:
            self.take(folder, entry)
        elif self.tally.must_stop():
            self.tally.left(path)

    def _judge(self, folder: int, name: str, depth: int, path: str) -> Entry | None:
        """The folder itself if it goes as a whole: all that is in it is old, and an empty one is so itself.

        What may go by itself waits for that, as it needs no removing where its folder goes.
        """
        opened, level, above = self.opened(folder, name, path, depth), self._level(depth + 1), f"{path}/"
        asked = self._asked
        with opened as inner:
            if inner < 0:
                return None
            found = _Judging(opened.info, goes=self.kept.stays(name, path) is Stay.NO)
            entries = self.entries(inner, path)
            for entry in entries:
                if self.tally.must_stop():
                    return None
                self._part(inner, entry, level, above, found)
                if found.waiting and (not found.goes or len(found.waiting) > _PENDING):
                    self._hand_over(inner, found)
                if not found.goes and not level.any:
                    return None
            found.goes = found.goes and entries.whole
            if not found.seen:
                found.date = opened.info.st_mtime_ns
                found.goes = found.goes and found.date < self.before
            if found.goes:
                whole = Entry(name, path, True, opened.info.st_ino, found.date, found.size, found.entries, found.whole)
                return whole._replace(asked=asked)
            self._hand_over(inner, found)
            return None

    def _hand_over(self, folder: int, found: _Judging) -> None:
        for entry in found.hand_over():
            self.take(folder, entry)

    def _part(self, folder: int, entry: os.DirEntry[str], level: _Level, above: str, found: _Judging) -> None:
        """Judge a folder by one of its entries."""
        name, path = entry.name, above + entry.name
        found.seen = True
        part: Entry | None = None
        try:
            if self._picky and self.kept.stays(name, path) is Stay.ALL:
                alone = False
            elif entry.is_dir(follow_symlinks=False):
                alone = level.folder.may_go
                part = self._begun(folder, name, path) if alone else None
                part = part or self._judge(folder, name, level.depth, path)
            else:
                alone = level.file if entry.is_file(follow_symlinks=False) else level.other
                info = entry.stat(follow_symlinks=False)
                part = _going(name, path, info) if info.st_mtime_ns < self.before else None
        except FileNotFoundError:
            return
        except OSError as error:
            self.tally.trouble(path, error)
        if part is None:
            found.goes = False
        else:
            found.add(part, alone=alone)


def size_of(info: os.stat_result) -> int:
    """Bytes that would be free without it."""
    return info.st_blocks * BLOCK // (1 if S_ISDIR(info.st_mode) else info.st_nlink or 1)


def _going(name: str, path: str, info: os.stat_result) -> Entry:
    """An entry that goes by its own date."""
    is_folder = S_ISDIR(info.st_mode)
    return Entry(name, path, is_folder, info.st_ino, info.st_mtime_ns, size_of(info), 1, not is_folder)


class Opened:
    """Holds a folder open that is no link and lies on the root's file system."""

    __slots__ = ("_args", "_descriptor", "_walk", "info")

    info: os.stat_result  # of what was entered

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
            self.info = os.fstat(self._descriptor)
            if self._walk.ground.is_own(self.info):
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
