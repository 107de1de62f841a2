"""Ends every process that belongs to a folder: each has a variable of reconcile's that names it.

Only those: PWD names it too, of whatever a person starts who looks around in it.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from time import monotonic, sleep

_POLITE = 10.0  # seconds between SIGTERM and SIGKILL
_LAST = 5.0  # seconds for SIGKILL to work


def carriers(folder: str) -> list[int]:
    """The processes of this account, other than this one, that reconcile has started for the folder."""
    path = os.fsencode(folder)
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with suppress(OSError):  # gone meanwhile, or somebody else's
            with open(f"/proc/{name}/environ", "rb") as file:
                environ = file.read()
            if any(_names(entry, path) for entry in environ.split(b"\0")):
                found.append(int(name))
    return found


def _names(entry: bytes, path: bytes) -> bool:
    name, _, value = entry.partition(b"=")
    return name.startswith(b"RECONCILE_") and (value == path or value.startswith(path + b"/"))


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
