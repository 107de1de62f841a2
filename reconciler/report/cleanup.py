"""What is or would be removed of scratch folders, for people and for machines."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from reconciler.core.cleanup import Figures, bytes_in_words
from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Phase
from reconciler.core.report import DeploymentReport, Scratch
from reconciler.report.style import Style

_SHOWN_FAILED = 6  # lines of what went wrong


def scratch_lines(report: DeploymentReport, style: Style) -> Iterator[str]:
    """One block for each rule that has a step."""
    told = {one.name: one for one in report.scratches}
    results = {result.id: result for result in report.results}
    for step in report.plan.steps:
        if step.phase is not Phase.SCRATCH:
            continue
        result = results.get(step.id)
        yield from style.fold(f"    {step.action.value:<8} {step.target}{_brief(result)}", indent=" " * 13)
        if result is not None and result.status is not Status.DONE:
            yield from _failed(step.action.value, result, style)
        for one in (one for name, one in told.items() if step.id.endswith(f":{name}") and one.figures):
            yield from figure_lines(one, style)


def _brief(result: StepResult | None) -> str:
    return f": {result.message}" if result is not None and result.status is Status.DONE and result.message else ""


def _failed(action: str, result: StepResult, style: Style) -> Iterator[str]:
    colour = "dim" if result.status is Status.SKIPPED else "red"
    first, *others = result.message.splitlines() or [""]
    yield from style.fold(f"      {style.paint(f'{action} {result.status.value}', colour)}: {first}", indent="        ")
    for line in others[:_SHOWN_FAILED]:
        yield f"        {line}"
    if len(others) > _SHOWN_FAILED:
        yield f"        and {len(others) - _SHOWN_FAILED} more lines"
    if result.hint:
        yield from style.fold(f"        -> {result.hint}", indent="        ")


def figure_lines(scratch: Scratch, style: Style) -> Iterator[str]:
    """How much would go, how old that is, and the largest of it."""
    figures = scratch.figures or Figures()
    least = "" if figures.whole else "at least "
    count = f"{figures.entries:,} {'entry' if figures.entries == 1 else 'entries'}"
    dates = f", from {_day(figures.oldest)} to {_day(figures.newest)}" if figures.oldest else ""
    then = "; the largest:" if figures.largest else ""
    yield from style.fold(f"      {least}{count}, {bytes_in_words(figures.size)}{dates}{then}", indent="        ")
    for size, path in figures.largest:
        yield style.paint(f"      {bytes_in_words(size):>8}  {shown(path)}", "dim")
    for trouble in scratch.troubles:
        yield from style.fold(f"      {style.paint('not seen', 'yellow')}: {shown(trouble)}", indent="        ")


def _day(instant: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(instant))


def shown(path: str) -> str:
    """A path in one line, whatever its author has put into its name."""
    return path if path.isprintable() else ascii(path)[1:-1]


def scratches_data(scratches: Sequence[Scratch]) -> list[dict[str, Any]]:
    return [scratch_data(one) for one in scratches]


def scratch_data(one: Scratch) -> dict[str, Any]:
    """`would` has what would be removed, `removed` what was; each is null where it is not so. Names as they are, which
    no two entries of a folder share; bytes that are no text as Python has them, lone surrogates."""
    data: dict[str, Any] = {"rule": one.name, "root": one.root, "would": None, "removed": None}
    data["troubles"] = list(one.troubles)
    if one.figures is not None:
        largest = [{"bytes": size, "path": path} for size, path in one.figures.largest]
        would = {"entries": one.figures.entries, "bytes": one.figures.size, "largest": largest}
        dates = {"oldest": one.figures.oldest or None, "newest": one.figures.newest or None}
        data["would"] = {**would, **dates, "whole": one.figures.whole}
    if one.cleaned is not None:
        done = one.cleaned
        data["removed"] = {"entries": done.entries, "bytes": done.size, "through": not done.stopped}
        data["troubles"] += done.troubles
    return data
