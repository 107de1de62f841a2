"""Folders that a pass writes to: whether it may, whether there is room, whether locks and clocks work there."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from reconciler.core.checked import Checked, error, ok, warning
from reconciler.host.run import CommandFailed, run

_MIB = 1 << 20
_LITTLE, _NONE = 1024 * _MIB, 64 * _MIB  # bytes that are left
_FEW, _TOO_FEW = 10_000, 500  # inodes that are left
_SKEW = 5.0  # seconds that two clocks may differ
_SECONDS = 20.0  # for the other process that asks for a lock
_OTHER = "import fcntl,sys; fcntl.flock(open(sys.argv[1],'r+'), fcntl.LOCK_EX|fcntl.LOCK_NB)"


def standing(path: str) -> str:
    """The folder itself, or the nearest one above it that is there."""
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def writable(where: str, folders: Iterable[str]) -> Iterator[Checked]:
    """One for each that cannot be written to or made; or one for all."""
    wanted = sorted(set(folders))
    bad = {}
    for folder in wanted:
        there = standing(folder)
        if os.path.lexists(folder) and there != folder:
            bad[folder] = f"{folder} is in the way: it is no folder"
        elif not os.access(there, os.W_OK | os.X_OK):
            what = "cannot be written to" if there == folder else f"cannot be made, as {there} cannot be written to"
            bad.setdefault(there, f"{folder} {what} by this account")
    for folder, message in bad.items():
        yield error(where, "folders", message, f"see `ls -ld {folder}` and what it is mounted as")
    if not bad:
        yield ok(where, "folders", f"{wanted[0]}" + (f" and {len(wanted) - 1} more" if len(wanted) > 1 else ""))


def room(where: str, folder: str) -> Iterator[Checked]:
    """Space and inodes that are left to this account on the file system of a folder."""
    there = standing(folder)
    try:
        left = os.statvfs(there)
    except OSError as failed:
        yield error(where, "space", f"{there}: {failed.strerror or failed}", f"see `df {there}`")
        return
    # what a file system does not count, it does not lack either
    space = left.f_bavail * left.f_frsize if left.f_blocks else _LITTLE
    inodes = left.f_favail if left.f_files else _FEW
    told = f"{_size(space)} free" + (f", {inodes} inodes" if left.f_files else "") + f" at {there}"
    mend = f"make room: see `df -h {there}` and `df -i {there}`"
    if space < _NONE or inodes < _TOO_FEW:
        yield error(where, "space", told, mend)
    elif space < _LITTLE or inodes < _FEW:
        yield warning(where, "space", told, mend)
    else:
        yield ok(where, "space", told)


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= _LITTLE else f"{count // _MIB} MiB"


def lock_and_clock(folder: str) -> Iterator[Checked]:
    """With a file that is gone afterwards, in a folder that is there."""
    there = standing(folder)
    try:
        with _trial(there) as (path, descriptor):
            yield _clock(path, there)
            yield _lock(path, descriptor, there)
    except OSError as failed:
        yield error("", "lock", f"{there}: {failed.strerror or failed}", "without a lock no pass begins")


def lock(folder: str) -> Checked:
    """Whether locks work in a folder that is there."""
    try:
        with _trial(folder) as (path, descriptor):
            return _lock(path, descriptor, folder)
    except OSError as failed:
        return error("", "lock", f"{folder}: {failed.strerror or failed}", "without a lock no pass begins")


@contextmanager
def _trial(folder: str) -> Iterator[tuple[str, int]]:
    path = os.path.join(folder, f".reconcile-doctor.{os.uname().nodename}.{os.getpid()}")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield path, descriptor
    finally:
        os.close(descriptor)
        os.unlink(path)


def _asking(path: str) -> list[str]:
    """Another program that asks for the lock: that of util-linux where it is there, as it takes no time to begin."""
    quick = "/usr/bin/flock"
    if os.access(quick, os.X_OK):
        return [quick, "--nonblock", path, "/bin/true"]
    return [sys.executable, "-I", "-S", "-c", _OTHER, path]


def _clock(path: str, folder: str) -> Checked:
    """A file server goes by its own clock, and what changed after what is told by its times."""
    ahead = os.stat(path).st_mtime - time.time()
    if abs(ahead) <= _SKEW:
        return ok("", "clock", f"agrees with that of the file system at {folder}")
    told = f"this host and the file system at {folder} are {abs(ahead):.0f} s apart"
    return warning("", "clock", told, "see `timedatectl`, and the clock of the file server")


def _lock(path: str, descriptor: int, folder: str) -> Checked:
    """Whether another process sees that we hold it. On NFS and Lustre that depends on how they are mounted."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as refused:
        return warning("", "lock", f"{folder} takes no flock ({refused.strerror}): numbered files stand in for it")
    try:
        done = run(_asking(path), timeout=_SECONDS, check=False)
    except CommandFailed as failed:
        return error("", "lock", f"it could not be tried: {failed}")
    if done.code == 0:
        return error(
            "",
            "lock",
            f"another process gets the lock that we hold at {folder}: two passes could be at work at once",
            "have `state_dir` on a file system whose locks work (mount option `flock` of Lustre), or on a local disk",
        )
    return ok("", "lock", f"held by one process and seen by another, at {folder}")
