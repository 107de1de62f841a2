"""Which of what a pass found is news: told once, and not again while nothing new happens.

What is wrong is known by its subjects ("health rpc-server"), not by its words, in which times and numbers change; a
plan that waits for a person by its id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from reconciler.core.change import Change, Kind
from reconciler.core.report import DeploymentReport, PassReport, without_gaps

if TYPE_CHECKING:
    from reconciler.core.rollback import Rollout

Standing = Mapping[str, tuple[str, ...]]  # by environment, the subjects of what was told; "": of the whole pass

NUMBERS = re.compile(r"[0-9]+")
_MOST_LINES = 20  # that a message has of a kind
_PLAN = "plan "  # how the subject of a plan begins that waits for a person; the others are of what is wrong


class Happening(Enum):
    """What somebody may want to be told of. Ordered, the most urgent first."""

    FAILURE = "failure"  # something is wrong that was not before
    ROLLBACK = "rollback"  # a new specification failed, and the former one runs again
    APPROVAL = "approval"  # a plan waits for a person that did not before
    RECOVERY = "recovery"  # nothing is wrong any more
    CHANGE = "change"  # a pass has done something
    TEST = "test"  # somebody wants to see whether he would be told

    @property
    def past(self) -> str:
        """As the word of a headline."""
        return _PAST[self]

    @property
    def is_of_passes(self) -> bool:
        return self is not Happening.TEST


_PAST = {
    Happening.FAILURE: "failed",
    Happening.ROLLBACK: "rolled back",
    Happening.APPROVAL: "waits for approval",
    Happening.RECOVERY: "recovered",
    Happening.CHANGE: "changed",
    Happening.TEST: "test",
}


class Message(NamedTuple):
    """One thing to tell. Nothing of it is a secret: it is made of what reports show."""

    site: str
    environment: str  # empty: of the whole pass
    happenings: tuple[Happening, ...]  # the most urgent first; at least one
    commit: str
    subject: str
    author: str
    run: str
    place: str  # "ann on login01"
    changes: tuple[str, ...]  # a line for each service that was changed
    troubles: tuple[str, ...]  # what is wrong now
    waits: tuple[str, ...] = ()  # what waits for approval, a line for each part of the plan; the first says how

    @property
    def title(self) -> str:
        where = " ".join(filter(None, (self.site, self.environment)))
        return f"{where}: {' and '.join(happening.past for happening in self.happenings)}"


def troubles(report: PassReport) -> dict[str, dict[str, str]]:
    """By environment, then by subject, what is wrong, in a line. What could not be looked at is missing."""
    found = {"": dict(_of_pass(report))}
    found |= {one.plan.environment: dict(_of_deployment(one)) for one in report.deployments if not one.busy}
    return found


def _of_pass(report: PassReport) -> Iterator[tuple[str, str]]:
    for problem in report.problems:
        yield f"problem {problem.origin.file} {NUMBERS.sub('#', problem.message)}", str(problem._replace(hint=""))
    for notice in report.notices:
        if notice.failed:
            yield f"notice {NUMBERS.sub('#', notice.message)}", notice.message


def _of_deployment(report: DeploymentReport) -> Iterator[tuple[str, str]]:
    """The same things that make a pass end with exit status 1."""
    if report.error:
        yield "error", report.error
    for result in report.failed:
        yield f"step {result.id}", f"{result.id}: {_line(result.message) or result.status.value}"
    for result in report.rollback.failed if report.rollback is not None else ():
        yield f"step back {result.id}", f"{result.id}, to go back: {_line(result.message) or result.status.value}"
    for change in report.unhealthy:
        yield f"down {change.service}", f"{change.service}: {change.state.value} {change.detail}".rstrip()
    for name, verdict in report.ailing.items():
        yield f"health {name}", f"{name}: {verdict.word.value}: {_line(verdict.message)}"
    for name, told in _rollouts(report).items():
        runs = f"; {told.runs} is kept" if told.runs else ""
        yield _rollout(name, told), f"{name}: {told.stage.value}: {told.wanted} failed: {_line(told.why)}{runs}"
    for gap in report.plan.diff.gaps:
        yield f"gap {gap.scope} {gap.subject}", f"{gap.subject}: {_line(gap.message)}"
    for finding in report.findings:
        yield f"finding {finding.check} {finding.name}", f"{finding.name}: {_line(finding.message)}"
    blocked = {change.service for change in report.plan.blocked}
    for change in without_gaps(report.plan) if blocked else ():
        if change.service in blocked:
            yield f"blocked {change.service}", f"{change.service}: blocked: {'; '.join(change.reasons)}"


def _rollouts(report: DeploymentReport) -> dict[str, Rollout]:
    """What has not gone back yet runs nothing else."""
    waiting = report.to_go_back if report.rolled_back else frozenset()
    return {name: told._replace(runs="") if name in waiting else told for name, told in report.rolled_back.items()}


def _rollout(service: str, told: Rollout) -> str:
    """Each commit that fails is told, also one of the same version, and that what failed has gone back since."""
    return f"rollout {service} {told.wanted} of {told.commit[:8]}" + ("" if told.runs else " failed")


def _line(text: str) -> str:
    return text.partition("\n")[0]


def news(before: Standing, report: PassReport) -> tuple[Standing, tuple[Message, ...]]:
    """What stands now, and what is to be told of it. `before` is what stood after the last pass."""
    found = troubles(report)
    deployments = {one.plan.environment: one for one in report.deployments}
    waits = {name: _waiting(deployments.get(name)) for name in found}
    now = {**before, **{name: (*sorted(subjects), *waits[name]) for name, subjects in found.items()}}
    messages = [
        _message(report, deployments.get(name), name, happenings, found[name])
        for name in sorted(found)
        if (happenings := tuple(_happenings(before.get(name, ()), now[name], deployments.get(name))))
    ]
    return {name: subjects for name, subjects in now.items() if subjects}, tuple(messages)


def _happenings(
    before: tuple[str, ...], now: tuple[str, ...], report: DeploymentReport | None
) -> Iterator[Happening]:
    new = {subject for subject in set(now) - set(before) if not subject.startswith(_PLAN)}
    back = {_rollout(name, told) for name, told in _rollouts(report).items() if told.runs} if report else set()
    if new - back:
        yield Happening.FAILURE
    if new & back:
        yield Happening.ROLLBACK
    if set(now) - set(before) - new:
        yield Happening.APPROVAL
    if _wrong(before) and not _wrong(now):
        yield Happening.RECOVERY
    if report is not None and report.changed:
        yield Happening.CHANGE


def _wrong(subjects: tuple[str, ...]) -> bool:
    return any(not subject.startswith(_PLAN) for subject in subjects)


def _waiting(report: DeploymentReport | None) -> tuple[str, ...]:
    """The subject of the plan that waits for a person; nothing where none does, or it was approved."""
    gate = report.gate if report is not None else None
    return (_PLAN + gate.id,) if gate is not None and gate.approval is None else ()


def _waits(report: DeploymentReport | None) -> Iterator[str]:
    """How it is let through, and what it would do."""
    gate = report.gate if report is not None else None
    if gate is None or gate.approval is not None:
        return
    from reconciler.core.approval import SHORT

    yield f"reconcile approve {gate.id[:SHORT]}"
    yield from gate.waiting.lines


def _message(
    report: PassReport,
    deployment: DeploymentReport | None,
    environment: str,
    happenings: tuple[Happening, ...],
    wrong: Mapping[str, str],
) -> Message:
    changes = tuple(_changes(deployment)) if deployment is not None else ()
    return Message(
        report.site,
        environment,
        happenings,
        report.head or report.commit,
        report.subject,
        report.author,
        report.run,
        report.place,
        _bounded(changes),
        _bounded(tuple(wrong.values())),
        _bounded(tuple(_waits(deployment))) if Happening.APPROVAL in happenings else (),
    )


def _changes(report: DeploymentReport) -> Iterator[str]:
    """A line for each service of which a step was done; the rest in one line."""
    done = [step.service for step in report.changed]
    told = [c for c in report.plan.diff.changes if c.service in done and c.kind is not Kind.KEEP]
    yield from map(_change, told)
    rest = sum(service not in {change.service for change in told} for service in done)
    if rest and not told:
        yield f"{rest} {'step' if rest == 1 else 'steps'} done"


def _change(change: Change) -> str:
    versions = (
        f"{change.version} -> {change.wanted}"
        if change.version and change.wanted and change.version != change.wanted
        else change.wanted or change.version
    )
    why = "; ".join(change.reasons)
    return f"{change.kind.value} {change.service} {versions}".rstrip() + (f" ({why})" if why else "")


def _bounded(lines: tuple[str, ...]) -> tuple[str, ...]:
    more = len(lines) - _MOST_LINES
    return lines if more <= 0 else (*lines[:_MOST_LINES], f"… and {more} more")


def commit_state(report: PassReport) -> tuple[str, str, str] | tuple[()]:
    """Commit, state and description as they are shown beside the commit; nothing where no commit is known.

    A commit that the site could not take has failed, whatever runs meanwhile. What is wrong stands in it by its
    subjects, so that it changes only where something else is wrong.
    """
    commit = report.head or report.commit
    if not commit or report.is_misplaced:
        return ()
    words = {0: ("success", "applied"), 2: ("pending", "differences remain")}
    state, word = words.get(report.exit_code, ("failure", "failed"))
    wrong = [f"{name or report.site}: {', '.join(found)}" for name, found in troubles(report).items() if found]
    return commit, state, "; ".join(wrong) or word
