"""/proc as the kernel writes it: one process's status, environment, arguments and children."""

from __future__ import annotations

import os
import time
from contextlib import suppress

_READ = 1 << 13  # most environments are smaller, and a larger buffer costs more than a second read
_TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds


class Stat:
    """The fields of /proc/PID/stat that matter. Raises `OSError`."""

    __slots__ = ("group", "name", "parent", "runs", "ticks")

    def __init__(self, content: bytes) -> None:
        # The name in parentheses may contain anything; fields count from the last one.
        end = content.rindex(b")")
        self.name = content[content.index(b"(") + 1 : end]
        fields = content[end + 2 :].split()
        self.runs = fields[0] not in (b"Z", b"X")
        self.parent, self.group, self.ticks = int(fields[1]), int(fields[2]), int(fields[19])

    def started(self, booted: float) -> float:
        return round(booted + self.ticks * _TICK, 3)


def read_stat(pid: int) -> Stat:
    descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return Stat(os.read(descriptor, 4096))
    finally:
        os.close(descriptor)


def boot() -> float:
    """When this host booted, in seconds since the epoch. Being interrupted between the clocks makes it earlier."""
    return max(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) for _ in range(3))


def environ(name: str) -> bytes:
    """An environment, with a NUL before each entry."""
    descriptor = os.open(f"/proc/{name}/environ", os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = chunk = os.read(descriptor, _READ)
        while len(chunk) == _READ:
            chunk = os.read(descriptor, _READ)
            content += chunk
        return b"\0" + content
    finally:
        os.close(descriptor)


def arguments(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def has_children(pid: int) -> bool:
    """Whether a process has any; also where the kernel does not tell. The first process of an instance outlives
    its service: without children it is an empty shell, as `apptainer instance stop` sees it too."""
    with suppress(FileNotFoundError, ProcessLookupError):
        tasks = os.listdir(f"/proc/{pid}/task")
        return any(_has_children(f"/proc/{pid}/task/{task}") for task in tasks)
    return False


def _has_children(task: str) -> bool:
    try:
        with open(f"{task}/children", "rb") as file:
            return bool(file.read(1))
    except FileNotFoundError:
        return os.path.exists(task)
    except ProcessLookupError:
        return False
