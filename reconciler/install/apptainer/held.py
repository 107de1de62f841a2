"""Whether a process in a container still runs from the image that is in its place.

The program of Apptainer that waits for a container holds the image open as long as that runs. In run mode it is
the service's main process itself, titled `Apptainer runtime parent`; of an instance it is the parent of the main
process, `appinit`. With setuid Apptainer mounts the image by a loop device, and no process holds it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from errno import ESTALE
from stat import S_ISREG
from typing import NamedTuple

from reconciler.core.model import Install
from reconciler.install.apptainer.place import is_right, stat_of

_DELETED = " (deleted)"  # the kernel's, after the name of a file that was removed or replaced
_TITLE = b"Apptainer"  # with which the programs begin that hold images
_GONE = (FileNotFoundError, ProcessLookupError)


class _Open(NamedTuple):
    """A file that a process holds open."""

    link: str  # as in /proc: /proc/PID/fd/N
    target: str  # its name, as the kernel tells it


def outdated(install: Install, pid: int, parent: int) -> str:
    """As `Method.outdated`. Raises `OSError`."""
    found = _image(install.path, pid)
    if found is None and parent and not _is_titled(pid) and _is_titled(parent):
        found = _image(install.path, parent)
    if found is None:
        return ""
    name, held, now = os.path.basename(install.path), _stat(found), stat_of(install.path)
    if now is None:
        return f"its image {name} is gone"
    if held is None or not os.path.samestat(held, now):
        return f"its image {name} was replaced since it started"
    return "" if is_right(install) else f"its image {name} is not the one that git wants"


def _image(path: str, pid: int) -> _Open | None:
    """The image that a process holds open; None where none can be told for sure.

    It is known by its name, also after it was replaced; where it was moved away before, by what it is.
    """
    try:
        opened = [each for each in _opened(pid) if each.target.startswith("/")]
    except _GONE:
        return None
    name = os.path.realpath(path)
    named = [each for each in opened if each.target.removesuffix(_DELETED) == name]
    if named:
        return named[0]
    others = [each for each in opened if _may_be_image(each)] if _is_titled(pid) else []
    return others[0] if len(others) == 1 else None


def _opened(pid: int) -> Iterator[_Open]:
    folder = f"/proc/{pid}/fd"
    for number in os.listdir(folder):
        link = f"{folder}/{number}"
        try:
            yield _Open(link, os.readlink(link))
        except _GONE:
            continue  # it was closed meanwhile


def _stat(opened: _Open) -> os.stat_result | None:
    """None where the file is no more, as a server of files may tell of one that was replaced on another host."""
    try:
        return os.stat(opened.link)
    except OSError as error:
        if error.errno == ESTALE or isinstance(error, _GONE):
            return None
        raise


def _may_be_image(opened: _Open) -> bool:
    from reconciler.install.apptainer.content import is_image

    try:
        return S_ISREG(os.stat(opened.link).st_mode) and is_image(opened.link)
    except OSError:
        return False


def _is_titled(pid: int) -> bool:
    """It is one of Apptainer's own programs."""
    try:
        descriptor = os.open(f"/proc/{pid}/cmdline", os.O_RDONLY | os.O_CLOEXEC)
    except _GONE:
        return False
    try:
        return os.read(descriptor, len(_TITLE)) == _TITLE
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
