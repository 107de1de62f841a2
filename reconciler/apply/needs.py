"""What the steps of a plan need of this host, besides programs and prologues: looked at before anything is stopped.

`reconcile doctor` looks at the same beforehand, at all of it. Here it is what is cheap and decides the steps at hand:
a service whose needs are not met is neither stopped nor written anew, and what runs goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from shutil import which

from reconciler.apply import places, ports
from reconciler.core.checked import Verdict
from reconciler.core.desired import Compiled, File, Role, Service
from reconciler.core.plan import Action, Plan
from reconciler.host import proc, twins

Missing = tuple[str, str]  # what is missing, and how to mend it

# Programs that a launcher runs itself.
TOOLS = {
    "systemd": ("systemctl",),
    "slurm": ("sbatch", "squeue", "scontrol", "scancel"),
}
_OTHERS_WRITE, _STICKY = 0o002, 0o1000


class Needs:
    """The needs of one plan. Each is looked at when a step asks for it first."""

    def __init__(self, plan: Plan, compiled: Compiled) -> None:
        self._plan = plan
        self._desired = compiled.deployment
        self._fields = compiled.fields
        self._installs = {install.id: install for install in self._desired.installs}
        self._room: dict[str, Missing | None] = {}
        self._ports: dict[str, Missing] | None = None
        self._twins: dict[str, int] | None = None

    def missing(self, service: Service) -> Missing | None:
        """The first thing that keeps a service from being started, None where there is none."""
        found = [*_without_tools(service), *self._twin(service.name)]
        if self._is_written(service):
            found += self._without_room(service)
        held = self._held_ports().get(service.name)
        found += [held] if held else []
        found += open_folders(file for file in self._desired.files if service.name in file.services)
        return found[0] if found else None

    def _is_written(self, service: Service) -> bool:
        """Something of it is written or ends. What is just down is started even where there is little room."""
        renders = any(step.action is Action.RENDER and step.service == service.name for step in self._plan.steps)
        return renders or any(step.id == f"restart:{service.name}" for step in self._plan.steps)

    def _without_room(self, service: Service) -> Iterator[Missing]:
        install = self._installs.get(service.install)
        for folder in (self._desired.root, *([os.path.dirname(install.path)] if install and install.path else ())):
            if folder not in self._room:
                bad = [one for one in places.room("", folder) if one.verdict is Verdict.ERROR]
                self._room[folder] = (f"too little room: {bad[0].message}", bad[0].mend) if bad else None
            found = self._room[folder]
            if found is not None:
                yield found

    def _twin(self, service: str) -> Iterator[Missing]:
        """What somebody has started by hand does the work by now: a second one would do it twice."""
        if self._twins is None:
            changes = self._plan.diff.changes
            down = {one.service for one in changes if one.act.starts and one.running is None and not one.strays}
            found = twins.find(self._commands(), _processes(self._plan) | self._theirs()) if down else {}
            self._twins = {name: pid for name, pid in found.items() if name in down}
        if service in self._twins:
            mend = "`reconcile adopt` takes it over as it runs; or end it"
            yield f"{service} was started by hand, and runs as pid {self._twins[service]}", mend

    def _commands(self) -> dict[str, twins.Command]:
        """Of all services: what is like several of them is the one that it is most like."""
        names = (service.name for service in self._desired.services)
        return {name: twins.command(self._fields.get(name, {}), self._desired.root) for name in names}

    def _theirs(self) -> set[int]:
        """What git itself says that others run, and what goes on as it was adopted."""
        patterns = [(one.process, None) for one in self._desired.unmanaged if one.process]
        seen = proc.search(patterns) if patterns else ()
        pids = {one.pid for processes in seen for one in processes}
        return pids | {*self._plan.diff.by_hand.values(), *self._plan.diff.theirs.values()}

    def _held_ports(self) -> dict[str, Missing]:
        """By service, a port of its own that somebody else holds."""
        if self._ports is None:
            starting = {change.service for change in self._plan.diff.changes if change.act.starts}
            services = [one for one in self._desired.services if one.name in starting]
            wanted = ports.wanted(self._fields, services)
            foreign = ports.taken(self._desired.id, wanted, _processes(self._plan)).foreign if wanted else {}
            self._ports = {wanted[port]: (told, ports.mend(wanted[port])) for port, told in foreign.items()}
        return self._ports


def _processes(plan: Plan) -> set[int]:
    """All that the plan knows as the deployment's own."""
    found = {change.running.pid for change in plan.diff.changes if change.running}
    found |= {stray.pid for change in plan.diff.changes for stray in change.strays}
    return found | {old.running.pid for change in plan.diff.changes for old in change.replaces if old.running}


def _without_tools(service: Service) -> Iterator[Missing]:
    for tool in missing_tools(service.launcher):
        mend = f"have it on the PATH of the pass ({os.environ.get('PATH', '')}), also from cron"
        yield f"launcher {service.launcher} needs {tool}, which is not found", mend


def missing_tools(launcher: str) -> tuple[str, ...]:
    """Those of a launcher's own programs that are not found."""
    return tuple(tool for tool in TOOLS.get(launcher, ()) if not which(tool))


def missing_lock(folder: str) -> Missing | None:
    """None where a lock that one process holds is seen by another, or something stands in for it."""
    found = places.lock(folder)
    return (found.message, found.mend) if found.verdict is Verdict.ERROR else None


def open_folders(files: Iterable[File]) -> Iterator[Missing]:
    """Folders in which others could put a file of their own in the place of one with a secret in it, or with the
    variables of a service."""
    private = (file for file in files if file.secret or file.role is Role.ENV)
    for folder in sorted({os.path.dirname(file.path) for file in private}):
        try:
            mode = os.stat(folder).st_mode & 0o7777
        except OSError:
            continue  # it is not there yet, or told of by whoever needs it
        if mode & _OTHERS_WRITE and not mode & _STICKY:
            message = f"{folder} has mode {mode:04o}, so others can replace files with a secret in it"
            yield message, f"chmod o-w {folder}"
