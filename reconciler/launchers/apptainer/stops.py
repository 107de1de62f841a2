"""Stops under way: a signal, then its time, then SIGKILL to the first process, which ends all that is inside.

What a pass has begun the next one goes on with, so that a service that takes no notice is not given its
time anew by every pass: a note beside the start script's output says when it was signalled.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import NamedTuple

from reconciler.host import files, marks, proc
from reconciler.launchers.apptainer.words import STOP

_SIGKILL = 9  # by number: the signal module costs 5 ms
_AFTER = 5.0  # seconds that Apptainer may take to clear up behind an instance
_GRACE = 10.0  # seconds, for an instance that does not say


class Found(NamedTuple):
    """An instance that runs."""

    pid: int  # of its first process
    started: float
    box: marks.Instance

    @property
    def alive(self) -> bool:
        return proc.alive(self.pid, self.started)


class _Stop(NamedTuple):
    found: Found
    front: tuple[int, float] | None  # its keeper outside, and when that began
    until: float  # seconds since the epoch


class Stops:
    """Every method returns at once; `poll` must be called until it is over."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._under_way: dict[str, _Stop] = {}

    def begin(self, name: str, found: Found) -> None:
        """Raises `OSError`: it could not be signalled."""
        since = self._noted(name, found)
        if not since:
            since = time.time()
            proc.signal_process(found.pid, found.started, marks.stop_signal(found.box))
            with suppress(OSError):  # without the note it is only given its time once more
                files.write(self._note(name), f"{found.pid} {found.started} {since}\n".encode(), 0o600, sync=False)
        self._under_way[name] = _Stop(found, proc.keeper(found.pid), since + seconds_to_stop(found.box))
        self.poll()

    def __contains__(self, name: str) -> bool:
        return name in self._under_way

    def __getitem__(self, name: str) -> Found:
        return self._under_way[name].found

    def poll(self) -> None:
        for name, stop in list(self._under_way.items()):
            found = stop.found
            if found.alive:
                if proc.is_empty(found.pid) or time.time() >= stop.until:
                    kill(found)
                    self._under_way[name] = stop._replace(until=time.time() + _AFTER)
            elif stop.front is None or not proc.alive(*stop.front) or time.time() >= stop.until + _AFTER:
                del self._under_way[name]
                self.forget(name)

    def forget(self, name: str) -> None:
        with suppress(OSError):
            files.remove(self._note(name))

    def _note(self, name: str) -> str:
        return f"{self._run}/{name}.stop"

    def _noted(self, name: str, found: Found) -> float:
        """When an earlier pass signalled this very process; 0 where none did."""
        try:
            pid, started, since = (float(word) for word in files.read(self._note(name)).split())
        except (OSError, ValueError):
            return 0.0
        same = pid == found.pid and abs(started - found.started) < proc.SAME_START
        return min(since, time.time()) if same else 0.0


def kill(found: Found) -> None:
    """End an instance and all that is inside. Raises `PermissionError`."""
    proc.signal_process(found.pid, found.started, _SIGKILL)


def seconds_to_stop(box: marks.Instance) -> float:
    """What it is given between the signal and SIGKILL, by its own mark."""
    _, _, seconds = box.env.get(STOP, "").partition(" ")
    return float(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 8 else _GRACE
