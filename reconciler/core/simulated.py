"""A host as it would look after a deployment was applied to it: what a change of the repo is compared with."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.core.model import (
    Compiled,
    DaemonState,
    Deployment,
    FileState,
    Inventory,
    Mark,
    Observed,
    Owned,
    Process,
    State,
    Unit,
)


class Applied(NamedTuple):
    observed: Observed
    inventory: Inventory


def as_applied(compiled: Compiled) -> Applied:
    """Everything of the deployment runs, stands on disk and is noted as ours. Pids and times are made up."""
    desired = compiled.deployment
    units, processes, owned = {}, {}, {}
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
        units[service.launcher, service.unit] = Unit(service.launcher, service.unit, State.RUNNING, pid, 1.0)
        processes[pid] = Process(pid, 1.0, mark)
        fields = {key: field.value for key, field in compiled.fields.get(service.name, {}).items()}
        owned[service.name] = Owned(
            service.unit, service.launcher, service.spec, service.launch, service.version, pid, 1.0, fields
        )
    observed = Observed(
        now=2.0,
        units=units,
        processes=processes,
        files={file.path: FileState(file.digest, file.mode) for file in desired.files},
        installs={install.id: True for install in desired.installs},
        daemons={
            manager.launcher: DaemonState(running=True, pid=1, started=0.0, spec=manager.spec)
            if manager.is_daemon
            else DaemonState(running=False)
            for manager in desired.managers
        },
        claimed={},
        unmanaged=all_up(desired),
    )
    files = {file.path: file.digest for file in desired.files}
    return Applied(observed, Inventory(owned, files, desired.managers, (desired.root,)))


def all_up(desired: Deployment) -> dict[str, Unit]:
    """The services that others run, as if they did: of a repo alone nobody can say it."""
    return {one.name: Unit(one.launcher, one.unit, State.RUNNING) for one in desired.unmanaged}


def nothing(now: float = 2.0) -> Applied:
    """A host on which nothing was ever applied."""
    return Applied(Observed(now, {}, {}, {}, {}, {}, {}), Inventory())
