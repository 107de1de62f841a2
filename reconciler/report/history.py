"""What passes have done: a line for each, or all of one; for people and for machines."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator, Sequence
from typing import Any

from reconciler.core.change import Kind
from reconciler.core.cleanup import in_words
from reconciler.core.history import History, Part, PastChange, PastRemoval, PastRun, PastStep
from reconciler.core.outcome import Status
from reconciler.report.cleanup import shown
from reconciler.report.style import Style
from reconciler.report.text.status import span

_HEADINGS = ("RUN", "AGO", "COMMIT", "IN", "DONE", "ENDED")
_WIDEST = (24, 8, 8, 16, 16, 7)  # characters of each column
_SHOWN_PATHS = 20  # of what a rule has removed
_SHORTEST_SUBJECT = 12  # less room than that is not used
_LINE = 80  # columns, where no terminal says otherwise
_ENDINGS = {0: ("ok", ""), 1: ("failed", "red"), 2: ("partial", "yellow"), 75: ("busy", "yellow")}
_UNKNOWN = ("?", "yellow")
_SIGNS = {kind.value: kind.sign for kind in Kind}
_COLOURS = {Status.FAILED.value: "red", Status.BLOCKED.value: "red", Status.SKIPPED.value: "yellow"}


def history_lines(runs: Sequence[PastRun], style: Style, now: float) -> Iterator[str]:
    """Newest first, one line for each that fits the width."""
    ids = _short([run.id for run in runs])
    rows = [_row(run, ids[run.id], now) for run in runs]
    columns = range(len(_HEADINGS))
    widths = [min(max(len(row[at]) for row in (_HEADINGS, *rows)), _WIDEST[at]) for at in columns]
    left = (style.width or _LINE) - sum(widths) - 2 * len(widths)
    heading = [*_HEADINGS, "SUBJECT"] if left >= _SHORTEST_SUBJECT else _HEADINGS
    yield style.paint(_joined(heading, [*widths, left]), "dim")
    for run, row in zip(runs, rows, strict=True):
        subject = [_fit(run.subject, left)] if left >= _SHORTEST_SUBJECT else []
        yield style.paint(_joined([*row, *subject], [*widths, left]), _ENDINGS.get(run.code, _UNKNOWN)[1])


def _row(run: PastRun, name: str, now: float) -> tuple[str, ...]:
    environments = ",".join(part.environment for part in run.parts)
    ended = _ENDINGS.get(run.code, _UNKNOWN)[0]
    return (name, span(now - _seconds(run.at)), run.commit[:8], environments, _done(run), ended)


def _done(run: PastRun) -> str:
    """`+1 ~5`: how many services of each mark, and what was removed of scratch; without either, how many steps."""
    counts = [f"{_SIGNS[kind]}{count}" for kind, count in run.counts.items()]
    if run.removed:
        counts.append(f"{run.removed:,} cleaned")
    steps = sum(len(part.steps) for part in run.parts)
    return " ".join(counts) or f"{steps} step{'s' * (steps != 1)}"


def _short(names: Sequence[str]) -> dict[str, str]:
    """Without the number of the process, where the time alone tells them apart."""
    times = [name.partition("-")[0] for name in names]
    return {name: at if times.count(at) == 1 else name for name, at in zip(names, times, strict=True)}


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    fitted = [f"{_fit(cell, width):<{width}}" for cell, width in zip(cells, widths, strict=False)]
    return "  ".join(fitted).rstrip()


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _seconds(at: str) -> float:
    """Since the epoch; 0 for what is no time."""
    try:
        return float(calendar.timegm(time.strptime(at, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return 0.0


# ---------------------------------------------------------------- one run


def run_lines(site: str, run: PastRun, style: Style, now: float) -> Iterator[str]:
    """All that was noted of it."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(_seconds(run.at)))
    by = next((f", by {part.by}" for part in run.parts if part.by), "")
    head = f"{style.paint(run.id, 'bold')} of {site}, {when} ({span(now - _seconds(run.at))} ago){by}"
    yield from style.fold(head, indent="    ")
    author = f" ({run.author})" if run.author else ""
    yield from style.fold(f"commit {run.commit[:8]}  {run.subject}{author}".rstrip(), indent="    ")
    for part in run.parts:
        yield ""
        yield from _part_lines(part, style)


def _part_lines(part: Part, style: Style) -> Iterator[str]:
    word, colour = _ENDINGS.get(part.code, _UNKNOWN)
    took = f" in {part.seconds:.1f} s" if part.seconds is not None else ""
    yield f"{style.paint(part.environment, 'bold')}  {style.paint(word, colour)} (exit status {part.code}){took}"
    width = max((len(change.service) for change in part.changes), default=0)
    for change in part.changes:
        yield from style.fold(_change(change, width), indent=" " * (width + 6))
    for step in part.steps:
        yield from _step_lines(step, style)
    for removal in part.removals:
        yield from _removal_lines(removal, part.names, style)
    for back in part.rolled_back:
        yield from style.fold(f"  {style.paint('rolled-back', 'red')}: {back}", indent="      ")
    for name, (word, why) in sorted(part.health.items()):
        yield from style.fold(f"  {style.paint(word, 'yellow')}: {name}" + (f": {why}" if why else ""), indent="      ")
    for finding in part.findings:
        first, *printed = finding.split("\n")
        yield from style.fold(f"  {style.paint('finding', 'red')}: {first}", indent="      ")
        yield from (f"      {line}" for line in printed)
    if part.error:
        yield from style.fold(f"  {style.paint('error', 'red')}: {part.error}", indent="      ")
    if part.cut:
        yield style.paint("  There was more than a journal has room for.", "dim")


def _change(change: PastChange, width: int) -> str:
    sign = _SIGNS.get(change.kind, "?")
    reasons = "; ".join(change.reasons)
    intent = f" [{change.intent}]" if change.intent else ""
    return f"  {sign} {change.service:<{width}}  {reasons}{intent}"


def _step_lines(step: PastStep, style: Style) -> Iterator[str]:
    colour = _COLOURS.get(step.status, "dim")
    yield f"    {style.paint(f'{step.status:<8}', colour)} {step.seconds:6.1f} s  {step.id}"
    for line in step.message.splitlines():
        yield f"        {line}"
    if step.hint:
        yield from style.fold(f"        -> {step.hint}", indent="        ")


def _removal_lines(one: PastRemoval, names: str, style: Style) -> Iterator[str]:
    rule = style.paint(f"cleanup.{one.rule}", "bold")
    yield from style.fold(f"  {rule} below {one.root} removed {in_words(one.entries, one.size)}", "      ")
    for path in sorted(one.paths)[:_SHOWN_PATHS]:
        yield style.paint(f"      {shown(path)}", "dim")
    more = one.more + max(len(one.paths) - _SHOWN_PATHS, 0)
    if more:
        told = f", {len(one.paths)} of all by --json" if len(one.paths) > _SHOWN_PATHS else ""
        told = f"; all names are in {names}" if names else told
        yield style.paint(f"      and {more:,} more{told}", "dim")
    for trouble in one.failed:
        yield from style.fold(f"      {style.paint('failed', 'red')}: {shown(trouble)}", "        ")


# ---------------------------------------------------------------- for machines


def history_data(site: str, history: History, runs: Sequence[PastRun]) -> dict[str, Any]:
    return {"site": site, "runs": [_run_data(run) for run in runs], "warnings": list(history.warnings)}


def _run_data(run: PastRun) -> dict[str, Any]:
    return {
        "run": run.id,
        "at": run.at,
        "commit": run.commit,
        "subject": run.subject,
        "author": run.author,
        "exit_code": run.code,
        "environments": [part.environment for part in run.parts],
        "counts": dict(run.counts),
    }


def run_data(site: str, run: PastRun) -> dict[str, Any]:
    return {"site": site, **_run_data(run), "deployments": [_part_data(part) for part in run.parts]}


def _part_data(part: Part) -> dict[str, Any]:
    return {
        "environment": part.environment,
        "at": part.at,
        "commit": part.commit,
        "by": part.by,
        "seconds": part.seconds,
        "exit_code": part.code,
        "changes": [{**change._asdict(), "reasons": list(change.reasons)} for change in part.changes],
        "steps": [step._asdict() for step in part.steps],
        "findings": list(part.findings),
        "health": {name: {"health": word, "health_message": why} for name, (word, why) in part.health.items()},
        "rolled_back": list(part.rolled_back),
        "removed": [_removal_data(one) for one in part.removals],
        "names": part.names or None,
        "error": part.error,
        "cut": part.cut,
    }


def _removal_data(one: PastRemoval) -> dict[str, Any]:
    found = {"rule": one.rule, "root": one.root, "entries": one.entries, "bytes": one.size}
    return {**found, "paths": list(one.paths), "more": one.more, "failed": list(one.failed)}
