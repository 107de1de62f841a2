"""Looks at this host: every launcher asked once, /proc read once, every file read once. It changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from reconciler.core.model import (
    Daemon,
    DaemonState,
    Deployment,
    FileState,
    Gap,
    Inventory,
    Observed,
    Process,
    Unit,
)
from reconciler.host import files, proc
from reconciler.launchers import launcher
from reconciler.launchers.base import Backend, Look

_T = TypeVar("_T")


class Observation:
    """One look at a deployment. The launchers are asked at once, so that they work while other things are done."""

    def __init__(self, desired: Deployment, inventory: Inventory) -> None:
        self.desired = desired
        self.inventory = inventory
        self.backends: Mapping[str, Backend] = {
            daemon.launcher: launcher(daemon.launcher).backend(daemon) for daemon in _daemons(desired, inventory)
        }
        for backend in self.backends.values():
            backend.ask()

    def finish(self) -> Observed:
        """Await the answers and look at all the rest."""
        processes, gaps = self._processes()
        disk = _disk(self.desired, self.inventory)
        answers = {name: backend.answer(processes) for name, backend in self.backends.items()}
        units = _merge(look.units for look in answers.values())
        claimed = _merge(look.claimed for look in answers.values())
        unseen, more = _look_at_units(units, processes)
        extra, missed = _read_all(path for path in claimed.values() if path not in disk.files)
        return Observed(
            now=time.time(),
            units=units,
            processes={**processes, **unseen},
            files={**disk.files, **extra},
            installs=disk.installs,
            daemons={name: _daemon_state(look) for name, look in answers.items()},
            claimed=claimed,
            gaps=(*gaps, *disk.gaps, *more, *missed, *(gap for look in answers.values() for gap in look.gaps)),
        )

    def again(self) -> Observation:
        """The same look, anew."""
        self.close()
        return Observation(self.desired, self.inventory)

    def close(self) -> None:
        for backend in self.backends.values():
            backend.close()

    def _processes(self) -> tuple[dict[int, Process], tuple[Gap, ...]]:
        """Those of this deployment: below its root, or below one that it had before."""
        roots = {self.desired.root, *self.inventory.roots}
        found, gaps = proc.scan(self.desired.id)
        return {pid: process for pid, process in found.items() if process.mark and process.mark.root in roots}, gaps


class _Disk(NamedTuple):
    files: dict[str, FileState]
    installs: dict[str, bool]
    gaps: tuple[Gap, ...]


def _daemons(desired: Deployment, inventory: Inventory) -> tuple[Daemon, ...]:
    """Those that git wants, and those that may still run something of ours."""
    wanted = {daemon.launcher for daemon in desired.daemons}
    return (*desired.daemons, *(daemon for daemon in inventory.daemons if daemon.launcher not in wanted))


def _daemon_state(look: Look) -> DaemonState:
    return look.daemon if look.reachable else DaemonState(running=False)


def _disk(desired: Deployment, inventory: Inventory) -> _Disk:
    wanted = dict.fromkeys(file.path for file in desired.files)
    found, gaps = _read_all((*wanted, *(path for path in inventory.files if path not in wanted)))
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
