"""A host in memory: managers with units, processes with marks, files, installs. No clock but its own.

It answers as a real one does (`observe`, and `SimBackend` behind `launchers.base.Backend`), carries
plans out as the executor does, and fails where it is told to. Every act that changes it is counted,
so that a pass can be ended at each of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import groupby

from reconciler.agent.memory import inventory as book
from reconciler.apply.convoy import Convoy
from reconciler.apply.ground import Ground, absent, check_ground
from reconciler.core.change import Running
from reconciler.core.desired import Compiled, Deployment, Manager
from reconciler.core.diff import diff
from reconciler.core.digest import digest
from reconciler.core.inventory import Inventory
from reconciler.core.observed import DaemonState, FileState, Mark, Observed, Process, Shut, State, Unit
from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Action, Phase, Plan, Step
from reconciler.core.planner import make_plan
from reconciler.core.problem import Gap
from reconciler.launchers.base import BackendError, DaemonControl, Log, Look, Outcome
from tests.core.managers import Keeping, Loaded, SimManager, key_of

DEPLOYMENT = "site/dev"
ELSEWHERE = "/elsewhere"  # root of somebody's second try of the same deployment
FOREIGN = Mark("", "", "", "", "", "", "", 0)  # a process whose environment names nobody


class Fault(Enum):
    """What goes wrong with a unit."""

    FATAL = "fatal"  # it cannot be started
    EXITED = "exited"
    BACKOFF = "backoff"  # its launcher tries it for ever
    REFUSED = "refused"  # the launcher does not take the request
    HANGS = "hangs"  # it does not stop


class Killed(BaseException):
    """The pass was ended with SIGKILL."""


class Host:
    """Everything that a pass can see and change."""

    def __init__(self) -> None:
        self.clock = 1000.0
        self.last_pid = 100
        self.managers: dict[tuple[str, str], SimManager] = {}
        self.processes: dict[int, Process] = {}
        self.files: dict[str, tuple[bytes, int, float]] = {}
        self.installs: dict[str, str] = {}
        self.built: dict[str, int] = {}  # by install, how often it was put into place
        self.held: dict[int, tuple[str, int]] = {}  # by pid, the install that it runs from, and which of its builds
        self.hidden: set[str] = set()  # units whose process hides its environment
        self.faults: dict[str, Fault] = {}  # by unit
        self.broken: dict[str, str] = {}  # requests that the launcher answers with an error, by verb
        self.failing: set[str] = set()  # steps done one by one that fail, by id
        self.requests: list[tuple[str, tuple[str, ...]]] = []
        self.acts = 0
        self.kill_at = 0  # the act before which the pass is killed
        self.in_pass = False
        self.shut: dict[str, Shut | None] = {}  # as policy.windows would have it
        self.gates: dict[str, Shut | None] = {}  # what waits for a person
        self.twice: list[str] = []  # services that were started while a process of theirs was there

    # ------------------------------------------------------------ time

    def now(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += seconds
        for manager in self.managers.values():
            for loaded in list(manager.loaded.values()):
                self._settle(loaded)
                self._reap(manager, loaded)
                if loaded.state is State.BACKOFF and loaded.unit not in self.faults:
                    self.begin(manager, loaded)
                if loaded.state.down and not self._is_known(manager, loaded):
                    del manager.loaded[loaded.unit]

    def act(self) -> None:
        """Called before whatever changes the host."""
        self.clock += 0.001
        if self.in_pass:
            self.acts += 1
            if self.acts == self.kill_at:
                raise Killed

    def _settle(self, loaded: Loaded) -> None:
        if loaded.next is None or self.clock < loaded.next[0]:
            return
        state, loaded.next = loaded.next[1], None
        if state is not State.RUNNING:
            self._end_process(loaded)
        loaded.state, loaded.since = state, self.clock

    def _reap(self, manager: SimManager, loaded: Loaded) -> None:
        """Its process was ended by somebody who did not ask its launcher."""
        if not loaded.pid or loaded.pid in self.processes or manager.keeping.own:
            return
        stopping = loaded.state is State.STOPPING
        loaded.pid, loaded.next = 0, None
        if manager.keeping is Keeping.ACCOUNT and not stopping:
            self.begin(manager, loaded)
        else:
            loaded.state, loaded.since = State.STOPPED if stopping else State.EXITED, self.clock

    def _is_known(self, manager: SimManager, loaded: Loaded) -> bool:
        """While it is down."""
        if manager.keeping is Keeping.INSTANCES:
            return False
        return manager.keeping.own or loaded.foreign or self.file_of(manager, loaded.unit) != b""

    def file_of(self, manager: SimManager, unit: str) -> bytes:
        return self.files.get(f"{manager.folder}/{unit}", (b"", 0, 0.0))[0]

    # ------------------------------------------------------------ processes

    def spawn(self, mark: Mark | None) -> int:
        self.last_pid += 1
        pid = self.last_pid
        if mark is not None and self.in_pass and _is_ours(mark):
            self.twice += [mark.service] if mark.service in self.main() else []
        self.processes[pid] = Process(pid, self.clock, mark._replace(pid=mark.pid or pid) if mark else None)
        return pid

    def _end_process(self, loaded: Loaded) -> None:
        self.processes.pop(loaded.pid, None)
        loaded.pid = 0

    def main(self) -> dict[str, Process]:
        """The processes of ours by service."""
        return {process.mark.service: process for process in self.ours() if process.mark}

    def ours(self) -> Iterator[Process]:
        """Processes of services of ours."""
        yield from (process for process in self.processes.values() if process.mark and _is_ours(process.mark))

    def pids(self) -> dict[str, int]:
        return {service: process.pid for service, process in self.main().items()}

    # ------------------------------------------------------------ managers and units

    def manager(self, daemon: Manager) -> SimManager:
        key = key_of(daemon)
        if key not in self.managers:
            self.managers[key] = SimManager(*key)
        return self.managers[key]

    def all_loaded(self) -> Iterator[tuple[SimManager, Loaded]]:
        for manager in self.managers.values():
            for loaded in list(manager.loaded.values()):
                yield manager, loaded

    def find(self, unit: str) -> Loaded | None:
        return next((loaded for _, loaded in self.all_loaded() if loaded.unit == unit), None)

    def descriptions(self, manager: SimManager) -> dict[str, tuple[str, Mapping[str, str]]]:
        """What stands in the manager's folder, by unit: path and content."""
        found = {}
        for path, (content, _, _) in self.files.items():
            data = _parse(content) if manager.folder and path.startswith(f"{manager.folder}/") else None
            if data:
                found[data["unit"]] = (path, data)
        return found

    def start_manager(self, daemon: Manager) -> None:
        manager = self.manager(daemon)
        if manager.pid:
            return
        self.act()
        mark = Mark(DEPLOYMENT, manager.root, "", daemon.spec, "", "", "", 0)
        manager.pid = self.spawn(mark)
        manager.available = {unit: data for unit, (_, data) in self.descriptions(manager).items()}
        manager.loaded = {unit: Loaded(unit, data) for unit, data in manager.available.items()}
        for unit in sorted(manager.foreign):
            manager.loaded[unit] = Loaded(unit, {}, foreign=True)
            self.begin(manager, manager.loaded[unit])

    def stop_manager(self, manager: SimManager, *, children: bool = True) -> None:
        self.act()
        self.processes.pop(manager.pid, None)
        for loaded in manager.loaded.values():
            if children:
                self._end_process(loaded)
        manager.pid, manager.loaded, manager.available = 0, {}, {}

    def reload(self, manager: SimManager) -> None:
        """The account's manager reads all unit files: what runs goes on, and its next start is by the new one."""
        found = self.descriptions(manager)
        for unit, (_, data) in found.items():
            loaded = manager.loaded.setdefault(unit, Loaded(unit, data))
            if not loaded.foreign:
                loaded.description, loaded.raw = data, self.file_of(manager, unit)

    def reboot(self) -> None:
        """Everything ends; the account's manager comes back by itself, with what is enabled there."""
        self.processes.clear()
        for manager in self.managers.values():
            manager.pid, manager.loaded, manager.available = 0, {}, {}
            if manager.keeping is not Keeping.ACCOUNT:
                continue
            self.reload(manager)
            for unit in sorted(manager.foreign):
                manager.loaded[unit] = Loaded(unit, {}, foreign=True)
            for unit in sorted((manager.enabled - manager.masked) | manager.foreign):
                if unit in manager.loaded:
                    self.begin(manager, manager.loaded[unit])

    def begin(self, manager: SimManager, loaded: Loaded) -> None:
        """The launcher starts a unit: its shim says what it becomes."""
        fault = self.faults.get(loaded.unit)
        content = self.files.get(loaded.description.get("shim", ""), (b"", 0, 0.0))[0]
        shim = _parse(content)
        if loaded.foreign:
            mark: Mark | None = self._stranger(manager, loaded.unit)
        elif fault in self._ending(manager) or not shim:
            state = State.EXITED if fault is Fault.EXITED else State.FATAL
            loaded.state, loaded.next = State.STARTING, (self.clock + 0.3, state)
            return
        elif fault is Fault.BACKOFF and manager.keeping is not Keeping.INSTANCES:
            loaded.state, loaded.since = State.BACKOFF, self.clock
            return
        else:
            said = {**shim, **loaded.description}
            mark = Mark(
                said["deployment"],
                said["root"],
                said["service"],
                shim["spec"],
                said["launch"],
                shim["version"],
                shim["component"],
                0,
            )
        loaded.pid = self.spawn(mark)
        loaded.odd = loaded.unit in manager.dropins
        if shim:
            install = f"{shim['component']}-{shim['version']}"
            self.held[loaded.pid] = (install, self.built.get(install, 0))
        loaded.state, loaded.since, loaded.next = State.STARTING, self.clock, (self.clock + 1.0, State.RUNNING)

    def _ending(self, manager: SimManager) -> tuple[Fault, ...]:
        """Nobody tries an instance again."""
        lasting = (Fault.BACKOFF,) if manager.keeping is Keeping.INSTANCES else ()
        return (Fault.FATAL, Fault.EXITED, *lasting)

    def _stranger(self, manager: SimManager, unit: str) -> Mark:
        """What somebody else's program shows: nothing, another owner, or what it has inherited from the manager."""
        keeper = self.processes.get(manager.pid)
        inherited = keeper.mark if keeper else Mark(DEPLOYMENT, ELSEWHERE, unit, "s", "l", "1", "app", 0)
        marks = (FOREIGN, Mark("site/other", "/x", unit, "s", "l", "1", "app", 0), inherited)
        return marks[ord(unit[-1]) % 3] or FOREIGN

    def halt(self, loaded: Loaded) -> None:
        if loaded.state.alive or loaded.state is State.BACKOFF:
            loaded.state = State.STOPPING
            hangs = self.faults.get(loaded.unit) is Fault.HANGS
            loaded.next = None if hangs else (self.clock + 0.5, State.STOPPED)

    def write(self, path: str, content: bytes, mode: int) -> None:
        self.act()
        self.files[path] = (content, mode, self.clock)

    # ------------------------------------------------------------ looking

    def observe(self, desired: Deployment, inventory: Inventory, gaps: Iterable[Gap] = ()) -> Observed:
        """What a pass would see. What a gap names is not seen."""
        self.sleep(0.0)
        known = self._managers(desired, inventory)
        gaps = tuple(gap for gap in gaps if gap.scope != "launcher" or gap.subject in known)
        blind = {gap.subject for gap in gaps if gap.scope == "launcher"}
        unread = {gap.subject for gap in gaps if gap.scope in ("file", "install")}
        hidden = self.hidden | {gap.subject for gap in gaps if gap.scope == "process"}
        roots = {desired.root, *inventory.roots}
        units = self._units(known.values(), blind)
        seen = self._seen(units, roots, hidden)
        kept = {unit.pid for unit in units.values()}
        if any(p.mark and p.mark.service and pid not in kept for pid, p in seen.items()):
            known |= {spare.launcher: spare for spare in desired.spare_managers if spare.launcher not in known}
            units = self._units(known.values(), blind)
            seen = self._seen(units, roots, hidden)
        claimed = {(one.launcher, u): path for one in known.values() for u, path in self._claimed(one).items()}
        paths = {*(file.path for file in desired.files), *inventory.files, *claimed.values()} - unread
        return Observed(
            now=self.clock,
            units=units,
            processes=seen,
            files={path: self._state(path) for path in sorted(paths)},
            installs={i.id: self.installs.get(i.id) == i.digest for i in desired.installs if i.id not in unread},
            daemons={launcher: self._daemon_state(self.manager(one)) for launcher, one in known.items()},
            claimed={name: path for name, path in claimed.items() if path not in unread},
            gaps=gaps,
            outdated=self._outdated(desired, units),
            unmanaged=self._unmanaged(desired, blind),
            shut=self.shut,
            gates=self.gates,
        )

    def _unmanaged(self, desired: Deployment, blind: set[str]) -> dict[str, Unit]:
        """Whoever keeps them: others' managers are asked like ours."""
        wanted = {(one.launcher, one.unit): one.name for one in desired.unmanaged if one.launcher not in blind}
        found = {name: Unit(*unit, State.ABSENT) for unit, name in wanted.items()}
        for manager, loaded in self.all_loaded():
            if (name := wanted.get((manager.launcher, loaded.unit))) is not None and manager.answers:
                found[name] = self.unit(manager, loaded)
        return found

    def _managers(self, desired: Deployment, inventory: Inventory) -> dict[str, Manager]:
        return {one.launcher: one for one in (*inventory.managers, *desired.managers)}

    def _units(self, managers: Iterable[Manager], blind: set[str]) -> dict[tuple[str, str], Unit]:
        return {
            (one.launcher, unit): self.unit(self.manager(one), loaded)
            for one in managers
            if one.launcher not in blind
            for unit, loaded in self.manager(one).loaded.items()
        }

    def unit(self, manager: SimManager, loaded: Loaded) -> Unit:
        pid = loaded.pid if loaded.state.alive else 0
        drift = tuple(manager.drift(loaded, self.file_of(manager, loaded.unit)))
        return Unit(manager.launcher, loaded.unit, loaded.state, pid, loaded.since, drift=drift)

    def _claimed(self, manager: Manager) -> dict[str, str]:
        """Descriptions of this deployment, below whatever root: what lies in the account's folder may be another's."""
        found = self.descriptions(self.manager(manager)).items()
        return {unit: path for unit, (path, data) in found if data["deployment"] == DEPLOYMENT}

    def _outdated(self, desired: Deployment, units: Mapping[tuple[str, str], Unit]) -> dict[int, str]:
        images = {install.id for install in desired.installs if install.method == "apptainer-sif"}
        found = {}
        for service in desired.services:
            unit = units.get((service.launcher, service.unit))
            install, build = self.held.get(unit.pid, ("", 0)) if unit else ("", 0)
            now = self.built.get(install, 0) if install in self.installs else -1
            if unit and service.install == install and install in images and build != now:
                found[unit.pid] = "its image was replaced since it started"
        return found

    def _daemon_state(self, manager: SimManager) -> DaemonState:
        process = self.processes.get(manager.pid)
        if process is None or process.mark is None:
            return DaemonState(running=False)
        return DaemonState(running=True, pid=process.pid, started=process.started, spec=process.mark.spec)

    def _seen(self, units: Mapping[tuple[str, str], Unit], roots: set[str], hidden: set[str]) -> Mapping[int, Process]:
        hiding = {unit.pid for (_, name), unit in units.items() if name in hidden}
        kept = {unit.pid for unit in units.values() if unit.pid}
        seen = {}
        for pid, process in self.processes.items():
            mark = process.mark
            ours = mark is not None and (mark.deployment, mark.pid) == (DEPLOYMENT, pid) and mark.root in roots
            if pid in hiding:
                seen[pid] = process._replace(mark=None)
            elif ours or pid in kept:
                seen[pid] = process
        return seen

    def _state(self, path: str) -> FileState:
        if path not in self.files:
            return FileState("", 0, 0.0)
        content, mode, changed = self.files[path]
        return FileState(digest(content), mode, changed)

    # ------------------------------------------------------------ carrying out

    def apply(
        self,
        plan: Plan,
        compiled: Compiled,
        inventory: Inventory,
        asked_to_stop: Callable[[], bool] = lambda: False,
    ) -> tuple[StepResult, ...]:
        """What the executor does, phase by phase, with its own convoy and its own look at the ground."""
        self.in_pass = True
        try:
            return _Hands(self, plan, compiled, inventory, asked_to_stop).run()
        finally:
            self.in_pass = False


def _is_ours(mark: Mark) -> bool:
    return bool(mark.service) and mark.deployment == DEPLOYMENT and mark.root != ELSEWHERE


def _parse(content: bytes) -> Mapping[str, str] | None:
    """What stands in a rendered file before any remark that somebody added."""
    try:
        data = json.loads(content.partition(b"#")[0])
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


class SimBackend:
    """`launchers.base.Backend` over a manager of the host."""

    def __init__(self, host: Host, manager: Manager) -> None:
        self.host, self.kept_by = host, manager
        self.manager = host.manager(manager)

    @property
    def daemon(self) -> DaemonControl | None:
        return self if self.kept_by.is_daemon else None

    def ask(self) -> None:
        """Nothing is sent."""

    def answer(self, processes: Mapping[int, Process]) -> Look:
        raise NotImplementedError

    def start_daemon(self, progress: Callable[[str], None]) -> None:
        self._note("start_daemon", ())
        self.host.start_manager(self.kept_by)

    def stop_daemon(self, pid: int, seconds: float) -> None:
        self._note("stop_daemon", ())
        if self.manager.pid == pid:
            self.host.stop_manager(self.manager)

    def restart_daemon(self, pid: int, seconds: float, progress: Callable[[str], None]) -> None:
        self.stop_daemon(pid, seconds)
        self.start_daemon(progress)

    def renew_daemon(self, progress: Callable[[str], None]) -> None:
        self._note("renew_daemon", ())

    def adjust_daemon(self, progress: Callable[[str], None]) -> None:
        self._note("adjust_daemon", ())

    def leaves_nothing(self, mains: Collection[int]) -> Collection[int]:
        return mains

    def reached_at(self) -> str:
        return ""

    def reload(self) -> frozenset[str]:
        self._note("reload", ())
        self.host.act()
        available = {unit: data for unit, (_, data) in self.host.descriptions(self.manager).items()}
        if self.manager.keeping is Keeping.ACCOUNT:
            self.host.reload(self.manager)
            return frozenset()
        self.manager.available = available
        return frozenset(u for u, loaded in self.manager.loaded.items() if loaded.description != available.get(u))

    def add(self, units: Sequence[str]) -> Iterable[Outcome]:
        return self._each("add", units, self._add)

    def _add(self, unit: str) -> str:
        if self.manager.keeping is Keeping.INSTANCES:
            return ""
        if self.manager.keeping is Keeping.ACCOUNT:
            return self._enable(unit)
        if unit not in self.manager.available:
            return f"no such unit: {unit}"
        self.manager.loaded.setdefault(unit, Loaded(unit, self.manager.available[unit]))
        return ""

    def _enable(self, unit: str) -> str:
        manager = self.manager
        if unit not in manager.loaded:
            return f"no such unit: {unit}"
        manager.masked.discard(unit)
        manager.dropins.discard(unit)
        manager.enabled.add(unit)
        return ""

    def remove(self, units: Sequence[str]) -> Iterable[Outcome]:
        return self._each("remove", units, self._remove)

    def _remove(self, unit: str) -> str:
        loaded = self.manager.loaded.get(unit)
        if loaded is not None and not loaded.state.down:
            return f"{unit} still runs"
        if self.manager.keeping is Keeping.ACCOUNT:
            for told in (self.manager.enabled, self.manager.masked, self.manager.dropins):
                told.discard(unit)
            return ""
        self.manager.loaded.pop(unit, None)
        return ""

    def start(self, units: Sequence[str]) -> Iterable[Outcome]:
        return self._each("start", units, self._start)

    def _start(self, unit: str) -> str:
        if self.manager.keeping is Keeping.INSTANCES:
            shim = {"shim": f"{dict(self.kept_by.address)['root']}/bin/{unit}"}
            self.manager.loaded.setdefault(unit, Loaded(unit, shim))
        loaded = self.manager.loaded.get(unit)
        if loaded is None:
            return f"no such unit: {unit}"
        if unit in self.manager.masked:
            return f"{unit} is masked"
        if loaded.state is State.STOPPING:
            return "it is still stopping"
        if loaded.state.down:
            self.host.begin(self.manager, loaded)
        return ""

    def stop(self, units: Sequence[str]) -> Iterable[Outcome]:
        return self._each("stop", units, self._stop)

    def _stop(self, unit: str) -> str:
        loaded = self.manager.loaded.get(unit)
        if loaded is None:
            return f"no such unit: {unit}" if self.manager.keeping.own else ""
        self.host.halt(loaded)
        return ""

    def _each(self, verb: str, units: Sequence[str], act: Callable[[str], str]) -> Iterable[Outcome]:
        self._note(verb, units)
        outcomes = []
        for unit in units:
            self.host.act()
            refused = self.host.faults.get(unit) is Fault.REFUSED and verb == "start"
            outcomes.append(Outcome(unit, f"{unit} is refused" if refused else act(unit)))
        return outcomes

    def units(self, names: Sequence[str]) -> Mapping[str, Unit]:
        self._note("units", names)
        self.host.sleep(0.0)
        absent_unit = Unit(self.kept_by.launcher, "", State.ABSENT)
        found = {}
        for name in names:
            loaded = self.manager.loaded.get(name)
            found[name] = self.host.unit(self.manager, loaded) if loaded else absent_unit._replace(name=name)
        return found

    def process(self, unit: Unit) -> Process | None:
        return self.host.processes.get(unit.pid)

    def log(self, unit: str) -> Log:
        return Log(files=(f"/logs/{unit}.log",))

    def close(self) -> None:
        """Nothing is open."""

    def _note(self, verb: str, units: Sequence[str]) -> None:
        self.host.requests.append((verb, tuple(units)))
        if not self.manager.answers and not verb.endswith("_daemon"):
            raise BackendError(f"{self.kept_by.launcher} cannot be asked")
        if verb in self.host.broken:
            raise BackendError(self.host.broken[verb])


class _Hands:
    """One plan on its way."""

    def __init__(
        self, host: Host, plan: Plan, compiled: Compiled, inventory: Inventory, asked_to_stop: Callable[[], bool]
    ) -> None:
        self.host, self.plan, self.compiled, self.asked_to_stop = host, plan, compiled, asked_to_stop
        desired = compiled.deployment
        known = {one.launcher: one for one in (*desired.spare_managers, *inventory.managers, *desired.managers)}
        self.backends = {launcher: SimBackend(host, one) for launcher, one in known.items()}
        self.services = {service.name: service for service in desired.services}
        self.results: dict[str, StepResult] = {}

    def run(self) -> tuple[StepResult, ...]:
        for phase, steps in groupby(self.plan.steps, key=_stage):
            if phase is Phase.STOP:
                self._convoy(list(steps))
            else:
                for step in steps:
                    self._one(step)
        return tuple(self.results[step.id] for step in self.plan.steps)

    def _end(self, result: StepResult) -> None:
        self.host.act()
        self.results[result.id] = result

    def _one(self, step: Step) -> None:
        unmet = [n for n in step.needs if n in self.results and self.results[n].status in _BAD]
        if unmet:
            self._end(StepResult(step.id, Status.BLOCKED, 0.0, f"{unmet[0]} failed"))
        elif step.phase is Phase.CLEAN and any(result.status in _BAD for result in self.results.values()):
            self._end(StepResult(step.id, Status.BLOCKED, 0.0, "not all before it went well"))
        elif self.asked_to_stop():
            self._end(StepResult(step.id, Status.SKIPPED, 0.0, "the pass was asked to stop before this step"))
        elif step.id in self.host.failing:
            self._end(StepResult(step.id, Status.FAILED, 0.0, "told to fail"))
        else:
            try:
                self._end(StepResult(step.id, self._do(step)))
            except BackendError as error:
                self._end(StepResult(step.id, Status.FAILED, 0.0, str(error)))

    def _do(self, step: Step) -> Status:
        host, desired = self.host, self.compiled.deployment
        if step.action is Action.INSTALL:
            host.act()
            host.built[step.target] = host.built.get(step.target, 0) + 1
            host.installs[step.target] = next(i.digest for i in desired.installs if i.id == step.target)
        elif step.action is Action.CHECK:
            install = self.services[step.service].install
            return Status.DONE if not install or install in host.installs else Status.FAILED
        elif step.action is Action.RENDER:
            return self._render(step)
        elif step.action is Action.CLEAN:
            host.act()
            host.files.pop(step.path, None)
        elif step.action is Action.RELOAD:
            self.backends[step.launcher].reload()
        elif step.phase is Phase.STRAYS and step.running is not None:
            self._kill(step.running)
        elif step.action is Action.STOP and step.running is not None:
            self.backends[step.launcher].stop_daemon(step.running.pid, 10.0)
        else:
            backend = self.backends[step.launcher]
            if step.action is Action.RESTART and step.running is not None:
                backend.restart_daemon(step.running.pid, 10.0, lambda _: None)
            else:
                backend.start_daemon(lambda _: None)
        return Status.DONE

    def _render(self, step: Step) -> Status:
        file = next(file for file in self.compiled.deployment.files if file.path == step.path)
        now = self.host.files.get(step.path, (b"", 0, 0.0))[0]
        before = digest(now) if step.path in self.host.files else ""
        if before not in (step.before, file.digest):
            return Status.FAILED
        self.host.write(step.path, self.compiled.contents[step.path], file.mode)
        return Status.DONE

    def _kill(self, running: Running) -> None:
        manager = next((m for m in self.host.managers.values() if m.pid == running.pid), None)
        if manager is not None:
            self.host.stop_manager(manager)
        else:
            self.host.act()
            self.host.processes.pop(running.pid, None)

    def _convoy(self, steps: Sequence[Step]) -> None:
        firm = []
        for step in steps:
            launcher = step.unit.launcher if step.unit else step.launcher
            name = step.unit.name if step.unit else step.target
            try:
                unit = self.backends[launcher].units([name]).get(name) or absent(step)
            except BackendError as error:
                self._end(StepResult(step.id, Status.FAILED, 0.0, str(error)))
                continue
            process = self.host.processes.get(unit.pid)
            if process is not None and unit.name in self.host.hidden:
                process = process._replace(mark=None)
            finding = check_ground(step, self.services.get(step.service), unit, process, DEPLOYMENT)
            if finding.ground is Ground.FIRM:
                firm.append(step)
            else:
                status = Status.SKIPPED if finding.ground is Ground.ALREADY else Status.FAILED
                self._end(StepResult(step.id, status, 0.0, finding.message))
        Convoy(
            firm,
            self.services,
            self.backends,
            self.results,
            clock=self.host,
            asked_to_stop=self.asked_to_stop,
            told=self._end,
            begins=lambda _: self.host.act(),
        ).drive()


_BAD = (Status.FAILED, Status.BLOCKED)


def _stage(step: Step) -> Phase:
    return Phase.STOP if step.phase is Phase.START else step.phase


class Agent:
    """Passes over one host, with what they remember."""

    def __init__(self, host: Host | None = None) -> None:
        self.host = host or Host()
        self.inventory = Inventory()
        self.forgot = False  # some of what it has noted was lost
        self.results: tuple[StepResult, ...] = ()

    def plan(self, compiled: Compiled, gaps: Iterable[Gap] = ()) -> Plan:
        desired = compiled.deployment
        observed = self.host.observe(desired, self.inventory, gaps)
        return make_plan(desired, diff(desired, observed, self.inventory, compiled.fields))

    def run(
        self, compiled: Compiled, gaps: Iterable[Gap] = (), asked_to_stop: Callable[[], bool] = lambda: False
    ) -> Plan:
        """One pass. The inventory is written before and after, as `agent.run` does."""
        plan = self.plan(compiled, gaps)
        processes = self.host.main()
        self.results = ()
        before = self.inventory
        if plan.steps:
            before = self.inventory = book.before_apply(self.inventory, compiled.deployment, plan)
            self.results = self.host.apply(plan, compiled, before, asked_to_stop)
        if plan.steps or not book.is_current(self.inventory, compiled.deployment, processes):
            started = {**processes, **self.host.main()} if plan.steps else processes
            self.inventory = book.after_apply(before, compiled, plan, self.results, started)
        self.host.sleep(5.0)
        return plan
