"""Units of the account's systemd that somebody else has written."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence

from reconciler.core.desired import Manager
from reconciler.core.digest import digest_of
from reconciler.core.observed import Process, State, Unit
from reconciler.core.problem import Gap
from reconciler.launchers.adopted import OTHERWISE, ByHand
from reconciler.launchers.base import Backend, BackendError, Log, Look, Outcome, Shared
from reconciler.launchers.systemd import show
from reconciler.launchers.systemd.control import Control
from reconciler.launchers.systemd.show import Block, Now

NAME = "adopted-systemd"
_ANSWER = 30.0  # seconds to wait for systemctl
_GONE = "not loaded"  # of a unit that is down and was forgotten


class AdoptedSystemd(ByHand):
    """See `base.Backend`. One `systemctl` for each request."""

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._control = Control(dict(manager.address)["scope"], _ANSWER)

    def ask(self) -> None:
        """It is asked when the answer is wanted: who adopts has few such units, and none later."""

    def answer(self, processes: Mapping[int, Process]) -> Look:  # noqa: ARG002 - nothing here has our mark
        try:
            units = self.units(list(self.noted))
        except BackendError as error:
            return Look(gaps=(Gap("launcher", NAME, str(error)),))
        return Look({(NAME, name): unit for name, unit in units.items() if unit.state is not State.ABSENT})

    def units(self, names: Sequence[str]) -> Mapping[str, Unit]:
        blocks = self._control.show(names)
        now = Now(time.time(), time.monotonic())
        return {name: self._unit(name, blocks[name], now) for name in names}

    def _unit(self, name: str, block: Block, now: Now) -> Unit:
        unit = show.unit(block, now)._replace(launcher=NAME, name=name)
        known = self.noted.get(name)
        if known is None or not unit.pid or known.is_same(unit.pid) or start_digest(block) == known.start:
            return unit
        return unit._replace(drift=(OTHERWISE,))

    def stop(self, units: Sequence[str]) -> Sequence[Outcome]:
        return self._control.each("stop", ("--no-block",), units, _GONE)

    def remove(self, units: Sequence[str]) -> Sequence[Outcome]:
        """Its file stays where its maker has put it; it is not started again with the host."""
        return self._control.each("disable", ("--quiet",), units)

    def log(self, unit: str) -> Log:
        return Log(command=("journalctl", self._control.word, "-u", unit))

    def close(self) -> None: ...


def backend(manager: Manager, shared: Shared | None = None) -> Backend:  # noqa: ARG001 - it asks nothing that others ask too
    return AdoptedSystemd(manager)


def start_digest(block: Block) -> str:
    """Of all that systemd tells of how a unit is started. What it ran last is told among it, and left out."""
    command = re.sub(r" ; (start_time|stop_time|pid|code|status)=[^;}]*", "", block.get("ExecStart", ""))
    kept = ("Type", "Environment", "EnvironmentFiles", "FragmentPath", "DropInPaths")
    return digest_of([command, [block.get(key, "") for key in kept]])
