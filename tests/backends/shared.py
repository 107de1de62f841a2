"""What the machine has only one of, while any test of any session needs it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def shared(
    name: str, there: Callable[[], bool], make: Callable[[], None], unmake: Callable[[], None]
) -> Iterator[None]:
    """Whoever comes first makes it, and whoever leaves last takes it away again, if it was not there before.

    They know of each other by a lock that all of them hold. Its file is empty where nothing was made.
    """
    with open(os.open(f"/run/reconcile-test.{name}", os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="ascii") as lock:
        while True:
            if _alone(lock) and not there():
                make()
                _note(lock, "made")
            fcntl.flock(lock, fcntl.LOCK_SH)
            if there():  # else the last of the others has just taken it away
                break
        try:
            yield
        finally:
            if _alone(lock) and os.fstat(lock.fileno()).st_size:
                unmake()
                _note(lock, "")


def _alone(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _note(lock: TextIO, text: str) -> None:
    os.ftruncate(lock.fileno(), 0)
    os.pwrite(lock.fileno(), text.encode(), 0)
