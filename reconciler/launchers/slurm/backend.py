"""Looks at the job of one deployment and at the services in it, and drives these through the job's supervisord."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from reconciler.core.desired import Manager
from reconciler.core.observed import DaemonState, Process, State, Unit
from reconciler.core.problem import Gap
from reconciler.host import files
from reconciler.launchers.base import BackendError, DaemonControl, Log, Look, Outcome, Shared
from reconciler.launchers.slurm import contact, job, words
from reconciler.launchers.slurm.carrier import Carrier, Ending
from reconciler.launchers.slurm.job import NAME
from reconciler.launchers.slurm.jobs import JobControl
from reconciler.launchers.slurm.queue import Job
from reconciler.launchers.slurm.scheduler import Queue, Scheduler, ask_queue
from reconciler.launchers.slurm.standing import Standing, Wanted
from reconciler.launchers.supervisor import sections

_BEGINS = 120.0  # seconds that a job may take from its start until its supervisord answers


class SlurmBackend:
    """See `base.Backend`."""

    def __init__(self, manager: Manager, shared: Shared) -> None:
        self._address = dict(manager.address)
        mark = job.mark(self._address["deployment"], self._address["root"], manager.spec.partition(".")[0])
        wanted = Wanted(self._address["job"], mark, float(self._address["renew"]))
        self._scheduler = Scheduler(self._address, wanted, shared)
        self._carrier = Carrier(self._address)
        self._control = JobControl(manager, self._scheduler, self._carrier)
        self._query: Queue | None = None

    @property
    def daemon(self) -> DaemonControl:
        return self._control

    # ------------------------------------------------------------ looking

    def ask(self) -> None:
        self._query = ask_queue() if self._query else self._scheduler.ask()

    def answer(self, processes: Mapping[int, Process]) -> Look:  # noqa: ARG002 - the job's own node knows them better
        claimed, copies, gaps = sections.read(NAME, self._address["units"], self._address["deployment"])
        look = Look({}, claimed, copies, gaps=gaps)
        try:
            standing = self._scheduler.standing(self._query)
        except BackendError as error:
            return self._gap(look, str(error))
        if standing.strangers:
            own, root = self._scheduler.wanted.mark, self._address["root"]
            return self._gap(look, words.strange(standing.strangers[0], own, root))
        surplus = tuple(one.id for one in standing.surplus)
        if standing.job is not None and not standing.job.sleeps:
            return self._carried(look, standing, standing.job, surplus)
        self._control.described = frozenset(unit for _, unit in claimed)
        waits = self._why_it_waits(standing)
        there = standing.job or standing.next
        pid = there.id if there else 0
        warnings, adjust = self._adjustment(standing)
        daemon = DaemonState(running=False, pid=pid, waits=waits, adjust=adjust, surplus=surplus)
        return look._replace(daemon=daemon._replace(queued=standing.is_queued), warnings=warnings)

    def _carried(self, look: Look, standing: Standing, carrier: Job, surplus: tuple[int, ...]) -> Look:
        """A job runs: what is in it is asked of its supervisord."""
        waits = ""
        try:
            inside = self._carrier.meet(carrier)
            if inside.booting:
                waits = f"job {carrier.id} has begun on {carrier.node} and starts its services itself"
        except Ending as ending:
            waits = f"job {carrier.id} on {carrier.node}: {ending}"
        except BackendError as error:
            if not _is_young(carrier):
                return self._gap(look, f"job {carrier.id} runs on {carrier.node}: {error}")
            waits = f"job {carrier.id} begins on {carrier.node}"
        if waits:
            daemon = DaemonState(running=False, pid=carrier.id, waits=waits, surplus=surplus)
            return look._replace(daemon=daemon)
        warnings, renew = self._renewal(standing, carrier)
        more, adjust = self._adjustment(standing)
        spec = standing.spec if standing.spec == inside.job_spec else f"{standing.spec}+{inside.job_spec}"
        spec, place = f"{spec}.{inside.spec}", words.place(carrier)
        daemon = DaemonState(True, carrier.id, carrier.start, spec, renew=renew, adjust=adjust, surplus=surplus)
        daemon = daemon._replace(place=place)
        units = {(NAME, name): unit for name, unit in inside.units.items()}
        return look._replace(daemon=daemon, units=units, processes=inside.processes, warnings=(*warnings, *more))

    def _renewal(self, standing: Standing, carrier: Job) -> tuple[tuple[str, ...], str]:
        """Why a successor must be submitted now; or that it should be, and why that is not the time."""
        if not standing.renew:
            return (), ""
        ends = f"job {carrier.id} ends at {words.clock(carrier.end)}"
        try:
            held = words.held(self._scheduler.slot())
        except BackendError as error:
            return (f"{ends}, and whether another one may follow cannot be told: {error}",), ""
        return ((f"{ends}: {held}",), "") if held else ((), ends)

    def _adjustment(self, standing: Standing) -> tuple[tuple[str, ...], str]:
        """Why the job that waits has to get other limits; or that this cannot be told."""
        if standing.next is None:
            return (), ""
        try:
            slot = self._scheduler.adjusted(standing.next)
        except BackendError as error:
            waits = f"job {standing.next.id} waits, and whether it fits before a maintenance cannot be told"
            return (f"{waits}: {error}",), ""
        return (), words.adjusted(standing.next, slot) if slot else ""

    def _why_it_waits(self, standing: Standing) -> str:
        """No job runs: what the one that waits is waiting for, or why none is submitted. Empty: it can be."""
        if standing.job is not None:
            return f"job {standing.job.id} on {standing.job.node} is {standing.job.state.lower()}"
        if standing.next is not None:
            return words.waiting(standing.next)
        try:
            return words.held(self._scheduler.slot())
        except BackendError as error:
            return f"no job is submitted while maintenance cannot be told: {error}"

    def _gap(self, look: Look, message: str) -> Look:
        return look._replace(gaps=(*look.gaps, Gap("launcher", NAME, message)))

    def units(self, names: Sequence[str]) -> Mapping[str, Unit]:
        if self._carrier.is_met:
            found = self._carrier.look().units
        else:
            standing = self._scheduler.standing()
            found = self._carrier.meet(standing.job).units if standing.job else {}
            if standing.is_queued:  # the next job knows what is described for it
                found = {name: Unit(NAME, name, State.STOPPED) for name in self._described()}
        return {name: found.get(name) or Unit(NAME, name, State.ABSENT) for name in names}

    def process(self, unit: Unit) -> Process | None:
        return self._carrier.process(unit)

    def log(self, unit: str) -> Log:
        return Log(files=(f"{self._address['logs']}/{unit}.log",))

    def close(self) -> None:
        self._query = None  # others may read its answer still

    # ------------------------------------------------------------ driving

    def reload(self) -> frozenset[str]:
        return self._carrier.programs.reload()

    def add(self, units: Sequence[str]) -> Sequence[Outcome]:
        return self._carrier.programs.add(units)

    def remove(self, units: Sequence[str]) -> Sequence[Outcome]:
        if self._is_queued():
            return self._forget(units)
        return self._carrier.programs.remove(units)

    def stop(self, units: Sequence[str]) -> Sequence[Outcome]:
        if self._is_queued():
            return [Outcome(unit) for unit in units]
        return self._carrier.programs.stop(units)

    def start(self, units: Sequence[str]) -> Sequence[Outcome]:
        return self._carrier.programs.start(units)


    def _is_queued(self) -> bool:
        return not self._carrier.is_met and self._scheduler.standing().is_queued

    def _described(self) -> Mapping[str, str]:
        """The file of each program that is described for a job."""
        found = sections.read(NAME, self._address["units"], self._address["deployment"]).claimed
        return {unit: path for (_, unit), path in found.items()}

    def _forget(self, units: Sequence[str]) -> Sequence[Outcome]:
        """A job that begins would start them: by what describes them, and because they have run in one. Whether it has
        begun meanwhile is looked at last."""
        described = self._described()
        try:
            contact.forget_started(self._address["contacts"], units)
            for unit in units:
                if unit in described:
                    files.remove(described[unit])
        except OSError as error:
            raise BackendError(f"{error.filename}: {error.strerror}") from error
        if not self._is_queued():
            raise BackendError("the job has begun just now: the next pass looks at what it runs")
        return [Outcome(unit) for unit in units]


def _is_young(carrier: Job) -> bool:
    return carrier.start == 0 or time.time() - carrier.start < _BEGINS
