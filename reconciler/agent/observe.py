"""Looks at this host: every launcher asked once, /proc read once, every file read once. It changes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple, TypeVar

from reconciler.agent.holding.windows import Windows
from reconciler.core.desired import Deployment, Manager, Role
from reconciler.core.inventory import Inventory, Owned
from reconciler.core.observed import FileState, Finding, Mark, Observed, Process, Unit
from reconciler.core.problem import Gap
from reconciler.core.view import same_process
from reconciler.host import files, proc
from reconciler.launchers import NAMES, by_hand, launcher, on_start
from reconciler.launchers.base import Backend, Look, Shared

_T = TypeVar("_T")
_GENERATED = frozenset((Role.SHIM, Role.ENV))  # launchers find their own descriptions themselves
_HEADER = 1024  # bytes that hold a header
_NOTE = 8192  # bytes that hold a note


class Observation:
    """One look at a deployment. The launchers are asked at once, so that they work while other things are done."""

    def __init__(
        self,
        desired: Deployment,
        inventory: Inventory,
        damage: str = "",
        windows: Windows | None = None,
        shared: Shared | None = None,
    ) -> None:
        """`damage`: why the inventory is empty although there may have been one. `shared`: of this pass."""
        self._shared = shared or Shared()
        self.damage = damage
        self.windows = windows or Windows()
        self.desired = desired
        self.inventory = inventory
        known = [manager for manager in _managers(desired, inventory) if manager.launcher in NAMES]
        self.unknown = [manager.launcher for manager in inventory.managers if manager.launcher not in NAMES]
        self.backends: dict[str, Backend] = {
            one.launcher: launcher(one.launcher).backend(one, self._shared) for one in known
        }
        if inventory.adopted:
            self.backends |= by_hand_backends(inventory, self._shared)
        for backend in self.backends.values():
            backend.ask()

    def finish(self) -> Observed:
        """Await the answers and look at all the rest."""
        processes, gaps = self._processes()
        disk = _disk(self.desired, self.inventory)
        answers = {name: backend.answer(processes) for name, backend in self.backends.items()}
        if _unkept(processes, answers.values(), {one.name for one in self.desired.others}):
            # A launcher that restarts a process between its answer and our look makes it seem left over:
            # look at the processes first, and ask then.
            processes, gaps = self._processes()
            for backend in self.backends.values():
                backend.ask()
            answers = {name: backend.answer(processes) for name, backend in self.backends.items()}
            answers |= self._ask_spare(processes)
        elif not self.inventory.managers:  # nothing remembers what an earlier release may have left
            answers |= self._ask_spare(processes)
        processes |= {pid: process for look in answers.values() for pid, process in look.processes.items()}
        units = _merge(look.units for look in answers.values())
        claimed = _merge(look.claimed for look in answers.values())
        unseen, more = _look_at_units(units, processes)
        copies = {path: name for name, look in answers.items() for path in look.copies}
        remains = (*self._remains(), *self._old_notes())
        findings, untold = read_notes(self.desired)
        extra, missed = _read_all(path for path in (*claimed.values(), *copies, *remains) if path not in disk.files)
        outdated, hidden = _outdated(self.desired, units, processes)
        now = time.time()
        holding = self.windows.holding(self.desired, now)
        return Observed(
            now=now,
            units=units,
            processes={**processes, **unseen},
            files={**disk.files, **extra},
            installs=disk.installs,
            daemons={name: look.daemon for name, look in answers.items()},
            claimed=claimed,
            gaps=(
                *self._own_gaps(),
                *gaps,
                *disk.gaps,
                *more,
                *missed,
                *hidden,
                *untold,
                *holding.gaps,
                *(gap for look in answers.values() for gap in look.gaps),
            ),
            copies=copies,
            remains=remains,
            outdated=outdated,
            warnings=tuple(warning for look in answers.values() for warning in look.warnings),
            unmanaged=self._unmanaged(answers),
            findings=(*findings, *(found for look in answers.values() for found in look.findings)),
            shut=holding.shut,
            pauses=holding.pauses,
        )

    def _ask_spare(self, processes: Mapping[int, Process]) -> dict[str, Look]:
        """Something of ours runs that no launcher keeps: one may that git does not name and no inventory remembers.

        One that cannot be asked, because this host has none of it, keeps nothing.
        """
        answers = {}
        for manager in self.desired.spare_managers:
            if manager.launcher in self.backends:
                continue
            backend = launcher(manager.launcher).backend(manager, self._shared)
            backend.ask()
            look = backend.answer(processes)
            if any(gap.scope == "launcher" for gap in look.gaps):
                backend.close()
                continue
            self.backends[manager.launcher] = backend
            answers[manager.launcher] = look._replace(warnings=())
        return answers

    def _remains(self) -> tuple[str, ...]:
        """Where nothing is remembered, generated files still say whose they are."""
        if self.inventory.files or self.damage:
            return ()
        wanted = {file.path for file in self.desired.files}
        folders = sorted({os.path.dirname(file.path) for file in self.desired.files if file.role in _GENERATED})
        return tuple(path for path in _headed(folders, self.desired.id) if path not in wanted)

    def _unmanaged(self, answers: Mapping[str, Look]) -> Mapping[str, Unit]:
        if not self.desired.unmanaged:
            return {}
        from reconciler.agent.unmanaged import look

        return look(self.desired, self.backends, answers)

    def _old_notes(self) -> tuple[str, ...]:
        """Notes of services that git no longer has, or that need none any more."""
        wanted = {note.path for note in self.desired.notes}
        return tuple(path for note in self.inventory.notes if note not in wanted for path in on_start.paths(note))

    def _own_gaps(self) -> tuple[Gap, ...]:
        """What stands in the way of looking at all."""
        unknown = (Gap("launcher", name, f"this reconcile knows no launcher {name}") for name in self.unknown)
        damaged = (Gap("inventory", self.desired.environment, self.damage),) if self.damage else ()
        return (*unknown, *damaged, *self.desired.gaps)

    def hold_to(self, desired: Deployment) -> Observation:
        """Another form of what git wants: a secret in it is another one than when this look began."""
        self.desired = desired
        for backend in self.backends.values():
            backend.ask()
        return self

    def go_back(self, launchers: frozenset[str]) -> None:
        """From now on their daemons are driven as they were applied last: what git says anew of them waits."""
        for manager in self.inventory.managers:
            if manager.launcher in launchers:
                self.backends[manager.launcher].close()
                self.backends[manager.launcher] = launcher(manager.launcher).backend(manager, self._shared)

    def again(self) -> Observation:
        """The same look, anew."""
        self.close()
        return Observation(self.desired, self.inventory, self.damage, self.windows)

    def close(self) -> None:
        """Once one of them is looked at again, the others of this pass are too, so what they share goes."""
        for backend in self.backends.values():
            backend.close()
        self._shared.close()

    def _processes(self) -> tuple[dict[int, Process], tuple[Gap, ...]]:
        """Those of this deployment: below its root, or below one that it had before."""
        roots = {self.desired.root, *self.inventory.roots}
        found, gaps = proc.scan(self.desired.id)
        ours = {pid: process for pid, process in found.items() if process.mark and process.mark.root in roots}
        return {**self._hidden(ours), **ours}, gaps

    def _hidden(self, found: Mapping[int, Process]) -> dict[int, Process]:
        """Processes that a pass has started and that have overwritten their environment since."""
        hidden = {}
        for name, owned in self.inventory.services.items():
            if not owned.pid or owned.pid in found:
                continue
            with suppress(OSError):
                process = proc.look(owned.pid)
                if process is not None and process.mark is None and same_process(process, owned.pid, owned.started):
                    hidden[owned.pid] = process._replace(mark=_presumed(self.desired, name, owned))
        return hidden


def _presumed(desired: Deployment, name: str, owned: Owned) -> Mark:
    return Mark(desired.id, desired.root, name, owned.spec, owned.launch, owned.version, "", owned.pid)


def _unkept(processes: Mapping[int, Process], looks: Iterable[Look], others: set[str]) -> bool:
    """There is a main process of ours that no launcher has named. `others`: services that may have such."""
    kept = {unit.pid for look in looks for unit in look.units.values()}
    mains = {pid: p.mark.service for pid, p in processes.items() if p.mark is not None and p.mark.service}
    return any(pid not in kept and service not in others for pid, service in mains.items())


def by_hand_backends(inventory: Inventory, shared: Shared | None = None) -> dict[str, Backend]:
    """What drives the units that were made by hand, with all that is noted of these."""
    found = {}
    for manager in inventory.by_hand:
        mine = [one for one in inventory.adopted.values() if one.launcher == manager.launcher]
        noted = "\n".join(f"{one.start} {one.pid} {one.started} {one.unit}" for one in mine)
        told = manager._replace(address=(*manager.address, ("adopted", noted)))
        found[manager.launcher] = by_hand(manager.launcher, told, shared)
    return found


class _Disk(NamedTuple):
    files: dict[str, FileState]
    installs: dict[str, bool]
    gaps: tuple[Gap, ...]


def _managers(desired: Deployment, inventory: Inventory) -> tuple[Manager, ...]:
    """Those that git wants, and those that may still run something of ours."""
    wanted = {manager.launcher for manager in desired.managers}
    return (*desired.managers, *(manager for manager in inventory.managers if manager.launcher not in wanted))


def _disk(desired: Deployment, inventory: Inventory) -> _Disk:
    wanted = dict.fromkeys(file.path for file in desired.files)
    found, gaps = _read_all((*wanted, *(path for path in inventory.files if path not in wanted)))
    for gap in desired.gaps:  # what it should be is not known, so nothing is to be told from what it is
        found.pop(gap.subject, None)
    installs, more = _installs(desired)
    return _Disk(found, installs, (*gaps, *more))


def _read_all(paths: Iterable[str]) -> tuple[dict[str, FileState], tuple[Gap, ...]]:
    found: dict[str, FileState] = {}
    gaps: list[Gap] = []
    for path in paths:
        try:
            found[path] = files.state(path)
        except OSError as error:
            gaps.append(Gap("file", path, f"{path} cannot be read: {error.strerror or error}"))
    return found, tuple(gaps)


def _installs(desired: Deployment) -> tuple[dict[str, bool], tuple[Gap, ...]]:
    from reconciler.install import method

    found: dict[str, bool] = {}
    gaps: list[Gap] = []
    for install in desired.installs:
        try:
            found[install.id] = method(install.method).complete(install)
        except OSError as error:
            gaps.append(Gap("install", install.id, f"{install.path}: {error.strerror or error}"))
    return found, tuple(gaps)


def read_notes(desired: Deployment) -> tuple[tuple[Finding, ...], tuple[Gap, ...]]:
    """What starts have left word of. Without such a note, nothing is wrong."""
    found, gaps = [], []
    for note in desired.notes:
        try:
            text = files.head(note.path, _NOTE)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            gaps.append(Gap("file", note.path, f"{note.path} cannot be read: {error.strerror or error}"))
            continue
        found.append(on_start.finding(note, text.encode("utf-8", "surrogateescape").decode(errors="replace")))
    return tuple(found), tuple(gaps)


def _headed(folders: Iterable[str], deployment: str) -> Iterator[str]:
    """Files of these folders that a header calls this deployment's. What cannot be read is nobody's."""
    from reconciler.launchers.shim import owner_of

    for folder in folders:
        with suppress(OSError):
            for name in sorted(os.listdir(folder)):
                path = f"{folder}/{name}"
                with suppress(OSError):
                    owner = owner_of(files.head(path, _HEADER))
                    if owner is not None and owner.deployment == deployment:
                        yield path


def _outdated(
    desired: Deployment, units: Mapping[tuple[str, str], Unit], processes: Mapping[int, Process]
) -> tuple[dict[int, str], tuple[Gap, ...]]:
    """By pid, why a service does not run from what stands in the place of its install."""
    from reconciler.install import method

    installs = {install.id: install for install in desired.installs if method(install.method).is_image}
    found, gaps = {}, []
    for service in desired.services:
        install, unit = installs.get(service.install), units.get((service.launcher, service.unit))
        process = processes.get(unit.pid) if unit and unit.pid else None
        if install is None or process is None:
            continue
        try:
            why = method(install.method).outdated(install, process.pid, process.parent)
        except OSError as error:
            gaps.append(Gap("process", service.name, f"what pid {process.pid} holds open: {error.strerror or error}"))
            continue
        if why:
            found[process.pid] = why
    return found, tuple(gaps)


def _look_at_units(
    units: Mapping[tuple[str, str], Unit], known: Mapping[int, Process]
) -> tuple[dict[int, Process], tuple[Gap, ...]]:
    """The processes of units that carry no mark of ours: somebody else's, or hiding it."""
    found: dict[int, Process] = {}
    gaps: list[Gap] = []
    for unit in units.values():
        if not unit.pid or unit.pid in known:
            continue
        try:
            process = proc.look(unit.pid)
        except OSError as error:
            gaps.append(Gap("process", unit.name, f"pid {unit.pid}: {error.strerror or error}"))
            process = Process(unit.pid, 0.0, None)
        if process is not None:
            found[unit.pid] = process
    return found, tuple(gaps)


def _merge(parts: Iterable[Mapping[tuple[str, str], _T]]) -> dict[tuple[str, str], _T]:
    merged: dict[tuple[str, str], _T] = {}
    for part in parts:
        merged |= part
    return merged
