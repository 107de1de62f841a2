"""One pass: which commit, what runs, what differs, and, unless it is only a plan, making the two agree."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple, Protocol

from reconciler.agent import inventory as book
from reconciler.agent.config import Agent
from reconciler.agent.follow import Chosen, choose
from reconciler.agent.observe import Observation
from reconciler.agent.saved import SavedPlan, fingerprint
from reconciler.agent.store import SourceState, Store, root_lock_path
from reconciler.agent.workspace import Workspace
from reconciler.core.change import Kind
from reconciler.core.diff import diff
from reconciler.core.model import Deployment, Inventory, Process
from reconciler.core.outcome import StepResult
from reconciler.core.plan import Plan, Step, make_plan
from reconciler.core.report import DeploymentReport, Notice, PassReport
from reconciler.host import files
from reconciler.host.lock import Holder, Lock
from reconciler.source import Mirror, SourceError


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


class Host(NamedTuple):
    """Who and where this pass is."""

    name: str
    account: str


def this_host() -> Host:
    import pwd

    try:
        account = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        account = str(os.geteuid())
    return Host(os.uname().nodename.partition(".")[0], account)


class Pass:
    """The parts of one pass. `run` goes through it; `plan` leaves out everything that changes something."""

    def __init__(
        self,
        agent: Agent,
        observer: Observer,
        *,
        asked_to_stop: Callable[[], bool] = lambda: False,
        host: Host | None = None,
    ) -> None:
        host = host or this_host()
        self.agent = agent
        self.observer = observer
        self.asked_to_stop = asked_to_stop
        self.store = Store(agent.state_dir, agent.site)
        self.mirror = Mirror(agent.repo, agent.branch, self.store.mirror_folder(agent.repo), agent.timeout)
        self.workspace = Workspace(agent, self.store, self.mirror, host.name, host.account)
        self.id = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"

    # ------------------------------------------------------------ the three ways through

    def run(self, *, accept_rewind: bool = False) -> PassReport:
        """A whole pass. Raises `Busy`, `SourceError`, `OSError` where the state directory cannot be used."""
        with self._alone(self.store.lock_path()):
            return self._go(apply=True, accept_rewind=accept_rewind)

    def run_saved(self, saved: SavedPlan, *, accept_rewind: bool = False) -> PassReport:
        """Carry out a saved plan, if it still is the plan that would be made; otherwise nothing is done."""
        with self._alone(self.store.lock_path()):
            known = self.store.source()
            poll = self.mirror.poll()
            begun: dict[str, Observation] = {}
            try:
                chosen = choose(self.agent, known, self.mirror, poll, self.workspace, accept_rewind=accept_rewind)
                begun = self._begin(self._compiled(chosen.commit)) if chosen.commit == saved.commit else {}
                plans = {name: self._planned(observation).plan for name, observation in begun.items()}
                if {name: fingerprint(plan) for name, plan in plans.items()} != saved.fingerprints:
                    return self._stale(known, saved)
                self._remember(known, chosen)
                _close(begun)
                begun = self._begin(self._compiled(chosen.commit))
                return self._report(chosen, begun, apply=True)
            finally:
                poll.close()
                _close(begun)

    def _stale(self, known: SourceState, saved: SavedPlan) -> PassReport:
        message = (
            f"{saved.path} was made from another state of this host or of the repo: nothing of it is applied. "
            "Make it anew with `reconcile plan --out`, and read it again"
        )
        return PassReport(
            self.agent.site, known.valid, "", "", "", notices=(Notice(message, failed=False),), stale=True
        )

    @contextmanager
    def _alone(self, path: str) -> Iterator[None]:
        self.store.prepare()
        lock = Lock(path)
        holder = lock.acquire()
        if holder is not None:
            raise Busy(holder, path)
        try:
            yield
        finally:
            lock.release()

    def plan(self, *, accept_rewind: bool = False) -> PassReport:
        """What `run` would do now. It changes nothing but the mirror of the repo. Raises as `run` does."""
        with self._alone(self.store.lock_path()):
            return self._go(apply=False, accept_rewind=accept_rewind)

    def look(self) -> PassReport:
        """What runs, against the last valid commit, without asking the remote unless none is known yet."""
        known = self.store.source()
        if not known.valid:
            return self.plan()
        begun = self._begin(self.workspace.kept(known.valid, self._environments(known.environments)))
        chosen = Chosen(known.valid, known)
        return self._report(chosen, begun or self._begin(self._compiled(known.valid)), apply=False)

    # ------------------------------------------------------------ one pass

    def _go(self, *, apply: bool, accept_rewind: bool) -> PassReport:
        """The launchers are asked before the remote is waited for: mostly nothing is new, and both take their time."""
        known = self.store.source()
        poll = self.mirror.poll()
        begun: dict[str, Observation] = {}
        try:
            begun = self._begin(self.workspace.kept(known.valid, self._environments(known.environments)))
            chosen = choose(self.agent, known, self.mirror, poll, self.workspace, accept_rewind=accept_rewind)
            if chosen.commit and (chosen.commit != known.valid or not begun):
                _close(begun)
                begun = self._begin(self._compiled(chosen.commit))
                if apply:
                    self._keep(chosen.commit)
            if apply:
                self._remember(known, chosen)
            return self._report(chosen, begun, apply=apply)
        finally:
            poll.close()
            _close(begun)

    def _environments(self, known: tuple[str, ...]) -> tuple[str, ...]:
        return self.agent.environments or known

    def _begin(self, deployments: Mapping[str, Deployment]) -> dict[str, Observation]:
        return {
            name: Observation(deployment, self.store.inventory(name, deployment.root))
            for name, deployment in deployments.items()
        }

    def _compiled(self, commit: str) -> dict[str, Deployment]:
        return {name: compiled.deployment for name, compiled in self.workspace.compile(commit).compiled.items()}

    def _keep(self, commit: str) -> None:
        for compiled in self.workspace.compile(commit).compiled.values():
            self.workspace.keep(compiled)

    def _remember(self, known: SourceState, chosen: Chosen) -> None:
        if chosen.state._replace(contact=0.0) != known._replace(contact=0.0):
            self.store.save_source(chosen.state)
            if chosen.commit:
                self.mirror.pin(f"valid-{self.agent.site}", chosen.commit)
        elif chosen.state.contact != known.contact:
            self.store.touch_contact(chosen.state.contact)

    def _report(self, chosen: Chosen, begun: Mapping[str, Observation], *, apply: bool) -> PassReport:
        reports = tuple(self._deployment(observation, apply=apply) for _, observation in sorted(begun.items()))
        told = any(report.plan.steps for report in reports) or bool(chosen.problems)
        subject, author = self._describe(chosen.commit) if told else ("", "")
        head = chosen.state.head if chosen.state.head != chosen.commit else ""
        return PassReport(
            self.agent.site, chosen.commit, head, subject, author, reports, chosen.problems, chosen.notices, self.id
        )

    def _describe(self, commit: str) -> tuple[str, str]:
        with suppress(SourceError):
            if commit:
                info = self.mirror.commit_info(commit)
                return info.subject, info.author.partition(" <")[0]
        return "", ""

    # ------------------------------------------------------------ one deployment

    def _deployment(self, observation: Observation, *, apply: bool) -> DeploymentReport:
        planned = self._planned(observation)
        if not apply or planned.error:
            return planned
        processes = _main(planned.observed.processes)
        try:
            if planned.plan.steps:
                began = time.monotonic()
                results = self._apply(planned.plan, observation, processes)
                return planned._replace(results=results, applied=True, seconds=time.monotonic() - began)
            self._adopt(planned.plan, observation, processes)
            return planned._replace(applied=True)
        except OSError as error:
            return planned._replace(error=f"{error.filename or planned.desired.root}: {error.strerror or error}")

    def _planned(self, observation: Observation) -> DeploymentReport:
        """The plan for one deployment. Reasons need all that was written; it is read where there is one to tell."""
        desired, inventory = observation.desired, observation.inventory
        observed = observation.finish()
        plan = make_plan(desired, diff(desired, observed, inventory))
        error = ""
        if plan.steps or any(change.kind is not Kind.KEEP for change in plan.diff.changes):
            try:
                fields = self.workspace.compile(desired.commit).compiled[desired.environment].fields
                plan = make_plan(desired, diff(desired, observed, inventory, fields))
            except SourceError as failed:
                error = str(failed)
        return DeploymentReport(plan, desired, observed, (), applied=False, error=error)

    def _adopt(self, plan: Plan, observation: Observation, processes: Mapping[str, Process]) -> None:
        """Note as ours what runs as git wants it, where the inventory does not say so yet."""
        desired, inventory = observation.desired, observation.inventory
        if book.is_current(inventory, desired):
            return
        compiled = self.workspace.compile(desired.commit).compiled[desired.environment]
        self._save(desired, book.after_apply(inventory, compiled, plan, (), processes), inventory)

    def _apply(self, plan: Plan, observation: Observation, processes: Mapping[str, Process]) -> tuple[StepResult, ...]:
        from reconciler.apply.executor import Executor

        desired = observation.desired
        compiled = self.workspace.compile(desired.commit).compiled[desired.environment]
        files.make_folder(desired.root, 0o755)
        files.make_folder(os.path.dirname(root_lock_path(desired.root)), 0o700)
        with self._alone(root_lock_path(desired.root)):
            before = book.before_apply(observation.inventory, desired, plan)
            self._save(desired, before, observation.inventory)
            self.observer.deployment(plan, self.id)
            executor = Executor(plan, compiled, observation.backends, self.observer, self.asked_to_stop)
            results = executor.run()
            after = book.after_apply(before, compiled, plan, results, {**processes, **executor.up})
            self._save(desired, after, before)
            self._record(plan, results)
            return results

    def _save(self, desired: Deployment, new: Inventory, old: Inventory) -> None:
        if new != old:
            self.store.save_inventory(desired.environment, desired.root, new)

    def _record(self, plan: Plan, results: tuple[StepResult, ...]) -> None:
        from reconciler.agent import journal

        entry = {
            "run": self.id,
            "at": time.time(),
            "commit": plan.commit,
            "changes": {c.service: [c.kind.value, *c.reasons] for c in plan.diff.changes if c.kind.value != "keep"},
            "steps": [[r.id, r.status.value, r.seconds, r.message] for r in results],
        }
        with suppress(OSError):  # the pass has done its work; the next line says so as well
            journal.append(self.store.journal_path(plan.environment), entry)


def _main(processes: Mapping[int, Process]) -> dict[str, Process]:
    """The main processes by service."""
    return {process.mark.service: process for process in processes.values() if process.mark and process.mark.service}


def _close(begun: Mapping[str, Observation]) -> None:
    for observation in begun.values():
        observation.close()
