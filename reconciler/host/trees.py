"""Takes a folder away with all that is in it. Nothing but that: it is reached as `files` reaches anything, a link in it
goes and what it leads to stays, and so does what is mounted in it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EXDEV
from stat import S_ISDIR

from reconciler.host import files

_HOLD = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: str) -> None:
    """Take away what has this name, a folder with all that is in it; it need not be there.

    Also folders in it that are closed to their owner. Raises `OSError` where something stays; all else is gone then,
    unless something is mounted in it: then all of it stays.
    """
    with suppress(FileNotFoundError), files.held_folder(os.path.dirname(path)) as folder:
        name = os.path.basename(path)
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not S_ISDIR(info.st_mode):
            os.unlink(name, dir_fd=folder)
            return
        _open(folder, name, info.st_dev, path)
        for place, names, _, held in os.fwalk(name, dir_fd=folder):
            for inner in names:
                _open(held, inner, info.st_dev, os.path.join(os.path.dirname(path), place, inner))
        _remove(folder, name)


def _open(folder: int, name: str, device: int, shown: str) -> None:
    """Let its owner into a folder; a link is left. Raises `OSError` where it is on another file system."""
    descriptor = os.open(name, _HOLD, dir_fd=folder)
    try:
        info = os.fstat(descriptor)
        if not S_ISDIR(info.st_mode):
            return
        if info.st_dev != device:
            raise OSError(EXDEV, "is another file system, and stays", shown)
        if info.st_mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{descriptor}", 0o700)
    finally:
        os.close(descriptor)


def _remove(folder: int, name: str) -> None:
    from shutil import rmtree

    rmtree(name, dir_fd=folder, ignore_errors=True)
    with suppress(FileNotFoundError):
        rmtree(name, dir_fd=folder)  # what stays tells why
