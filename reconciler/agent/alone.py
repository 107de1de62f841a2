"""One pass at a time: the locks at which passes, and commands that change what they go by, meet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.host.lock import Holder, Lock

_TICK = 0.2  # seconds between two tries


class Busy(Exception):  # noqa: N818 - another pass, not an error of this one
    """Another pass holds the lock."""

    def __init__(self, holder: Holder, path: str) -> None:
        self.holder, self.path = holder, path
        super().__init__(f"another pass holds {path}")


@contextmanager
def alone(path: str, patience: float = 0.0) -> Iterator[None]:
    """Hold a lock, which another one may have for so many seconds. Raises `Busy`, `OSError`."""
    lock = Lock(path)
    until = time.monotonic() + patience
    while (holder := lock.acquire()) is not None:
        if time.monotonic() >= until:
            raise Busy(holder, path)
        time.sleep(_TICK)
    try:
        yield
    finally:
        lock.release()
