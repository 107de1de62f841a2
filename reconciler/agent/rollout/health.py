"""Asks the services of a deployment whether they do their work, and remembers what they said.

One file for each service, `STATE/SITE/ENV/health/SERVICE.json`, and one for each verification, `…/verify/ID.json`:
what was last said, and by its time of change when. While nothing new is said only that time changes. Nothing here
is lost with a file: what it was about is asked again.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import reconciler
from reconciler.core import health
from reconciler.core.change import Change
from reconciler.core.desired import Ask, Probe, Verify, Watch
from reconciler.core.digest import digest_of
from reconciler.core.health import Answer, History
from reconciler.core.observed import ELSEWHERE, Finding, State, Unit, Verdict, Word
from reconciler.core.report import DeploymentReport
from reconciler.core.view import SAME_START
from reconciler.host import child, files
from reconciler.host.detached import environment
from reconciler.install.programs import programs_of
from reconciler.launchers.base import Backend, BackendError, Log
from reconciler.launchers.shim import says_start
from reconciler.report.data import unit_of

if TYPE_CHECKING:
    from reconciler.agent.observe import Observation

CHECK = "verify"  # what findings of it are known by
_PAUSE = 1.0  # seconds between two questions to what is being started
_STARTING = 10.0  # seconds beyond the limits of all probes until the program that asks is given up
_BATCH = 48_000  # bytes of questions that one program gets: they fit into a pipe
_LOCAL = ("localhost", "127.0.0.1", "::1")
_KEPT = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")  # by which a command reaches the user's manager
_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from reconciler.host.prober import main; main()"


class _Subject(NamedTuple):
    """One watched service as it is now."""

    watch: Watch
    unit: Unit
    started: float  # of its process
    version: str  # that the process runs
    base: Verdict  # that its launcher can tell

    @property
    def process(self) -> tuple[int, float]:
        return self.unit.pid, self.started


class _Memory(NamedTuple):
    """What a file of the state directory says, and when that was said. `at` is 0 where it says nothing any more."""

    data: Mapping[str, Any]
    at: float

    def is_fresh(self, now: float, seconds: float) -> bool:
        """It was asked less than so many seconds ago."""
        return 0 <= now - self.at < seconds


class Health:
    """The health of one deployment in one pass."""

    def __init__(self, observation: Observation, folder: str) -> None:
        """`folder`: of the deployment, in the state directory."""
        self.desired = observation.desired
        self.backends = observation.backends
        self.folder = folder
        self.versions: Mapping[str, str] = {}  # by service, of what runs or was applied last

    def look(self, report: DeploymentReport) -> DeploymentReport:
        """With how every watched service is, and what was found otherwise than it should be. It never raises."""
        changes = {change.service: change for change in report.plan.diff.changes}
        self.versions = {name: change.version for name, change in changes.items()}
        subjects = [_subject(watch, changes[watch.service], report) for watch in self.desired.watches]
        verdicts, findings = self._ask(subjects, [one for one in self.desired.verifies if _can_ask(one, report)])
        diff = report.plan.diff
        diff = diff._replace(findings=tuple(sorted((*diff.findings, *findings))))
        return report._replace(health=verdicts, plan=report.plan._replace(diff=diff))

    def settle(
        self, report: DeploymentReport, waits: Callable[[], None], asked_to_stop: Callable[[], bool]
    ) -> DeploymentReport:
        """Wait until what this pass has started is healthy, or is not in the time that git gives it."""
        changes = {change.service: change for change in report.plan.diff.changes}
        before = {s.watch.service: s for s in (_subject(w, changes[w.service], report) for w in self.desired.watches)}
        verdicts, began = dict(report.health), time.monotonic()
        later = {result.id for result in report.results if result.waits}
        put_off = {step.service for step in report.plan.steps if step.id in later}
        while True:
            now = list(self._now(before, changes))
            same = put_off | {one.watch.service for one in now if _is_same(one, before[one.watch.service])}
            begun = [one for one in now if one.watch.service not in same]
            found, _ = self._ask(begun, ())
            over = time.monotonic() - began
            verdicts |= {s.watch.service: in_time(s.watch, found[s.watch.service], over) for s in begun}
            on_the_way = any(verdicts[subject.watch.service].word.is_on_its_way for subject in begun)
            if not on_the_way or asked_to_stop():
                # what was to be started and was not is told by its step, which may have been put off
                untold = {s.watch.service for s in now if s not in begun and not s.unit.pid}
                untold = {name for name in untold if changes[name].acts}
                return report._replace(health={name: verdicts[name] for name in verdicts if name not in untold})
            waits()
            time.sleep(_PAUSE)

    def now(self, report: DeploymentReport, names: frozenset[str]) -> dict[str, Verdict]:
        """How some services are by now, of those that are watched."""
        changes = {change.service: change for change in report.plan.diff.changes}
        subjects = [_subject(w, changes[w.service], report) for w in self.desired.watches if w.service in names]
        return self._ask(list(self._now({one.watch.service: one for one in subjects}, changes)), ())[0]

    def _now(self, before: Mapping[str, _Subject], changes: Mapping[str, Change]) -> Iterator[_Subject]:
        """All watched services as their launchers know them by now."""
        by_launcher: dict[str, list[_Subject]] = {}
        for subject in before.values():
            by_launcher.setdefault(subject.unit.launcher, []).append(subject)
        for name, subjects in by_launcher.items():
            backend = self.backends.get(name)
            units = _units(backend, [subject.unit.name for subject in subjects])
            for subject in subjects:
                yield _as_of_now(subject, units.get(subject.unit.name), changes[subject.watch.service], backend)

    # ------------------------------------------------------------ one round

    def _ask(
        self, subjects: Sequence[_Subject], verifies: Sequence[Verify]
    ) -> tuple[dict[str, Verdict], list[Finding]]:
        """All that is due, side by side."""
        now = time.time()
        up = [subject for subject in subjects if subject.unit.state is State.RUNNING]
        memories = {subject.watch.service: self._recall("health", _key(subject.watch)) for subject in up}
        histories = {s.watch.service: _history(s, memories[s.watch.service]) for s in up}
        due = [s for s in up if _is_due(s, memories[s.watch.service], histories[s.watch.service], now)]
        known = {verify.id: self._recall("verify", (verify.id, verify)) for verify in verifies}
        again = [v for v in verifies if not (known[v.id].data.get("good") and known[v.id].is_fresh(now, v.interval))]
        questions = [q for s in due for q in self._questions(s, histories[s.watch.service])]
        questions += [self._about(verify) for verify in again]
        answers = ask(questions)
        for subject in due:
            name = subject.watch.service
            histories[name] = _judged(subject, histories[name], answers)
            self._remember("health", _key(subject.watch), _plain(histories[name]), memories[name])
        for verify in again:
            known[verify.id] = self._verified(verify, answers, known[verify.id], now)
        verdicts = {s.watch.service: histories[s.watch.service].verdict if s in up else s.base for s in subjects}
        return verdicts, [found for v in verifies for found in _finding(self.desired.id, v, known[v.id])]

    def _questions(self, subject: _Subject, history: History) -> Iterator[dict[str, Any]]:
        """What can be asked of a service. `localhost` means the node that it runs on."""
        daemon = self.backends[subject.unit.launcher].daemon
        host = daemon.reached_at() if daemon is not None else ""
        for number, probe in enumerate(subject.watch.probes):
            target = target_of(probe, subject.unit, host)
            if not target and probe.ask is not Ask.LOG:
                continue
            log = Log()
            if probe.ask is Ask.LOG:
                log = Log(files=(target,)) if target else self.backends[subject.unit.launcher].log(subject.unit.name)
            yield _question(
                _id(subject, number),
                probe,
                target,
                env_file=subject.watch.env_file,
                programs=self._programs(subject, probe),
                version=subject.version,
                files=log.files,
                command=() if log.files else log.command,
                mark=says_start(subject.watch.service),
                seen=history.seen,
            )

    def _programs(self, subject: _Subject, probe: Probe) -> str:
        """Those of the version that runs."""
        if probe.ask is not Ask.EXEC:
            return ""
        component = next(one.component for one in self.desired.services if one.name == subject.watch.service)
        return programs_of(subject.unit.pid, component, subject.version, self.desired.installs)

    def _about(self, verify: Verify) -> dict[str, Any]:
        """What it is set to is looked up by the version that git wants, or by what runs while that is not there."""
        service = next((one for one in self.desired.services if one.name == verify.service), None)
        programs = ""
        if service is not None:
            versions = (service.version, self.versions.get(service.name, ""))
            found = (programs_of(0, service.component, one, self.desired.installs) for one in versions)
            programs = next(filter(None, found), "")
        env_file = verify.env_file
        return _question(f"verify {verify.id}", verify.probe, verify.probe.target, env_file=env_file, programs=programs)

    def _verified(self, verify: Verify, answers: Mapping[str, Mapping[str, Any]], old: _Memory, now: float) -> _Memory:
        answer = _answer(answers, f"verify {verify.id}", verify.probe)
        since = old.data.get("since", now) if not answer.good and old.data.get("good") is False else now
        message = answer.told(private=verify.private).removeprefix(f"{Ask.EXEC.value}: ")
        data = {"good": bool(answer.good), "message": message, "since": since}
        if answer.good and old.data.get("good"):
            data = {key: old.data[key] for key in data}
        self._remember("verify", (verify.id, verify), data, old)
        return _Memory(data, now)

    # ------------------------------------------------------------ what is remembered

    def _path(self, kind: str, name: str) -> str:
        return os.path.join(self.folder, kind, f"{name}.json")

    def _recall(self, kind: str, of: tuple[str, object]) -> _Memory:
        """What was said to this very question. To another one it counts, but it has to be asked again."""
        path = self._path(kind, of[0])
        try:
            data = json.loads(files.read(path))
            at = os.stat(path).st_mtime if data["of"] == digest_of(str(of[1])) else 0.0
        except (OSError, ValueError, KeyError, TypeError):
            return _Memory({}, 0.0)
        return _Memory(data, at) if kind == "health" or at else _Memory({}, 0.0)

    def _remember(self, kind: str, of: tuple[str, object], data: Mapping[str, Any], old: _Memory) -> None:
        """Best effort: what cannot be noted is asked again."""
        path, kept = self._path(kind, of[0]), {**data, "of": digest_of(str(of[1]))}
        with suppress(OSError):
            if kept == old.data:
                os.utime(path)
                return
            files.make_folder(os.path.dirname(path), 0o700)
            files.write(path, json.dumps(kept).encode(), 0o600, sync=False)


# ---------------------------------------------------------------- services


def _subject(watch: Watch, change: Change, report: DeploymentReport) -> _Subject:
    unit = unit_of(change, report) or Unit(*change.unit, change.state)
    process = report.observed.processes.get(unit.pid)
    started = process.started if process is not None else unit.since
    version = change.version or change.wanted
    return _Subject(watch, unit, started, version, health.of_state(unit, held=bool(change.held), taken=change.taken))


def _as_of_now(subject: _Subject, unit: Unit | None, change: Change, backend: Backend | None) -> _Subject:
    if unit is None or backend is None:
        return subject
    try:
        process = backend.process(unit)
    except OSError:
        process = None
    started = process.started if process is not None else unit.since
    version = change.version if change.held else change.wanted
    return subject._replace(
        unit=unit, started=started, version=version, base=health.of_state(unit, held=bool(change.held))
    )


def _units(backend: Backend | None, names: Sequence[str]) -> Mapping[str, Unit]:
    """Those that are known; none where its launcher does not answer."""
    try:
        return backend.units(names) if backend is not None else {}
    except BackendError:
        return {}


def _is_same(one: _Subject, other: _Subject) -> bool:
    """The same process, or as little of one."""
    return (
        one.unit.pid == other.unit.pid
        and one.unit.state is other.unit.state
        and (not one.unit.pid or abs(one.started - other.started) < SAME_START)
    )


def in_time(watch: Watch, verdict: Verdict, seconds: float) -> Verdict:
    """What goes on becoming healthy for longer than it may is not. `seconds`: since the wait began."""
    limit = watch.start_period + watch.settle + max(probe.seconds for probe in watch.probes) + _PAUSE
    if verdict.word.is_on_its_way and seconds > limit:
        return verdict._replace(word=Word.DEGRADED, message=f"is not healthy after {seconds:.0f} s: {verdict.message}")
    return verdict


def _key(watch: Watch) -> tuple[str, object]:
    return watch.service, watch


def _history(subject: _Subject, memory: _Memory) -> History:
    """What is remembered of this very process."""
    fresh = History(*subject.process)
    try:
        row = {key: memory.data[key] for key in History._fields}
        known = History(**{**row, "word": Word(row["word"]), "seen": tuple(row["seen"])})
        same = known.pid == fresh.pid and abs(known.started - fresh.started) < SAME_START
    except (KeyError, TypeError, ValueError):
        return fresh
    return known if same else fresh


def _plain(history: History) -> dict[str, Any]:
    return {**history._asdict(), "word": history.word.value, "seen": list(history.seen)}


def _is_due(subject: _Subject, memory: _Memory, history: History, now: float) -> bool:
    """What is on its way is asked whenever somebody looks."""
    fresh = memory.is_fresh(now, subject.watch.interval) and not history.word.is_on_its_way
    return not fresh or history.since == 0


def _id(subject: _Subject, number: int) -> str:
    return f"health {subject.watch.service} {number}"


def _judged(subject: _Subject, history: History, answers: Mapping[str, Mapping[str, Any]]) -> History:
    found = {number: answers.get(_id(subject, number), {}) for number in range(len(subject.watch.probes))}
    seen = tuple(sorted({*history.seen, *(one["seen"] for one in found.values() if one.get("seen"))}))
    given = [_answer(answers, _id(subject, number), probe) for number, probe in enumerate(subject.watch.probes)]
    return health.judge(subject.watch, history._replace(seen=seen), given, time.time())


def _can_ask(verify: Verify, report: DeploymentReport) -> bool:
    """What asks may come with the service: before that is there for the first time, nothing is known."""
    service = next((one for one in report.desired.services if one.name == verify.service), None)
    if service is None or service.install not in report.plan.diff.installs:
        return True
    return any(one.service == service.name and one.version for one in report.plan.diff.changes)


def _finding(deployment: str, verify: Verify, memory: _Memory) -> Iterator[Finding]:
    if memory.data.get("good") is False:
        message = f"{verify.name}: {memory.data['message']}"
        yield Finding(verify.service or deployment, message, memory.data["since"], CHECK)


# ---------------------------------------------------------------- asking


def _question(name: str, probe: Probe, target: str, *, env_file: str, **more: object) -> dict[str, Any]:
    return {**probe._asdict(), "id": name, "ask": probe.ask.value, "target": target, "env_file": env_file, **more}


def target_of(probe: Probe, unit: Unit, host: str) -> str:
    """What is to be asked, from here; empty where that is not known."""
    if unit.pid < ELSEWHERE or probe.ask not in (Ask.HTTP, Ask.TCP):
        return probe.target
    if probe.ask is Ask.TCP:
        name, _, port = probe.target.rpartition(":")
        return probe.target if name.strip("[]") not in _LOCAL else f"{host}:{port}" if host else ""
    from urllib.parse import urlsplit

    url = urlsplit(probe.target)
    if url.hostname not in _LOCAL:
        return probe.target
    return url._replace(netloc=f"{host}:{url.port}" if url.port else host).geturl() if host else ""


def _answer(answers: Mapping[str, Mapping[str, Any]], name: str, probe: Probe) -> Answer:
    found = answers.get(name)
    if found is None:
        return Answer(None, f"{probe.ask.value}: could not be asked from here")
    return Answer(found["good"], found["message"], found.get("printed", ""))


def ask(questions: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The answers of `host.prober`, by id, within a time that nothing can draw out. What has none is missing."""
    if not questions:
        return {}
    longest = max(question["seconds"] for question in questions)
    package = os.path.dirname(os.path.dirname(os.path.abspath(reconciler.__file__)))
    argv = [sys.executable, "-I", "-S", "-c", _CODE, package]
    env = environment() | {name: os.environ[name] for name in _KEPT if name in os.environ}
    running = []
    try:
        for batch in _batches(questions):
            with suppress(OSError):  # then these are not asked
                running.append(child.start(argv, env, feed=True))
                for at in range(0, len(batch), 4096):
                    running[-1].send(batch[at : at + 4096])
                running[-1].close_feed()
        deadline = time.monotonic() + longest + _STARTING
        return {one["id"]: one for each in running for one in _read(each.finish(deadline).out)}
    finally:
        for each in running:
            each.end()


def _batches(questions: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    batch: list[bytes] = []
    for line in (json.dumps(question).encode() for question in questions):
        if batch and sum(map(len, batch)) + len(line) > _BATCH:
            yield b"[" + b",".join(batch) + b"]"
            batch = []
        batch.append(line)
    yield b"[" + b",".join(batch) + b"]"


def _read(printed: bytes) -> Iterator[Mapping[str, Any]]:
    for line in printed.splitlines():
        with suppress(ValueError):  # it was ended in the middle
            yield json.loads(line)
