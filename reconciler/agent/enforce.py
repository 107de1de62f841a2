"""One deployment in one pass: plan it, and carry the plan out. The commit it is held to is decided elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from reconciler.agent import inventory as book
from reconciler.agent.observe import Observation, read_notes
from reconciler.agent.store import Store, root_lock_path
from reconciler.agent.workspace import Workspace
from reconciler.core.change import Kind
from reconciler.core.diff import diff
from reconciler.core.model import Compiled, Deployment, Inventory, Observed, Process
from reconciler.core.outcome import StepResult
from reconciler.core.plan import Plan, Step, make_plan
from reconciler.core.report import DeploymentReport
from reconciler.host import files
from reconciler.host.lock import Holder, Lock
from reconciler.launchers import on_start
from reconciler.source import SourceError

if TYPE_CHECKING:
    from reconciler.agent.health import Health


class Busy(Exception):  # noqa: N818 - another pass, not an error of this one
    """Another pass holds the lock."""

    def __init__(self, holder: Holder, path: str) -> None:
        self.holder, self.path = holder, path
        super().__init__(f"another pass holds {path}")


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


@contextmanager
def alone(path: str) -> Iterator[None]:
    """Hold a lock. Raises `Busy`, `OSError`."""
    lock = Lock(path)
    holder = lock.acquire()
    if holder is not None:
        raise Busy(holder, path)
    try:
        yield
    finally:
        lock.release()


class Enforcer:
    """Brings deployments to what git wants of them."""

    def __init__(
        self, run: str, store: Store, workspace: Workspace, observer: Observer, asked_to_stop: Callable[[], bool]
    ) -> None:
        self.run = run
        self.store = store
        self.workspace = workspace
        self.observer = observer
        self.asked_to_stop = asked_to_stop

    def plan(self, observation: Observation) -> DeploymentReport:
        """The plan for one deployment. Reasons need all that was written; it is read where there is one to tell."""
        desired, inventory = observation.desired, observation.inventory
        observed = observation.finish()
        plan = make_plan(desired, diff(desired, observed, inventory))
        error = ""
        if plan.steps or any(change.kind is not Kind.KEEP for change in plan.diff.changes):
            try:
                plan = make_plan(desired, diff(desired, observed, inventory, self._full(desired).fields))
            except SourceError as failed:
                error = str(failed)
        report = DeploymentReport(plan, desired, observed, (), applied=False, error=error)
        return self._health(observation).look(report) if desired.watches or desired.verifies else report

    def _health(self, observation: Observation) -> Health:
        """Only where git says how to ask: without that nothing of it is loaded."""
        from reconciler.agent.health import Health

        return Health(observation, self.store.environment_path(observation.desired.environment))

    def apply(self, planned: DeploymentReport, observation: Observation) -> DeploymentReport:
        """Carry the very plan out that was made from this observation. Raises `Busy`."""
        if planned.error:
            return planned
        try:
            if not planned.plan.steps:
                self._adopt(planned, observation)
                return planned._replace(applied=True)
            began = time.monotonic()
            results, error = self._carry_out(planned, observation)
            seconds = time.monotonic() - began
            done = planned._replace(results=results, applied=True, seconds=seconds, error=error)
            if observation.desired.watches:
                done = self._health(observation).settle(done, self.observer.waits, self.asked_to_stop)
            return _noted_since(done) if observation.desired.notes else done
        except OSError as failed:
            return planned._replace(error=_said(failed, self.store.folder))

    def _full(self, desired: Deployment) -> Compiled:
        """With contents and effective values; a deployment that git no longer has, has none."""
        if not desired.services and not desired.files:
            return Compiled(desired, {}, {})
        return self.workspace.compile(desired.commit).compiled[desired.environment]

    def _adopt(self, planned: DeploymentReport, observation: Observation) -> None:
        """Note as ours what runs as git wants it, where the inventory does not say so yet."""
        desired, inventory = observation.desired, observation.inventory
        processes, by_hand = _main(planned.observed, desired), _by_hand(planned)
        if book.is_current(inventory, desired, processes, by_hand, planned.plan.diff.held_files):
            return
        full = self._full(desired)
        now = book.after_apply(inventory, full, planned.plan, (), processes, by_hand=by_hand)
        self._save(desired, now, inventory)

    def _carry_out(self, planned: DeploymentReport, observation: Observation) -> tuple[tuple[StepResult, ...], str]:
        """What became of each step, and what went wrong apart from them."""
        from reconciler.apply.executor import Executor

        desired, plan = observation.desired, planned.plan
        compiled = self._full(desired)
        files.make_folder(desired.root, 0o755)
        files.make_folder(os.path.dirname(root_lock_path(desired.root)), 0o700)
        with alone(root_lock_path(desired.root)):
            before = book.before_apply(observation.inventory, desired, plan)
            self._save(desired, before, observation.inventory)
            self.observer.deployment(plan, self.run)
            executor = Executor(plan, compiled, observation.backends, self.observer, self.asked_to_stop)
            results = executor.run()
            self._record(plan, results)
            processes = {**_main(planned.observed, desired), **executor.up}
            try:
                after = book.after_apply(before, compiled, plan, results, processes, by_hand=_by_hand(planned))
                self._save(desired, after, before)
            except OSError as error:  # what was noted before still holds: the next pass notes the rest
                return results, _said(error, self.store.folder)
            return results, ""

    def _save(self, desired: Deployment, new: Inventory, old: Inventory) -> None:
        if not (desired.services or desired.others or new.services or new.files or new.managers or new.adopted):
            self.store.forget(desired.environment, desired.root)
        elif new != old:
            self.store.save_inventory(desired.environment, desired.root, new)

    def _record(self, plan: Plan, results: tuple[StepResult, ...]) -> None:
        from reconciler.agent import journal

        entry = {
            "run": self.run,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "commit": plan.commit,
            "changes": {c.service: [c.kind.value, *c.reasons] for c in plan.diff.changes if c.kind is not Kind.KEEP},
            "steps": [[r.id, r.status.value, r.seconds, r.message] for r in results],
            **({"findings": plan.diff.findings} if plan.diff.findings else {}),
        }
        with suppress(OSError):  # the pass has done its work; the next line says so as well
            journal.append(self.store.journal_path(plan.environment), entry)


def _noted_since(report: DeploymentReport) -> DeploymentReport:
    """With the notes as they are now: a start may have left one, and a start that went well has taken one away."""
    others = tuple(found for found in report.findings if found.check != on_start.CHECK)
    findings = tuple(sorted((*others, *read_notes(report.desired)[0])))
    return report._replace(plan=report.plan._replace(diff=report.plan.diff._replace(findings=findings)))


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
    return f"{error.filename or place}: {error.strerror or error}"
