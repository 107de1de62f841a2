"""A bound for what this process may take of memory while it does something for a stranger."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

_PAGE = os.sysconf("SC_PAGE_SIZE")


@contextmanager
def bounded(more: int) -> Iterator[None]:
    """At most so many bytes more than now until the end of the block; what takes more raises `MemoryError`.

    The bound is the whole process's, also of other threads. One that is narrower already stays.
    """
    soft, hard = before = resource.getrlimit(resource.RLIMIT_AS)
    wanted = _taken() + more
    if any(limit != resource.RLIM_INFINITY and limit <= wanted for limit in (soft, hard)):
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _taken() -> int:
    """Of the address space, in bytes."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * _PAGE
