"""One deployment in one pass: plan it, and carry the plan out. The commit it is held to is decided elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from reconciler.agent.alone import Busy, alone
from reconciler.agent.memory import inventory as book
from reconciler.agent.memory.store import Store, root_lock_path
from reconciler.agent.observe import Observation, read_notes
from reconciler.agent.workspace import Workspace
from reconciler.core.change import Kind
from reconciler.core.desired import Compiled, Deployment, Trace
from reconciler.core.diff import diff
from reconciler.core.inventory import Inventory
from reconciler.core.observed import Observed, Process
from reconciler.core.outcome import StepResult
from reconciler.core.plan import Plan, Step
from reconciler.core.planner import make_plan
from reconciler.core.report import DeploymentReport
from reconciler.host import files
from reconciler.launchers import on_start
from reconciler.source import SourceError

if TYPE_CHECKING:
    from reconciler.agent.cleanup.remains import Remains
    from reconciler.agent.cleanup.versions import Versions
    from reconciler.agent.holding.approving import Approving
    from reconciler.agent.rollout.health import Health
    from reconciler.agent.rollout.rollouts import Rollouts
    from reconciler.core.approval import Gate
    from reconciler.core.view import Fields


Proves = Callable[[Sequence[Step]], Mapping[str, StepResult]]


class Observer(Protocol):
    """Is told of a pass while it goes on: for the log, for progress, and for tests that end it at a boundary."""

    def deployment(self, plan: Plan, run: str) -> None:
        """Steps of this deployment follow."""

    def begins(self, step: Step) -> None: ...

    def progress(self, step: Step, line: str) -> None: ...

    def ended(self, step: Step, result: StepResult) -> None: ...

    def waits(self) -> None: ...

    def event(self, level: str, name: str, **fields: object) -> None:
        """Something that belongs to no step."""

    def flush(self) -> None:
        """Write what was held back."""


class Enforcer:
    """Brings deployments to what git wants of them."""

    def __init__(
        self, run: str, store: Store, workspace: Workspace, observer: Observer, asked_to_stop: Callable[[], bool]
    ) -> None:
        self.asks_remote = True
        self.run = run
        self.store = store
        self.workspace = workspace
        self.observer = observer
        self.asked_to_stop = asked_to_stop
        self._rollouts: dict[str, Rollouts] = {}  # by environment
        self.cleans = True  # False: old versions and what launchers have left are not looked at
        self._versions: dict[str, Versions] = {}  # by environment, where git says how many stay
        self._remains: dict[str, Remains] = {}  # likewise, where launchers leave something
        self._everything: Mapping[str, Deployment] = {}

    def begin(self, deployments: Mapping[str, Deployment]) -> None:
        """Deployments are begun, perhaps anew: an environment may have left the site."""
        self._rollouts.clear()
        self._everything = deployments

    def hold_back(self, wanted: Deployment) -> Deployment:
        """What git wants, but for specifications that failed: in their place, what was healthy before."""
        name = wanted.environment
        path, _ = self.store.rollouts_paths(name, wanted.root)
        if not (wanted.watches or wanted.rollbacks or os.path.exists(path)):
            return wanted
        from reconciler.agent.rollout.rollouts import Rollouts

        self._rollouts[name] = Rollouts(wanted, self.store, self.workspace)
        return self._rollouts[name].held.deployment

    def plan(self, observation: Observation) -> DeploymentReport:
        """The plan for one deployment. Reasons need all that was written; it is read where there is one to tell."""
        desired, inventory = observation.desired, observation.inventory
        observed = observation.finish()
        plan = make_plan(desired, diff(desired, observed, inventory))
        error, gate, why = "", None, None
        if plan.steps or plan.waits or any(change.kind is not Kind.KEEP for change in plan.diff.changes):
            from reconciler.agent.why import basics

            rollouts = self._rollouts.get(desired.environment)
            back = rollouts.held.names if rollouts else frozenset()
            why = basics(plan.diff, desired, observed, inventory, back)
            try:
                full = self._full(desired)
                if desired.secrets and _differs(full.deployment, desired):
                    return self.plan(observation.hold_to(full.deployment))
                observed, gate = self._gated(desired, observed, inventory, full.fields)
                plan = make_plan(desired, diff(desired, observed, inventory, full.fields))
            except SourceError as failed:
                error = str(failed)
        if gate is not None and gate.told:
            plan = plan._replace(diff=plan.diff._replace(warnings=(*plan.diff.warnings, *gate.told)))
        if desired.retentions and self.cleans:
            plan = self._retaining(observation).into(plan, observed)
        if (desired.traces or inventory.traces) and self.cleans:
            plan = self._leaving(observation).into(plan, observed)
        report = DeploymentReport(plan, desired, observed, (), applied=False, error=error, gate=gate, why=why)
        report = self._health(observation).look(report) if desired.watches or desired.verifies else report
        rollouts = self._rollouts.get(desired.environment)
        return rollouts.told(report) if rollouts else report

    def _gated(
        self, desired: Deployment, observed: Observed, inventory: Inventory, fields: Fields
    ) -> tuple[Observed, Gate | None]:
        """With what waits for a person."""
        from reconciler.core.approval import is_gated

        if not is_gated(desired, inventory):
            return observed, None
        from reconciler.core.rollback import Held

        rollouts = self._rollouts.get(desired.environment)
        held = rollouts.held._replace(deployment=desired) if rollouts else Held(desired)
        git = self._of_git(desired).deployment if held.names else desired
        return self._approving(desired).judge(held, observed, inventory, fields, git)

    def _approving(self, desired: Deployment) -> Approving:
        """Only where git has a person approve something: without that nothing of it is loaded."""
        from reconciler.agent.holding.approving import Approving

        return Approving(self.store, self.workspace, desired.environment, asks_remote=self.asks_remote)

    def _retaining(self, observation: Observation) -> Versions:
        """Only where git says how many old versions stay: without that nothing of it is loaded."""
        from reconciler.agent.cleanup.versions import Around, Versions

        name = observation.desired.environment
        around = Around(self.store, self._everything, observation.inventory, self._rollouts.get(name))
        self._versions[name] = Versions(observation.desired, around)
        return self._versions[name]

    def _leaving(self, observation: Observation) -> Remains:
        """Only where launchers leave something besides what is rendered: else nothing of it is loaded."""
        from reconciler.agent.cleanup.remains import Remains

        desired, rollouts = observation.desired, self._rollouts.get(observation.desired.environment)
        held = rollouts is not None and bool(rollouts.held.names)
        found = Remains(desired, observation.inventory, self._everything.values(), held=held)
        self._remains[desired.environment] = found
        return found

    def _left(self, environment: str) -> tuple[Trace, ...] | None:
        """None where that is not looked at in this pass."""
        found = self._remains.get(environment)
        return found.left() if found is not None and self.cleans else None

    def _health(self, observation: Observation) -> Health:
        """Only where git says how to ask: without that nothing of it is loaded."""
        from reconciler.agent.rollout.health import Health

        return Health(observation, self.store.environment_path(observation.desired.environment))

    def apply(self, planned: DeploymentReport, observation: Observation) -> DeploymentReport:
        """Carry the very plan out that was made from this observation. Raises `Busy`."""
        if planned.error:
            return planned
        try:
            if observation.desired.environment in self._versions:
                self._versions[observation.desired.environment].begin()
            return self._followed(planned, observation)
        except OSError as failed:
            return planned._replace(error=_said(failed, self.store.folder))

    def _followed(self, planned: DeploymentReport, observation: Observation) -> DeploymentReport:
        """Until what was begun has proved healthy, or what was healthy before is there again."""
        rollouts = self._rollouts.get(observation.desired.environment)
        if rollouts is None:
            return self._apply(planned, observation)
        rollouts.begin(planned)
        done = self._apply(planned, observation)
        return rollouts.follow(done, observation, self._go_back, stop=self.asked_to_stop())

    def _apply(self, planned: DeploymentReport, observation: Observation) -> DeploymentReport:
        gates = self._gates(planned, observation)
        if gates is not None:
            gates.begin(planned, self.run)
        if not planned.plan.steps:
            self._adopt(planned, observation)
            if gates is not None:
                gates.end(planned, (), self.run)
            return planned._replace(applied=True)
        began = time.monotonic()
        results, error = self._carry_out(planned, observation)
        seconds = time.monotonic() - began
        if gates is not None:
            gates.end(planned, results, self.run)
        done = planned._replace(results=results, applied=True, seconds=seconds, error=error)
        self._remember(done, observation.inventory)
        if observation.desired.watches:
            done = self._health(observation).settle(done, self.observer.waits, self.asked_to_stop)
            self._remember_health(done)
        return _noted_since(done) if observation.desired.notes else done

    def _go_back(self, desired: Deployment, first: Observation) -> DeploymentReport:
        """In the same pass, to what was healthy before: a plan of its own, made from another look."""
        recalled = self.store.inventory(desired.environment, desired.root)
        observation = Observation(desired, recalled.inventory, recalled.damage, first.windows)
        self.cleans = False  # that is done
        try:
            planned = self.plan(observation)
            return planned if planned.error else self._apply(planned, observation)
        except Busy as busy:
            return planned._replace(error=f"another pass is at work: {busy.holder} ({busy.path})")
        finally:
            self.cleans = True
            observation.close()

    def _gates(self, planned: DeploymentReport, observation: Observation) -> Approving | None:
        """None where nothing waits for a person, nor has."""
        folder = self.store.plans_folder(observation.desired.environment)
        waits = planned.gate is not None or os.path.isdir(folder)
        return self._approving(observation.desired) if waits else None

    def _full(self, desired: Deployment) -> Compiled:
        """With contents and effective values; a deployment that git no longer has, has none."""
        if not desired.services and not desired.files:
            return Compiled(desired, {}, {})
        compiled = self._of_git(desired)
        rollouts = self._rollouts.get(desired.environment)
        return rollouts.full(compiled) if rollouts else compiled

    def hidden(self, desired: Deployment) -> tuple[str, ...]:
        """The secrets of a deployment, which nothing that is told may hold."""
        return self._full(desired).hidden if desired.secrets else ()

    def _of_git(self, desired: Deployment) -> Compiled:
        """The same, with nothing laid over it."""
        return self.workspace.reveal(desired.commit).compiled[desired.environment]

    def _adopt(self, planned: DeploymentReport, observation: Observation) -> None:
        """Note as ours what runs as git wants it, where the inventory does not say so yet."""
        desired, inventory = observation.desired, observation.inventory
        processes, by_hand = _main(planned.observed, desired), _by_hand(planned)
        found, left = planned.plan.diff, self._left(desired.environment)
        unwritten, former = found.held_files, found.former_daemons
        current = book.is_current(inventory, desired, processes, by_hand, unwritten, former=former, left=left)
        if current and not found.forgotten:
            self.store.finish_inventory(desired.environment, desired.root, inventory)
            return
        full = self._full(desired)
        now = book.after_apply(inventory, full, planned.plan, (), processes, by_hand=by_hand, left=left)
        self._save(desired, now, inventory)

    def _carry_out(self, planned: DeploymentReport, observation: Observation) -> tuple[tuple[StepResult, ...], str]:
        """What became of each step, and what went wrong apart from them."""
        from reconciler.agent.secrets.masked import Masked
        from reconciler.apply.executor import Executor
        from reconciler.core.drains import drains

        desired, plan = observation.desired, planned.plan
        compiled = self._full(desired)
        files.make_folder(desired.root, 0o755)
        files.make_folder(os.path.dirname(root_lock_path(desired.root)), 0o700)
        with alone(root_lock_path(desired.root)):
            if desired.secrets:  # one of them may be another than when the kept form was made
                self.workspace.keep(self._of_git(desired))
            before = book.before_apply(observation.inventory, desired, plan)
            self._save(desired, before, observation.inventory)
            self.observer.deployment(plan, self.run)
            if plan.diff.former_daemons:
                observation.go_back(plan.diff.former_daemons & _beginning(plan))
            watcher = Masked(self.observer, compiled.hidden)
            executor = Executor(
                plan,
                compiled,
                observation.backends,
                watcher,
                self.asked_to_stop,
                proves=self._prover(planned, observation),
                drains=drains(desired, observation.inventory),
                lock_folder=os.path.dirname(root_lock_path(desired.root)),
            )
            executor.versions = self._versions.get(desired.environment)
            executor.remains = self._remains.get(desired.environment)
            results = watcher.mask_all(executor.run())
            processes = {**_main(planned.observed, desired), **executor.up}
            try:
                by_hand, left = _by_hand(planned), self._left(desired.environment)
                after = book.after_apply(before, compiled, plan, results, processes, by_hand=by_hand, left=left)
                self._save(desired, after, before)
            except OSError as error:  # what was noted before still holds: the next pass notes the rest
                return results, _said(error, self.store.folder)
            return results, ""

    def _prover(self, planned: DeploymentReport, observation: Observation) -> Proves:
        """What tells whether replicas are healthy for which others wait."""
        if not observation.desired.sets:
            return lambda _steps: {}
        from reconciler.agent.rollout.proving import Prover

        health = self._health(observation) if observation.desired.watches else None
        return Prover(planned, observation.backends, health)

    def _save(self, desired: Deployment, new: Inventory, old: Inventory) -> None:
        traces = desired.folders and new.traces  # of what git has not at all any more they are left
        ours = new.services or new.files or new.managers or new.adopted or traces
        if not (desired.services or desired.others or ours):
            self.store.forget(desired.environment, desired.root)
        elif new != old:
            self.store.save_inventory(desired.environment, desired.root, new)

    def _remember(self, done: DeploymentReport, inventory: Inventory) -> None:
        """Before services are waited for: a pass that is killed meanwhile has done this all the same."""
        from reconciler.agent.entry import entry_of

        by = f"{self.workspace.host.account} on {self.workspace.host.name}"
        before_health = done._replace(health={})  # what was asked before the steps says nothing of what they did
        entry = {**entry_of(self.run, by, before_health, inventory), **self._besides(done)}
        self.record(entry, done.plan.environment)

    def _besides(self, done: DeploymentReport) -> dict[str, object]:
        """What only some deployments have: what went back, who approved it."""
        environment, gate = done.plan.environment, done.gate
        back = self._rollouts[environment].entry() if environment in self._rollouts else {}
        approved = {"approval": gate.approval._asdict()} if gate and gate.approval else {}
        return {**back, **approved}

    def _remember_health(self, done: DeploymentReport) -> None:
        from reconciler.agent.entry import health_of

        if done.ailing or done.progressing:
            self.record(health_of(self.run, done), done.plan.environment)

    def record(self, entry: Mapping[str, object], environment: str) -> None:
        """Put a line into the journal."""
        from reconciler.agent.memory import journal

        with suppress(OSError):  # the pass has done its work; the next line says so as well
            journal.append(self.store.journal_path(environment), entry)


def _noted_since(report: DeploymentReport) -> DeploymentReport:
    """With the notes as they are now: a start may have left one, and a start that went well has taken one away."""
    others = tuple(found for found in report.findings if found.check != on_start.CHECK)
    findings = tuple(sorted((*others, *read_notes(report.desired)[0])))
    return report._replace(plan=report.plan._replace(diff=report.plan.diff._replace(findings=findings)))


def _differs(full: Deployment, kept: Deployment) -> bool:
    """A secret has become another one, or cannot be had any more, since the form that was kept was made."""

    def specs(desired: Deployment) -> tuple[object, ...]:
        return [(one.name, one.spec) for one in desired.services], [one[:3] for one in desired.files], desired.gaps

    return specs(full) != specs(kept)


def _beginning(plan: Plan) -> frozenset[str]:
    return frozenset(daemon.launcher for daemon in plan.diff.daemons if daemon.act.begins)


def _main(observed: Observed, desired: Deployment) -> dict[str, Process]:
    """The main processes by service: by their marks, or by their units where they hide them."""
    found = {p.mark.service: p for p in observed.processes.values() if p.mark and p.mark.service}
    for service in desired.services:
        unit = observed.units.get((service.launcher, service.unit))
        process = observed.processes.get(unit.pid) if unit else None
        if process is not None and process.mark is None:
            found[service.name] = process
    return found


def _by_hand(planned: DeploymentReport) -> dict[str, Process]:
    """The processes of services that run as they were adopted; one that has just ended is left out."""
    processes = planned.observed.processes
    return {name: processes[pid] for name, pid in planned.plan.diff.by_hand.items() if pid in processes}


def _said(error: OSError, place: str) -> str:
    hint = "; `reconcile doctor` tells what this account lacks" if isinstance(error, PermissionError) else ""
    return f"{error.filename or place}: {error.strerror or error}{hint}"
