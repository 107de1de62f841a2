"""Text for people: what happens, why, and what to do next, on one screen of 80 columns."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from reconciler.core.change import Act, Change, Hold, Kind
from reconciler.core.model import ELSEWHERE, Pause, Problem, State, Unit, Verdict
from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Action, Phase, Plan, Step
from reconciler.core.report import DeploymentReport, PassReport
from reconciler.report.data import is_healthy, running_version, unit_of
from reconciler.report.style import Style

_SILENT = StepResult("", Status.DONE)
_SHOWN_ALIKE = 12  # services with one and the same reason that get a line each; more are told together
_SHOWN_VERSIONS = 3
_WIDEST_VERSIONS = 24  # characters
_WIDEST_NAME = 28
_SHOWN_CLEANED = 3  # files that get a line each
_SHOWN_KEPT = 12  # unchanged services that get a line each; more are counted

_WORDS = {
    Kind.CREATE: ("to create", "created"),
    Kind.UPDATE: ("to update", "updated"),
    Kind.RESTART: ("to restart", "restarted"),
    Kind.REMOVE: ("to remove", "removed"),
    Kind.BLOCKED: ("blocked", "blocked"),
    Kind.KEEP: ("unchanged", "unchanged"),
}
_HELD = {
    Hold.BUDGET: ("removals are held", ": allow them with policy.max_removals in git."),
    Hold.WINDOW: ("are held by policy.windows", ": `--ignore-windows` does not wait."),
    Hold.PAUSE: ("are paused", ": `reconcile resume` goes on."),
    Hold.QUEUE: ("wait for their launcher", "."),
}
_COLOURS = {
    Kind.CREATE: "green",
    Kind.UPDATE: "yellow",
    Kind.RESTART: "yellow",
    Kind.REMOVE: "red",
    Kind.BLOCKED: "red",
    Kind.KEEP: "dim",
}


def pass_text(report: PassReport, style: Style) -> str:
    """A plan, or what a pass did."""
    blocks = [_notices(report, style), _problems_block(report, style), _misplaced(report, style)]
    blocks += [_deployment(report, deployment, style) for deployment in report.deployments]
    return "\n\n".join("\n".join(block) for block in map(list, blocks) if block) + "\n"


def _notices(report: PassReport, style: Style) -> Iterator[str]:
    for notice in report.notices:
        word = style.paint("error", "red") if notice.failed else style.paint("warning", "yellow")
        yield from style.fold(f"{word}: {notice.message}", indent="    ")


def _misplaced(report: PassReport, style: Style) -> Iterator[str]:
    """Environments that are not for here. That nothing is, is an error: the wrong account, host or agent's file."""
    for environment, where in report.elsewhere:
        told = f"{report.site} {environment} runs {where}"
        if report.is_misplaced:
            told = f"{style.paint('error', 'red')}: {told}, and this is {report.place}: nothing is done"
        yield from style.fold(told if report.is_misplaced else style.paint(f"{told}: not here", "dim"), indent="    ")


def _elsewhere(deployment: DeploymentReport, style: Style) -> Iterator[str]:
    """Services that are another agent's part."""
    by_place: dict[str, list[str]] = {}
    for one in deployment.desired.elsewhere:
        by_place.setdefault(one.where, []).append(one.name)
    for where, names in by_place.items():
        yield from style.fold(style.paint(f"  = elsewhere, {where}: {', '.join(names)}", "dim"), indent="      ")


def _problems_block(report: PassReport, style: Style) -> Iterator[str]:
    if not report.problems:
        return
    held = f"the site stays at {report.commit[:8]}" if report.commit else "nothing is applied"
    which = f"commit {report.head[:8]} is" if report.head else "the desired state is"
    yield style.paint("error", "red") + f": {which} not valid, so {held}"
    yield from problem_lines(report.problems, style)


def problem_lines(problems: Sequence[Problem], style: Style) -> Iterator[str]:
    for problem in problems:
        place, _, rest = str(problem._replace(hint="")).partition(": ")
        yield from style.fold(f"{style.paint(place, 'bold')}: {rest}", indent="    ")
        if problem.hint:
            yield from style.fold(f"    {problem.hint}", indent="    ")


def _deployment(report: PassReport, deployment: DeploymentReport, style: Style) -> Iterator[str]:
    heading = style.paint(f"{report.site} {deployment.plan.environment}", "bold") + _commit(report)
    yield from style.fold(heading, indent="    ")
    results = {result.id: result for result in deployment.results}
    steps = _by_service(deployment.plan.steps)
    changes = _without_gaps(deployment.plan)
    acting = [change for change in changes if change.kind is not Kind.KEEP]
    kept = [change for change in changes if change.kind is Kind.KEEP]
    width = min(max((len(change.service) for change in changes), default=0), _WIDEST_NAME)
    versions = min(max((len(_versions(change)) for change in acting), default=0), _WIDEST_VERSIONS)
    talkative = {step.service for step in deployment.plan.steps if results.get(step.id, _SILENT).message}
    shared = [step for step in steps.get("", ()) if step.phase is not Phase.SCRATCH]
    broken = [step for step in shared if results.get(step.id, _SILENT).status is Status.FAILED]
    yield from _shared_lines(broken, results, deployment.desired.root, style)
    for alike in _alike(acting, talkative):
        if len(alike) > _SHOWN_ALIKE:
            yield from _together(alike, style)
            continue
        for change in alike:
            yield from _change_lines(change, width, versions, style)
            yield from _failure_lines(steps.get(change.service, ()), results, style)
    yield from _kept_lines(kept, width, style)
    yield from _elsewhere(deployment, style)
    yield from _shared_lines([s for s in shared if s not in broken], results, deployment.desired.root, style)
    if any(step.phase is Phase.SCRATCH for step in deployment.plan.steps):
        from reconciler.report.cleanup import scratch_lines

        yield from scratch_lines(deployment, style)
    yield from _paused(deployment, style)
    yield from _health_lines(deployment, style)
    yield from _unclear(deployment.plan, style)
    if deployment.error:
        yield from style.fold(style.paint("error", "red") + f": {deployment.error}", indent="    ")
    yield from style.fold("  " + _summary(deployment, style), indent="  ")


def _without_gaps(plan: Plan) -> list[Change]:
    """The changes with short reasons: why something cannot be seen is told once, in a line of its own."""
    endings = [f": {gap.message}" for gap in plan.diff.gaps]

    def shortened(reason: str) -> str:
        ending = next((ending for ending in endings if reason.endswith(ending)), "")
        return reason.removesuffix(ending) if ending else reason

    return [change._replace(reasons=tuple(map(shortened, change.reasons))) for change in plan.diff.changes]


def _paused(deployment: DeploymentReport, style: Style) -> Iterator[str]:
    """What a person has paused. Told in every report, so that nobody forgets it."""
    for pause in deployment.observed.pauses:
        what = pause.service or "all of it"
        yield from style.fold(f"  {style.paint('paused', 'yellow')}: {what}, {by_whom(pause)}", indent="      ")


def by_whom(pause: Pause) -> str:
    """`by ann on login01 since 2026-11-29 04:00 until 2026-11-29 06:00: the reason`, in this host's time."""
    since, until = (time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) for at in (pause.since, pause.until))
    return f"by {pause.account} on {pause.host} since {since} until {until}: {pause.reason}"


def _health_lines(deployment: DeploymentReport, style: Style) -> Iterator[str]:
    """The services that do not do their work, or not yet; of what is blocked its change says why."""
    blocked = {change.service for change in deployment.plan.diff.changes if change.kind is Kind.BLOCKED}
    for name, told in sorted((deployment.ailing | deployment.progressing).items()):
        if name in blocked:
            continue
        yield from style.fold(f"  {_word(told, style)}: {name}{_why(told)}", indent="      ")


def _word(told: Verdict, style: Style) -> str:
    return style.paint(told.word.value, "red" if told.word.is_failure else "yellow")


def _why(told: Verdict) -> str:
    return f": {told.message}" if told.message else ""


def _unclear(plan: Plan, style: Style) -> Iterator[str]:
    """What could not be seen, and what will go wrong one day."""
    for gap in plan.diff.gaps:
        yield from style.fold(f"  {style.paint('?', 'red')} {gap.message}", indent="      ")
    for finding in plan.diff.findings:
        first, *printed = finding.message.split("\n")
        yield from style.fold(f"  {style.paint('finding', 'red')}: {finding.name}: {first}", indent="      ")
        for line in printed:
            yield f"      {line[: style.width - 6] if style.width else line}"
    for waiting in plan.diff.waiting:
        yield from style.fold(f"  {style.paint('x', 'red')} {waiting}", indent="      ")
    for warning in plan.diff.warnings:
        yield from style.fold(f"  {style.paint('warning', 'yellow')}: {warning}", indent="      ")


def _commit(report: PassReport) -> str:
    subject = f"  {report.subject}" if report.subject else ""
    return f" at {report.commit[:8]}{subject}" + (f" ({report.author})" if report.author else "")


def _by_service(steps: Iterable[Step]) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for step in steps:
        found.setdefault(step.service, []).append(step)
    return found


def _change_lines(change: Change, width: int, versions: int, style: Style) -> Iterator[str]:
    sign = style.paint(change.kind.sign, _COLOURS[change.kind])
    first, *more = [*_shortened(change), ""] if change.reasons else [""]
    if change.kind is Kind.UPDATE and not change.restarts and change.act in (Act.NONE, Act.LOAD) and not change.gone:
        first += " (mended; no restart)"
    head = f"  {sign} {change.service:<{width}}  {_versions(change):<{versions}}"
    indent = " " * (width + 6)
    yield from style.fold(f"{head}  {first}".rstrip(), indent=indent)
    for reason in filter(None, more):
        yield from style.fold(f"{indent}{reason}", indent=indent)
    others = [name for name in change.restarts if name != change.service]
    if others:
        yield from style.fold(f"{indent}restarts with it: {', '.join(others)}", indent=indent)


def _alike(changes: Sequence[Change], talkative: set[str]) -> Iterator[list[Change]]:
    """Neighbours that would be told in the same words, unless steps of theirs have more to say."""
    group: list[Change] = []
    for change in changes:
        if group and (_told(change) != _told(group[0]) or {change.service, group[0].service} & talkative):
            yield group
            group = []
        group.append(change)
    if group:
        yield group


def _told(change: Change) -> object:
    others = tuple(name for name in change.restarts if name != change.service)
    return change.kind, change.reasons, others, change.renamed_from


def _together(changes: Sequence[Change], style: Style) -> Iterator[str]:
    first = changes[0]
    sign = style.paint(first.kind.sign, _COLOURS[first.kind])
    versions = sorted({_versions(change) for change in changes})
    shown = f"  {', '.join(versions)}" if len(versions) <= _SHOWN_VERSIONS else ""
    yield from style.fold(f"  {sign} {len(changes)} services{shown}: {'; '.join(_shortened(first))}", indent="      ")
    yield from style.fold("      " + ", ".join(change.service for change in changes), indent="      ")


def _versions(change: Change) -> str:
    if change.version and change.wanted and change.version != change.wanted:
        return f"{change.version} -> {change.wanted}"
    return change.wanted or change.version or "-"


def _shortened(change: Change) -> list[str]:
    """The versions stand in a column of their own; of that reason only the place is told again."""
    prefix = f"version {change.version} -> {change.wanted}"
    return [
        reason.removeprefix(prefix).strip().removeprefix("(").removesuffix(")") if reason.startswith(prefix) else reason
        for reason in change.reasons
    ]


def _kept_lines(kept: Sequence[Change], width: int, style: Style) -> Iterator[str]:
    if len(kept) > _SHOWN_KEPT:
        yield style.paint(f"  = {len(kept)} services unchanged", "dim")
        return
    for change in kept:
        if not change.managed:
            yield from style.fold(style.paint(f"  = {change.service:<{width}}  {_unmanaged(change)}", "dim"), " " * 6)
            continue
        down = "" if change.state is State.RUNNING else f"  {change.state.value.upper()} {change.detail}".rstrip()
        yield style.paint(f"  = {change.service:<{width}}  {_versions(change)}", "dim") + style.paint(down, "red")


def _unmanaged(change: Change) -> str:
    """What there is to say of a service that others run."""
    state = "" if change.state is State.RUNNING else f", {change.state.value}"
    return f"not managed{state}" + "".join(f"; {reason}" for reason in change.reasons)


def _failure_lines(steps: Sequence[Step], results: Mapping[str, StepResult], style: Style) -> Iterator[str]:
    found = [(step, results[step.id]) for step in steps if step.id in results and results[step.id].message]
    failed = any(result.status is Status.FAILED for _, result in found)
    for step, result in found:
        if result.status is Status.DONE or (failed and result.status is Status.BLOCKED):
            continue  # what a failure holds up of the same service goes without saying
        if result.waits and step.service:
            continue  # its launcher says why, once for all
        failed = failed or result.status is Status.BLOCKED
        colour = "dim" if result.status is Status.SKIPPED else "red"
        lines = result.message.splitlines()
        yield from style.fold(
            f"      {style.paint(f'{step.action.value} {result.status.value}', colour)}: {lines[0]}", indent="        "
        )
        for line in lines[1:]:
            yield f"        {line}"
        if result.hint:
            yield from style.fold(f"        -> {result.hint}", indent="        ")


def _shared_lines(steps: Sequence[Step], results: Mapping[str, StepResult], root: str, style: Style) -> Iterator[str]:
    """Steps that are for several services: installs, shared files, the launcher's daemon."""
    cleaned = [step for step in steps if step.action is Action.CLEAN]
    together = len(cleaned) > _SHOWN_CLEANED
    for step in steps:
        silent = results.get(step.id, _SILENT).status is Status.DONE
        if step.action is Action.RELOAD or (together and step.action is Action.CLEAN and silent):
            if not silent:
                yield from _failure_lines([step], results, style)
            continue
        target = "ROOT/" + step.target.removeprefix(f"{root}/") if step.target.startswith(f"{root}/") else step.target
        yield from style.fold(f"    {step.action.value:<8} {target}", indent=" " * 13)
        yield from _failure_lines([step], results, style)
    if together:
        yield f"    {'clean':<8} {len(cleaned)} files below ROOT"


def _summary(deployment: DeploymentReport, style: Style) -> str:
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
    more += "".join(
        " " + style.paint(f"{held.count(by)} {words[0]}", "red") + words[1] for by, words in _HELD.items() if by in held
    )
    if not held and not steps and not deployment.plan.diff.waiting:
        stuck = deployment.plan.blocked or deployment.plan.diff.gaps
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
    return f"{verdict}{', '.join(told) or 'no services'} in {deployment.seconds:.1f} s.{skipped}"


# ---------------------------------------------------------------- status


def status_text(report: PassReport, style: Style, now: float | None = None) -> str:
    """What runs: one line for each service, by group."""
    now = time.time() if now is None else now
    blocks = [list(_notices(report, style)), list(_misplaced(report, style))]
    blocks += [list(_status(report, deployment, style, now)) for deployment in report.deployments]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


_HEADINGS = ("SERVICE", "STATE", "VERSION", "WANTED", "PID", "SINCE")


def _status(report: PassReport, deployment: DeploymentReport, style: Style, now: float) -> Iterator[str]:
    yield style.paint(f"{report.site} {deployment.plan.environment}", "bold") + f" at {report.commit[:8]}"
    changes = sorted(_without_gaps(deployment.plan), key=lambda change: (change.group, change.service))
    rows = [_row(change, unit_of(change, deployment), now, deployment.health) for change in changes]
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
            yield from style.fold(f"      {_word(told, style)}: {told.message}", indent="      ")
    yield from _elsewhere(deployment, style)
    for launcher, daemon in deployment.observed.daemons.items():
        if daemon.place:
            yield from style.fold(style.paint(f"  {launcher}: {daemon.place}", "dim"), indent="      ")
    yield from _paused(deployment, style)
    yield from _unclear(deployment.plan, style)


def _row(change: Change, unit: Unit | None, now: float, health: Mapping[str, Verdict]) -> tuple[str, ...]:
    since = span(now - unit.since) if unit and unit.since else "-"
    pid = str(unit.pid % ELSEWHERE) if unit and unit.pid else "-"
    name = change.service if len(change.service) <= _WIDEST_NAME else change.service[: _WIDEST_NAME - 1] + "…"
    state = change.state.value
    if change.strays and change.state is State.ABSENT:
        state, pid = "stray", str(change.strays[0].pid)
    if change.service in health and change.state is State.RUNNING and not change.taken:
        state = health[change.service].word.value
    wanted = change.wanted or "-" if change.managed else "not managed"
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


# ---------------------------------------------------------------- explain


def explain_text(service: str, fields: Mapping[str, Any], style: Style) -> str:
    lines = [style.paint(service, "bold")]
    width = max((len(key) for key in fields), default=0)
    for key, field in fields.items():
        place = str(field.origin) if field.origin.line else field.origin.file
        value = field.value if isinstance(field.value, str) else _plain(field.value)
        shown = value.strip().replace("\n", "\n" + " " * (width + 4)) or "''"
        lines.append(f"  {style.paint(f'{key:<{width}}', 'dim')}  {shown}")
        lines.append(" " * (width + 4) + style.paint(place, "dim"))
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    from json import dumps

    return dumps(value, ensure_ascii=False)
