"""Ends every process that belongs to a folder: each carries the folder's path in its environment."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from time import monotonic, sleep

_POLITE = 10.0  # seconds between SIGTERM and SIGKILL
_LAST = 5.0  # seconds for SIGKILL to work


def carriers(folder: str) -> list[int]:
    """The processes of this account, other than this one, whose environment names the folder."""
    path = os.fsencode(folder)
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with suppress(OSError):  # gone meanwhile, or somebody else's
            with open(f"/proc/{name}/environ", "rb") as file:
                environ = file.read()
            if path in environ:
                found.append(int(name))
    return found


def end_all(folder: str) -> None:
    """SIGTERM to each, supervisord and its programs alike, and in the end SIGKILL. Returns when none is left."""
    for number, seconds in ((signal.SIGTERM, _POLITE), (signal.SIGKILL, _LAST)):
        told: set[int] = set()
        until = monotonic() + seconds
        while (left := carriers(folder)) and monotonic() < until:
            for pid in left:
                if pid not in told or number == signal.SIGKILL:
                    told.add(pid)
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
            sleep(0.05)
