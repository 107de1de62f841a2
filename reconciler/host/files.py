"""The one place that writes files: a temporary file beside it, fsync, rename. Never half a file.

What grows by a line at a time, the journal alone, is added to instead.

Whatever is written, made or removed is reached folder by folder, each held open by a descriptor. Somebody who owns
one of them can put a link in the place of the next at any instant, and so lead us to any file that is ours or, where
we are root, to anybody's. So links are followed where root or this account has made them, and no other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import ELOOP, EPERM
from stat import S_ISLNK

from reconciler.core.digest import digest
from reconciler.core.observed import FileState

_READ = 1 << 20
_HOLD = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS = 40  # on the way to one place, as the kernel has it


def read(path: str) -> bytes:
    """The whole content. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _content(descriptor)
    finally:
        os.close(descriptor)


def read_own(path: str) -> bytes:
    """As `read`, of a file that root or this account has: what another has may say anything. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        owner = os.fstat(descriptor).st_uid
        if owner not in (0, os.geteuid()):
            raise PermissionError(EPERM, f"it belongs to another account (uid {owner})", path)
        return _content(descriptor)
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> bytes:
    content = chunk = os.read(descriptor, _READ)
    while len(chunk) == _READ:
        chunk = os.read(descriptor, _READ)
        content += chunk
    return content


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
        info, content = os.fstat(descriptor), _content(descriptor)
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
    name = os.path.basename(path)
    temporary = os.path.basename(temporary_name(path))
    with held_folder(os.path.dirname(path)) as folder:
        try:
            _put(folder, temporary, content, mode, sync=sync)
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException as error:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, path) from error
            raise


def _put(folder: int, name: str, content: bytes, mode: int, *, sync: bool) -> None:
    """Make a new file and fill it. What a killed pass left under this name is in the way, and goes."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(name, flags, mode & 0o700 | 0o600, dir_fd=folder)
    try:
        _fill(descriptor, content, mode, sync=sync)
    finally:
        os.close(descriptor)


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
    with held_folder(os.path.dirname(path), make=True) as folder, suppress(FileExistsError):
        os.mkdir(os.path.basename(path), mode, dir_fd=folder)
        _change_mode(folder, os.path.basename(path), mode)  # the umask has taken bits away


def change_mode(path: str, mode: int) -> None:
    """Of the file itself, never of what a link in its place leads to. Raises `OSError`."""
    with held_folder(os.path.dirname(path)) as folder:
        _change_mode(folder, os.path.basename(path), mode)


def _change_mode(folder: int, name: str, mode: int) -> None:
    descriptor = os.open(name, _HOLD, dir_fd=folder)
    try:
        os.chmod(f"/proc/self/fd/{descriptor}", mode)
    finally:
        os.close(descriptor)


def rename(path: str, name: str) -> None:
    """Give a file another name in its folder. Raises `OSError`."""
    with held_folder(os.path.dirname(path)) as folder:
        os.replace(os.path.basename(path), name, src_dir_fd=folder, dst_dir_fd=folder)


def remove(path: str) -> None:
    """Take a file away, and with it what a killed write of it left behind. Raises `OSError`."""
    with suppress(FileNotFoundError), held_folder(os.path.dirname(path)) as folder:
        for name in (temporary_name(path), path):
            with suppress(FileNotFoundError):
                os.unlink(os.path.basename(name), dir_fd=folder)


# ---------------------------------------------------------------- the way to a folder


@contextmanager
def held_folder(path: str, *, make: bool = False) -> Iterator[int]:
    """A descriptor of a folder, for use with `dir_fd`: whatever becomes of its path, it stays the same folder.

    `make`: what is missing is made. Raises `OSError`; ELOOP for a link of another account's.
    """
    descriptor = _walk(path, make=make)
    try:
        yield descriptor
    except OSError as error:
        if isinstance(error.filename, str) and "/" not in error.filename:  # within a folder there is only half a name
            error.filename = os.path.join(path, error.filename)
        raise
    finally:
        os.close(descriptor)


def _walk(path: str, *, make: bool) -> int:
    names = _names(path if path.startswith("/") else os.path.join(os.getcwd(), path))
    held, links = [os.open("/", _HOLD)], _LINKS
    try:
        while names:
            held.append(_enter(held[-1], names.pop(), make=make))
            target = _target(held[-1], links)
            if target is None:
                continue
            links -= 1
            os.close(held.pop())
            names += _names(target)
            if target.startswith("/"):
                held.append(os.open("/", _HOLD))
        return held.pop()
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        for descriptor in held:
            os.close(descriptor)


def _names(path: str) -> list[str]:
    """The parts of a path, the first one last."""
    return [name for name in reversed(path.split("/")) if name and name != "."]


def _enter(folder: int, name: str, *, make: bool) -> int:
    """A descriptor of what has this name, be it a link."""
    try:
        return os.open(name, _HOLD, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    return os.open(name, _HOLD, dir_fd=folder)


def _target(descriptor: int, left: int) -> str | None:
    """Where a link leads that is to be followed; None for what is none. `left`: how many of them may still come.

    Raises `OSError` for one of a stranger's.
    """
    info = os.fstat(descriptor)
    if not S_ISLNK(info.st_mode):
        return None
    if not left:
        raise OSError(ELOOP, os.strerror(ELOOP))
    target = os.readlink("", dir_fd=descriptor)
    if info.st_uid not in (0, os.geteuid()):
        raise OSError(ELOOP, f"on the way is a link of another account's (uid {info.st_uid}), to {target}")
    return target
