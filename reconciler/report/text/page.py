"""A plan, or what a pass did: a block for each deployment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from reconciler.core.change import Change, Kind
from reconciler.core.outcome import Status
from reconciler.core.plan import Phase
from reconciler.core.report import DeploymentReport, PassReport, without_gaps
from reconciler.report.clean import clean
from reconciler.report.style import Style
from reconciler.report.text.causes import cause_lines, since_told
from reconciler.report.text.changes import (
    SHOWN_ALIKE,
    WIDEST_NAME,
    WIDEST_VERSIONS,
    alike_changes,
    change_lines,
    kept_lines,
    together,
    versions_of,
)
from reconciler.report.text.remarks import (
    approved,
    elsewhere,
    health_lines,
    misplaced,
    notices,
    paused,
    problems_block,
    rule_lines,
    unclear,
)
from reconciler.report.text.rollouts import rollout_lines
from reconciler.report.text.steps import SILENT, by_service, failure_lines, shared_lines
from reconciler.report.text.summary import summary


class Widths(NamedTuple):
    """Of the columns, the same for all that is told together."""

    name: int
    versions: int


class Entry(NamedTuple):
    """Lines that belong together."""

    about: str  # "change", "kept", "git", "summary"; empty: the steps and all else
    lines: tuple[str, ...]


def pass_text(report: PassReport, style: Style) -> str:
    """A plan, or what a pass did."""
    blocks = [notices(report, style), problems_block(report, style), misplaced(report, style)]
    blocks += [_deployment(report, deployment, style) for deployment in report.deployments]
    return "\n\n".join("\n".join(block) for block in map(list, blocks) if block) + "\n"


def _deployment(report: PassReport, deployment: DeploymentReport, style: Style) -> Iterator[str]:
    heading = style.paint(f"{report.site} {deployment.plan.environment}", "bold") + _commit(report)
    yield from style.fold(heading, indent="    ")
    for entry in entries(deployment, widths([deployment]), style):
        yield from entry.lines


def widths(deployments: Iterable[DeploymentReport]) -> Widths:
    changes = [change for deployment in deployments for change in deployment.plan.diff.changes]
    acting = [change for change in changes if change.kind is not Kind.KEEP]
    return Widths(
        min(max((len(change.service) for change in changes), default=0), WIDEST_NAME),
        min(max((len(versions_of(change)) for change in acting), default=0), WIDEST_VERSIONS),
    )


def entries(deployment: DeploymentReport, width: Widths, style: Style) -> Iterator[Entry]:
    """All that is told of a deployment below its heading."""
    results = {result.id: result for result in deployment.results}
    steps = by_service(deployment.plan.steps)
    changes = without_gaps(deployment.plan)
    acting = [change for change in changes if change.kind is not Kind.KEEP]
    kept = [change for change in changes if change.kind is Kind.KEEP]
    shared = [step for step in steps.get("", ()) if step.phase is not Phase.SCRATCH]
    broken = [step for step in shared if results.get(step.id, SILENT).status is Status.FAILED]
    root = deployment.desired.root
    yield Entry("", tuple(shared_lines(broken, results, root, style)))
    yield from _changes(acting, deployment, width, style)
    yield Entry("kept", tuple(kept_lines(kept, width.name, style)))
    yield Entry("", tuple(elsewhere(deployment, style)))
    others = [step for step in shared if step not in broken]
    yield from (Entry("", (line,)) for line in shared_lines(others, results, root, style))
    yield from (Entry("", tuple(rule_lines(rule, style))) for rule in deployment.rules)
    yield Entry("git", tuple(cause_lines(deployment, style)))
    if len(shared) < len(steps.get("", ())):
        from reconciler.report.cleanup import scratch_lines

        yield Entry("", tuple(scratch_lines(deployment, style)))
    yield Entry("", tuple(paused(deployment, style)))
    yield Entry("", tuple(rollout_lines(deployment, style)))
    yield Entry("", tuple(approved(deployment, style)))
    yield Entry("", tuple(health_lines(deployment, style)))
    yield Entry("", tuple(unclear(deployment.plan, style)))
    if deployment.error:
        yield Entry("", tuple(style.fold(style.paint("error", "red") + f": {deployment.error}", indent="    ")))
    yield Entry("summary", tuple(style.fold("  " + summary(deployment, style), indent="  ")))


def _changes(acting: list[Change], deployment: DeploymentReport, width: Widths, style: Style) -> Iterator[Entry]:
    results = {result.id: result for result in deployment.results}
    steps = by_service(deployment.plan.steps)
    talkative = {step.service for step in deployment.plan.steps if results.get(step.id, SILENT).message}
    for alike in alike_changes(acting, talkative):
        if len(alike) > SHOWN_ALIKE:
            yield Entry("change", tuple(together(alike, style)))
            continue
        for change in alike:
            since = since_told(change, deployment.why)
            lines = change_lines(change, width.name, width.versions, style, since)
            yield Entry("change", (*lines, *failure_lines(steps.get(change.service, ()), results, style)))


def _commit(report: PassReport) -> str:
    subject = f"  {clean(report.subject)}" if report.subject else ""
    return f" at {report.commit[:8]}{subject}" + (f" ({clean(report.author)})" if report.author else "")
