"""What is told beside the changes: notices, invalid commits, pauses, health, and what could not be seen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from reconciler.core.approval import SHORT
from reconciler.core.change import Kind
from reconciler.core.desired import Approval
from reconciler.core.observed import Pause, Verdict
from reconciler.core.plan import Plan
from reconciler.core.problem import Problem
from reconciler.core.report import DeploymentReport, PassReport
from reconciler.report.clean import one_line
from reconciler.report.style import Style

if TYPE_CHECKING:
    from reconciler.core.removals import RuleChange


def notices(report: PassReport, style: Style) -> Iterator[str]:
    for notice in report.notices:
        word = style.paint("error", "red") if notice.failed else style.paint("warning", "yellow")
        yield from style.fold(f"{word}: {notice.message}", indent="    ")


def misplaced(report: PassReport, style: Style) -> Iterator[str]:
    """Environments that are not for here. That nothing is, is an error: the wrong account, host or agent's file."""
    for environment, where in report.elsewhere:
        told = f"{report.site} {environment} runs {where}"
        if report.is_misplaced:
            told = f"{style.paint('error', 'red')}: {told}, and this is {report.place}: nothing is done"
        yield from style.fold(told if report.is_misplaced else style.paint(f"{told}: not here", "dim"), indent="    ")


def elsewhere(deployment: DeploymentReport, style: Style) -> Iterator[str]:
    """Services that are another agent's part."""
    by_place: dict[str, list[str]] = {}
    for one in deployment.desired.elsewhere:
        by_place.setdefault(one.where, []).append(one.name)
    for where, names in by_place.items():
        yield from style.fold(style.paint(f"  = elsewhere, {where}: {', '.join(names)}", "dim"), indent="      ")


def problems_block(report: PassReport, style: Style) -> Iterator[str]:
    if not report.problems:
        return
    held = f"the site stays at {report.commit[:8]}" if report.commit else "nothing is applied"
    which = f"commit {report.head[:8]}" if report.head else "the desired state"
    wrong = "is not valid"
    if all(problem.asked for problem in report.problems):
        wrong = "does not have what --site, --environment, or the agent's file names"
    yield from style.fold(f"{style.paint('error', 'red')}: {which} {wrong}, so {held}", indent="    ")
    yield from problem_lines(report.problems, style)


def problem_lines(problems: Sequence[Problem], style: Style) -> Iterator[str]:
    for problem in problems:
        place, _, rest = str(problem._replace(hint="")).partition(": ")
        yield from style.fold(f"{style.paint(place, 'bold')}: {rest}", indent="    ")
        if problem.hint:
            yield from style.fold(f"    {problem.hint}", indent="    ")


def paused(deployment: DeploymentReport, style: Style) -> Iterator[str]:
    """What a person has paused. Told in every report, so that nobody forgets it."""
    for pause in deployment.observed.pauses:
        what = pause.service or "all of it"
        yield from style.fold(f"  {style.paint('paused', 'yellow')}: {what}, {by_whom(pause)}", indent="      ")


def approved(deployment: DeploymentReport, style: Style) -> Iterator[str]:
    """Who has let through what was waiting."""
    gate = deployment.gate
    if gate is None or gate.approval is None:
        return
    what = f"plan {gate.id[:SHORT]}" if not gate.rest_of else f"what is left of plan {gate.rest_of[:SHORT]}"
    yield from style.fold(f"  {style.paint('approved', 'green')}: {what}{approver(gate.approval)}", indent="      ")


def approver(approval: Approval) -> str:
    """` by ann on login01 at 2026-11-29 04:00: the reason`, in this host's time, as far as it is known."""
    who = f" by {approval.account} on {approval.host}" if approval.account else ""
    place = f" by {approval.place}" if approval.place else ""
    at = f" at {time.strftime('%Y-%m-%d %H:%M', time.localtime(approval.at))}" if approval.at else ""
    return f"{who}{place}{at}" + (f": {approval.reason}" if approval.reason else "")


def by_whom(pause: Pause) -> str:
    """`by ann on login01 since 2026-11-29 04:00 until 2026-11-29 06:00: the reason`, in this host's time."""
    since, until = (time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) for at in (pause.since, pause.until))
    return f"by {pause.account} on {pause.host} since {since} until {until}: {pause.reason}"


def health_lines(deployment: DeploymentReport, style: Style) -> Iterator[str]:
    """The services that do not do their work, or not yet; of what is blocked its change says why."""
    blocked = {change.service for change in deployment.plan.diff.changes if change.kind is Kind.BLOCKED}
    for name, told in sorted((deployment.ailing | deployment.progressing).items()):
        if name in blocked:
            continue
        yield from style.fold(f"  {word_of(told, style)}: {name}{_why(told)}", indent="      ")


def word_of(told: Verdict, style: Style) -> str:
    return style.paint(told.word.value, "red" if told.word.is_failure else "yellow")


def _why(told: Verdict) -> str:
    return f": {told.message}" if told.message else ""


def rule_lines(rule: RuleChange, style: Style) -> Iterator[str]:
    """A rule for what is removed that a commit changes."""
    sign = style.paint(rule.sign, "red" if rule.is_risky else "dim")
    yield from style.fold(f"  {sign} {one_line(str(rule))}", indent="      ")


def unclear(plan: Plan, style: Style) -> Iterator[str]:
    """What could not be seen, and what will go wrong one day."""
    for message in dict.fromkeys(gap.message for gap in plan.diff.gaps):  # one of several files is told once
        yield from style.fold(f"  {style.paint('?', 'red')} {message}", indent="      ")
    for finding in plan.diff.findings:
        first, *printed = finding.message.split("\n")
        yield from style.fold(f"  {style.paint('finding', 'red')}: {finding.name}: {first}", indent="      ")
        for line in printed:
            yield f"      {line[: style.width - 6] if style.width else line}"
    for waiting in plan.diff.waiting:
        yield from style.fold(f"  {style.paint('x', 'red')} {waiting}", indent="      ")
    for warning in plan.diff.warnings:
        yield from style.fold(f"  {style.paint('warning', 'yellow')}: {warning}", indent="      ")
