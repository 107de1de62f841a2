"""What a pass found and did, as data. How it is shown is the report package's business."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from reconciler.core.change import Act, Change, Hold, Kind
from reconciler.core.desired import Deployment
from reconciler.core.observed import Finding, Observed, State, Verdict
from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Action, Plan, Step
from reconciler.core.problem import Problem

if TYPE_CHECKING:  # a pass that finds nothing to do has no need of them
    from reconciler.core.approval import Gate
    from reconciler.core.cleanup import Cleaned, Figures
    from reconciler.core.removals import RuleChange
    from reconciler.core.review import Why
    from reconciler.core.rollback import Rollout


class Notice(NamedTuple):
    """Something about the pass as a whole that a person should read."""

    message: str
    failed: bool  # the pass ends with exit status 1 for it


class Scratch(NamedTuple):
    """What a rule of `cleanup` would remove, or has removed."""

    name: str
    root: str
    figures: Figures | None = None
    cleaned: Cleaned | None = None
    troubles: tuple[str, ...] = ()  # the first of what could not be looked at


class DeploymentReport(NamedTuple):
    plan: Plan
    desired: Deployment
    observed: Observed
    results: tuple[StepResult, ...]  # empty where nothing was carried out
    applied: bool  # False: only a plan
    error: str = ""  # why nothing could be carried out at all
    busy: bool = False  # another pass is at work in it
    seconds: float = 0.0  # that carrying it out took
    health: Mapping[str, Verdict] = {}  # by service, of those that `health` in git says how to ask
    rollouts: Mapping[str, Rollout] = {}  # by service, of those whose new specification has to prove healthy
    rollback: DeploymentReport | None = None  # what was done in the same pass for what failed in it
    gate: Gate | None = None  # what waits for a person, or has
    scratches: tuple[Scratch, ...] = ()  # of the rules of `cleanup` that have a step
    rules: tuple[RuleChange, ...] = ()  # for what is removed, that differ between the commits that are compared
    why: Why | None = None  # who asked for it and what changes in files; None: that was not looked up

    @property
    def failed(self) -> tuple[StepResult, ...]:
        return tuple(result for result in self.results if result.status in (Status.FAILED, Status.BLOCKED))

    @property
    def changed(self) -> tuple[Step, ...]:
        """The steps that have changed something. A look at what is there is done anew while it fails, and so is having
        a launcher read what was written."""
        done = {result.id for result in self.results if result.status is Status.DONE}
        looks = (Action.CHECK, Action.RELOAD)
        return tuple(step for step in self.plan.steps if step.id in done and step.action not in looks)

    @property
    def unhealthy(self) -> tuple[Change, ...]:
        """Services that git wants, that no step was for, and that are not up."""
        return tuple(change for change in self.plan.diff.changes if change.wanted and _unhealthy(change))

    @property
    def ailing(self) -> dict[str, Verdict]:
        """Services that do not do their work, and that no step is for which has not been carried out."""
        return {name: told for name, told in self._judged() if told.word.is_failure}

    @property
    def progressing(self) -> dict[str, Verdict]:
        """Services that may still become healthy by themselves."""
        return {name: told for name, told in self._judged() if told.word.is_on_its_way}

    @property
    def rolled_back(self) -> dict[str, Rollout]:
        """Services that do not run what git wants, because that failed; and those that failed and do run it."""
        return {name: told for name, told in sorted(self.rollouts.items()) if told.stage.is_failure}

    @property
    def to_go_back(self) -> frozenset[str]:
        """Services whose former specification does not run yet: its step failed, or waits, or is still to be done."""
        report = self.rollback or self
        so = {result.id for result in report.results if result.is_so}
        return frozenset(change.service for change in report.plan.diff.changes if _is_to_start(change, so))

    def _judged(self) -> Iterator[tuple[str, Verdict]]:
        """What ails a service that a plan is about to change is what the plan may mend."""
        awaited = {c.service for c in self.plan.diff.changes if c.acts and not self.applied} if self.health else ()
        return ((name, told) for name, told in sorted(self.health.items()) if name not in awaited)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong and no step mends."""
        return self.plan.diff.findings

    @property
    def skipped(self) -> bool:
        """The pass was asked to stop before it was through."""
        return any(result.left_out for result in self.results)

    @property
    def converged(self) -> bool:
        """Desired and observed agree now."""
        quiet = not (
            self.plan.waits or self.plan.blocked or self.failed or self.unhealthy or self.error or self.skipped
        )
        quiet = quiet and not (self.ailing or self.progressing or self.rolled_back)
        return quiet and not (self.plan.diff.gaps or self.findings) and (self.applied or not self.plan.steps)

    @property
    def exit_code(self) -> int:
        """What a pass through this deployment alone would exit with."""
        return 1 if _is_failure(self) else 75 if self.busy else 2 if _differs(self) else 0


def _is_to_start(change: Change, so: Collection[str]) -> bool:
    steps = (f"start:{change.service}", f"restart:{change.service}")
    put_off = change.kind is Kind.BLOCKED or bool(change.held)
    return put_off or (change.act.starts and not any(step in so for step in steps))


def _unhealthy(change: Change) -> bool:
    if change.held is Hold.PAUSE:
        return False  # whoever paused it may have stopped it
    if change.held is Hold.WINDOW and change.version and not change.acts:
        return change.state.down  # it waits for a window, and what it was cannot be started meanwhile
    if change.kind is Kind.BLOCKED or (change.acts and change.act is not Act.LOAD):
        return False  # told as blocked, or by its step
    return change.state not in (State.RUNNING, State.STARTING)


class PassReport(NamedTuple):
    site: str
    commit: str  # what the site is held to; empty where no valid commit is known
    head: str  # the branch, where that is another one
    subject: str  # of the commit; empty where it was not looked up
    author: str
    deployments: tuple[DeploymentReport, ...] = ()
    problems: tuple[Problem, ...] = ()
    notices: tuple[Notice, ...] = ()
    run: str = ""
    stale: bool = False  # a saved plan that was not carried out
    elsewhere: tuple[tuple[str, str], ...] = ()  # environments that are not for here, and who runs them where
    place: str = ""  # "ann on login01": here

    @property
    def exit_code(self) -> int:
        """The contract's table: 3 invalid input, 1 failed or not healthy, 2 differences remain, 0 agreed."""
        if self.problems or self.is_misplaced:
            return 3
        if any(notice.failed for notice in self.notices) or any(map(_is_failure, self.deployments)):
            return 1
        if any(report.busy for report in self.deployments):
            return 75
        return 2 if self.stale or any(map(_differs, self.deployments)) else 0

    @property
    def is_misplaced(self) -> bool:
        """Nothing of what the agent is told is for this account on this host."""
        return bool(self.elsewhere) and not self.deployments

    @property
    def did(self) -> bool:
        """Something was changed, or left undone because the pass was asked to stop."""
        return self.stale or any(one.rollback or one.skipped or one.changed for one in self.deployments)

    @property
    def idle(self) -> bool:
        """Nothing was to be done, and there is nothing to tell."""
        quiet = not (self.problems or self.notices or self.is_misplaced)
        return quiet and all(not report.plan.steps and report.converged for report in self.deployments)


def _is_failure(report: DeploymentReport) -> bool:
    """A gap is one too: nobody can say that desired and observed agree."""
    wrong = report.error and not report.busy
    unclear = report.plan.blocked or report.plan.diff.gaps
    ill = report.unhealthy or report.ailing or report.rolled_back
    return bool(report.failed or ill or wrong or unclear or report.findings)


def _differs(report: DeploymentReport) -> bool:
    return bool(report.plan.waits or report.skipped or report.progressing or (report.plan.steps and not report.applied))


def without_gaps(plan: Plan) -> list[Change]:
    """The changes with short reasons: why something cannot be seen is told once, in a line of its own."""
    gaps = [gap.message for gap in plan.diff.gaps]
    if not gaps:
        return list(plan.diff.changes)

    def shortened(reason: str) -> str:
        if reason in gaps:
            return _in_short(reason)
        ending = next((f": {message}" for message in gaps if reason.endswith(f": {message}")), "")
        return reason.removesuffix(ending) if ending else reason

    return [change._replace(reasons=tuple(map(shortened, change.reasons))) for change in plan.diff.changes]


def _in_short(message: str) -> str:
    """`the secret of env X cannot be had`, of a message that says before where, and after why and how to mend it."""
    import re

    found = re.match(r"(?:\S+:[0-9]+:[0-9]+: )?(.+? cannot be [a-z]+): .", message)
    return found[1] if found else message


class Comparison(NamedTuple):
    """What a change of the repo does to every deployment, from the repo alone."""

    before: str
    after: str  # empty: the work tree
    reports: tuple[PassReport, ...]  # by site, with the deployments that differ
    compared: int  # deployments
    problems: tuple[Problem, ...]  # of the later commit

    @property
    def range(self) -> str:
        return f"{self.before[:8]}..{self.after[:8] or 'work tree'}"

    @property
    def exit_code(self) -> int:
        return 3 if self.problems else 2 if self.reports else 0
