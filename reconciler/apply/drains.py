"""Drains: commands that are waited for before services are stopped, side by side and each for its own time at most."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic, sleep
from typing import NamedTuple

from reconciler.core.change import Running
from reconciler.core.desired import Drain
from reconciler.core.observed import ELSEWHERE
from reconciler.host import detached, prepared

_KEPT = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")  # by which a command reaches the user's manager
_POLL = 0.02
_NOT_FOUND = 127  # the shell's word for it


class _Under(NamedTuple):
    """One that is under way."""

    pid: int
    until: float  # monotonic seconds
    drain: Drain


class Drains:
    """What goes wrong with one is told, and the stop goes on all the same."""

    def __init__(self, drains: Mapping[str, Drain], root: str, programs: Callable[[str, int], str]) -> None:
        """`drains`: by service; `root`: the folder that they begin in; `programs`: where those of a service are, that
        runs as this pid."""
        self._drains = drains
        self._root = root
        self._programs = programs
        self._under_way: dict[str, _Under] = {}

    def begin(self, service: str, running: Running | None) -> bool:
        """Whether there is something to be waited for. What does not run has nothing to drain."""
        drain = self._drains.get(service)
        if drain is None or running is None:
            return False
        env = _environment(running) | prepared.variables(drain.env_file, self._programs(service, running.pid))
        pid = detached.start(["/bin/bash", "-c", self._script(drain)], env, os.devnull)
        self._under_way[service] = _Under(pid, monotonic() + drain.seconds, drain)
        return True

    def ended(self, service: str) -> str | None:
        """None while it goes on; then what went wrong, or nothing."""
        under = self._under_way[service]
        code = detached.ended(under.pid)
        if code is None and monotonic() < under.until:
            return None
        del self._under_way[service]
        if code is None:
            detached.end([under.pid])
            return f"its drain took longer than {under.drain.seconds:g} s and was ended"
        how = f"ended by signal {-code}" if code < 0 else f"exit status {code}"
        how += f", a program was not found on {detached.environment()['PATH']}" if code == _NOT_FOUND else ""
        return f"its drain failed: {how}" if code else ""

    def all(self, running: Mapping[str, Running]) -> list[str]:
        """Those of several services that are stopped at once; what went wrong with any of them."""
        told = []
        for service in sorted(running):
            with suppress(OSError):  # the stop goes on
                self.begin(service, running[service])
        left = set(self._under_way)
        while left:
            notes = {service: self.ended(service) for service in left}
            told += [f"{service}: {note}" for service, note in sorted(notes.items()) if note]
            left = {service for service, note in notes.items() if note is None}
            sleep(_POLL if left else 0)
        return told

    def _script(self, drain: Drain) -> str:
        return f"cd {shlex.quote(self._root)} || exit 78\n{prepared.LINES}{drain.command}\n"


def _environment(running: Running) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    pid = running.pid % ELSEWHERE
    return {**detached.environment(), **kept, "MAINPID": str(pid)}
