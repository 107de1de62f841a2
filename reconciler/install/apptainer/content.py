"""What is in an image file: its header, and its digest."""

from __future__ import annotations

import os
from collections.abc import Callable
from struct import Struct

_CHUNK = 1 << 22
# The global header of a SIF: a line that starts it as a program, the magic word, version, architecture, identity,
# then numbers, the last two of which are where the data begins and how much of it there is.
_HEADER = Struct("<32s10s3s3s16s8q")
_MAGIC = b"SIF_MAGIC\0"


def is_image(path: str) -> bool:
    """Whether it is a SIF, as far as its beginning tells. Raises `OSError`."""
    header = _header(path)
    return len(header) == _HEADER.size and _HEADER.unpack(header)[1] == _MAGIC


def problem(path: str) -> str:
    """What stands against running this file as an image, or nothing. Raises `OSError`."""
    if not is_image(path):
        return "is no image of Apptainer (SIF)"
    begin, length = _HEADER.unpack(_header(path))[-2:]
    size = os.stat(path).st_size
    return f"is not whole: it has {size} of {begin + length} bytes" if size < begin + length else ""


def sha256_of(path: str, meanwhile: Callable[[int], None] = lambda _: None) -> str:
    """`meanwhile` is told the bytes read so far, and may raise to end it. Raises `OSError`."""
    from hashlib import sha256

    found, count = sha256(), 0
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
            count += len(chunk)
            meanwhile(count)
    return found.hexdigest()


def copy(source: str, target: str, meanwhile: Callable[[int], None]) -> None:
    """Copy a file to a new one; `meanwhile` as above. Raises `OSError`."""
    count = 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o777)
    with open(source, "rb", buffering=0) as file, open(descriptor, "wb", buffering=0) as out:
        while chunk := file.read(_CHUNK):
            view = memoryview(chunk)
            while view:
                view = view[out.write(view) :]
            count += len(chunk)
            meanwhile(count)


def _header(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(descriptor, _HEADER.size)
    finally:
        os.close(descriptor)
