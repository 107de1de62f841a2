"""One pass at a time: the locks at which passes, and commands that change what they go by, meet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.host.lock import Holder, Lock


class Busy(Exception):  # noqa: N818 - another pass, not an error of this one
    """Another pass holds the lock."""

    def __init__(self, holder: Holder, path: str) -> None:
        self.holder, self.path = holder, path
        super().__init__(f"another pass holds {path}")


@contextmanager
def alone(path: str) -> Iterator[None]:
    """Hold a lock. Raises `Busy`, `OSError`."""
    lock = Lock(path)
    holder = lock.acquire()
    if holder is not None:
        raise Busy(holder, path)
    try:
        yield
    finally:
        lock.release()
