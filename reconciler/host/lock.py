"""One pass at a time: a lock that tells its holder, that no program inherits, and that a dead holder does not keep.

It is flock on a file that stays. What stands in the file only tells people who holds it; a record of
a dead holder means nothing, because the kernel has given the lock back.

Where the file system refuses flock (Lustre mounted without it), numbered files FILE.1, FILE.2, ...
take its place. The highest number counts; each is made whole and at once by a hard link; the highest
is never taken away, so a number is never used twice, and whoever acted on an old look at the folder
finds a higher number and steps back. A dead holder is passed over only when it is provably dead, which
can be proven on its own host only.

All hosts that share the folder must agree on whether flock works there. GPFS and `localflock` mounts
may keep flock to one node: give each node a state directory of its own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from reconciler.host.proc import boot_id

_REFUSED = frozenset((errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP))
_TAKEN = frozenset((errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES))
_SIZE = 512  # bytes of a record, written at once
_WORD = "reconcile-lock"
_FREE = f"{_WORD} free\n"


class Holder(NamedTuple):
    """Who holds a lock. Empty host: it is held, and the record does not say by whom."""

    host: str
    pid: int
    started: int  # clock ticks from the boot to the start of the process: tells a reused pid apart
    since: float  # seconds since the epoch
    boot: str = ""  # of the host, with the pid namespace
    mend: str = ""  # what a person can do when the holder is gone for good

    def __str__(self) -> str:
        if not self.host:
            return "an unknown process"
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"pid {self.pid} on {self.host} since {when}" + (f"; {self.mend}" if self.mend else "")


class Lock:
    """A lock on `path`, whose folder must exist. `flock` is there for tests."""

    def __init__(self, path: str, flock: Callable[[int, int], None] = fcntl.flock) -> None:
        self.path, self._flock = path, flock
        self._descriptor = -1
        self._numbered = ""  # our file, where flock is refused

    @property
    def held(self) -> bool:
        return self._descriptor >= 0 or bool(self._numbered)

    def acquire(self) -> Holder | None:
        """Take the lock without waiting. None: it is ours. Otherwise who has it. Raises `OSError`, `RuntimeError`."""
        if self.held:
            raise RuntimeError(f"{self.path} is held already")
        while True:
            # writable, as NFSv4 wants it; python opens what no program inherits
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                self._flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                try:
                    return self._refused(error, descriptor)
                finally:
                    os.close(descriptor)
            try:
                same = _same(descriptor, self.path)
            except OSError:
                os.close(descriptor)
                raise
            if same:
                break
            os.close(descriptor)  # somebody took the file away meanwhile: what we hold guards nothing
        self._descriptor = descriptor
        with suppress(OSError):  # a full disk: the lock holds without its record
            _store(descriptor, _record(_ourselves()))
        return None

    def _refused(self, error: OSError, descriptor: int) -> Holder | None:
        if error.errno in _TAKEN:
            return _told(descriptor)
        if error.errno in _REFUSED:
            return self._acquire_numbered()
        raise error

    def release(self) -> None:
        """Give the lock back; nothing when it is not held."""
        descriptor, self._descriptor = self._descriptor, -1
        numbered, self._numbered = self._numbered, ""
        if descriptor >= 0:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
            # closing would not do where a forked copy of this process lives on
            with suppress(OSError):
                self._flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)
        if numbered:
            _free(numbered)

    # ------------------------------------------------------------ where flock is refused

    def _acquire_numbered(self) -> Holder | None:
        while True:
            last = self._last()
            current = f"{self.path}.{last}"
            holder = _holder_of(current) if last else None
            if holder is not None and not _dead(holder):
                return holder._replace(mend=f"when that process is gone for good, remove {current}")
            mine = f"{self.path}.{last + 1}"
            if not _make(mine, _record(_ourselves())):
                continue
            if self._last() == last + 1:
                self._numbered = mine
                self._clear(last + 1)
                return None
            with suppress(FileNotFoundError):  # whoever has a higher one may have cleared it away
                os.unlink(mine)

    def _numbers(self) -> list[int]:
        folder, name = os.path.split(os.path.abspath(self.path))
        ends = [entry[len(name) + 1 :] for entry in os.listdir(folder) if entry.startswith(name + ".")]
        return [int(end) for end in ends if end.isascii() and end.isdigit()]

    def _last(self) -> int:
        return max(self._numbers(), default=0)

    def _clear(self, below: int) -> None:
        for number in self._numbers():
            if number < below:
                with suppress(FileNotFoundError):
                    os.unlink(f"{self.path}.{number}")


def _make(path: str, text: str) -> bool:
    """Make a file with its content at once; False when the name is taken."""
    temporary = _temporary(path, text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return os.stat(temporary).st_nlink == 2  # over NFS the answer to our own success may have been lost
    finally:
        os.unlink(temporary)
    return True


def _free(path: str) -> None:
    """Say that a numbered lock is free; on a full disk in its own place, where there is room for it."""
    try:
        os.replace(_temporary(path, _FREE), path)
    except OSError:
        with suppress(OSError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.pwrite(descriptor, _FREE.encode(), 0)
                os.ftruncate(descriptor, len(_FREE))
            finally:
                os.close(descriptor)


def _temporary(path: str, text: str) -> str:
    host = os.uname().nodename
    temporary = f"{path}.{host}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, text.encode())
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)
    return temporary


def _holder_of(path: str) -> Holder | None:
    """Who holds a numbered lock; None when it is free or gone."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(_SIZE)
    except FileNotFoundError:
        return None
    return None if text == _FREE else _parsed(text)


# ---------------------------------------------------------------- the record


def _ourselves() -> Holder:
    pid = os.getpid()
    return Holder(os.uname().nodename, pid, _started(pid), time.time(), _boot())


def _record(holder: Holder) -> str:
    return f"{_WORD} {holder.host} {holder.pid} {holder.started} {holder.since!r} {holder.boot} .\n"


def _parsed(text: str) -> Holder:
    """The holder that a record names; one without a host where it is none, or not whole."""
    words = text.rstrip("\0\n ").split(" ")
    try:
        word, host, pid, started, since, boot, end = words
        if (word, end) == (_WORD, "."):
            return Holder(host, int(pid), int(started), float(since), boot)
    except ValueError:
        pass
    return Holder("", 0, 0, 0.0)


def _store(descriptor: int, text: str) -> None:
    """In one write of constant length, so that no reader sees the half of it."""
    os.pwrite(descriptor, text.encode().ljust(_SIZE - 1) + b"\n", 0)


def _told(descriptor: int) -> Holder:
    """Who holds the lock. It is taken an instant before it is written down, so an old record is asked again."""
    holder = Holder("", 0, 0, 0.0)
    for _ in range(20):
        holder = _parsed(os.pread(descriptor, _SIZE, 0).decode("utf-8", "replace"))
        if holder.host and not _dead(holder):
            return holder
        time.sleep(0.005)
    return holder if not _dead(holder) else Holder("", 0, 0, 0.0)


def _same(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


# ---------------------------------------------------------------- is it alive?


def _dead(holder: Holder) -> bool:
    """Provably dead: of this host, and of an earlier boot, or its process is gone or is another one by now."""
    if not holder.host or holder.host != os.uname().nodename:
        return False
    ours, theirs = _boot(), holder.boot
    if ours.partition("/")[0] != theirs.partition("/")[0]:
        return "/" in ours and "/" in theirs
    if ours != theirs:
        return False  # another pid namespace: its pids say nothing here
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    started = _started(holder.pid)
    return started < 0 or bool(started and holder.started and started != holder.started)


def _started(pid: int) -> int:
    """Clock ticks from the boot to the start of a process; 0: cannot be told; -1: it is dead, a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return -1 if fields[0] in (b"Z", b"X") else int(fields[19])


def _boot() -> str:
    """The boot of this host and our pid namespace, as BOOT/NAMESPACE; `-` where there is no such thing."""
    try:
        return boot_id() + "/" + os.readlink("/proc/self/ns/pid").replace(" ", "")
    except OSError:
        return "-"
