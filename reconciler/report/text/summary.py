"""The last line of a deployment: how much is to be done, or what became of it."""

from __future__ import annotations

from reconciler.core.change import Act, Hold, Kind
from reconciler.core.outcome import Status
from reconciler.core.report import DeploymentReport
from reconciler.report.style import Style

_WORDS = {
    Kind.CREATE: ("to create", "created"),
    Kind.UPDATE: ("to update", "updated"),
    Kind.RESTART: ("to restart", "restarted"),
    Kind.REMOVE: ("to remove", "removed"),
    Kind.BLOCKED: ("blocked", "blocked"),
    Kind.KEEP: ("unchanged", "unchanged"),
}
# Of one, of several, and what can be done about it.
_HELD = {
    Hold.BUDGET: ("removal is held", "removals are held", ": raise policy.max_removals in git to allow that."),
    Hold.WINDOW: ("is held by policy.windows", "are held by policy.windows", ": `--ignore-windows` does not wait."),
    Hold.PAUSE: ("is paused", "are paused", ": `reconcile resume` goes on."),
    Hold.QUEUE: ("waits for its launcher", "wait for their launcher", "."),
    Hold.AFTER: ("waits for other services", "wait for other services", "."),
    Hold.APPROVAL: (
        "waits for approval",
        "wait for approval",
        ": `reconcile approve` lets exactly this plan through.",
    ),
    Hold.PRUNE: ("removal is held by policy.prune", "removals are held by policy.prune", "."),
}


def summary(deployment: DeploymentReport, style: Style) -> str:
    return _outcome(deployment, style) if deployment.results else _prospect(deployment, style)


def _prospect(deployment: DeploymentReport, style: Style) -> str:
    """What would be done, before it is."""
    counts = deployment.plan.diff.counts()
    told = ", ".join(f"{counts[kind.value]} {words[0]}" for kind, words in _WORDS.items() if counts[kind.value])
    steps = deployment.plan.steps
    kinds: dict[str, int] = {}
    for step in steps:
        kinds[step.action.value] = kinds.get(step.action.value, 0) + 1
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    more = f" Steps: {listed}." if steps else ""
    held = [change.held for change in deployment.plan.held]
    for by, (one, several, then) in _HELD.items():
        if count := held.count(by):
            more += " " + style.paint(f"{count} {one if count == 1 else several}", "red") + then
    if not held and not steps and not deployment.plan.diff.waiting:
        stuck = deployment.plan.blocked or deployment.plan.diff.gaps
        rules = len(deployment.rules)
        if rules and not stuck:
            return f"{told or 'no services'}. {rules} rule{'s' * (rules != 1)} for what is removed."
        more = " Nothing can be done now." if stuck else " Nothing to do."
    return f"{told or 'no services'}.{more}"


def _outcome(deployment: DeploymentReport, style: Style) -> str:
    """What became of it: a service counts as done when every step of it is."""
    wrong = {Status.FAILED, Status.BLOCKED, Status.SKIPPED}
    results = {result.id: result.status for result in deployment.results}
    undone = {
        step.service for step in deployment.plan.steps if results.get(step.id) in wrong and step.act is not Act.NONE
    }
    undone |= {step.service for step in deployment.plan.steps if results.get(step.id) is Status.FAILED}
    told = []
    for kind, words in _WORDS.items():
        services = [change.service for change in deployment.plan.diff.changes if change.kind is kind]
        done = [service for service in services if service not in undone]
        if services:
            count = f"{len(services)}" if len(done) == len(services) else f"{len(done)} of {len(services)}"
            told.append(f"{count} {words[1]}")
    failed = sum(1 for result in deployment.results if result.status is Status.FAILED)
    waits = any(result.waits for result in deployment.results)
    skipped = " What waits comes by itself." if waits else " Asked to stop, so not all was done."
    skipped = skipped if deployment.skipped else ""
    verdict = style.paint(f"{failed} step{'s' * (failed != 1)} failed. ", "red") if failed else ""
    gone_back = len(deployment.rolled_back.keys() - deployment.to_go_back) if deployment.rollback else 0
    back = style.paint(f" {gone_back} rolled back.", "red") if gone_back else ""
    return f"{verdict}{', '.join(told) or 'no services'} in {deployment.seconds:.1f} s.{back}{skipped}"
