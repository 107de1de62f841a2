"""Removes what goes. A folder is first given another name: from then on it is going, whatever becomes of this pass.

Else a pass that is killed in the middle would leave a folder that looks new, as its own date is that of the last
removal in it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EACCES, ENOTEMPTY

from reconciler.core.desired import Age
from reconciler.core.retention import GONE
from reconciler.host.scratch.crew import BEHIND, Helpers
from reconciler.host.scratch.root import FOLDER
from reconciler.host.scratch.walk import Entry, Walk, name_of

_LEVELS = 100  # folders in one another that are held open; what lies deeper is moved up first
_BATCH = 64  # entries between two looks at the clock
_ROUNDS = 3  # through a folder that is not empty afterwards: some file systems skip entries, and others may add some


class Remover:
    """Takes entries by removing them."""

    def __init__(self, walk: Walk) -> None:
        self.tally, self.ground, self.crew = walk.tally, walk.ground, walk.crew
        self.names, self._still_free = walk.names, walk.still_free
        self._key, self._by_own_date = walk.key, walk.rule.age is Age.SELF

    def __call__(self, folder: int, entry: Entry) -> None:
        if self.tally.must_stop():
            self.tally.left(entry.path)
        elif not self._still_free(folder, entry):
            if self.tally.stopped:  # that could not be told to the end
                self.tally.left(entry.path)
        elif entry.is_folder:
            self._folder(folder, entry)
        else:
            self._file(folder, entry)

    def _file(self, folder: int, entry: Entry) -> None:
        self.names.goes(entry.path)
        try:
            os.unlink(entry.name, dir_fd=folder)
        except FileNotFoundError:
            return
        except OSError as error:
            self._stays(entry, error)
            return
        self.tally.took(entry.path, 1)

    def _stays(self, entry: Entry, why: object) -> None:
        self.names.stays(entry.named)
        self.tally.trouble(entry.named, why)

    def _folder(self, folder: int, entry: Entry) -> None:
        name = entry.name if entry.begun else name_of(self._key, entry.inode)
        self.names.goes(entry.named, name)
        name = name if entry.begun else _begin(folder, entry.name, name)
        top = _open(folder, name)
        if isinstance(top, OSError):
            self._unopened(folder, name, entry, top)
            return
        gone = used = False
        try:
            info = os.fstat(top)
            if not self.ground.is_own(info):
                self.tally.trouble(entry.named, "is another file system, and stays")
            elif self._is_still(info, entry):
                tree = _Tree(self, top, entry.named)
                gone, used = tree.remove(folder, name, top, 0), tree.used
            if not gone and not entry.begun and not self.tally.stopped:
                if not used:
                    with suppress(OSError):
                        os.utime(top, ns=(info.st_atime_ns, info.st_mtime_ns))
                self._back(folder, name, entry)
        finally:
            os.close(top)
        if gone:
            self.tally.took(entry.named)
        elif self.tally.stopped:
            self.tally.left(entry.path + BEHIND)  # it has another name by now, which is found whatever comes first
        else:
            self.names.stays(entry.named)

    def _unopened(self, folder: int, name: str, entry: Entry, error: OSError) -> None:
        """An empty one needs no opening; a link in its place is not what was to go."""
        if isinstance(error, FileNotFoundError):
            return
        if error.errno == EACCES:
            with suppress(OSError):
                os.rmdir(name, dir_fd=folder)
                self.tally.took(entry.named, 1)
                return
        self._stays(entry, error)
        if not entry.begun:
            self._back(folder, name, entry)

    def _is_still(self, info: os.stat_result, entry: Entry) -> bool:
        """It is the one that was looked at, and was not used since."""
        if info.st_ino != entry.inode:
            return False
        return entry.begun or not self._by_own_date or info.st_mtime_ns == entry.date

    def _back(self, folder: int, name: str, entry: Entry) -> None:
        """Give a folder that stays after all its name back. Where that is taken, any name but that of what goes."""
        if name == entry.name:
            return
        try:
            os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            before = entry.name
        else:
            before = f".reconcile-kept-{os.urandom(8).hex()}"
            self.tally.trouble(entry.named, f"stays as {before}, as its name is taken")
        with suppress(OSError):
            os.rename(name, before, src_dir_fd=folder, dst_dir_fd=folder)


class _Tree:
    """One folder that goes with all below it."""

    def __init__(self, remover: Remover, top: int, path: str) -> None:
        self.tally, self.ground, self.crew = remover.tally, remover.ground, remover.crew
        self.top, self.path = top, path
        self.used = False  # others have put something into the folder itself meanwhile: its date is theirs
        self.lifted = False  # something was moved to the top that is to be looked for there

    def remove(self, folder: int, name: str, inner: int, level: int) -> bool:
        """Remove a folder that is held open as `inner`, with all that is in it; whether it is gone."""
        rounds = 0
        while rounds < _ROUNDS:
            rounds += 1
            if not self._empty(inner, level):
                return False
            try:
                os.rmdir(name, dir_fd=folder)
            except FileNotFoundError:
                return True
            except OSError as error:
                if error.errno != ENOTEMPTY:
                    self.tally.trouble(self._shown(name, level), error)
                    return False
                rounds, self.lifted = (0, False) if self.lifted and not level else (rounds, self.lifted)
            else:
                self.tally.add(1)
                return True
        self.used = self.used or not level
        self.tally.trouble(self._shown(name, level), "is not empty: others write to it")
        return False

    def _empty(self, folder: int, level: int) -> bool:
        """Whether nothing is known to be left. Colleagues who are idle take folders that are in it."""
        left: set[bool] = set()
        helpers: Helpers[bool] = Helpers(self.crew, lambda gone: left.add(not gone))
        try:
            whole = self._go_through(folder, level, helpers)
        finally:
            helpers.wait()
        return whole and True not in left and not self.tally.must_stop()

    def _go_through(self, folder: int, level: int, helpers: Helpers[bool]) -> bool:
        count, whole, unlink = 0, True, os.unlink
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        whole = self._each(folder, entry.name, level + 1, helpers) and whole
                        continue
                    try:
                        unlink(entry.name, dir_fd=folder)
                        count += 1
                    except FileNotFoundError:
                        pass
                    except OSError as error:
                        self.tally.trouble(self._shown(entry.name, level + 1), error)
                        whole = False
                    if count >= _BATCH:
                        self.tally.add(count)
                        count = 0
                        if self.tally.must_stop():
                            return False
        except OSError as error:
            self.tally.trouble(self.path, error)
            whole = False
        self.tally.add(count)
        return whole

    def _shown(self, name: str, level: int) -> str:
        """Where something is, as far as that is known."""
        return self.path if not level else f"{self.path}/{name}" if level == 1 else f"{self.path}/…/{name}"

    def _each(self, folder: int, name: str, level: int, helpers: Helpers[bool]) -> bool:
        if helpers.wanted() and helpers.take(folder, lambda held: self._inner(held, name, level)):
            return True  # as far as is known by now
        return self._inner(folder, name, level)

    def _inner(self, folder: int, name: str, level: int) -> bool:
        if level > _LEVELS:
            return self._lift(folder, name)
        inner = _open(folder, name)
        if isinstance(inner, OSError):
            return self._unopened(folder, name, inner, level)
        try:
            if not self.ground.is_own(os.fstat(inner)):
                self.tally.trouble(self._shown(name, level), "is another file system, and stays")
                return False
            return self.remove(folder, name, inner, level)
        finally:
            os.close(inner)

    def _unopened(self, folder: int, name: str, error: OSError, level: int) -> bool:
        if isinstance(error, FileNotFoundError):
            return True
        if error.errno == EACCES:
            with suppress(OSError):
                os.rmdir(name, dir_fd=folder)
                self.tally.add(1)
                return True
        self.tally.trouble(self._shown(name, level), error)
        return False

    def _lift(self, folder: int, name: str) -> bool:
        """Move what lies too deep to the top of what goes, where the next round finds it."""
        try:
            os.rename(name, f"{GONE}{os.urandom(8).hex()}", src_dir_fd=folder, dst_dir_fd=self.top)
        except OSError as error:
            self.tally.trouble(f"{self.path}/…/{name}", error)
            return False
        self.lifted = True
        return True


def _open(folder: int, name: str) -> int | OSError:
    try:
        return os.open(name, FOLDER, dir_fd=folder)
    except OSError as error:
        return error


def _begin(folder: int, name: str, gone: str) -> str:
    """Under which name it is being removed: its own where it cannot be given another."""
    try:
        os.rename(name, gone, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        return name
    return gone
