"""A plan, or what a pass did: a block for each deployment."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.change import Kind
from reconciler.core.outcome import Status
from reconciler.core.report import DeploymentReport, PassReport
from reconciler.report.style import Style
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
    elsewhere,
    health_lines,
    misplaced,
    notices,
    paused,
    problems_block,
    unclear,
    without_gaps,
)
from reconciler.report.text.steps import SILENT, by_service, failure_lines, shared_lines
from reconciler.report.text.summary import summary


def pass_text(report: PassReport, style: Style) -> str:
    """A plan, or what a pass did."""
    blocks = [notices(report, style), problems_block(report, style), misplaced(report, style)]
    blocks += [_deployment(report, deployment, style) for deployment in report.deployments]
    return "\n\n".join("\n".join(block) for block in map(list, blocks) if block) + "\n"


def _deployment(report: PassReport, deployment: DeploymentReport, style: Style) -> Iterator[str]:
    heading = style.paint(f"{report.site} {deployment.plan.environment}", "bold") + _commit(report)
    yield from style.fold(heading, indent="    ")
    results = {result.id: result for result in deployment.results}
    steps = by_service(deployment.plan.steps)
    changes = without_gaps(deployment.plan)
    acting = [change for change in changes if change.kind is not Kind.KEEP]
    kept = [change for change in changes if change.kind is Kind.KEEP]
    width = min(max((len(change.service) for change in changes), default=0), WIDEST_NAME)
    versions = min(max((len(versions_of(change)) for change in acting), default=0), WIDEST_VERSIONS)
    talkative = {step.service for step in deployment.plan.steps if results.get(step.id, SILENT).message}
    shared = steps.get("", ())
    broken = [step for step in shared if results.get(step.id, SILENT).status is Status.FAILED]
    yield from shared_lines(broken, results, deployment.desired.root, style)
    for alike in alike_changes(acting, talkative):
        if len(alike) > SHOWN_ALIKE:
            yield from together(alike, style)
            continue
        for change in alike:
            yield from change_lines(change, width, versions, style)
            yield from failure_lines(steps.get(change.service, ()), results, style)
    yield from kept_lines(kept, width, style)
    yield from elsewhere(deployment, style)
    yield from shared_lines([s for s in shared if s not in broken], results, deployment.desired.root, style)
    yield from paused(deployment, style)
    yield from health_lines(deployment, style)
    yield from unclear(deployment.plan, style)
    if deployment.error:
        yield from style.fold(style.paint("error", "red") + f": {deployment.error}", indent="    ")
    yield from style.fold("  " + summary(deployment, style), indent="  ")


def _commit(report: PassReport) -> str:
    subject = f"  {report.subject}" if report.subject else ""
    return f" at {report.commit[:8]}{subject}" + (f" ({report.author})" if report.author else "")
