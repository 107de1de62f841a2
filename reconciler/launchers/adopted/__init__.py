"""What was made by hand and adopted: it is looked at, it can be stopped, and nothing of it is ever started or changed.

One module for each kind of daemon that may keep such units. Neither the daemon nor its files are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reconciler.core.desired import Manager
from reconciler.core.observed import Drift, Process, Unit
from reconciler.host import proc
from reconciler.launchers.base import DaemonControl, Outcome

OTHERWISE = Drift("was restarted by hand in another way than it was adopted")


class Noted(NamedTuple):
    """What was noted of one unit."""

    start: str  # digest of how it is started
    pid: int
    started: float

    def is_same(self, pid: int) -> bool:
        """That very process still runs as this pid."""
        return pid == self.pid and proc.alive(pid, self.started)


def noted(manager: Manager) -> dict[str, Noted]:
    """By unit."""
    found = {}
    for line in dict(manager.address).get("adopted", "").splitlines():
        start, pid, started, unit = line.split(" ", 3)
        found[unit] = Noted(start, int(pid), float(started))
    return found


class ByHand:
    """The half of `base.Backend` that is the same for all of them."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.noted: Mapping[str, Noted] = noted(manager)

    @property
    def daemon(self) -> DaemonControl | None:
        return None

    def reload(self) -> frozenset[str]:
        return frozenset()

    def add(self, units: Sequence[str]) -> Sequence[Outcome]:
        return self.start(units)

    def start(self, units: Sequence[str]) -> Sequence[Outcome]:
        return [Outcome(unit, f"{self.manager.launcher} starts nothing: it was made by hand") for unit in units]

    def process(self, unit: Unit) -> Process | None:
        return proc.look(unit.pid) if unit.pid else None
