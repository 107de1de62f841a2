"""Carries out the steps of one plan, phase by phase. A failed step fails what needs it; all else goes on."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from time import monotonic
from typing import NamedTuple, Protocol

from reconciler.apply.convoy import Convoy
from reconciler.apply.drains import Drains
from reconciler.apply.ground import Finding, Ground, absent, check_ground
from reconciler.apply.guards import refusal
from reconciler.apply.needs import Needs, missing_lock
from reconciler.apply.preflight import Asked, check_places, find_program
from reconciler.core.change import Running
from reconciler.core.desired import Compiled, Drain, File, Install, Role, Service
from reconciler.core.observed import ELSEWHERE, Process, Unit
from reconciler.core.outcome import ASKED_TO_STOP, Status, StepResult
from reconciler.core.plan import Action, Phase, Plan, Step
from reconciler.host import files, proc
from reconciler.host.leftovers import Leftovers
from reconciler.host.run import CommandFailed
from reconciler.install import method
from reconciler.install.base import BuildStopped, InstallError
from reconciler.install.programs import programs_of
from reconciler.launchers.base import Backend, BackendError, DaemonControl, Log, NotYet

_CAREFUL = frozenset((Phase.CLEAN, Phase.RETAIN, Phase.REMAINS))  # where nothing before has failed
_LAST = frozenset((Phase.RETAIN, Phase.REMAINS))  # where nothing waits either
_LAST_BYTES, _LAST_LINES = 2048, 4  # of the log of a service that did not start


class Watcher(Protocol):
    """Is told what happens while it happens. Tests end the pass from here, at every boundary."""

    def begins(self, step: Step) -> None: ...

    def progress(self, step: Step, line: str) -> None: ...

    def ended(self, step: Step, result: StepResult) -> None: ...

    def waits(self) -> None:
        """Nothing can be done but wait: the time for work that can be done at any time."""


class Cleaner(Protocol):
    """Carries out the steps of old versions, or of what launchers have left; what it gives is an `Ending` by another
    name."""

    def carry_out(
        self, step: Step, progress: Callable[[str], None], asked_to_stop: Callable[[], bool]
    ) -> tuple[Status, str, str, bool]: ...


class Ending(NamedTuple):
    """How one step ended, before it is timed."""

    status: Status
    message: str = ""
    hint: str = ""
    waits: bool = False


DONE = Ending(Status.DONE)


class Executor:
    """Carries out one plan on this host."""

    def __init__(
        self,
        plan: Plan,
        compiled: Compiled,
        backends: Mapping[str, Backend],
        watcher: Watcher,
        asked_to_stop: Callable[[], bool],
        *,
        proves: Callable[[Sequence[Step]], Mapping[str, StepResult]] = lambda _steps: {},
        drains: Mapping[str, Drain] | None = None,
        lock_folder: str = "",
    ) -> None:
        """`proves`: of steps that look at replicas, what became of those that are decided by now. `lock_folder`: where
        other passes are met; that locks work there is seen to first. Empty: it is not."""
        self.proves = proves
        down = {change.service for change in plan.diff.changes if change.state.down}  # an empty instance has a pid too
        serving = {name: drain for name, drain in (drains or {}).items() if name not in down}
        self.drains = Drains(serving, compiled.deployment.root, self._programs)
        self.leftovers = Leftovers(compiled.deployment.id)
        self.lock_folder = lock_folder
        self.plan = plan
        self.desired = compiled.deployment
        self.contents = compiled.contents
        self.fields = compiled.fields
        self.backends = backends
        self.watcher = watcher
        self.asked_to_stop = asked_to_stop
        self.steps = {step.id: step for step in plan.steps}
        self.services: dict[str, Service] = {service.name: service for service in self.desired.services}
        self.installs: dict[str, Install] = {install.id: install for install in self.desired.installs}
        self.files: dict[str, File] = {file.path: file for file in self.desired.files}
        self.asked: Asked = {}
        self.needs = Needs(plan, compiled)
        self.results: dict[str, StepResult] = {}
        self.changes = {change.service: change for change in plan.diff.changes}
        self.as_it_was = {change.service for change in plan.diff.changes if change.held}  # not as git wants it now
        self.up: dict[str, Process] = {}  # by service, what was started
        self.versions: Cleaner | None = None  # what carries the steps of old versions out, where there are any
        self.remains: Cleaner | None = None  # likewise, those of what launchers have left

    def run(self) -> tuple[StepResult, ...]:
        """Every step's result, in the plan's order. Never raises for what a host can do to it."""
        if self.plan.steps and self._refused_at_all():
            return tuple(self.results.values())
        if self.plan.steps:
            self._make_folders()
        for phase, steps in groupby(self.plan.steps, key=_stage):
            if phase is Phase.STOP:
                self._convoy(list(steps))
            elif phase is Phase.RENDER:
                self._render_all(list(steps))
            else:
                for step in steps:
                    self._one(step)
        return tuple(self.results[step.id] for step in self.plan.steps)

    def _refused_at_all(self) -> bool:
        """Nothing of it can be done safely: the first step says why, and nothing on this host has changed."""
        missing = missing_lock(self.lock_folder) if self.lock_folder else None
        for number, step in enumerate(self.plan.steps if missing else ()):
            self.watcher.begins(step)
            told = missing if number == 0 and missing else (f"{self.plan.steps[0].id} failed", "")
            self._end(StepResult(step.id, Status.BLOCKED if number else Status.FAILED, 0.0, *told))
        return missing is not None

    def _make_folders(self) -> None:
        """Before all else; what fails here is told by the step that needs the folder."""
        for path, mode in self.desired.folders:
            with suppress(OSError):
                files.make_folder(path, mode)

    # ------------------------------------------------------------ steps done one by one

    def _one(self, step: Step) -> None:
        if self._held_up(step):
            return
        self.watcher.begins(step)
        began = monotonic()
        ending = self._guarded(step)
        seconds = round(monotonic() - began, 3)
        self._end(StepResult(step.id, ending.status, seconds, ending.message, ending.hint, ending.waits))

    def _guarded(self, step: Step) -> Ending:
        try:
            return self._ACTIONS[step.action](self, step)
        except NotYet as later:
            return Ending(Status.SKIPPED, str(later), waits=True)
        except BuildStopped:
            return Ending(Status.SKIPPED, ASKED_TO_STOP)
        except (BackendError, InstallError, CommandFailed) as error:
            return Ending(Status.FAILED, str(error))
        except OSError as error:
            return Ending(Status.FAILED, f"{error.filename or step.target}: {error.strerror or error}", _os_hint(error))

    def _held_up(self, step: Step) -> bool:
        unmet = next((need for need in step.needs if self._failed(need)), "")
        later = next((need for need in step.needs if need in self.results and self.results[need].waits), "")
        if unmet:
            self._end(StepResult(step.id, Status.BLOCKED, 0.0, f"{unmet} {self.results[unmet].status.value}"))
        elif later:
            self._end(StepResult(step.id, Status.SKIPPED, 0.0, self.results[later].message, waits=True))
        elif step.phase in _CAREFUL and any(map(self._failed, self.results)):
            self._end(StepResult(step.id, Status.BLOCKED, 0.0, "not all before it went well"))
        elif step.phase in _LAST and any(result.waits for result in self.results.values()):
            self._end(StepResult(step.id, Status.SKIPPED, 0.0, "not all before it is done yet", waits=True))
        elif self.asked_to_stop():
            self._end(StepResult(step.id, Status.SKIPPED, 0.0, ASKED_TO_STOP))
        return step.id in self.results

    def _failed(self, need: str) -> bool:
        result = self.results.get(need)
        return result is not None and result.status is not Status.DONE and result.status is not Status.SKIPPED

    def _end(self, result: StepResult) -> None:
        self.results[result.id] = result
        self.watcher.ended(self.steps[result.id], result)

    def _install(self, step: Step) -> Ending:
        install = self.installs[step.target]
        chosen = method(install.method)
        if chosen.complete(install):
            return Ending(Status.SKIPPED, "is in place since the plan was made")
        chosen.build(install, lambda line: self.watcher.progress(step, line), self.asked_to_stop)
        return DONE

    def _check(self, step: Step) -> Ending:
        if step.guards:
            running = self.changes[step.service].running
            refused = refusal(step.guards, self._programs(step.service, running.pid if running else 0))
            return Ending(Status.FAILED, *refused) if refused else DONE
        service = self.services[step.service]
        install = self.installs.get(service.install)
        folders = [path for path, _ in self.desired.folders]
        mounted = [path for path in service.mounted if path not in self.files]  # those are rendered after the checks
        missing = check_places(folders, mounted) or self.needs.missing(service)
        missing = missing or find_program(service, install, self.desired.root, self.asked)
        return Ending(Status.FAILED, *missing) if missing else DONE

    def _daemon(self, step: Step) -> Ending:
        daemon = self.backends[step.launcher].daemon
        if daemon is None:  # the plan has such steps for daemons only
            return Ending(Status.FAILED, f"{step.launcher} has no daemon that could be started")
        progress = functools.partial(self.watcher.progress, step)
        if step.running is None:
            daemon.start_daemon(progress)
        elif step.action is Action.RESTART:
            return self._restart_daemon(step, daemon, step.running, progress)
        else:
            daemon.renew_daemon(progress)
        return DONE

    def _restart_daemon(
        self, step: Step, daemon: DaemonControl, running: Running, progress: Callable[[str], None]
    ) -> Ending:
        """All that it runs is stopped with it, and as carefully as one by one."""
        changes = (change for change in self.plan.diff.changes if change.unit.launcher == step.launcher)
        mains = {change.service: change.running for change in changes if change.running is not None}
        notes = self.drains.all(mains)
        daemon.restart_daemon(running.pid, self._longest_stop(), progress)
        self.leftovers.wait({main.pid for main in mains.values() if main.pid < ELSEWHERE})
        return Ending(Status.DONE, "\n".join(notes))

    def _leaves_nothing(self, steps: Sequence[Step]) -> set[str]:
        mains = {step.running.pid for step in steps if step.running is not None}
        here = {pid for pid in mains if pid < ELSEWHERE}
        gone = self.leftovers.gone(here) if here else set()
        if here != mains:
            gone |= self._gone_elsewhere([step for step in steps if step.running and step.running.pid >= ELSEWHERE])
        return {step.id for step in steps if step.running is None or step.running.pid in gone}

    def _gone_elsewhere(self, steps: Sequence[Step]) -> set[int]:
        """What cannot be asked there cannot be ended from here."""
        mains: dict[str, set[int]] = {}
        for step in steps:
            mains.setdefault(step.launcher, set()).add(step.running.pid if step.running else 0)
        gone: set[int] = set()
        for launcher, pids in mains.items():
            daemon = self.backends[launcher].daemon
            try:
                gone |= set(daemon.leaves_nothing(pids)) if daemon is not None else pids
            except BackendError:
                gone |= pids
        return gone

    def _programs(self, service: str, pid: int) -> str:
        """Where the programs are of what runs, or was applied last, of a service."""
        change = self.changes[service]
        return programs_of(pid, change.component, change.version, self.desired.installs)

    def _longest_stop(self) -> float:
        return max((service.stop_seconds for service in self.services.values()), default=10.0)

    def _start_or_stop(self, step: Step) -> Ending:
        if step.action is Action.STOP and step.running is not None:
            backend = self.backends.get(step.launcher)
            if backend is not None and backend.daemon is not None and not step.service:
                backend.daemon.stop_daemon(step.running.pid, self._longest_stop())
                return DONE
            return self._stop_stray(step, step.running)
        return self._daemon(step)

    def _stop_stray(self, step: Step, running: Running) -> Ending:
        """A process that no launcher keeps; its launcher is asked once more, it may have started it meanwhile."""
        backend = self.backends.get(step.launcher)
        if backend is not None and step.unit is not None:
            unit = backend.units([step.unit.name]).get(step.unit.name)
            if unit is not None and unit.pid == running.pid:
                return Ending(Status.SKIPPED, f"{step.launcher} keeps it by now")
        service = self.services.get(step.service)
        ending = _stop_process(running, service.stop_seconds if service else 10.0)
        self.leftovers.wait({running.pid})
        return ending

    def _reload(self, step: Step) -> Ending:
        daemon = self.backends[step.launcher].daemon
        if step.phase is Phase.DAEMON and daemon is not None:
            daemon.adjust_daemon(functools.partial(self.watcher.progress, step))
            return DONE
        self.backends[step.launcher].reload()
        return DONE

    def _clean(self, step: Step) -> Ending:
        carriers = {Phase.RETAIN: self.versions, Phase.REMAINS: self.remains}
        carrier = carriers.get(step.phase)
        if carrier is not None:
            progress = functools.partial(self.watcher.progress, step)
            return Ending(*carrier.carry_out(step, progress, self.asked_to_stop))
        name = os.path.basename(step.path)
        for wanted in self.files:  # a root or a home that git or this pass spells otherwise, by way of a link
            if os.path.basename(wanted) == name and _is_same(wanted, step.path):
                return Ending(Status.SKIPPED, f"is {wanted} by another name")
        if files.state(step.path).digest not in ("", step.before):
            return Ending(Status.FAILED, "was changed since the plan was made", "the next pass looks again")
        files.remove(step.path)
        return DONE

    _ACTIONS: Mapping[Action, Callable[[Executor, Step], Ending]] = {
        Action.INSTALL: _install,
        Action.CHECK: _check,
        Action.START: _start_or_stop,
        Action.RESTART: _daemon,
        Action.STOP: _start_or_stop,
        Action.RELOAD: _reload,
        Action.CLEAN: _clean,
    }

    # ------------------------------------------------------------ steps done together

    def _render_all(self, steps: Sequence[Step]) -> None:
        """Write every file, then make all renames durable with one sync a folder."""
        written = []
        for step in steps:
            if self._held_up(step):
                continue
            self.watcher.begins(step)
            began = monotonic()
            try:
                ending = self._render(step)
            except OSError as error:
                ending = Ending(Status.FAILED, f"{step.path}: {error.strerror or error}", _os_hint(error))
            written.append(step.path)
            self._end(StepResult(step.id, ending.status, round(monotonic() - began, 3), ending.message, ending.hint))
        with suppress(OSError):
            files.sync_folders(path for path in written if os.path.exists(path))

    def _render(self, step: Step) -> Ending:
        file = self.files[step.path]
        now = files.state(step.path)
        if now.digest == file.digest and now.mode == file.mode:
            return Ending(Status.SKIPPED, "is as wanted since the plan was made")
        if now.digest == file.digest:
            files.change_mode(step.path, file.mode)
            return DONE
        if now.digest != step.before:
            return Ending(Status.FAILED, "was changed since the plan was made", "the next pass looks again")
        if step.foreign and not _says_ours(step.path):
            _keep_aside(step.path)
        files.make_folder(os.path.dirname(step.path), 0o700 if file.role is not Role.CONFIG else 0o750)
        files.write(step.path, self.contents[step.path], file.mode)
        return DONE

    def _convoy(self, steps: Sequence[Step]) -> None:
        convoy = Convoy(
            [step for step in steps if not self._held_up(step)],
            self.services,
            self.backends,
            self.results,
            asked_to_stop=self.asked_to_stop,
            told=self._end,
            begins=self.watcher.begins,
            waits=self.watcher.waits,
            wrong=self._wrong,
            refused=self._refused,
            last_words=self._last_words,
            proves=self.proves,
            drains=self.drains,
            leaves_nothing=self._leaves_nothing,
        )
        convoy.drive()
        for service, unit in convoy.up.items():
            process = self.backends[unit.launcher].process(unit)
            if process is not None:
                self.up[service] = process

    def _wrong(self, service: Service, unit: Unit) -> str:
        """RUNNING says that something was started under this name; its mark says whether it was this service."""
        process = self.backends[unit.launcher].process(unit)
        if process is None or process.mark is None or process.mark.spec == service.spec:
            return ""
        if service.name in self.as_it_was and process.mark.service == service.name:
            return ""
        if process.mark.deployment and not process.mark.spec:
            return ""  # its shim has not got that far
        other = f"of specification {process.mark.spec[:8]}" if process.mark.spec else "without our mark"
        return (
            f"{service.launcher} has started something else under the name {unit.name} (pid {unit.pid}, {other}): "
            "another description there has the same name"
        )

    def _last_words(self, service: str, log: Log) -> str:
        """The end of a service's log; of one that was given a secret only its owner may say what it wrote."""
        if any(field.secret for field in self.fields.get(service, {}).values()):
            return ""
        lines = _printed(log) if log.command else [line for path in log.files for line in _tail(path)]
        return "\n".join(lines[-_LAST_LINES:])

    def _refused(self, steps: Sequence[Step]) -> dict[str, StepResult]:
        """Of some steps, those whose unit is not as the plan found it. One question for each launcher."""
        refused: dict[str, StepResult] = {}
        for launcher, group in groupby(sorted(steps, key=_launcher), key=_launcher):
            members = list(group)
            try:
                units = self.backends[launcher].units([step.unit.name for step in members if step.unit])
            except BackendError as error:
                refused |= {step.id: StepResult(step.id, Status.FAILED, 0.0, str(error)) for step in members}
                continue
            for step in members:
                finding = self._ground(step, units)
                if finding.ground is not Ground.FIRM:
                    status = Status.SKIPPED if finding.ground is Ground.ALREADY else Status.FAILED
                    refused[step.id] = StepResult(step.id, status, 0.0, finding.message)
        return refused

    def _ground(self, step: Step, units: Mapping[str, Unit]) -> Finding:
        unit = units.get(step.unit.name if step.unit else "") or absent(step)
        process = self.backends[unit.launcher].process(unit)
        return check_ground(step, self.services.get(step.service), unit, process, self.desired.id)


def _stage(step: Step) -> Phase:
    """Stopping and starting are one convoy: a unit need not wait for all others to be down."""
    return Phase.STOP if step.phase is Phase.START else step.phase


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _launcher(step: Step) -> str:
    return step.unit.launcher if step.unit else step.launcher


def _stop_process(running: Running, seconds: float) -> Ending:
    """End a process that no launcher keeps, and its group."""
    if proc.kill_group(running.pid, running.started, seconds):
        return DONE
    return Ending(
        Status.FAILED, f"pid {running.pid} outlives SIGKILL", "it may hang in a file system; see `ps -o stat,wchan`"
    )


def _tail(path: str) -> list[str]:
    try:
        return files.tail(path, _LAST_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return []


def _printed(log: Log) -> list[str]:
    """What a journal ends with. It may have nothing, or not let this account read it."""
    from reconciler.host.run import run

    try:
        shown = run([*log.command, "--lines", str(_LAST_LINES), "--no-pager", "--output", "cat"], timeout=5.0)
    except CommandFailed:
        return []
    lines = shown.out.decode(errors="replace").splitlines()
    return [line for line in lines if not line.startswith("-- ")]


def _says_ours(path: str) -> bool:
    """The header of generated files; the inventory that would say so may be lost."""
    with suppress(OSError):
        return b"managed by reconcile" in files.read(path)[:1024]
    return False


def _keep_aside(path: str) -> None:
    """Put somebody else's file beside its place, under the first name that is free. Raises `OSError`."""
    number, kept = 1, f"{path}.orig"
    while os.path.lexists(kept):
        number, kept = number + 1, f"{path}.orig.{number}"
    with suppress(FileNotFoundError):
        files.rename(path, os.path.basename(kept))


def _os_hint(error: OSError) -> str:
    import errno

    return {
        errno.EACCES: "the account may not write there; see `ls -ld` of the folder",
        errno.EROFS: "the file system is mounted read-only",
        errno.ENOSPC: "the file system is full",
        errno.ELOOP: "take the link away, or name the place that it leads to",
        errno.EDQUOT: "the quota is used up",
    }.get(error.errno or 0, "")
