"""A host as it would look after a deployment was applied to it: what a change of the repo is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from reconciler.core.desired import Compiled, Deployment, Role
from reconciler.core.inventory import Inventory, Owned
from reconciler.core.observed import DaemonState, FileState, Mark, Observed, Process, State, Unit


class Applied(NamedTuple):
    observed: Observed
    inventory: Inventory


def as_applied(compiled: Compiled, seen_from: Deployment | None = None) -> Applied:
    """Everything of the deployment runs, stands on disk and is noted as ours. Pids and times are made up.

    `seen_from` is what git wants next: the descriptions of units are on disk then as well, a daemon that is reached at
    another place is not found where it is asked for, and what it keeps is found as processes only.
    """
    desired = compiled.deployment
    units, processes, owned = {}, {}, {}
    # The first daemon has pid 1, services follow, then further daemons.
    kept = [one.launcher for one in desired.managers if one.is_daemon]
    daemons = {name: number + 1 + bool(number) * len(desired.services) for number, name in enumerate(kept)}
    lost = _lost(desired, seen_from) if seen_from else set()
    for pid, service in enumerate(desired.services, start=2):
        mark = Mark(
            desired.id,
            desired.root,
            service.name,
            service.spec,
            service.launch,
            service.version,
            service.component,
            pid,
        )
        if service.launcher not in lost:
            units[service.launcher, service.unit] = Unit(service.launcher, service.unit, State.RUNNING, pid, 1.0)
        processes[pid] = Process(pid, 1.0, mark)
        fields = {key: field.value for key, field in compiled.fields.get(service.name, {}).items()}
        owned[service.name] = Owned(
            service.unit, service.launcher, service.spec, service.launch, service.version, pid, 1.0, fields
        )
    for manager in desired.managers:
        if manager.launcher in lost:
            pid = daemons[manager.launcher]
            mark = Mark(desired.id, desired.root, "", manager.spec, "", "", "", pid, manager.launcher)
            processes[pid] = Process(pid, 0.25, mark)
    observed = Observed(
        now=2.0,
        units=units,
        processes=processes,
        files={file.path: FileState(file.digest, file.mode) for file in desired.files},
        installs={install.id: True for install in desired.installs},
        daemons={
            manager.launcher: DaemonState(running=True, pid=daemons[manager.launcher], started=0.25, spec=manager.spec)
            if manager.is_daemon and manager.launcher not in lost
            else DaemonState(running=False)
            for manager in desired.managers
        },
        claimed=dict(_claimed(desired)) if seen_from else {},
        unmanaged=all_up(desired),
    )
    files = {file.path: file.digest for file in desired.files}
    return Applied(observed, Inventory(owned, files, desired.managers, (desired.root,)))


def _lost(desired: Deployment, seen_from: Deployment) -> set[str]:
    """Launchers whose daemon is asked for at another place than the one where it runs."""
    if desired.root == seen_from.root:
        return set()
    asked = {manager.launcher for manager in seen_from.managers}
    return {manager.launcher for manager in desired.managers if manager.is_daemon and manager.launcher in asked}


def _claimed(desired: Deployment) -> Iterator[tuple[tuple[str, str], str]]:
    """The descriptions on disk, by the unit that each is of."""
    services = {service.name: service for service in desired.services}
    for file in desired.files:
        if file.role is Role.UNIT and file.services and file.services[0] in services:
            service = services[file.services[0]]
            yield (service.launcher, service.unit), file.path


def all_up(desired: Deployment) -> dict[str, Unit]:
    """The services that others run, as if they did: of a repo alone nobody can say it."""
    return {one.name: Unit(one.launcher, one.unit, State.RUNNING) for one in desired.unmanaged}


def nothing(now: float = 2.0) -> Applied:
    """A host on which nothing was ever applied."""
    return Applied(Observed(now, {}, {}, {}, {}, {}, {}), Inventory())
