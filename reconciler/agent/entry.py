"""A pass in one environment as a line of its journal."""

from __future__ import annotations

import time
from typing import Any

from reconciler.core.change import Kind
from reconciler.core.inventory import Inventory
from reconciler.core.outcome import StepResult
from reconciler.core.report import DeploymentReport
from reconciler.core.review import intent


def entry_of(run: str, by: str, report: DeploymentReport, inventory: Inventory) -> dict[str, Any]:
    """What was done, from the state that `inventory` tells. New keys may be added; an older line lacks some."""
    plan = report.plan
    back = {name for name, told in report.rollouts.items() if told.runs}
    changes = [change for change in plan.diff.changes if change.kind is not Kind.KEEP]
    return {
        "run": run,
        "at": _now(),
        "commit": plan.commit,
        "by": by,
        "seconds": round(report.seconds, 3),
        "exit": report.exit_code,
        "changes": {change.service: [change.kind.value, *change.reasons] for change in changes},
        "versions": {change.service: [change.version, change.wanted] for change in changes},
        "intents": {change.service: intent(change, report.desired, inventory, back).value for change in changes},
        **_steps(report.results),
        **({"findings": plan.diff.findings} if plan.diff.findings else {}),
        **({"error": report.error} if report.error else {}),
    }


def removals_of(
    run: str, by: str, report: DeploymentReport, results: tuple[StepResult, ...], seconds: float
) -> dict[str, Any]:
    """Another line, of what was removed of scratch folders when all else was done."""
    return {
        "run": run,
        "at": _now(),
        "commit": report.plan.commit,
        "by": by,
        "seconds": round(seconds, 3),
        "exit": report.exit_code,
        **_steps(results),
    }


def _steps(results: tuple[StepResult, ...]) -> dict[str, Any]:
    hints = {result.id: result.hint for result in results if result.hint}
    steps = [[one.id, one.status.value, one.seconds, one.message] for one in results]
    return {"steps": steps, **({"hints": hints} if hints else {})}


def health_of(run: str, report: DeploymentReport) -> dict[str, Any]:
    """A second line, once it has been waited for: how services were in the end that are not healthy."""
    ailing = {name: [told.word.value, told.message] for name, told in (report.ailing | report.progressing).items()}
    return {"run": run, "at": _now(), "commit": report.plan.commit, "exit": report.exit_code, "health": ailing}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
