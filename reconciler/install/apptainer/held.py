"""Whether a process in a container still runs from the image that is in its place.

The program of Apptainer that waits for a container holds the image open as long as that runs. In run mode it is
the service's main process itself, titled `Apptainer runtime parent`; of an instance it is the parent of the main
process, `appinit`. With setuid Apptainer mounts the image by a loop device, and no process holds it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from errno import ESTALE
from stat import S_ISREG
from typing import NamedTuple

from reconciler.core.desired import Install
from reconciler.host.proc import look
from reconciler.install.apptainer.place import is_right, stat_of

_DELETED = " (deleted)"  # the kernel's, after the name of a file that was removed or replaced
_TITLES = (b"Apptainer ", b"Singularity ")  # with which the programs call themselves that hold images
_GONE = (FileNotFoundError, ProcessLookupError)
_LOST = os.stat_result((0,) * 10)


class _Open(NamedTuple):
    """A file that a process holds open."""

    link: str  # as in /proc: /proc/PID/fd/N
    target: str  # its name, as the kernel tells it


def outdated(install: Install, pid: int, parent: int) -> str:
    """As `Method.outdated`. Raises `OSError`."""
    found = _image(install.path, pid, parent)
    held = _stat(found) if found else None
    if held is None:
        return ""
    name, now = os.path.basename(install.path), stat_of(install.path)
    if now is None:
        return f"its image {name} is gone"
    if held is _LOST or not os.path.samestat(held, now):
        return f"its image {name} was replaced since it started"
    return "" if is_right(install) else f"its image {name} is not the one that git wants"


def _image(path: str, pid: int, parent: int) -> _Open | None:
    """The image that a service holds open; None where none can be told for sure.

    It is known by its name, also after it was replaced; where it was moved away before, by what it is.
    """
    of_instance = not _title(pid).startswith(_TITLES) and parent > 0 and _title(parent).startswith(_TITLES)
    opened = _opened(parent if of_instance else pid)
    name = os.path.realpath(path)
    named = [each for each in opened if each.target.removesuffix(_DELETED) == name]
    if named:
        return named[0]
    began = _began_an_instance_from(path, pid) if of_instance else _runs(path, pid)
    others = [each for each in opened if _may_be_image(each)] if began else []
    return others[0] if len(others) == 1 else None


def _runs(path: str, pid: int) -> bool:
    """Whether the program in the foreground says that it was begun with an image of this name."""
    title = _title(pid)
    return title.startswith(_TITLES) and title.endswith(b": " + os.fsencode(os.path.basename(path)))


def _began_an_instance_from(path: str, pid: int) -> bool:
    """Whether an instance's main process was told this very image: its environment has all that was asked for."""
    from reconciler.host.files import read

    try:
        return b'"%b"' % os.fsencode(path) in read(f"/proc/{pid}/environ")
    except _GONE:
        return False


def _opened(pid: int) -> list[_Open]:
    """The files with a name that a process holds open; none where it has ended."""
    folder, found = f"/proc/{pid}/fd", []
    try:
        for number in os.listdir(folder):
            with suppress(FileNotFoundError):  # it was closed meanwhile
                found.append(_Open(f"{folder}/{number}", os.readlink(f"{folder}/{number}")))
    except _GONE:
        return []
    except PermissionError:
        if look(pid) is not None:
            raise
        return []  # what remains until it is collected is closed even to its owner
    return [each for each in found if each.target.startswith("/")]


def _stat(opened: _Open) -> os.stat_result | None:
    """None where it is no longer open; `_LOST` where a server of files has no such file any more."""
    try:
        return os.stat(opened.link)
    except _GONE:
        return None
    except OSError as error:
        if error.errno == ESTALE:  # it was replaced on another host
            return _LOST
        raise


def _may_be_image(opened: _Open) -> bool:
    from reconciler.install.apptainer.content import is_image

    try:
        return S_ISREG(os.stat(opened.link).st_mode) and is_image(opened.link)
    except OSError:
        return False


def _title(pid: int) -> bytes:
    """What a process calls itself; empty where it has ended."""
    try:
        descriptor = os.open(f"/proc/{pid}/cmdline", os.O_RDONLY | os.O_CLOEXEC)
    except _GONE:
        return b""
    try:
        return os.read(descriptor, 256).partition(b"\0")[0]
    except ProcessLookupError:
        return b""
    finally:
        os.close(descriptor)
