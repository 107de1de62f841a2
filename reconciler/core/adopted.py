"""What ran by hand before git had it (`reconcile adopt`): it counts as the service until something of it changes.

Such a process has no mark, and its launcher is not ours. While what git wants is what was adopted, it is kept, and
nothing is written, started or installed for it. With the first change it leaves: the service starts under the
launcher that git names, and the old unit gives way like that of any launcher before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reconciler.core.change import Act, Change, DaemonAct, DaemonChange, FileChange, Kind, Running, UnitName
from reconciler.core.desired import Deployment, Manager, Role, Service
from reconciler.core.inventory import Adopted, Inventory, Stage
from reconciler.core.observed import Observed, State, Unit

if TYPE_CHECKING:
    from reconciler.core.view import View


class ByHand:
    """Which services still run as they were adopted. Most deployments have none."""

    def __init__(self, desired: Deployment, observed: Observed, inventory: Inventory) -> None:
        wanted = {service.name for service in desired.services}
        # What was only offered is nobody's until git has it: a pass from before must not take it for an orphan.
        known = {
            name: one for name, one in inventory.adopted.items() if name in wanted or one.stage is not Stage.OFFERED
        }
        self.adopted: Mapping[str, Adopted] = known
        self.units = {UnitName(one.launcher, one.unit): name for name, one in known.items()}
        self.kept: dict[str, Unit] = {}  # by service
        self.unseen: dict[str, str] = {}  # by service, why what it runs under cannot be asked
        self._resting: set[UnitName] = set()
        if known:
            self._look(desired, observed)

    def _look(self, desired: Deployment, observed: Observed) -> None:
        blind = {gap.subject: gap.message for gap in observed.gaps if gap.scope == "launcher"}
        for service in desired.services:
            one = self.adopted.get(service.name)
            if one is None or one.stage is Stage.LEFT:
                continue
            own = observed.units.get((service.launcher, service.unit))
            unit = observed.units.get((one.launcher, one.unit))
            if one.launcher in blind:
                self.unseen[service.name] = blind[one.launcher]
            elif unit is not None and unit.state.alive and not unit.drift and _is_as_wanted(one, service, own):
                self.kept[service.name] = unit
        down = {name for name in self.units if not (unit := observed.units.get(name)) or unit.state.down}
        self._resting = down.union(UnitName(unit.launcher, unit.name) for unit in self.kept.values())

    def settles(self, service: str) -> bool:
        """Nothing is to be made ready for it, nor can anything be."""
        return service in self.kept or service in self.unseen

    def rests(self, name: UnitName) -> bool:
        """A unit made by hand that is in nobody's way: it is kept, or it does not run. Its maker may keep the rest."""
        return name in self._resting


def _is_as_wanted(one: Adopted, service: Service, own: Unit | None) -> bool:
    runs_here = own is not None and own.state.alive
    return (one.spec, one.launch) == (service.spec, service.launch) and not runs_here


# ---------------------------------------------------------------- changes


def settled(view: View, service: Service) -> Change | None:
    """The change of a service that runs as it was adopted, or of which that cannot be told; None for all others."""
    if not view.by_hand.settles(service.name):
        return None
    one = view.by_hand.adopted[service.name]
    unit = view.by_hand.kept.get(service.name) or Unit(one.launcher, one.unit, State.UNKNOWN)
    process = view.process(unit)
    unseen = view.by_hand.unseen.get(service.name, "")
    return Change(
        service=service.name,
        kind=Kind.BLOCKED if unseen else Kind.KEEP,
        act=Act.NONE,
        reasons=(f"what it has run under cannot be seen: {unseen}",) if unseen else (),
        unit=UnitName(one.launcher, one.unit),
        group=service.group,
        component=service.component,
        version=one.version,
        wanted=service.version,
        state=unit.state,
        running=Running(process.pid, process.started) if process else None,
        detail=unit.detail,
    )


def leaving(view: View, service: Service) -> str:
    """Why a service that was adopted starts under our own launcher now; empty where it was not, or has left before."""
    one = view.by_hand.adopted.get(service.name)
    if one is None or one.stage is Stage.LEFT:
        return ""
    unit = view.unit(UnitName(one.launcher, one.unit))
    if unit.drift:
        return unit.drift[0].message
    if unit.state.alive:
        return f"leaves {one.launcher}, where it was started by hand"
    return f"has ended under {one.launcher}" + (f" ({unit.detail})" if unit.detail else "")


# ---------------------------------------------------------------- what is made ready


def needed_daemon(view: View, manager: Manager, change: DaemonChange) -> DaemonChange:
    """A daemon is not started while all of its services run elsewhere, as they were adopted."""
    if change.act is not DaemonAct.START or not _idles(view, manager):
        return change
    return change._replace(act=DaemonAct.NONE, why="")


def needed_files(view: View, files: Sequence[FileChange]) -> tuple[FileChange, ...]:
    """Without those that only what still runs by hand would be started from."""
    if not view.by_hand.kept and not view.by_hand.unseen:
        return tuple(files)
    unread = {dict(one.address).get("conf") for one in view.desired.managers if one.is_daemon and _idles(view, one)}
    return tuple(change for change in files if not _rests(view, change, unread))


def _rests(view: View, change: FileChange, unread: set[str | None]) -> bool:
    if change.file.services:
        return all(map(view.by_hand.settles, change.file.services))
    return change.file.role is Role.DAEMON and change.file.path in unread


def _idles(view: View, manager: Manager) -> bool:
    mine = [service.name for service in view.desired.services if service.launcher == manager.launcher]
    return bool(mine) and all(map(view.by_hand.settles, mine))


# ---------------------------------------------------------------- what is remembered


def forgotten(view: View) -> frozenset[str]:
    """Services of ours by now whose old unit its launcher no longer knows: nothing can start it there again."""
    gone = (
        name
        for name, one in view.by_hand.adopted.items()
        if one.stage is Stage.LEFT
        and one.launcher not in view.blind
        and (one.launcher, one.unit) not in view.observed.units
    )
    return frozenset(gone)
