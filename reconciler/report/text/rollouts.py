"""Lines for what did not prove healthy: what was done for it, what runs in its place, and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from reconciler.core.change import Kind
from reconciler.core.report import DeploymentReport
from reconciler.report.style import Style
from reconciler.report.text.changes import change_lines, versions_of
from reconciler.report.text.steps import by_service, failure_lines, shared_lines

if TYPE_CHECKING:
    from reconciler.core.rollback import Rollout


def rollout_lines(deployment: DeploymentReport, style: Style) -> Iterator[str]:
    """What was done in the same pass for what failed in it, and what failed, now or before."""
    if deployment.rollback is not None:
        yield from _done(deployment.rollback, style)
    for name, word, why in rollouts_told(deployment):
        yield from style.fold(f"  {style.paint(word, 'red')}: {name}: {why}", "      ")


def rollouts_told(deployment: DeploymentReport) -> Iterator[tuple[str, str, str]]:
    """Of each service that failed: its name, what became of it in a word, and why."""
    waiting = deployment.to_go_back
    for name, told in deployment.rolled_back.items():
        kept = "waits to take its place" if name in waiting else "is kept"
        yield name, told.stage.value, _words(told, kept)


def _done(back: DeploymentReport, style: Style) -> Iterator[str]:
    acting = [change for change in back.plan.diff.changes if change.kind is not Kind.KEEP]
    steps, results = by_service(back.plan.steps), {result.id: result for result in back.results}
    width = max((len(change.service) for change in acting), default=0)
    versions = max((len(versions_of(change)) for change in acting), default=0)
    for change in acting:
        yield from change_lines(change, width, versions, style)
        yield from failure_lines(steps.get(change.service, ()), results, style)
    yield from shared_lines(steps.get("", ()), results, back.desired.root, style)


def _words(told: Rollout, kept: str) -> str:
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(told.since))
    if told.beside:
        runs = f"{told.runs} {kept}" if told.runs else "is not started"
        return f"{runs} with {told.beside}, which failed: they share what changed"
    failed = f"{told.wanted} of {told.commit[:8]} failed at {since}: {told.why}"
    if told.stuck:
        return f"{failed}; {told.stuck}"
    return f"{failed}; {told.runs} {kept} until a commit changes it"
