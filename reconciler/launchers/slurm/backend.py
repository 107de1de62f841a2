"""Sees to the job of one deployment, and drives the services in it through the supervisord on its node."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from reconciler.core.model import ELSEWHERE, DaemonState, Gap, Manager, Mark, Process, State, Unit
from reconciler.core.reservations import Slot, decide, touching
from reconciler.host import files
from reconciler.launchers.base import BackendError, DaemonControl, Log, Look, NotYet, Outcome, Shared
from reconciler.launchers.slurm import contact, hostlist, job, limits, queue, reservations
from reconciler.launchers.slurm.contact import Contact
from reconciler.launchers.slurm.query import Query
from reconciler.launchers.slurm.queue import Job
from reconciler.launchers.slurm.standing import Standing, Wanted, stand
from reconciler.launchers.supervisor import rpc, sections
from reconciler.launchers.supervisor.programs import Programs, unit_of

NAME = "slurm"
USER = "reconcile"
_ANSWER = 10.0  # seconds that supervisord has for an answer
_BEGINS = 120.0  # seconds that a job may take from its start until its supervisord answers
_PATIENCE = 20.0  # seconds that a pass waits for a job that it has submitted: most begin at once
_END = 60.0  # seconds that a cancelled job may take to end, its services being down
_POLL, _LONGEST_POLL = 0.1, 1.0
_WORDS = 15  # lines of a log that are told


class Ending(BackendError):  # noqa: N818 - it says what happens
    """The supervisord of a job stops its programs: it ends, or begins anew."""


class Inside(NamedTuple):
    """What the supervisord of a job says."""

    spec: str
    job_spec: str
    booting: bool
    units: Mapping[str, Unit]
    processes: Mapping[int, Process]


class SlurmBackend:
    """See `base.Backend`."""

    def __init__(self, manager: Manager, shared: Shared) -> None:
        self._address = dict(manager.address)
        self._spec, _, self._conf_spec = manager.spec.partition(".")
        self._shared = shared
        self._wanted = Wanted(
            self._address["job"],
            job.mark(self._address["deployment"], self._address["root"], self._spec),
            float(self._address["renew"]),
        )
        self._query: Query[tuple[Job, ...]] | None = None
        self._contact: Contact | None = None  # of the job that carries the services
        self._processes: Mapping[int, Process] = {}  # main processes, as they were last told

    @property
    def daemon(self) -> DaemonControl:
        return self

    # ------------------------------------------------------------ looking

    def ask(self) -> None:
        self._query = _ask_queue() if self._query else self._shared.once("squeue", _ask_queue)

    def answer(self, processes: Mapping[int, Process]) -> Look:  # noqa: ARG002 - the job's own node knows them better
        claimed, copies, gaps = sections.read(NAME, self._address["units"], self._address["deployment"])
        look = Look({}, claimed, copies, gaps=gaps)
        try:
            standing = self._standing(self._query)
        except BackendError as error:
            return self._gap(look, str(error))
        if standing.strangers:
            return self._gap(look, self._strange(standing.strangers[0]))
        surplus = tuple(one.id for one in standing.surplus)
        if standing.job is not None and not standing.job.sleeps:
            return self._carried(look, standing, standing.job, surplus)
        waits = self._why_it_waits(standing)
        there = standing.job or standing.next
        pid = there.id if there else 0
        return look._replace(daemon=DaemonState(running=False, pid=pid, waits=waits, surplus=surplus))

    def _carried(self, look: Look, standing: Standing, carrier: Job, surplus: tuple[int, ...]) -> Look:
        """A job runs: what is in it is asked of its supervisord."""
        waits = ""
        try:
            inside = self._inside(carrier)
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
        spec = standing.spec if standing.spec == inside.job_spec else f"{standing.spec}+{inside.job_spec}"
        spec, place = f"{spec}.{inside.spec}", _place(carrier)
        daemon = DaemonState(True, carrier.id, carrier.start, spec, renew=renew, surplus=surplus, place=place)
        units = {(NAME, name): unit for name, unit in inside.units.items()}
        return look._replace(daemon=daemon, units=units, processes=inside.processes, warnings=warnings)

    def _renewal(self, standing: Standing, carrier: Job) -> tuple[tuple[str, ...], str]:
        """Why a successor must be submitted now; or that it should be, and why that is not the time."""
        if not standing.renew:
            return (), ""
        ends = f"job {carrier.id} ends at {_clock(carrier.end)}"
        try:
            held = self._held(self._slot())
        except BackendError as error:
            return (f"{ends}, and whether another one may follow cannot be told: {error}",), ""
        return ((f"{ends}: {held}",), "") if held else ((), ends)

    def _why_it_waits(self, standing: Standing) -> str:
        """No job runs: what the one that waits is waiting for, or why none is submitted. Empty: it can be."""
        if standing.job is not None:
            return f"job {standing.job.id} on {standing.job.node} is {standing.job.state.lower()}"
        if standing.next is not None:
            return _waiting(standing.next)
        try:
            return self._held(self._slot())
        except BackendError as error:
            return f"no job is submitted while maintenance cannot be told: {error}"

    def _standing(self, asked: Query[tuple[Job, ...]] | None = None) -> Standing:
        query = asked or _ask_queue()
        try:
            return stand(query.answer(), self._wanted, time.time())
        finally:
            query.end()

    def _slot(self) -> Slot:
        """Whether the job may be submitted now. Raises `BackendError`."""
        found = self._shared.once("reservations", lambda: Query(reservations.ARGV, reservations.parse)).answer()
        names = self._address["nodes"] or self._partition()
        nodes = frozenset(hostlist.expand(names)) if names else None
        wanted, buffer = limits.parse(self._address["time"]), float(self._address["buffer"])
        return decide(touching(found, nodes, self._address["partition"]), time.time(), wanted, buffer)

    def _partition(self) -> str:
        """The nodes of the job's partition, where one is named."""
        if not self._address["partition"]:
            return ""
        argv = ("sinfo", "--noheader", "--format=%N", f"--partition={self._address['partition']}")
        return ",".join(Query(argv, lambda printed: printed.split()).answer())

    def _held(self, slot: Slot) -> str:
        if not slot.held:
            return ""
        return f"no job is submitted before {_clock(slot.held_until)}, the end of the maintenance {slot.because}"

    def _strange(self, stranger: Job) -> str:
        mark = queue.mark_of(stranger)
        if mark is not None and mark.deployment == self._wanted.mark.deployment:
            root = self._address["root"]
            return (
                f"job {stranger.id} carries this deployment below another root than {root}: end it (scancel "
                f"{stranger.id}), and the next pass submits ours"
            )
        return (
            f"job {stranger.id} has the name {stranger.name} and not our mark: end it (scancel {stranger.id}), or give "
            "ours another name with `slurm: {job: ...}`"
        )

    def _gap(self, look: Look, message: str) -> Look:
        return look._replace(gaps=(*look.gaps, Gap("launcher", NAME, message)))

    # ------------------------------------------------------------ the supervisord inside

    def _inside(self, carrier: Job) -> Inside:
        """Raises `BackendError`."""
        try:
            self._contact = contact.read(self._address["contacts"], carrier.id)
        except OSError as error:
            raise BackendError(f"{error.filename}: {error.strerror}") from error
        if self._contact is None:
            place, log = self._address["contacts"], self._address["output"]
            raise BackendError(f"its supervisord has left no note in {place}; see {log}")
        return self._look()

    def _look(self) -> Inside:
        answer = self._call("reconcile.look")
        try:
            inside = _read(json.loads(str(answer)))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise BackendError(f"its supervisord answers in words of another release of reconcile ({error})") from error
        self._processes = inside.processes
        return inside

    def _call(self, method: str, *params: object) -> object:
        try:
            return self._programs().call(method, *params)
        except rpc.Fault as fault:
            if fault.code == rpc.SHUTDOWN_STATE:
                raise Ending("its supervisord stops all that it runs") from None
            raise BackendError(f"its supervisord refused {method}: {fault.text}") from fault

    def _programs(self) -> Programs:
        found = self._contact
        if found is None:
            raise BackendError(f"no job {self._address['job']} runs")
        return Programs(NAME, rpc.Endpoint("", self._host(found), found.port, USER, found.key), _ANSWER)

    def _host(self, found: Contact) -> str:
        """Where its node is reached from here. On that node itself no name has to be known."""
        if found.space != contact.space():
            return self._address["address"].replace("{node}", found.node)
        bound = self._address["host"]
        return "127.0.0.1" if bound == contact.ANY else bound

    def units(self, names: Sequence[str]) -> Mapping[str, Unit]:
        if self._contact is None:
            carrier = self._standing().job
            found = self._inside(carrier).units if carrier else {}
        else:
            found = self._look().units
        return {name: found.get(name) or _absent(name) for name in names}

    def process(self, unit: Unit) -> Process | None:
        return self._processes.get(unit.pid) if unit.pid else None

    def reload(self) -> frozenset[str]:
        return self._programs().reload()

    def add(self, units: Sequence[str]) -> Sequence[Outcome]:
        return self._programs().add(units)

    def remove(self, units: Sequence[str]) -> Sequence[Outcome]:
        return self._programs().remove(units)

    def stop(self, units: Sequence[str]) -> Sequence[Outcome]:
        return self._programs().stop(units)

    def start(self, units: Sequence[str]) -> Sequence[Outcome]:
        return self._programs().start(units)

    def log(self, unit: str) -> Log:
        return Log(files=(f"{self._address['logs']}/{unit}.log",))

    def close(self) -> None:
        self._query = None  # others may read its answer still

    # ------------------------------------------------------------ the job

    def start_daemon(self, progress: Callable[[str], None]) -> None:
        standing = self._standing()
        if standing.job is None and standing.next is None:
            self._submit(standing, progress)
        self._await(progress)

    def renew_daemon(self, progress: Callable[[str], None]) -> None:
        standing = self._standing()
        if standing.renew:
            self._submit(standing, progress)

    def restart_daemon(self, pid: int, seconds: float, progress: Callable[[str], None]) -> None:
        """Another supervisord in the same job where that is enough; else another job. That one is in the queue before
        the old one ends: if Slurm does not take it, the old one goes on."""
        standing = self._standing()
        carrier = standing.job
        if carrier is not None and standing.spec == self._spec and self._inside(carrier).job_spec == self._spec:
            self._begin_anew(seconds, progress)
            return
        if standing.next is None:
            self._submit(standing, progress)
        if carrier is not None and carrier.id == pid:
            self.stop_daemon(pid, seconds)
        self._await(progress)

    def _begin_anew(self, seconds: float, progress: Callable[[str], None]) -> None:
        progress("supervisord begins anew")
        until = time.monotonic() + seconds + _PATIENCE
        self._call("reconcile.restart", int(time.time() + seconds + _PATIENCE))
        while True:
            try:
                inside = self._look()
            except BackendError:
                inside = None
            if inside is not None and inside.spec == self._conf_spec:
                break
            if time.monotonic() > until:
                raise BackendError(f"supervisord did not begin anew:\n{_last_words(self._address['log'])}")
            time.sleep(_POLL)
        self._drive()

    def stop_daemon(self, pid: int, seconds: float) -> None:
        """Cancel a job of ours. Its services are stopped first, each with the time that it needs: Slurm would give
        them half a minute."""
        found = next((one for one in _ask_queue().answer() if one.id == pid), None)
        if found is None or found.finished:
            return
        own, theirs = self._wanted.mark, queue.mark_of(found)
        if theirs is None or (theirs.deployment, theirs.root) != (own.deployment, own.root):
            raise BackendError(f"job {pid} is not one of {self._address['root']}: it was left alone")
        if found.alive:
            self._stop_services(found, seconds)
        _run(["scancel", str(pid)])
        until, pause = time.monotonic() + _END, _POLL
        while not _is_over(pid):
            if time.monotonic() > until:
                raise BackendError(f"job {pid} was cancelled, and has not ended after {_END:g} s")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_POLL)
        if self._contact is not None and self._contact.job == pid:
            self._contact = None

    def _stop_services(self, carrier: Job, seconds: float) -> None:
        """As far as it goes: whatever stands in the way, Slurm ends what is left."""
        until = time.monotonic() + seconds
        try:
            running = [name for name, unit in self._inside(carrier).units.items() if not unit.state.down]
            self.stop(running)
            while time.monotonic() < until and any(not unit.state.down for unit in self.units(running).values()):
                time.sleep(_POLL)
        except BackendError:
            return

    def _submit(self, standing: Standing, progress: Callable[[str], None]) -> None:
        """Two passes on two hosts may do so at one time: each then takes all but the first away."""
        slot = self._slot()
        if slot.held:
            raise NotYet(self._held(slot))
        after = standing.others(self._wanted.name)
        argv = job.submission(self._address, self._spec, slot.time, slot.least, after)
        stamp = int(time.time() + _PATIENCE)
        printed = _run(argv, stdin=job.script(self._address, sys.executable), env={job.UNTIL: str(stamp)})
        progress(f"submitted job {printed.partition(';')[0]}")
        for one in self._standing().surplus:
            _run(["scancel", str(one.id)])

    def _await(self, progress: Callable[[str], None]) -> None:
        """Until the job begins and its supervisord answers. Raises `NotYet` where that takes too long for a pass."""
        until, pause = time.monotonic() + _PATIENCE, _POLL
        while True:
            standing = self._standing()
            if standing.job is not None and self._has_begun(standing.job):
                self._drive()
                return
            if standing.job is None and standing.next is None and standing.ending is None:
                raise BackendError(f"the job ended as soon as it began:\n{_last_words(self._address['output'])}")
            if time.monotonic() > until:
                waits = _waiting(standing.next) if standing.next else f"job {self._address['job']} begins"
                raise NotYet(waits)
            progress(_waiting(standing.next) if standing.next else "the job begins")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_POLL)

    def _has_begun(self, carrier: Job) -> bool:
        try:
            self._inside(carrier)
        except BackendError:
            return False
        return True

    def _drive(self) -> None:
        if self._call("reconcile.drive") is not True:
            raise NotYet("the job has begun, and starts its services itself")


def _ask_queue() -> Query[tuple[Job, ...]]:
    return Query(queue.argv(os.getuid()), queue.parse)


def _is_over(pid: int) -> bool:
    found = next((one for one in _ask_queue().answer() if one.id == pid), None)
    return found is None or found.finished


def _run(argv: list[str], stdin: str = "", env: Mapping[str, str] | None = None) -> str:
    """What a command of Slurm's printed. Raises `BackendError`."""
    from reconciler.host.detached import environment
    from reconciler.host.run import CommandFailed, run

    # A job inherits what sbatch is called with: the same from cron and from a login.
    kept = {key: value for key, value in os.environ.items() if key in (*queue.WHICH, "PATH")}
    try:
        done = run(argv, timeout=30.0, env={**environment(), **kept, **(env or {})}, stdin=stdin.encode())
    except CommandFailed as failed:
        raise BackendError(str(failed)) from failed
    return done.out.decode(errors="replace").strip()


def _is_young(carrier: Job) -> bool:
    return carrier.start == 0 or time.time() - carrier.start < _BEGINS


def _place(carrier: Job) -> str:
    until = f", until {_clock(carrier.end)}" if carrier.end else ""
    return f"job {carrier.id} on {carrier.node}{until}"


def _waiting(waiting: Job) -> str:
    since = f" since {_clock(waiting.submitted)}" if waiting.submitted else ""
    expected = f"; Slurm expects it to start at {_clock(waiting.start)}" if waiting.start else ""
    return f"job {waiting.id} is {waiting.state.lower()}{since} ({waiting.reason}){expected}"


def _clock(moment: float) -> str:
    """As people read it: today only the time of day."""
    at = time.localtime(moment)
    today = at[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", at)


def _absent(name: str) -> Unit:
    return Unit(NAME, name, State.ABSENT)


def _last_words(path: str) -> str:
    try:
        printed = "\n".join(files.tail(path, 4096).decode(errors="replace").splitlines()[-_WORDS:])
    except OSError:
        return f"see {path}"
    return printed if printed.strip() else f"nothing is in {path}"


# ---------------------------------------------------------------- reading answers


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
