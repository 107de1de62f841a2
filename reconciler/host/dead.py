"""Whether a file that stands for a process stands for one that has ended. What cannot be told is alive.

A pid, and a socket on which nobody listens, say nothing of another host: over NFS a daemon may live there. So only
files on a file system that no other host mounts are ever told dead here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from stat import S_ISREG, S_ISSOCK

from reconciler.host import proc

_LOCAL = frozenset(
    ("btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "reiserfs", "tmpfs", "xfs", "zfs")
)
_SMALL = 128  # bytes that a pid file has at most
_WRITTEN = 2.0  # seconds between the start of a process and its pid file, as clocks tell it
_BOUND = "/proc/net/unix"


def is_local(folder: str) -> bool:
    """Whether a folder is on a file system that only this host can have mounted. Raises `OSError`."""
    real, longest, kind = os.path.realpath(folder), "", ""
    with open("/proc/self/mountinfo", "rb") as mounts:  # the kernel gives a page at a time
        lines = mounts.read().splitlines()
    for line in lines:
        head, _, tail = line.partition(b" - ")
        point = _plain(head.split(b" ")[4])
        inside = real == point or real.startswith(f"{point.rstrip('/')}/")
        if inside and len(point) >= len(longest):  # of several on one point the last one counts
            longest, kind = point, os.fsdecode(tail.split(b" ")[0])
    return kind in _LOCAL


def _plain(field: bytes) -> str:
    """A path as the kernel writes it in mountinfo: a blank is `\\040`."""
    parts = field.split(b"\\")
    return os.fsdecode(parts[0] + b"".join(bytes((int(part[:3], 8),)) + part[3:] for part in parts[1:]))


def pid_file(folder: int, name: str) -> bool:
    """Whether a file holds the pid of a process that has ended. `folder`: a descriptor. Raises `OSError`."""
    found = _own(folder, name)
    if found is None:
        return False
    content, written = found
    try:
        pid = int(content)
    except ValueError:
        return False  # it may be about to be written
    return not _may_be(pid, written)


def stop_note(folder: int, name: str) -> bool:
    """The same of a note of a stop, which tells pid and start of the process that was signalled."""
    found = _own(folder, name)
    try:
        pid, started, _ = (found[0] if found else b"").split()
        return not proc.alive(int(pid), float(started))
    except ValueError:
        return False


def _own(folder: int, name: str) -> tuple[bytes, float] | None:
    """What is in a small file of this account's, and when it was written; None for anything else."""
    if not S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        return None
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        info = os.fstat(descriptor)
        if not S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_size > _SMALL:
            return None
        return os.read(descriptor, _SMALL), info.st_mtime
    finally:
        os.close(descriptor)


def _may_be(pid: int, written: float) -> bool:
    """Whether a process may be the one whose pid was written then. A pid is used again, and so may a clock be set:
    only one of ours without any mark that also began later is another one."""
    if not 1 < pid < 1 << 31:
        return True  # nobody writes that
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # there is none, or it is another account's
        return False
    process = proc.look(pid)
    if process is None:
        return False
    unmarked = process.mark == proc.FOREIGN and proc.instance(pid) is None
    return not unmarked or process.started <= written + _WRITTEN


def socket_file(folder: int, name: str, bound: Callable[[str], bool]) -> bool:
    """Whether nobody listens on a socket, nor is about to. `bound`: of a path by which a socket of this host is known,
    whether it is this one's. Raises `OSError`."""
    info = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not S_ISSOCK(info.st_mode) or info.st_uid != os.geteuid():
        return False
    return _refuses(f"/proc/self/fd/{folder}/{name}") and not any(map(bound, _bound()))


def bound_as(path: str, *, whole: bool) -> Callable[[str], bool]:
    """What tells whether a socket was bound by this path; `whole`: or as PATH.PID, to be given this name then."""
    folder, name = os.path.split(path)
    paths = (path, os.path.join(os.path.realpath(folder), name))

    def is_it(other: str) -> bool:
        return other in paths or (whole and any(_is_made_as(other, one) for one in paths))

    return is_it


def _is_made_as(other: str, path: str) -> bool:
    return other.startswith(f"{path}.") and other[len(path) + 1 :].isdecimal()


def _refuses(path: str) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
        asking.setblocking(False)  # with a full queue it would wait
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _bound() -> Iterator[str]:
    """Paths of all sockets of this network namespace; one that is bound need not listen yet."""
    with open(_BOUND, "rb") as sockets:
        for line in sockets.read().splitlines()[1:]:
            fields = line.split(None, 7)
            if len(fields) == 8:
                yield os.fsdecode(fields[7])


def unlink(folder: int, name: str, seen: os.stat_result) -> bool:
    """Take away the very file that was seen; False where another one has its name by now. Raises `OSError`."""
    with suppress(FileNotFoundError):
        now = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if (now.st_dev, now.st_ino, now.st_mtime_ns) != (seen.st_dev, seen.st_ino, seen.st_mtime_ns):
            return False
        os.unlink(name, dir_fd=folder)
    return True
