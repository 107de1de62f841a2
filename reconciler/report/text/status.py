"""What runs: one line for each service, by group."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from reconciler.core.change import Change, Kind
from reconciler.core.observed import ELSEWHERE, State
from reconciler.core.report import DeploymentReport, PassReport, without_gaps
from reconciler.report.data import is_healthy, running_version, unit_of, wanted_version
from reconciler.report.style import Style
from reconciler.report.text.changes import WIDEST_NAME
from reconciler.report.text.remarks import elsewhere, misplaced, notices, paused, problems_block, unclear, word_of
from reconciler.report.text.rollouts import rollout_lines

_HEADINGS = ("SERVICE", "STATE", "VERSION", "WANTED", "PID", "SINCE")


def status_text(report: PassReport, style: Style, now: float | None = None) -> str:
    """What runs: one line for each service, by group."""
    now = time.time() if now is None else now
    blocks = [list(told(report, style)) for told in (notices, problems_block, misplaced)]
    blocks += [list(_status(report, deployment, style, now)) for deployment in report.deployments]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _status(report: PassReport, deployment: DeploymentReport, style: Style, now: float) -> Iterator[str]:
    yield style.paint(f"{report.site} {deployment.plan.environment}", "bold") + f" at {report.commit[:8]}"
    changes = sorted(without_gaps(deployment.plan), key=lambda change: (change.group, change.service))
    rows = [_row(change, deployment, now) for change in changes]
    widths = [max(len(row[i]) for row in (_HEADINGS, *rows)) for i in range(len(_HEADINGS))]
    yield style.paint("  " + _columns(_HEADINGS, widths), "dim")
    for change, row in zip(changes, rows, strict=True):
        yield "  " + style.paint(
            _columns(row, widths), "" if is_healthy(change, deployment.health) else "red" if change.managed else "dim"
        )
        for reason in change.reasons if change.kind is not Kind.KEEP else filter(None, (change.detail,)):
            yield from style.fold(f"      {reason}", indent="      ")
        told = deployment.health.get(change.service)
        if told is not None and told.message and change.state is State.RUNNING:
            yield from style.fold(f"      {word_of(told, style)}: {told.message}", indent="      ")
    yield from elsewhere(deployment, style)
    for launcher, daemon in deployment.observed.daemons.items():
        if daemon.place:
            yield from style.fold(style.paint(f"  {launcher}: {daemon.place}", "dim"), indent="      ")
    yield from paused(deployment, style)
    yield from rollout_lines(deployment, style)
    yield from unclear(deployment.plan, style)


def _row(change: Change, deployment: DeploymentReport, now: float) -> tuple[str, ...]:
    unit, health = unit_of(change, deployment), deployment.health
    since = span(now - unit.since) if unit and unit.since else "-"
    pid = str(unit.pid % ELSEWHERE) if unit and unit.pid else "-"
    name = change.service if len(change.service) <= WIDEST_NAME else change.service[: WIDEST_NAME - 1] + "…"
    state = change.state.value
    if change.strays and change.state is State.ABSENT:
        state, pid = "stray", str(change.strays[0].pid)
    if change.service in health and change.state is State.RUNNING and not change.taken:
        state = health[change.service].word.value
    wanted = wanted_version(change, deployment) or "-" if change.managed else "not managed"
    return (name, state, running_version(change) or "-", wanted, pid, since)


def _columns(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def span(seconds: float) -> str:
    """`3d4h`, `2h5m`, `12m`, `40s`: as short as a column."""
    total = max(int(seconds), 0)
    days, hours, minutes = total // 86400, total % 86400 // 3600, total % 3600 // 60
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m" if minutes else f"{total}s"
