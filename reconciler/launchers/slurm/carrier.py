"""What runs in the job of a deployment: its supervisord tells of it and is told, from whichever node a pass runs on."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from reconciler.core.observed import ELSEWHERE, Mark, Process, Unit
from reconciler.launchers.base import BackendError
from reconciler.launchers.slurm import contact
from reconciler.launchers.slurm.contact import Contact
from reconciler.launchers.slurm.job import NAME, USER
from reconciler.launchers.slurm.queue import Job
from reconciler.launchers.supervisor import rpc
from reconciler.launchers.supervisor.programs import Programs, unit_of

_ANSWER = 10.0  # seconds that supervisord has for an answer


class Ending(BackendError):  # noqa: N818 - it says what happens
    """The supervisord of a job stops its programs: it ends, or begins anew."""


class Inside(NamedTuple):
    """What the supervisord of a job says."""

    spec: str  # of its configuration
    job_spec: str  # of the script that it was begun by
    booting: bool  # it starts services itself
    units: Mapping[str, Unit]
    processes: Mapping[int, Process]


class Carrier:
    """The job that carries the services, once it was met. Raises `BackendError` wherever it cannot be asked."""

    def __init__(self, address: Mapping[str, str]) -> None:
        self._address = address
        self._contact: Contact | None = None
        self._processes: Mapping[int, Process] = {}  # main processes, as they were last told

    @property
    def is_met(self) -> bool:
        return self._contact is not None

    def meet(self, job: Job) -> Inside:
        """Find its supervisord by the note that it has left, and look."""
        try:
            self._contact = contact.read(self._address["contacts"], job.id)
        except OSError as error:
            raise BackendError(f"{error.filename}: {error.strerror}") from error
        if self._contact is None:
            place, log = self._address["contacts"], self._address["output"]
            raise BackendError(f"its supervisord has left no note in {place}; see {log}")
        return self.look()

    def forget(self, job: int) -> None:
        """It is over."""
        if self._contact is not None and self._contact.job == job:
            self._contact = None

    def look(self) -> Inside:
        answer = self.call("reconcile.look")
        try:
            inside = _read(json.loads(str(answer)))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise BackendError(f"its supervisord answers in words of another release of reconcile ({error})") from error
        self._processes = inside.processes
        return inside

    def clear(self, mains: Collection[int]) -> set[int]:
        """Those main processes of which nothing is left on the node. All of them where an earlier release has begun the
        job, whose supervisord ends nothing."""
        pids = sorted(pid % ELSEWHERE for pid in mains)
        try:
            gone = set(json.loads(str(self.programs.call("reconcile.clear", json.dumps(pids)))))
        except rpc.Fault as fault:
            if fault.code == rpc.UNKNOWN_METHOD:
                return set(mains)
            raise BackendError(f"its supervisord refused reconcile.clear: {fault.text}") from fault
        return {pid for pid in mains if pid % ELSEWHERE in gone}

    def call(self, method: str, *params: object) -> object:
        """Raises `Ending` too."""
        try:
            return self.programs.call(method, *params)
        except rpc.Fault as fault:
            if fault.code == rpc.SHUTDOWN_STATE:
                raise Ending("its supervisord stops all that it runs") from None
            raise BackendError(f"its supervisord refused {method}: {fault.text}") from fault

    @property
    def programs(self) -> Programs:
        found = self._contact
        if found is None:
            raise BackendError(f"no job {self._address['job']} runs")
        return Programs(NAME, rpc.Endpoint("", self._host(found), found.port, USER, found.key), _ANSWER)

    def reached_at(self) -> str:
        """The node's address; empty where it is this host."""
        found = self._contact
        return "" if found is None or found.space == contact.space() else self._host(found)

    def _host(self, found: Contact) -> str:
        """Where its node is reached from here. On that node itself no name has to be known."""
        if found.space != contact.space():
            return self._address["address"].replace("{node}", found.node)
        bound = self._address["host"]
        return "127.0.0.1" if bound == contact.ANY else bound

    def process(self, unit: Unit) -> Process | None:
        return self._processes.get(unit.pid) if unit.pid else None


def _read(told: Mapping[str, Any]) -> Inside:
    """Process ids of another node are told apart from those of this one."""
    if told["format"] != 1:
        raise ValueError(f"format {told['format']}")
    aside = 0 if told["space"] == contact.space() else ELSEWHERE
    units, processes = {}, {}
    for info, process in told["units"]:
        unit = unit_of(NAME, info)
        units[unit.name] = unit._replace(pid=unit.pid + aside if unit.pid else 0)
        if process is not None:
            pid, started, parent, mark = process
            processes[pid + aside] = Process(pid + aside, started, Mark(*mark) if mark else None, parent + aside)
    return Inside(told["spec"], told["job_spec"], bool(told["booting"]), units, processes)
