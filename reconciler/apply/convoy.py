"""Stops and starts many units side by side, in the order that `after` asks for.

Launchers are slow to react and quick to ask, so nothing here waits for one unit: every request is sent
to all units that are ready for it, then all states are read at once, until each unit has arrived. What
depends on nothing else restarts at the same time; what comes `after` another starts when that one is up,
and is stopped before it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from time import monotonic, sleep
from typing import Protocol

from reconciler.apply.job import Job, Stage
from reconciler.core.change import Act, Running
from reconciler.core.desired import Service
from reconciler.core.observed import State, Unit
from reconciler.core.outcome import ASKED_TO_STOP, Status, StepResult
from reconciler.core.plan import Step
from reconciler.launchers.base import Backend, BackendError, Log, Outcome

# Seconds that a unit may take beyond what it declares before its step counts as failed. A launcher
# tries a start several times, with pauses; a stop ends with SIGKILL when the declared time is over.
START_PATIENCE = 20.0
STOP_PATIENCE = 8.0

_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.1  # seconds between two looks
_PROVING = 1.0  # seconds between two questions to what has to prove healthy


class Clock(Protocol):
    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """Seconds of the monotonic clock."""

    now = staticmethod(monotonic)
    sleep = staticmethod(sleep)


def _all_healthy(steps: Sequence[Step]) -> Mapping[str, StepResult]:
    """Where nobody knows how to ask: what runs is healthy."""
    return {step.id: StepResult(step.id, Status.DONE) for step in steps}


def _nothing_left(steps: Sequence[Step]) -> Container[str]:
    return {step.id for step in steps}


class Drainer(Protocol):
    """Runs what is waited for before a service is stopped."""

    def begin(self, service: str, running: Running | None) -> bool:
        """Whether there is something to wait for. Raises `OSError`."""

    def ended(self, service: str) -> str | None:
        """None while it goes on; then what went wrong, or nothing."""


class Convoy:
    """Drives the steps that stop and start units to their ends."""

    def __init__(
        self,
        steps: Sequence[Step],
        services: Mapping[str, Service],
        backends: Mapping[str, Backend],
        earlier: Mapping[str, StepResult],
        *,
        clock: Clock | None = None,
        asked_to_stop: Callable[[], bool] = lambda: False,
        told: Callable[[StepResult], None] = lambda _: None,
        begins: Callable[[Step], None] = lambda _: None,
        waits: Callable[[], None] = lambda: None,
        wrong: Callable[[Service, Unit], str] = lambda _service, _unit: "",
        last_words: Callable[[str, Log], str] = lambda _service, _log: "",
        refused: Callable[[Sequence[Step]], Mapping[str, StepResult]] = lambda _steps: {},
        proves: Callable[[Sequence[Step]], Mapping[str, StepResult]] = _all_healthy,
        drains: Drainer | None = None,
        leaves_nothing: Callable[[Sequence[Step]], Container[str]] = _nothing_left,
    ) -> None:
        self.clock = clock or SystemClock()
        self.backends = backends
        self.earlier = earlier
        self.asked_to_stop = asked_to_stop
        self.told = told
        self.begins = begins
        self.waits = waits
        self.drains = drains
        self.leaves_nothing = leaves_nothing  # ids of those steps of stopped units of which nothing runs any more
        self.proves = proves  # by step, of those whose services are healthy by now, or will not be
        self.next_proof = 0.0
        self.refused = refused  # by step, those that no longer stand on the ground that they were planned on
        self.last_words = last_words  # what a service that did not start has written, of its name and log
        self.wrong = wrong  # what stands against a unit that is up being the one that was to be started
        self.jobs = {step.id: Job(step, services.get(step.service), self.clock.now()) for step in steps}
        self.starts = {job.step.service: job for job in self.jobs.values() if job.step.act.starts}
        self.stops_before = self._stops_before()
        self.up: dict[str, Unit] = {}  # by service, what was started

    def drive(self) -> tuple[StepResult, ...]:
        """Returns when every step is over. Never raises for a backend that fails: its steps fail."""
        pause = _FIRST_PAUSE
        while open_jobs := [job for job in self.jobs.values() if job.stage is not Stage.OVER]:
            moved = self._send(open_jobs)
            began = self.clock.now()
            moved |= self._look(open_jobs)
            moved |= self._prove(open_jobs) | self._drained(open_jobs)
            pause = _FIRST_PAUSE if moved else min(pause * 2, _LONGEST_PAUSE)
            if not moved:
                self.waits()
                # A look at a thousand units costs their daemon more than the pause.
                self.clock.sleep(max(pause, self.clock.now() - began))
        return tuple(job.result for job in self.jobs.values() if job.result is not None)

    # ------------------------------------------------------------ sending

    def _send(self, jobs: Sequence[Job]) -> bool:
        held_up = [job for job in jobs if self._settle_unmet(job)]
        stops = [job for job in jobs if job.stage is Stage.WAITS_TO_STOP and self._may_stop(job)]
        starts = [job for job in jobs if job.stage is Stage.WAITS_TO_START and self._may_start(job)]
        looks, starts = [job for job in starts if job.looks], [job for job in starts if not job.looks]
        for job in looks:
            self.begins(job.step)
            job.stage = Stage.PROVING
        held_up += self._refuse([job for job in (*stops, *starts) if self._not_begun(job)])
        stops = [job for job in stops if job.stage is not Stage.OVER]
        draining = [job for job in stops if self._drains(job)]
        stops = [job for job in stops if job not in draining]
        self._request(stops, lambda backend, names: backend.stop(names), Stage.STOPPING)
        starts = [job for job in starts if job.stage is not Stage.OVER]
        taken_up = [job for job in starts if job.step.act.loads]
        self._request(taken_up, lambda backend, names: backend.add(names), Stage.WAITS_TO_START)
        for job in taken_up:
            if job.step.act is Act.LOAD and job.stage is not Stage.OVER:
                self._end(job, Status.DONE)
        starts = [job for job in starts if job.stage is Stage.WAITS_TO_START]
        self._request(starts, lambda backend, names: backend.start(names), Stage.STARTING)
        return bool(held_up or draining or stops or starts or looks)

    def _drains(self, job: Job) -> bool:
        """Whether its drain has begun now. A start that follows in the same step needs none."""
        if self.drains is None or job.drained or not job.step.act.stops:
            return False
        try:
            begun = self.drains.begin(job.step.service, job.step.running)
        except OSError as error:
            job.note = f"its drain could not be started: {error.strerror or error}"
            return False
        if begun:
            self.begins(job.step)
            job.stage = Stage.DRAINING
        return begun

    def _drained(self, jobs: Sequence[Job]) -> bool:
        """Whether any drain is over by now."""
        over = False
        for job in jobs:
            told = self.drains.ended(job.step.service) if self.drains and job.stage is Stage.DRAINING else None
            if told is not None:
                job.stage, job.drained, job.note, over = Stage.WAITS_TO_STOP, True, told, True
        return over

    def _refuse(self, beginning: Sequence[Job]) -> list[Job]:
        """What has changed since the plan was made is looked at just before each step, however long it had to wait."""
        refused = self.refused([job.step for job in beginning]) if beginning else {}
        ended = [job for job in beginning if job.step.id in refused]
        for job in ended:
            result = refused[job.step.id]
            self._end(job, result.status, result.message)
        return ended

    def _settle_unmet(self, job: Job) -> bool:
        """End a job that can no longer go on: something that it needs failed, or the pass was asked to stop."""
        if job.stage not in (Stage.WAITS_TO_STOP, Stage.WAITS_TO_START):
            return False
        unmet = self._unmet(job)
        if unmet:
            self._end(job, Status.BLOCKED, unmet)
            return True
        if self._not_begun(job) and self.asked_to_stop():
            self._end(job, Status.SKIPPED, ASKED_TO_STOP)
            return True
        return False

    def _not_begun(self, job: Job) -> bool:
        return (job.stage is Stage.WAITS_TO_STOP and not job.drained) or not job.step.act.stops

    def _unmet(self, job: Job) -> str:
        for need in (*job.step.needs, *job.step.gates):
            result = self.earlier.get(need) or (self.jobs[need].result if need in self.jobs else None)
            if result is not None and result.status in (Status.FAILED, Status.BLOCKED):
                return f"{need} {result.status.value}"
        for name in job.service.after if job.service else ():
            if job.step.act.starts and self._did_not_start(name):
                return f"comes after {name}, which did not start"
        return ""

    def _did_not_start(self, service: str) -> bool:
        """Its start failed here, or was held up before it came here."""
        job = self.starts.get(service)
        earlier = (self.earlier.get(f"{verb}:{service}") for verb in ("start", "restart"))
        return (job is not None and job.came_to_nothing) or any(result and not result.is_so for result in earlier)

    def _needs_over(self, job: Job) -> bool:
        needs = (*job.step.needs, *job.step.gates)
        return all(self.jobs[need].stage is Stage.OVER for need in needs if need in self.jobs)

    def _may_stop(self, job: Job) -> bool:
        through = all(self.jobs[gate].stage is Stage.OVER for gate in job.step.gates if gate in self.jobs)
        return through and not any(other.stage.before_down for other in self._before(job))

    def _before(self, job: Job) -> Iterable[Job]:
        return (self.jobs[name] for name in self.stops_before.get(job.step.id, ()))

    def _may_start(self, job: Job) -> bool:
        after = job.service.after if job.service else ()
        return self._needs_over(job) and all(
            self.starts[name].stage is Stage.OVER for name in after if name in self.starts
        )

    def _stops_before(self) -> Mapping[str, tuple[str, ...]]:
        """By step, the steps of services that come `after` its service: they are stopped first."""
        stopping = {job.step.service: job for job in self.jobs.values() if job.step.act.stops and job.service}
        found: dict[str, list[str]] = {}
        for job in stopping.values():
            for name in job.service.after if job.service else ():
                if name in stopping and stopping[name].step.id not in job.step.gates:
                    found.setdefault(stopping[name].step.id, []).append(job.step.id)
        return {step: tuple(others) for step, others in found.items()}

    def _request(
        self, jobs: Sequence[Job], verb: Callable[[Backend, Sequence[str]], Iterable[Outcome]], then: Stage
    ) -> None:
        for launcher, group in _by_launcher(jobs).items():
            for job in group:
                ends_here = job.step.act is Act.LOAD
                if self._not_begun(job) and (ends_here or then is not Stage.WAITS_TO_START):
                    self.begins(job.step)
            errors = self._errors(launcher, [job.unit.name for job in group], verb)
            for job in group:
                error = errors.get(job.unit.name, "")
                if error:
                    self._end(job, Status.FAILED, error)
                else:
                    job.stage = then
                    job.deadline = self._deadline(job, then)

    def _errors(
        self, launcher: str, names: Sequence[str], verb: Callable[[Backend, Sequence[str]], Iterable[Outcome]]
    ) -> Mapping[str, str]:
        try:
            return {outcome.unit: outcome.error for outcome in verb(self.backends[launcher], names)}
        except BackendError as error:
            return dict.fromkeys(names, str(error))

    def _deadline(self, job: Job, stage: Stage) -> float:
        service = job.service
        if stage is Stage.STOPPING:
            return self.clock.now() + (service.stop_seconds if service else 10.0) + STOP_PATIENCE
        return self.clock.now() + (service.ready_seconds if service else 1.0) + START_PATIENCE

    # ------------------------------------------------------------ looking

    def _look(self, jobs: Sequence[Job]) -> bool:
        moving = [job for job in jobs if job.stage in (Stage.STOPPING, Stage.STARTING)]
        moved = False
        for launcher, group in _by_launcher(moving).items():
            try:
                units = self.backends[launcher].units([job.unit.name for job in group])
            except BackendError as error:
                moved |= self._unseen(group, str(error))
                continue
            seen = [(job, units.get(job.unit.name) or Unit(launcher, job.unit.name, State.ABSENT)) for job in group]
            starting = [(job, unit) for job, unit in seen if job.stage is Stage.STARTING]
            moved |= self._stopped(launcher, [(job, unit) for job, unit in seen if job.stage is Stage.STOPPING])
            for job, unit in starting:
                moved |= self._started(job, unit)
        return moved

    def _prove(self, jobs: Sequence[Job]) -> bool:
        """Ask those that others wait for, now and then: to be asked costs them something too."""
        proving = [job for job in jobs if job.stage is Stage.PROVING]
        if proving and self.asked_to_stop():
            for job in proving:
                self._end(job, Status.SKIPPED, ASKED_TO_STOP)
            return True
        if not proving or self.clock.now() < self.next_proof:
            return False
        results = self.proves([job.step for job in proving])
        self.next_proof = self.clock.now() + _PROVING
        for job in proving:
            if result := results.get(job.step.id):
                self._end(job, result.status, result.message, result.hint)
        return bool(results)

    def _unseen(self, jobs: Sequence[Job], error: str) -> bool:
        """One question that was not answered leaves units on their way; they fail when their time is over."""
        late = [job for job in jobs if self.clock.now() > job.deadline]
        for job in late:
            self._end(job, Status.FAILED, error)
        return bool(late)

    def _stopped(self, launcher: str, seen: Sequence[tuple[Job, Unit]]) -> bool:
        """What is down goes on; all that its launcher is to forget is forgotten with one request."""
        arrived = [(job, unit) for job, unit in seen if self._has_stopped(job, unit)]
        clear = self.leaves_nothing([job.step for job, _ in arrived]) if arrived else ()
        arrived = [(job, unit) for job, unit in arrived if job.step.id in clear]
        # Also what is not there any more: of that, something may be left that starts it with the host.
        going = [job.unit.name for job, _ in arrived if job.step.act in (Act.REMOVE, Act.RECREATE)]
        errors = self._errors(launcher, going, lambda backend, names: backend.remove(names)) if going else {}
        for job, _ in arrived:
            if errors.get(job.unit.name):
                self._end(job, Status.FAILED, errors[job.unit.name])
            elif job.step.act is Act.REMOVE:
                self._end(job, Status.DONE)
            else:
                job.stage = Stage.WAITS_TO_START
        return bool(arrived)

    def _has_stopped(self, job: Job, unit: Unit) -> bool:
        if not unit.state.alive:
            return True
        if self.clock.now() > job.deadline:
            self._end(job, Status.FAILED, f"pid {unit.pid} did not stop: {unit.state.value} {unit.detail}".rstrip())
        return False

    def _started(self, job: Job, unit: Unit) -> bool:
        if unit.state is State.RUNNING:
            wrong = self.wrong(job.service, unit) if job.service else ""
            self.up[job.step.service] = unit
            self._end(job, Status.FAILED if wrong else Status.DONE, wrong)
        elif unit.state.down or self.clock.now() > job.deadline:
            self._fail_start(job, unit)
        return job.stage is Stage.OVER

    def _fail_start(self, job: Job, unit: Unit) -> None:
        log = self.backends[job.unit.launcher].log(job.unit.name)
        said = f"did not start: {unit.state.value.upper()}" + (f" ({unit.detail})" if unit.detail else "")
        words = self.last_words(job.step.service, log)
        self._end(job, Status.FAILED, f"{said}\n{words}" if words else said, f"see {log}" if str(log) else "")

    def _end(self, job: Job, status: Status, message: str = "", hint: str = "") -> None:
        job.end(status, self.clock.now(), "\n".join(filter(None, (message, job.note))), hint)
        if job.result is not None:
            self.told(job.result)


def _by_launcher(jobs: Sequence[Job]) -> Mapping[str, list[Job]]:
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.unit.launcher, []).append(job)
    return groups
