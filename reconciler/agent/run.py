"""One pass: which commit, what runs, what differs, and, unless it is only a plan, making the two agree."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from reconciler.agent.alone import Busy, alone
from reconciler.agent.config import Agent
from reconciler.agent.enforce import Enforcer, Observer
from reconciler.agent.follow import Chosen, choose
from reconciler.agent.here import Host, this_host
from reconciler.agent.holding.over import ended
from reconciler.agent.holding.windows import Windows
from reconciler.agent.memory.store import DamagedError, SourceState, Store
from reconciler.agent.observe import Observation
from reconciler.agent.saved import SavedPlan
from reconciler.agent.workspace import Workspace
from reconciler.core.desired import Deployment, Policy, without_services
from reconciler.core.outcome import Status
from reconciler.core.problem import Problem
from reconciler.core.report import DeploymentReport, Notice, PassReport
from reconciler.core.standing import as_it_runs
from reconciler.launchers.base import Shared
from reconciler.source import Mirror, SourceError

if TYPE_CHECKING:
    from reconciler.agent.cleanup.purge import Purge

__all__ = ["Busy", "Observer", "Pass"]

_PATIENCE = 60.0  # seconds that another pass may take until people are told of what was cleaned up


class InvalidCommit(Exception):  # noqa: N818 - it says what is so
    """The commit that the site is held to does not validate here and now; nothing is done."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__(f"{len(problems)} problems")


class Pass:
    """The parts of one pass. `run` goes through it; `plan` leaves out everything that changes something."""

    def __init__(
        self,
        agent: Agent,
        observer: Observer,
        *,
        asked_to_stop: Callable[[], bool] = lambda: False,
        host: Host | None = None,
        ignore_windows: bool = False,
        explains: bool = False,
    ) -> None:
        """`explains`: what is to be done is told with who wrote it in git, and with the lines of files."""
        self.host = host = host or this_host()
        self.agent = agent
        self.observer = observer
        self.asked_to_stop = asked_to_stop
        self.explains = explains
        self.is_awaited: Callable[[], bool] = lambda: False  # clean-up ends then, and the next pass goes on with it
        self.elsewhere: tuple[tuple[str, str], ...] = ()
        self.variables: tuple[str, ...] = ()  # of our own environment, that git names as secrets
        self.store = Store(agent.state_dir, agent.site)
        self.windows = Windows(ignored=ignore_windows, pauses=self.store.pauses)
        self.mirror = Mirror(
            agent.repo, agent.branch, self.store.mirror_folder(agent.repo), agent.timeout, self._must_stop
        )
        self.workspace = Workspace(agent, self.store, self.mirror, host)
        self.id = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
        self.enforcer = Enforcer(self.id, self.store, self.workspace, observer, self._must_stop)

    def _must_stop(self) -> bool:
        return self.asked_to_stop()

    # ------------------------------------------------------------ the three ways through

    def run(self, *, accept_rewind: bool = False) -> PassReport:
        """A whole pass. Raises `Busy`, `SourceError`, `InvalidInput` for keys of the agent's that cannot be used, and
        `OSError` where the state directory cannot be."""
        return self._go(apply=True, accept_rewind=accept_rewind)

    def plan(self, *, accept_rewind: bool = False) -> PassReport:
        """What `run` would do now. It changes nothing but the mirror of the repo. Raises as `run` does."""
        return self._go(apply=False, accept_rewind=accept_rewind)

    def run_saved(self, saved: SavedPlan, *, accept_rewind: bool = False) -> PassReport:
        """Carry out a saved plan, if it still is the plan that would be made; otherwise nothing is done."""
        return self._go(apply=True, accept_rewind=accept_rewind, saved=saved)

    def look(self) -> PassReport:
        """What runs, against the last valid commit, without asking the remote unless none is known yet."""
        known, notices = self._known()
        if not known.valid:
            return self.plan()
        return self._scheduled(lambda: self._look(known, notices), mend=False)

    def _look(self, known: SourceState, notices: tuple[Notice, ...]) -> PassReport:
        self.enforcer.asks_remote = False
        if known.head != known.valid:
            stuck = f"git is at {known.head[:8]}, which is not valid; `reconcile plan` tells why"
            notices = (*notices, Notice(stuck, failed=True))
        begun: dict[str, Observation] = {}
        self.enforcer.cleans = False
        try:
            kept = self._kept(known)
            begun = self._begin(known.valid, kept or self._compiled(known.valid))
            reports = self._each(begun, {}, apply=False)
            notices = (*notices, *self._troubles(reports))
            reports = {name: _as_it_runs(report, begun[name]) for name, report in reports.items()}
            return self._report(Chosen(known.valid, known, notices=notices), reports)
        except InvalidCommit as invalid:
            return self._report(Chosen(known.valid, known, invalid.problems, notices), {})
        finally:
            _close(begun)
            self.windows.close()

    def _troubles(self, reports: Mapping[str, DeploymentReport]) -> Iterator[Notice]:
        """What the last pass failed at, where it is still to be done."""
        from reconciler.agent.memory import journal

        for environment, report in reports.items():
            entry = journal.last(self.store.journal_path(environment)) if report.plan.steps else {}
            steps = entry.get("steps", ()) if entry.get("commit") == report.plan.commit else ()
            failed = [(name, message) for name, status, _, message in steps if status == Status.FAILED.value]
            for name, message in failed[:1]:
                more = f" (and at {len(failed) - 1} more)" if len(failed) > 1 else ""
                said = str(message).partition("\n")[0]
                what = f"{environment}: the pass of {entry.get('at')} failed at {name}{more}: {said}"
                yield Notice(what, failed=False)

    # ------------------------------------------------------------ one pass

    def _go(self, *, apply: bool, accept_rewind: bool, saved: SavedPlan | None = None) -> PassReport:
        self.store.prepare()
        with alone(self.store.lock_path()):
            report = self._scheduled(
                lambda: self._through(apply=apply, accept_rewind=accept_rewind, saved=saved), mend=apply
            )
            purges = any(one.desired.cleanups for one in report.deployments)
            if not purges:
                return self._told(report) if apply else report
        return self._purged(report) if apply else self._looked(report)

    def _purge(self, report: PassReport) -> Purge:
        """Only where git has rules for clean-up: without that nothing of it is loaded."""
        from reconciler.agent.cleanup.purge import Purge

        return Purge(self.enforcer, report.deployments, self.is_awaited)

    def _looked(self, report: PassReport) -> PassReport:
        """With what would be removed of scratch folders."""
        purge = self._purge(report)
        return self._with(report, tuple(map(purge.look, report.deployments)), purge.notices())

    def _purged(self, report: PassReport) -> PassReport:
        """With what was removed of them. Whoever wants to be told is told of all at once."""
        purge = self._purge(report)
        done = self._with(report, tuple(map(purge.carry_out, report.deployments)), purge.notices())
        if not (self.agent.notify or self.agent.metrics):
            return done
        lock = self.store.lock_path()
        try:
            with alone(lock, _PATIENCE):
                return self._told(done)
        except Busy as busy:
            why = f"nobody was told of this pass: {busy.holder} is at work ({lock})"
            return done._replace(notices=(*done.notices, Notice(why, failed=False)))

    def _with(
        self, report: PassReport, deployments: tuple[DeploymentReport, ...], notices: tuple[Notice, ...]
    ) -> PassReport:
        report = report._replace(deployments=deployments, notices=(*report.notices, *notices))
        if report.subject or not any(one.plan.steps for one in deployments):
            return report
        subject, author = self._describe(report.commit)
        return report._replace(subject=subject, author=author)

    def _told(self, report: PassReport) -> PassReport:
        """Whoever wants to be told of it is told, where the agent's file names somebody."""
        if not (self.agent.notify or self.agent.metrics):
            return report
        from reconciler.agent.telling import tell

        return tell(self.agent, self.store, report, self.observer)

    def _scheduled(self, go: Callable[[], PassReport], *, mend: bool) -> PassReport:
        """With what has become of the schedule, where one was installed."""
        path = self.store.schedule_path()
        if not os.path.exists(path):
            return go()
        from reconciler.agent.scheduled import scheduled

        return scheduled(path, self.host, go, mend=mend)

    def _through(self, *, apply: bool, accept_rewind: bool, saved: SavedPlan | None) -> PassReport:
        """The launchers are asked before the remote is waited for: mostly nothing is new, and both take their time."""
        known, notices = self._known()
        self._withhold(known.variables)
        poll = self.mirror.poll()
        begun: dict[str, Observation] = {}
        chosen = Chosen(known.valid, known)
        try:
            kept = self._kept(known)
            begun = self._begin(known.valid, kept) if kept else {}
            chosen = choose(self.agent, known, self.mirror, poll, self.workspace, accept_rewind=accept_rewind)
            chosen = chosen._replace(notices=(*notices, *chosen.notices))
            if chosen.commit and (chosen.commit != known.valid or not kept):
                _close(begun)
                begun = self._begin(chosen.commit, self._compiled(chosen.commit))
            if begun:
                chosen = chosen._replace(state=chosen.state._replace(variables=self.variables))
            planned: dict[str, DeploymentReport] = {}
            if saved:
                planned = {name: self.enforcer.plan(observation) for name, observation in begun.items()}
                if not saved.matches(chosen.commit, self._with_scratch(planned.values())):
                    return self._stale(known, saved)
            if apply:
                self._remember(known, chosen, compiled=not kept or chosen.commit != known.valid)
            over = ended(self.store, forget=apply)
            chosen = chosen._replace(notices=(*chosen.notices, *over))
            reports = self._each(begun, planned, apply=apply)
            if apply:
                self._vouch(chosen, reports)
            if self.explains:
                reports = {name: self._explained(report, begun[name], known) for name, report in reports.items()}
            return self._report(chosen, reports)
        except InvalidCommit as invalid:
            return self._report(chosen._replace(problems=invalid.problems), {})
        finally:
            poll.close()
            _close(begun)
            self.windows.close()

    def _known(self) -> tuple[SourceState, tuple[Notice, ...]]:
        """What is remembered of the branch; where that is lost, what the mirror has pinned: a rewind still shows."""
        damage = ""
        try:
            state = self.store.source()
        except DamagedError as error:
            state, damage = SourceState(), str(error)
        if not state.valid:
            pinned = self.mirror.pinned(self._pin)
            state = SourceState(pinned, pinned, (), time.time()) if pinned else state
        if not damage:
            return state, ()
        held = (
            f"the mirror remembers {state.valid[:8]}" if state.valid else "a rewind before this pass cannot be noticed"
        )
        return state, (Notice(f"{damage}; {held}", failed=False),)

    @property
    def _pin(self) -> str:
        return f"valid-{self.agent.site}"

    def _each(
        self, begun: dict[str, Observation], planned: Mapping[str, DeploymentReport], *, apply: bool
    ) -> dict[str, DeploymentReport]:
        """One deployment after the other. What was seen before another one's steps is looked at again."""
        reports: dict[str, DeploymentReport] = {}
        for name, first in list(begun.items()):
            stale = name not in planned and any(report.results or report.rollback for report in reports.values())
            observation = begun[name] = first.again() if stale else first
            report = planned.get(name) or self.enforcer.plan(observation)
            reports[name] = self._apply(report, observation, alone=len(begun) == 1) if apply else report
        return reports

    def deployments(self) -> dict[str, Deployment]:
        """What git wants by the last valid commit; nothing where none is known. Raises `InvalidCommit`."""
        known, _ = self._known()
        return self._kept(known) or (self._compiled(known.valid) if known.valid else {})

    def _explained(self, report: DeploymentReport, observation: Observation, known: SourceState) -> DeploymentReport:
        """What git said before is what was accepted last; what it cannot tell is left out."""
        commits = (known.valid or report.plan.commit, report.plan.commit)
        if not report.plan.steps and not report.plan.waits:
            return report
        from reconciler.agent.why import State, explained
        from reconciler.source.blame import Blame
        from reconciler.source.command import environment

        try:
            trees = [self.mirror.tree(commit) for commit in commits]
            results = [self.workspace.compile(commit).compiled for commit in commits]
        except SourceError:
            return report
        before, after = (
            State(tree, compiled.get(report.plan.environment)) for tree, compiled in zip(trees, results, strict=True)
        )
        git = ["git", f"--git-dir={self.mirror.folder}"]
        blame = Blame(git, environment(), commits[1], self.agent.timeout)
        return report._replace(why=explained(report, observation.inventory, (before, after), blame))

    def _apply(self, report: DeploymentReport, observation: Observation, *, alone: bool) -> DeploymentReport:
        """Another pass in one of several deployments is told of that one; the others go on."""
        try:
            return self.enforcer.apply(report, observation)
        except Busy as busy:
            if alone:
                raise
            return report._replace(busy=True, error=f"another pass is at work: {busy.holder} ({busy.path})")

    def _with_scratch(self, planned: Iterable[DeploymentReport]) -> Iterator[DeploymentReport]:
        """As they were when they were saved."""
        for report in planned:
            if report.desired.cleanups:
                from reconciler.agent.cleanup.purge import Purge

                yield Purge(self.enforcer, [report]).look(report, figures=False)
            else:
                yield report

    def _stale(self, known: SourceState, saved: SavedPlan) -> PassReport:
        message = (
            f"{saved.path} was made from another state of this host or of the repo: nothing of it is applied. "
            "Make it anew with `reconcile plan --out`, and read it again"
        )
        return PassReport(
            self.agent.site, known.valid, "", "", "", notices=(Notice(message, failed=False),), stale=True
        )

    def _withhold(self, names: Iterable[str]) -> None:
        """They are for what is rendered from them, not for the programs that a pass runs."""
        variables = tuple(sorted({*names}))
        if variables != self.variables:
            from reconciler.host.withheld import give_back, withhold

            give_back({*self.variables}.difference(variables))
            self.variables = variables
            withhold(variables)
            self.mirror.take_environment()

    def _kept(self, known: SourceState) -> dict[str, Deployment]:
        """The deployments of the last valid commit, where all of them are kept in their compiled form."""
        return self.workspace.kept(known.valid, self.agent.environments or known.environments)

    def _compiled(self, commit: str) -> dict[str, Deployment]:
        """All deployments of a commit. Raises `InvalidCommit`: what was valid may not be so on another host, say."""
        result = self.workspace.reveal(commit)
        if result.problems:
            raise InvalidCommit(result.problems)
        return {name: compiled.deployment for name, compiled in result.compiled.items()}

    def _begin(self, commit: str, deployments: Mapping[str, Deployment]) -> dict[str, Observation]:
        self._withhold((*self.variables, *variables_of(deployments.values())))
        self.enforcer.begin(deployments)
        here = {name: self.enforcer.hold_back(one) for name, one in deployments.items() if not one.is_elsewhere}
        # What is held back has secrets of its own.
        self._withhold(variables_of((*deployments.values(), *here.values())))
        self.windows.ask(deployments.values())
        found, shared = {}, Shared()
        self.elsewhere = tuple((name, one.whose) for name, one in deployments.items() if one.is_elsewhere)
        for name, held in here.items():
            recalled = self.store.inventory(name, held.root)
            found[name] = Observation(held, recalled.inventory, recalled.damage, self.windows, shared)
        # An agent that is told its environments knows nothing of the others.
        left = () if self.agent.environments else self.store.environments()
        for name in left:
            if name not in deployments:
                found |= self._abandoned(name, commit, deployments, shared)
        return dict(sorted(found.items()))

    def _abandoned(
        self, name: str, commit: str, others: Mapping[str, Deployment], shared: Shared
    ) -> dict[str, Observation]:
        """An environment that the site no longer has, and of which something is still ours. The site's budget holds."""
        inventory, damage = self.store.inventory(name, "")
        if not inventory.roots:
            return {}
        policy = next((other.policy for other in others.values()), Policy())
        desired = without_services(self.agent.site, name, commit, inventory.roots[-1], policy)
        return {name: Observation(desired, inventory, damage, self.windows, shared)}

    def _remember(self, known: SourceState, chosen: Chosen, *, compiled: bool) -> None:
        if compiled and chosen.commit:
            for each in self.workspace.reveal(chosen.commit).compiled.values():
                self.workspace.keep(each)
        if chosen.state._replace(contact=0.0) != known._replace(contact=0.0):
            self.store.save_source(chosen.state)
            if chosen.commit:
                self.mirror.pin(self._pin, chosen.commit)
        elif chosen.state.contact != known.contact:
            self.store.touch_contact(chosen.state.contact)

    def _vouch(self, chosen: Chosen, reports: Mapping[str, DeploymentReport]) -> None:
        """Note beside what runs which commit was accepted; not where a deployment is being given up."""
        for report in reports.values():
            if report.desired.services or report.desired.files:
                self.store.save_accepted(report.desired.root, chosen.state.head)
                self.workspace.vouch(report.desired)

    def _report(self, chosen: Chosen, planned: Mapping[str, DeploymentReport]) -> PassReport:
        reports = tuple(planned.values())
        told = any(report.plan.steps for report in reports) or bool(chosen.problems)
        subject, author = self._describe(chosen.commit) if told else ("", "")
        head = chosen.state.head if chosen.state.head != chosen.commit else ""
        return PassReport(
            self.agent.site,
            chosen.commit,
            head,
            subject,
            author,
            reports,
            chosen.problems,
            chosen.notices,
            self.id,
            elsewhere=self.elsewhere,
            place=f"{self.host.account} on {self.host.name}",
        )

    def _describe(self, commit: str) -> tuple[str, str]:
        with suppress(SourceError):
            if commit:
                info = self.mirror.commit_info(commit)
                return info.subject, info.author.partition(" <")[0]
        return "", ""


def _as_it_runs(report: DeploymentReport, observation: Observation) -> DeploymentReport:
    diff, observed = report.plan.diff, report.observed
    changes = tuple(as_it_runs(change, observed, observation.inventory) for change in diff.changes)
    return report._replace(plan=report.plan._replace(diff=diff._replace(changes=changes)))


def variables_of(deployments: Iterable[Deployment]) -> set[str]:
    """Of the environment that reconcile itself runs in, which git names as secrets."""
    references = (use.secret.reference for one in deployments for use in one.secrets)
    return {one.target for one in references if one.source.of_environment}


def _close(begun: Mapping[str, Observation]) -> None:
    for observation in begun.values():
        observation.close()
