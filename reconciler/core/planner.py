"""From differences to steps, in the order in which they are done.

One comparator orders everything: phase, then wave (the depth in `after`; reversed for stopping), then
name. A step names the steps that it needs: where one of those fails, it is blocked and all else goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.core.change import Act, Change, DaemonAct, DaemonChange, Diff, FileChange
from reconciler.core.desired import Deployment, Guard, Role
from reconciler.core.order import waves
from reconciler.core.plan import Action, Phase, Plan, Step

_FIRST = -1  # a wave before all that start

# How a daemon comes to run what git wants.
_BEGINS = {DaemonAct.START: Action.START, DaemonAct.RESTART: Action.RESTART}


def make_plan(desired: Deployment, diff: Diff) -> Plan:
    """The steps for a diff; the same diff always gives the same steps."""
    planner = _Planner(desired, diff)
    made = list(planner.steps())
    if desired.sets:
        from reconciler.core.batches import idle_canaries, in_batches

        made = in_batches(desired, diff, made)
        diff = diff._replace(warnings=(*diff.warnings, *idle_canaries(desired, diff)))
    steps = sorted(made, key=_order)
    return Plan(desired.site, desired.environment, desired.commit, diff, tuple(steps))


def _order(step: Step) -> tuple[int, int, int, str]:
    wave = -step.wave if step.phase is Phase.STOP else step.wave
    return (step.phase.value, wave, step.batch, step.id)


def _daemon_step(action: Action, launcher: str) -> str:
    """An id that no step of a service can have: a name has no colon."""
    return f"{action.value}:daemon:{launcher}"


class _Planner:
    def __init__(self, desired: Deployment, diff: Diff) -> None:
        self.desired = desired
        self.diff = diff
        self.waves = waves(desired.services)
        self.services = {service.name: service for service in desired.services}
        self.installs = {name: f"install:{name}" for name in diff.installs}
        self.loading = {change.unit.launcher for change in diff.changes if change.act.loads}
        self.loading |= {unit.launcher for change in diff.changes for unit in change.replaces}
        self.restarted = {daemon.launcher for daemon in diff.daemons if daemon.act in _BEGINS}
        self.ending = {daemon.launcher for daemon in diff.daemons if daemon.act is DaemonAct.RESTART}
        self.waiting = {daemon.launcher for daemon in diff.daemons if daemon.waits}
        # What is held and started as it was, is started from files that stand: for that, nothing is made ready.
        self.starting = tuple(change.service for change in diff.changes if change.act.starts and not change.held)
        self._starting_names = frozenset(self.starting)
        self.guards = {change.service: found for change in diff.changes if (found := self._guards_of(change))}
        self.renders = self._renders()
        self.rendered = self._rendered()

    def steps(self) -> Iterator[Step]:
        yield from self._install_steps()
        yield from self._check_steps()
        yield from self._guard_steps()
        yield from self.renders
        for path in self.diff.copies:
            yield self._clean(path, Phase.COPIES)
        for daemon in self.diff.daemons:
            yield from self._daemon_steps(daemon)
        yield from self._stray_daemon_steps()
        yield from self._reload_steps()
        for change in self.diff.changes:
            yield from self._service_steps(change)
        for path in self.diff.stale_files:
            yield self._clean(path, Phase.CLEAN)

    def _clean(self, path: str, phase: Phase) -> Step:
        return Step(f"clean:{path}", Action.CLEAN, "", path, phase, path=path, before=self.diff.going.get(path, ""))

    def _install_steps(self) -> Iterator[Step]:
        for name, step in self.installs.items():
            yield Step(step, Action.INSTALL, "", name, Phase.INSTALL)

    def _check_steps(self) -> Iterator[Step]:
        """The preflight: what starts must be able to start, before anything of it is stopped or rewritten."""
        for change in self.diff.changes:
            if change.act.starts and not change.held:
                yield Step(
                    f"check:{change.service}",
                    Action.CHECK,
                    change.service,
                    self.services[change.service].program,
                    Phase.CHECK,
                    needs=self._install_of(change.service),
                )

    def _guard_steps(self) -> Iterator[Step]:
        """What must be so before a service is stopped or removed, seen to before anything is stopped or rewritten."""
        for service, guards in self.guards.items():
            names = ", ".join(guard.name for guard in guards)
            step = Step(f"guard:{service}", Action.CHECK, service, f"guard {names}", Phase.CHECK)
            yield step._replace(needs=self._install_of(service), guards=guards)

    def _guards_of(self, change: Change) -> tuple[Guard, ...]:
        """Those of a service that this plan ends a process of, as git has them; of one that it has no more, as they
        were when it was applied."""
        others = bool(change.replaces or change.strays)
        with_daemon = change.running is not None and change.unit.launcher in self.ending
        ends = with_daemon or others or (change.act.stops and bool(change.running or change.act is Act.REMOVE))
        if not ends:
            return ()
        if change.service not in self.services and change.service not in self.desired.guards:
            return change.guards
        # The variables are those that the service runs with: its file may move, and is not written yet.
        stands = next((guard.env_file for guard in change.guards), "")
        wanted = self.desired.guards.get(change.service, ())
        return tuple(guard._replace(env_file=stands or guard.env_file) for guard in wanted)

    def _guard_of(self, service: str) -> tuple[str, ...]:
        return (f"guard:{service}",) if service in self.guards else ()

    def _install_of(self, service: str) -> tuple[str, ...]:
        wanted = self.services.get(service)
        step = self.installs.get(wanted.install) if wanted else None
        return (step,) if step else ()

    def _renders(self) -> tuple[Step, ...]:
        starting = set(self.starting)
        return tuple(
            Step(
                f"render:{change.file.path}",
                Action.RENDER,
                change.file.services[0] if len(change.file.services) == 1 else "",
                change.file.path,
                Phase.RENDER,
                needs=self._render_needs(change, starting),
                path=change.file.path,
                foreign=change.foreign,
                before=change.before.digest,
            )
            for change in self.diff.files
        )

    def _render_needs(self, change: FileChange, starting: set[str]) -> tuple[str, ...]:
        """A file of one service waits for install and check: if they fail, the old version must be able to start. One
        of somebody else's making stays while any of those cannot start that are to: it may be what they run from."""
        services = change.file.services
        if len(services) != 1:
            return tuple(f"check:{name}" for name in services if name in starting) if change.foreign else ()
        check = (f"check:{services[0]}",) if services[0] in starting else ()
        return (*self._install_of(services[0]), *check, *self._guard_of(services[0]))

    def _rendered(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for change, step in zip(self.diff.files, self.renders, strict=True):
            for service in change.file.services:
                found.setdefault(service, []).append(step.id)
        return {service: tuple(ids) for service, ids in found.items()}

    def _daemon_steps(self, daemon: DaemonChange) -> Iterator[Step]:
        yield from self._surplus_steps(daemon)
        if daemon.act is DaemonAct.STOP:
            yield self._retire_step(daemon)
        if daemon.act is DaemonAct.RENEW:
            yield self._renew_step(daemon)
        if daemon.act is DaemonAct.ADJUST:
            yield self._adjust_step(daemon)
        if daemon.act not in _BEGINS:
            return
        action = _BEGINS[daemon.act]
        files = tuple(
            step.id
            for change, step in zip(self.diff.files, self.renders, strict=True)
            if change.file.role is Role.DAEMON
        )
        ready = self._all_ready(daemon.launcher) if daemon.act is DaemonAct.RESTART else ()
        yield Step(
            _daemon_step(action, daemon.launcher),
            action,
            "",
            daemon.launcher,
            Phase.DAEMON,
            needs=(*files, *ready),
            running=daemon.running,
            launcher=daemon.launcher,
        )

    def _daemon_needs(self, launcher: str) -> tuple[str, ...]:
        return tuple(
            _daemon_step(_BEGINS[daemon.act], launcher)
            for daemon in self.diff.daemons
            if daemon.launcher == launcher and daemon.act in _BEGINS
        )

    def _surplus_steps(self, daemon: DaemonChange) -> Iterator[Step]:
        """Before anything is started, so that there is one of each."""
        for running in daemon.surplus:
            target = f"{daemon.launcher} {running.pid}, there is another one"
            step = Step(f"stop:daemon-{running.pid}", Action.STOP, "", target, Phase.DAEMON, _FIRST, running=running)
            yield step._replace(launcher=daemon.launcher)

    def _renew_step(self, daemon: DaemonChange) -> Step:
        """It disturbs nothing that runs; what it would start from must be in place."""
        target = f"{daemon.launcher} anew: {daemon.why}"
        step = Step(_daemon_step(Action.START, daemon.launcher), Action.START, "", target, Phase.DAEMON)
        return step._replace(launcher=daemon.launcher, running=daemon.running)

    def _adjust_step(self, daemon: DaemonChange) -> Step:
        """It needs nothing, and nothing waits for it."""
        target = f"{daemon.launcher}: {daemon.why}"
        step = Step(_daemon_step(Action.RELOAD, daemon.launcher), Action.RELOAD, "", target, Phase.DAEMON)
        return step._replace(launcher=daemon.launcher)

    def _retire_step(self, daemon: DaemonChange) -> Step:
        return Step(
            _daemon_step(Action.STOP, daemon.launcher),
            Action.STOP,
            "",
            daemon.launcher,
            Phase.RETIRE,
            needs=tuple(step for step in self._removals() if step.startswith(f"remove:{daemon.launcher}/")),
            running=daemon.running,
            launcher=daemon.launcher,
        )

    def _stray_daemon_steps(self) -> Iterator[Step]:
        for running in self.diff.stray_daemons:
            target = f"daemon of an earlier root, pid {running.pid}"
            step = Step(f"stop:daemon-{running.pid}", Action.STOP, "", target, Phase.STRAYS, running=running)
            yield step._replace(needs=self._all_ready(""))

    def _all_ready(self, launcher: str) -> tuple[str, ...]:
        """What must have gone well before a daemon is stopped whose services are to go on. Empty: of any launcher."""
        guarded = [change.service for change in self.diff.changes if change.service in self.guards]
        names = dict.fromkeys((*self.starting, *guarded))
        launchers = {change.service: change.unit.launcher for change in self.diff.changes}
        return tuple(step for name in names if launcher in ("", launchers[name]) for step in self._ready(name))

    def _ready(self, service: str) -> tuple[str, ...]:
        """What must have gone well before anything is stopped that a service replaces."""
        guard = self._guard_of(service)
        if service not in self._starting_names:
            return guard
        return (f"check:{service}", *self._install_of(service), *self.rendered.get(service, ()), *guard)

    def _reload_steps(self) -> Iterator[Step]:
        """One reading of the descriptions for all; a daemon that starts in this pass reads them anyway."""
        for launcher in sorted(self._reloads()):
            yield Step(f"reload:{launcher}", Action.RELOAD, "", launcher, Phase.RELOAD, launcher=launcher)

    def _reloads(self) -> set[str]:
        units = {
            self.services[name].launcher
            for change in self.diff.files
            if change.file.role is Role.UNIT
            for name in change.file.services
        }
        units |= set(self.diff.copies.values())
        return (units | (self.loading & self.diff.describing)) - self.restarted - self.waiting - {""}

    def _service_steps(self, change: Change) -> Iterator[Step]:
        if not change.acts:
            return
        stops = []
        for stray in change.strays:
            step = self._step(f"stop:pid-{stray.pid}", Action.STOP, change, f"pid {stray.pid}", Phase.STRAYS)
            stops.append(step.id)
            yield step._replace(running=stray, needs=self._gives_way_to(change))
        for old in change.gone:
            step = self._step(f"remove:{old.launcher}/{old.name}", Action.REMOVE, change, old.name, Phase.STOP)
            stops.append(step.id)
            yield step._replace(
                act=Act.REMOVE,
                unit=old.unit,
                running=old.running,
                launcher=old.launcher,
                needs=self._gives_way_to(change),
            )
        if change.act.starts:
            yield self._start_step(change, tuple(stops))
        if change.act is Act.LOAD:
            yield self._load_step(change)

    def _gives_way_to(self, change: Change) -> tuple[str, ...]:
        """What must have gone well before anything else of a service ends: what it starts from, and its launcher."""
        daemon = self._daemon_needs(change.unit.launcher) if change.act.starts else ()
        return (*self._ready(change.service), *daemon)

    def _start_step(self, change: Change, stops: tuple[str, ...]) -> Step:
        action = Action.RESTART if change.act.stops else Action.START
        service = self.services[change.service]
        needs = (
            *self._ready(change.service),
            *self._daemon_needs(service.launcher),
            *(self._reload_of(service.launcher) if change.act.loads else ()),
            *stops,
        )
        step = self._step(f"{action.value}:{change.service}", action, change, change.unit.name, Phase.START)
        return step._replace(needs=needs, act=change.act, running=change.running, restarts=change.restarts)

    def _load_step(self, change: Change) -> Step:
        launcher, name = change.unit
        step = self._step(f"reload:{launcher}/{name}", Action.RELOAD, change, name, Phase.START)
        return step._replace(needs=self._reload_of(launcher), act=change.act, running=change.running)

    def _reload_of(self, launcher: str) -> tuple[str, ...]:
        return (f"reload:{launcher}",) if launcher in self._reloads() else ()

    def _step(self, identifier: str, action: Action, change: Change, target: str, phase: Phase) -> Step:
        return Step(
            identifier,
            action,
            change.service,
            target,
            phase,
            wave=self.waves.get(change.service, 0),
            unit=change.unit,
            launcher=change.unit.launcher,
        )

    def _removals(self) -> tuple[str, ...]:
        return tuple(
            f"remove:{unit.launcher}/{unit.name}" for change in self.diff.changes if change.acts for unit in change.gone
        )
