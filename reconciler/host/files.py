"""The one place that writes files: a temporary file beside it, fsync, rename. Never half a file.

What grows by a line at a time, the journal alone, is added to instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from errno import ELOOP

from reconciler.core.digest import digest
from reconciler.core.model import FileState

_READ = 1 << 20


def read(path: str) -> bytes:
    """The whole content. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = chunk = os.read(descriptor, _READ)
        while len(chunk) == _READ:
            chunk = os.read(descriptor, _READ)
            content += chunk
        return content
    finally:
        os.close(descriptor)


def head(path: str, size: int) -> str:
    """How a file begins, in up to `size` bytes; a pipe in its place is not waited for. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(descriptor, size).decode(errors="surrogateescape")
    finally:
        os.close(descriptor)


def tail(path: str, size: int) -> bytes:
    """The last bytes of a file, at most so many. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        end = os.fstat(descriptor).st_size
        return os.pread(descriptor, size, max(end - size, 0))
    finally:
        os.close(descriptor)


def state(path: str) -> FileState:
    """What stands at a path. Raises `OSError` where that cannot be told: unreadable is not missing.

    A link in the place of a file is not followed: it is another file than any that was written.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return FileState("", 0, _folder_changed(path))
    except OSError as error:
        if error.errno != ELOOP or not os.path.islink(path):
            raise
        info = os.lstat(path)
        return FileState(digest(b"link to " + os.fsencode(os.readlink(path))), 0, info.st_ctime)
    try:
        info = os.fstat(descriptor)
        content = chunk = os.read(descriptor, _READ)
        while len(chunk) == _READ:
            chunk = os.read(descriptor, _READ)
            content += chunk
    finally:
        os.close(descriptor)
    return FileState(digest(content), info.st_mode & 0o7777, info.st_ctime)


def _folder_changed(path: str) -> float:
    """When the folder of a missing file changed last, or the nearest one above it that is there."""
    folder = os.path.dirname(path)
    try:
        return os.stat(folder).st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return _folder_changed(folder) if folder != path else 0.0
    except OSError:
        return 0.0


def write(path: str, content: bytes, mode: int, *, sync: bool = True) -> None:
    """Put a file in place whole. Raises `OSError`; then the old file stands as it was.

    The temporary name starts with a dot and ends in `.new`: supervisord's include patterns and
    systemd do not take it for one of theirs, and a later pass recognises it as left over.
    """
    temporary = temporary_name(path)
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode & 0o700 | 0o600
    )
    try:
        try:
            _fill(descriptor, content, mode, sync=sync)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:  # a descriptor has no name to tell
            raise OSError(error.errno, error.strerror, path) from error
        raise


def append_line(path: str, line: bytes, mode: int) -> None:
    """Add a line, which has its end, to a file that grows. Raises `OSError`.

    A line before it that a crash cut short is ended first, so that it spoils no other.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, mode)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def _fill(descriptor: int, content: bytes, mode: int, *, sync: bool) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fchmod(descriptor, mode)
    if sync:
        os.fsync(descriptor)


def temporary_name(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.new")


def sync_folders(paths: Iterable[str]) -> None:
    """Make the renames in the folders of these files durable: one sync a folder, however many files."""
    for folder in sorted({os.path.dirname(path) for path in paths}):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(OSError):  # some parallel file systems refuse it for folders
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(path: str, mode: int) -> None:
    """Make a folder and its parents; an existing one keeps its mode. Raises `OSError`."""
    if os.path.isdir(path):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with suppress(FileExistsError):
        os.mkdir(path, mode)
        os.chmod(path, mode)  # the umask has taken bits away


def remove(path: str) -> None:
    """Take a file away, and with it what a killed write of it left behind. Raises `OSError`."""
    for name in (temporary_name(path), path):
        with suppress(FileNotFoundError):
            os.unlink(name)
