"""Desired, observed and inventory laid side by side: the lookups that the rules of the diff ask for."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.byhand import ByHand
from reconciler.core.change import Running, UnitName
from reconciler.core.desired import Deployment, Field, Manager, Role, Service
from reconciler.core.inventory import Inventory
from reconciler.core.observed import FileState, Mark, Observed, Process, Shut, State, Unit

Fields = Mapping[str, Mapping[str, Field]]

# A process reads its files some time after it began: what changed within this many seconds after
# its start may have been read already.
READ_MARGIN = 1.0
# Within this many seconds a start script may not have come to its marks yet.
YOUNG = 5.0
# Two readings of one process's start time differ by less than this many seconds.
SAME_START = 0.5


class View:
    """Indexes over the three inputs of a diff. It decides nothing."""

    def __init__(self, desired: Deployment, observed: Observed, inventory: Inventory, fields: Fields) -> None:
        self.desired = desired
        self.observed = observed
        self.inventory = inventory
        self.fields = fields
        self.services = {service.name: service for service in desired.services}
        self.wanted_units = {UnitName(s.launcher, s.unit): s for s in desired.services}
        self.blind = {gap.subject: gap.message for gap in observed.gaps if gap.scope == "launcher"}
        self.unreadable = {
            gap.subject: gap.message for gap in observed.gaps if gap.scope in ("file", "install", "process")
        }
        self.closed = _closed(desired, self.unreadable)
        self.forgetful = next((gap.message for gap in observed.gaps if gap.scope == "inventory"), "")
        self.roots = {desired.root, *inventory.roots}
        self.kept = {unit.pid for unit in observed.units.values() if unit.pid}
        self.owned_units = {UnitName(owned.launcher, owned.unit): name for name, owned in inventory.services.items()}
        self.shims = {file.services[0]: file for file in desired.files if file.role is Role.SHIM and file.services}
        self.unmanaged = {one.name: one for one in desired.unmanaged}
        self.others = {one.name: one for one in desired.others}
        self._others = _others_units(desired, inventory)
        self.by_hand = ByHand(desired, observed, inventory)
        self.owned_units |= self.by_hand.units
        self.strays = {name: found for name, found in _strays(observed, self.kept).items() if name not in self.others}

    def unit(self, name: UnitName) -> Unit:
        unseen = State.UNKNOWN if name.launcher in self.blind else State.ABSENT
        return self.observed.units.get(name) or Unit(name.launcher, name.name, unseen)

    def process(self, unit: Unit) -> Process | None:
        return self.observed.processes.get(unit.pid) if unit.pid else None

    def is_others(self, name: UnitName) -> bool:
        """A unit of a service that others run, be it one of ours from before."""
        if not self.others or name in self.wanted_units:
            return False
        process = self.process(self.unit(name))
        marked = process is not None and process.mark is not None and process.mark.service in self.others
        return marked or name in self._others

    def others_files(self) -> set[str]:
        """What was written for those services when they were ours: they may be started from it again."""
        described = {path for name, path in self.observed.claimed.items() if self.is_others(UnitName(*name))}
        return described.union(*(one.files for one in self.others.values()))

    def has_manager(self, launcher: str) -> bool:
        """Something knows this launcher's units, or will when it is started, or may, for all that can be seen."""
        state = self.observed.daemons.get(launcher)
        if launcher in self.blind or (state is not None and state.running):
            return True
        wanted = any(manager.launcher == launcher for manager in self.desired.managers)
        others = (*self.inventory.managers, *self.inventory.by_hand, *self.desired.spare_managers)
        return wanted or (state is not None and any(m.launcher == launcher and not m.is_daemon for m in others))

    def unwanted_managers(self) -> tuple[Manager, ...]:
        """What kept units of ours before, or was asked whether it does, and has none in git any more."""
        wanted = {manager.launcher for manager in self.desired.managers}
        noted = {manager.launcher: manager for manager in self.inventory.managers if manager.launcher not in wanted}
        asked = (manager for manager in self.desired.spare_managers if manager.launcher in self.observed.daemons)
        return (*noted.values(), *(manager for manager in asked if manager.launcher not in noted))

    def unseen_keeper(self, service: str) -> str:
        """Why it cannot be told whether a launcher keeps a process of this service that none is seen to keep.

        Only where a pass has noted its launcher, and that one can be seen, is it known to be left over.
        """
        owned = self.inventory.services.get(service)
        if owned is not None:
            return self.blind.get(owned.launcher, "")
        return next(iter(sorted(self.blind.values())), "") if service in self.strays else ""

    def is_foreign(self, unit: Unit) -> bool:
        """Somebody else's: its process carries another owner's mark, or nothing at all says that it is ours.

        A mark without a service is its launcher's own, which everything inherits that the launcher starts.
        The same deployment below a root that nobody remembers is somebody's second try of it: names of units
        are one space for an account, roots are not.
        """
        process = self.process(unit)
        if UnitName(unit.launcher, unit.name) in self.by_hand.units:
            return False
        if process is not None and process.mark is not None and process.mark.deployment:
            if process.mark.deployment != self.desired.id:
                return True
            if process.mark.service:
                return process.mark.root not in self.roots
        name = UnitName(unit.launcher, unit.name)
        if name in self.observed.claimed:
            return False
        owner = self.owned_units.get(name)
        return owner is None or (process is not None and process.mark is not None and not self._noted(owner, process))

    def _noted(self, service: str, process: Process) -> bool:
        """This very process was started by a pass. A name alone may have been taken by somebody else since."""
        owned = self.inventory.services[service]
        return same_process(process, owned.pid, owned.started)

    def mark(self, service: Service, unit: Unit) -> Mark | None:
        """What the service's process was started from, or None where that cannot be told.

        A process that overwrites its own environment (setproctitle) hides it. It still is known where
        it began after the shim that stands on disk was written, or where a pass recorded its start.
        """
        process = self.process(unit)
        if process is None:
            return None
        if process.mark is not None and process.mark.service and process.mark.spec:
            return process.mark
        if process.mark is None and self._began_with_shim(service, process):
            return self._presumed(service, process, service.spec, service.launch, service.version)
        owned = self.inventory.services.get(service.name)
        if process.mark is None and owned and same_process(process, owned.pid, owned.started):
            return self._presumed(service, process, owned.spec, owned.launch, owned.version)
        return None

    def _began_with_shim(self, service: Service, process: Process) -> bool:
        shim = self.shims.get(service.name)
        state = self.observed.files.get(shim.path) if shim else None
        return (
            shim is not None and state is not None and state.digest == shim.digest and process.started > state.changed
        )

    def _presumed(self, service: Service, process: Process, spec: str, launch: str, version: str) -> Mark:
        return Mark(
            self.desired.id, self.desired.root, service.name, spec, launch, version, service.component, process.pid
        )

    def was_read(self, file: FileState, process: Process) -> bool:
        """The process may have read the file as it stands on disk now."""
        return process.started > file.changed - READ_MARGIN

    def is_young(self, process: Process) -> bool:
        return self.observed.now - process.started < YOUNG

    def must_restart_still(self, service: str, process: Process) -> bool:
        """A pass decided to restart this very process, and was ended before it did."""
        pending = self.inventory.pending.get(service)
        return pending is not None and same_process(process, *pending)

    def alive_names(self, launcher: str) -> tuple[str, ...]:
        """Every process that this launcher runs, by service where it is ours, else by unit."""
        alive = (
            UnitName(*name) for name, unit in self.observed.units.items() if name[0] == launcher and unit.state.alive
        )
        return tuple(sorted(self._name_of(name) for name in alive))

    def _name_of(self, name: UnitName) -> str:
        service = self.wanted_units.get(name)
        return service.name if service else self.owned_units.get(name, name.name)

    def shut(self, service: str, *, drift: bool = False, removal: bool = False) -> Shut | None:
        """What keeps a pass from doing what git says anew of a service; with "", of all that belongs to none.

        Or from mending `drift` of it, or from removing it where git no longer has it.
        """
        return next(iter(self.shuts(service, drift=drift, removal=removal)), None)

    def shuts(self, service: str, *, drift: bool = False, removal: bool = False) -> tuple[Shut, ...]:
        """Likewise, a window or pause first, then a person's approval."""
        both = (names.get(service, names.get("")) for names in (self.observed.shut, self.observed.gates))
        return tuple(one for one in both if one is not None and one.holds(drift=drift, removal=removal))

    def last_version(self, service: str) -> str:
        owned = self.inventory.services.get(service)
        return owned.version if owned else ""


def _closed(desired: Deployment, unreadable: Mapping[str, str]) -> Mapping[str, str]:
    """By service, why one of its files cannot be read."""
    if not unreadable:
        return {}
    return {name: unreadable[file.path] for file in desired.files if file.path in unreadable for name in file.services}


def _others_units(desired: Deployment, inventory: Inventory) -> frozenset[UnitName]:
    others = desired.others
    names = {UnitName(*name) for one in others for name in one.names}
    noted = (inventory.services[one.name] for one in others if one.name in inventory.services)
    return frozenset(names | {UnitName(owned.launcher, owned.unit) for owned in noted})


def same_process(process: Process, pid: int, started: float) -> bool:
    return process.pid == pid and abs(process.started - started) < SAME_START


def _strays(observed: Observed, kept: set[int]) -> Mapping[str, tuple[Running, ...]]:
    """By service, the main processes that no launcher keeps: left over from a killed daemon, or started twice."""
    found: dict[str, list[Running]] = {}
    for pid in sorted(observed.processes):
        process = observed.processes[pid]
        if process.mark is not None and process.mark.service and pid not in kept:
            found.setdefault(process.mark.service, []).append(Running(pid, process.started))
    return {service: tuple(processes) for service, processes in found.items()}
