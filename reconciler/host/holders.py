"""Whether any process of this host still uses what lies at some paths. As far as this account may look.

A Python of a venv is a link to that of the system, and modules are closed once they are read: what tells is the
command line and the environment, by whatever name these have it. An image is held open by who runs it, or by a loop
device of the kernel's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from reconciler.host import files, procfs
from reconciler.host.aliases import Aliases

_GONE = (FileNotFoundError, ProcessLookupError)
_LOOPS = "/sys/block"


class Unseen(Exception):  # noqa: N818 - it says what is so
    """A process of this account cannot be looked at. The text says which and why."""


def holders(places: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """For each place that is used, by whom, in words. A place is given with all names that it goes by; one that ends
    in a slash counts only with more behind it. Raises `Unseen`, `OSError`."""
    needles = [(key, os.fsencode(name)) for key, names in places.items() for name in names]
    found = {key: "a loop device" for key, needle in needles if any(needle in line for line in _loop_files())}
    account, own, aliases = os.geteuid(), os.getpid(), Aliases()
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        if pid == own:
            continue
        try:
            seen = b"\0".join(_traces(pid, aliases, all_of_it=account in (0, os.stat(f"/proc/{pid}").st_uid)))
        except _GONE:
            continue
        for key, needle in needles:
            if needle in seen:
                found.setdefault(key, f"process {pid}")
    return found


def _traces(pid: int, aliases: Aliases, *, all_of_it: bool) -> Iterable[bytes]:
    """All texts of a process that may name a path. The kernel knows open files and the like by their own names."""
    with suppress(*_GONE, PermissionError):
        words = procfs.arguments(pid)
        yield words
        yield from aliases.of(words, _folder(pid) if all_of_it else b"")
    if not all_of_it:
        return
    try:
        environ = procfs.environ(str(pid))
        yield environ
        yield from aliases.of(environ)
        with open(f"/proc/{pid}/maps", "rb") as maps:  # the kernel gives a page at a time
            yield maps.read()
        yield from _links(pid)
    except _GONE:
        return
    except PermissionError as error:
        if os.geteuid() != 0 and _runs(pid) and not _is_closed(pid):
            raise Unseen(f"process {pid} cannot be looked at: {error.strerror}") from error


def _folder(pid: int) -> bytes:
    with suppress(*_GONE, PermissionError):
        return os.fsencode(os.readlink(f"/proc/{pid}/cwd"))
    return b""


def _is_closed(pid: int) -> bool:
    """It lets only root look into it, as ssh-agent does, and what sshd runs for a login (proc(5): PR_SET_DUMPABLE).

    Every account has some of those at times, for days: such a one counts by its command line, as another account's.
    """
    with suppress(OSError):
        return os.stat(f"/proc/{pid}/environ").st_uid != os.geteuid()
    return True


def _links(pid: int) -> Iterable[bytes]:
    """With a slash behind, so that a folder itself is found by a name that ends in one."""
    names = [f"fd/{number}" for number in os.listdir(f"/proc/{pid}/fd")]
    for name in ("exe", "cwd", "root", *names):
        with suppress(*_GONE):  # it was closed, or is a thread of the kernel
            yield os.fsencode(os.readlink(f"/proc/{pid}/{name}")) + b"/"


def _runs(pid: int) -> bool:
    """What remains until it is collected is closed even to its owner."""
    try:
        return procfs.read_stat(pid).runs
    except _GONE:
        return False


def _loop_files() -> list[bytes]:
    found = []
    with suppress(OSError):  # a host without any
        for name in os.listdir(_LOOPS):
            if name.startswith("loop"):
                with suppress(OSError):
                    found.append(files.read(f"{_LOOPS}/{name}/loop/backing_file").rstrip(b"\n"))
    return found
