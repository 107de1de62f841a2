"""JSON for machines. The keys that the page `json` of the manual names stay; new ones may be added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reconciler.core.change import Change, Kind
from reconciler.core.observed import ELSEWHERE, Finding, Pause, State, Unit, Verdict, Word
from reconciler.core.outcome import StepResult
from reconciler.core.plan import Step
from reconciler.core.problem import Gap, Problem
from reconciler.core.report import DeploymentReport, PassReport

if TYPE_CHECKING:
    from reconciler.core.approval import Gate
    from reconciler.core.removals import RuleChange


def pass_data(report: PassReport) -> dict[str, Any]:
    """A plan, or a pass with what became of each step."""
    return {
        "site": report.site,
        "commit": report.commit,
        "head": report.head or report.commit,
        "subject": report.subject,
        "author": report.author,
        "run": report.run,
        "exit_code": report.exit_code,
        "deployments": [_deployment(deployment) for deployment in report.deployments],
        "problems": problems_data(report.problems),
        "notices": [notice.message for notice in report.notices],
        "elsewhere": _elsewhere(report),
    }


def _elsewhere(report: PassReport) -> list[dict[str, str]]:
    return [{"environment": environment, "where": where} for environment, where in report.elsewhere]


def _deployment(report: DeploymentReport) -> dict[str, Any]:
    results = {result.id: result for result in report.results}
    return {
        "environment": report.plan.environment,
        "converged": report.converged,
        "counts": report.plan.diff.counts(),
        "changes": [
            {**_change(change), **_rollout(change.service, report), **_why(change, report)}
            for change in report.plan.diff.changes
        ],
        "steps": [_step(step, results.get(step.id)) for step in report.plan.steps],
        "gaps": [_gap(gap) for gap in report.plan.diff.gaps],
        "warnings": list(report.plan.diff.warnings),
        "findings": [_finding(finding) for finding in report.findings],
        "waiting": list(report.plan.diff.waiting),
        "pauses": [pause_data(pause) for pause in report.observed.pauses],
        "elsewhere": [{"service": one.name, "where": one.where} for one in report.desired.elsewhere],
        "health": {name: _verdict(told) for name, told in sorted(report.health.items())},
        **({"rollback": _back(report.rollback)} if report.rollback is not None else {}),
        **({"approval": gate_data(report.gate)} if report.gate else {}),
        **({"cleanup": _scratches(report)} if report.scratches else {}),
        **({"rules": [_rule(rule) for rule in report.rules]} if report.rules else {}),
        **({"error": report.error} if report.error else {}),
        **_why_all(report),
    }


def _rule(rule: RuleChange) -> dict[str, Any]:
    """A rule for what is removed, in two commits."""
    keys = {key: {"before": before or None, "after": after or None} for key, before, after in rule.keys}
    told = {"rule": rule.name, "about": rule.about, "change": rule.word, "risky": rule.is_risky}
    return {**told, "keys": keys}


def _back(report: DeploymentReport) -> dict[str, Any]:
    """What was done in the same pass for what failed in it."""
    data = _deployment(report)
    return {key: data[key] for key in ("changes", "steps", "health", "error") if key in data}


def _rollout(service: str, report: DeploymentReport) -> dict[str, Any]:
    """Where a service stands whose new specification has to prove healthy."""
    told = report.rollouts.get(service)
    if told is None:
        return {}
    failed = {"failed_version": told.wanted, "failed_since": told.since, "failed_commit": told.commit}
    failed |= {"why": told.why, **({"beside": told.beside} if told.beside else {})}
    failed |= {"stuck": told.stuck} if told.stuck else {}
    return {"rollout": told.stage.value, **(failed if told.stage.is_failure else {})}


def wanted_version(change: Change, report: DeploymentReport) -> str:
    """The version that git wants, be it one that failed and is held back."""
    told = report.rollouts.get(change.service)
    return told.wanted if told is not None and told.stage.is_failure else change.wanted


def _scratches(report: DeploymentReport) -> list[dict[str, Any]]:
    from reconciler.report.cleanup import scratches_data

    return scratches_data(report.scratches)


def _why(change: Change, report: DeploymentReport) -> dict[str, Any]:
    """Who asked for it, where that was looked up."""
    if report.why is None or change.kind is Kind.KEEP:
        return {}
    from reconciler.report.why_data import of_service

    return of_service(report.why, change.service)


def _why_all(report: DeploymentReport) -> dict[str, Any]:
    if report.why is None:
        return {}
    from reconciler.report.why_data import of_deployment

    return of_deployment(report.why)


def _change(change: Change) -> dict[str, Any]:
    return {
        "service": change.service,
        "kind": change.kind.value,
        "reasons": list(change.reasons),
        "restarts": list(change.restarts),
        "launcher": change.unit.launcher,
        "unit": change.unit.name,
        "group": change.group,
        "component": change.component,
        "version": change.version,
        "wanted": change.wanted,
        "state": change.state.value,
        "held": bool(change.held),
        **({} if change.managed else {"managed": False}),
        **({"held_by": change.held.value} if change.held else {}),
        **({"renamed_from": change.renamed_from} if change.renamed_from else {}),
    }


def _step(step: Step, result: StepResult | None) -> dict[str, Any]:
    data: dict[str, Any] = {
        "id": step.id,
        "action": step.action.value,
        "service": step.service or None,
        "target": step.target,
        "needs": [*step.needs, *step.gates],
        "restarts": list(step.restarts),
    }
    if result is not None:
        data |= {
            "status": result.status.value,
            "seconds": result.seconds,
            "message": result.message,
            "hint": result.hint,
        }
    return data


def _gap(gap: Gap) -> dict[str, str]:
    return {"scope": gap.scope, "subject": gap.subject, "message": gap.message}


def _finding(finding: Finding) -> dict[str, Any]:
    return {"name": finding.name, "check": finding.check, "message": finding.message, "since": finding.since or None}


def gate_data(gate: Gate) -> dict[str, Any]:
    """The plan that waits for approval, or has. `approved`: by whom, where it was."""
    approved = {key: value or None for key, value in gate.approval._asdict().items()} if gate.approval else None
    lines = list(gate.waiting.lines)
    return {"plan": gate.id, "lines": lines, "approved": approved, "rest_of": gate.rest_of or None}


def pause_data(pause: Pause) -> dict[str, Any]:
    """`environment` and `service` are null where it is every one of the site, and all of them."""
    return {**pause._asdict(), "environment": pause.environment or None, "service": pause.service or None}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {"health": verdict.word.value, "health_message": verdict.message}


def problems_data(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    return [{**problem.origin._asdict(), "message": problem.message, "hint": problem.hint} for problem in problems]


def status_data(report: PassReport) -> dict[str, Any]:
    return {
        "site": report.site,
        "commit": report.commit,
        "deployments": [
            {
                "environment": deployment.plan.environment,
                "health": _worst(deployment).value,
                "services": [_service(change, deployment) for change in deployment.plan.diff.changes],
                "places": {name: one.place for name, one in deployment.observed.daemons.items() if one.place},
                "gaps": [_gap(gap) for gap in deployment.plan.diff.gaps],
                "warnings": list(deployment.plan.diff.warnings),
                "findings": [_finding(finding) for finding in deployment.findings],
                "pauses": [pause_data(pause) for pause in deployment.observed.pauses],
                "elsewhere": [{"service": one.name, "where": one.where} for one in deployment.desired.elsewhere],
            }
            for deployment in report.deployments
        ],
        "notices": [notice.message for notice in report.notices],
        "problems": problems_data(report.problems),
        "elsewhere": _elsewhere(report),
    }


def _service(change: Change, report: DeploymentReport) -> dict[str, Any]:
    unit = unit_of(change, report)
    return {
        "service": change.service,
        "launcher": change.unit.launcher,
        "group": change.group,
        "state": change.state.value,
        "detail": change.detail,
        "version": running_version(change),
        "wanted": wanted_version(change, report) or None,
        "pid": unit.pid % ELSEWHERE if unit and unit.pid else None,
        "healthy": is_healthy(change, report.health),
        **_verdict(verdict(change, report)),
        "since": unit.since if unit and unit.since else None,
        "kind": change.kind.value,
        "reasons": list(change.reasons),
        **({} if change.managed else {"managed": False}),
        **_rollout(change.service, report),
    }


def unit_of(change: Change, report: DeploymentReport) -> Unit | None:
    """What is seen of a service: of one whose name somebody else has, its own process, if it has one."""
    if not change.managed:
        return report.observed.unmanaged.get(change.service)
    if not change.taken:
        return report.observed.units.get(change.unit)
    if change.running is None:
        return None
    return Unit(*change.unit, change.state, change.running.pid, change.running.started)


def running_version(change: Change) -> str | None:
    """The version of the process that runs; None where none does."""
    return (change.version or None) if change.state.alive else None


def is_healthy(change: Change, health: Mapping[str, Verdict]) -> bool:
    """It is up, as far as its launcher can tell, and does its work, where git says how that is seen."""
    told = health.get(change.service)
    up = change.state is State.RUNNING and not change.taken
    return up and (told is None or told.word is Word.HEALTHY)


def verdict(change: Change, report: DeploymentReport) -> Verdict:
    """In one of six words, how a service is: where nothing else was asked, as far as its launcher can tell."""
    from reconciler.core.health import of_state

    unit = unit_of(change, report) or Unit(*change.unit, change.state)
    told = report.health.get(change.service)
    return told or of_state(unit._replace(state=change.state), held=bool(change.held), taken=change.taken)


def _worst(report: DeploymentReport) -> Word:
    """Of all services that git wants here."""
    from reconciler.core.health import worst

    return worst(verdict(change, report).word for change in report.plan.diff.changes if change.wanted)


def explain_data(fields: Mapping[str, Any], layers: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {
        key: {
            "value": field.value,
            "file": field.origin.file,
            "line": field.origin.line,
            "column": field.origin.column,
            "secret": field.secret,
            "layers": [
                {"value": one.text, "file": one.origin.file, "line": one.origin.line, "wins": one.wins}
                for one in layers.get(key, ())
            ],
        }
        for key, field in fields.items()
    }
