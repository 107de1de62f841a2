"""Files that nobody else may read, and what is told where a secret cannot be had."""

from __future__ import annotations

import os
from stat import S_ISREG

MOST = 1 << 20  # bytes of a file or an answer


class Unresolved(Exception):  # noqa: N818 - it says what is so
    """A secret cannot be had: why, and how to mend it. No part of it is secret."""

    def __init__(self, why: str, mend: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.mend = mend


def private(path: str) -> bytes:
    """The content of a file that nobody else may read. Raises `Unresolved`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Unresolved(f"{path} cannot be read: {error.strerror}", "see `ls -l` of it, as this account") from None
    try:
        info = os.fstat(descriptor)
        if not S_ISREG(info.st_mode):
            raise Unresolved(f"{path} is not a regular file")
        _closed(path, info)
        content = b""
        while len(content) <= MOST and (chunk := os.read(descriptor, MOST)):
            content += chunk
    except OSError as error:
        raise Unresolved(f"{path} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    return bounded(content)


def _closed(path: str, info: os.stat_result) -> None:
    """A group may read what is another account's: so root hands a secret to a service account."""
    own = info.st_uid == os.geteuid()
    if info.st_mode & 0o007 or (own and info.st_mode & 0o070):
        what = f"{path} has mode {info.st_mode & 0o7777:04o}, so that others can read it"
        raise Unresolved(what, f"chmod {'600' if own else 'o-rwx'} {path}, and have the secret changed")
    if info.st_mode & 0o022:
        raise Unresolved(f"{path} has mode {info.st_mode & 0o7777:04o}: others can write to it", f"chmod go-w {path}")


def bounded(content: bytes) -> bytes:
    """The same, where it is no larger than a secret may be. Raises `Unresolved`."""
    if len(content) > MOST:
        raise Unresolved(f"it has more than {MOST} bytes")
    return content
