"""Lines for the steps that a person wants to read of: those that failed, and those for several services."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Action, Phase, Step
from reconciler.report.style import Style

SILENT = StepResult("", Status.DONE)
_COLOURS = {Status.SKIPPED: "dim", Status.DONE: "yellow"}  # what was done has more to say where it went amiss
_TOLD_EACH = (Phase.RETAIN, Phase.REMAINS)
_SHOWN_CLEANED = 3  # files that get a line each


def by_service(steps: Iterable[Step]) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for step in steps:
        found.setdefault(step.service, []).append(step)
    return found


def failure_lines(steps: Sequence[Step], results: Mapping[str, StepResult], style: Style) -> Iterator[str]:
    found = [(step, results[step.id]) for step in steps if step.id in results]
    found = [(step, result) for step, result in found if result.message not in ("", step.target)]
    failed = any(result.status is Status.FAILED for _, result in found)
    for step, result in found:
        if failed and result.status is Status.BLOCKED:
            continue  # what a failure holds up of the same service goes without saying
        if result.waits and step.service:
            continue  # its launcher says why, once for all
        failed = failed or result.status is Status.BLOCKED
        colour = _COLOURS.get(result.status, "red")
        lines = result.message.splitlines()
        yield from style.fold(
            f"      {style.paint(f'{step.action.value} {result.status.value}', colour)}: {lines[0]}", indent="        "
        )
        for line in lines[1:]:
            yield f"        {line}"
        if result.hint:
            yield from style.fold(f"        -> {result.hint}", indent="        ")


def shared_lines(steps: Sequence[Step], results: Mapping[str, StepResult], root: str, style: Style) -> Iterator[str]:
    """Steps that are for several services: installs, shared files, the launcher's daemon."""
    cleaned = [step for step in steps if step.action is Action.CLEAN and step.phase not in _TOLD_EACH]
    together = len(cleaned) > _SHOWN_CLEANED
    for step in steps:
        silent = results.get(step.id, SILENT).status is Status.DONE
        if step.action is Action.RELOAD or (together and step in cleaned and silent):
            if not silent:
                yield from failure_lines([step], results, style)
            continue
        target = "ROOT/" + step.target.removeprefix(f"{root}/") if step.target.startswith(f"{root}/") else step.target
        yield from style.fold(f"    {step.action.value:<8} {target}", indent=" " * 13)
        yield from failure_lines([step], results, style)
    if together:
        yield f"    {'clean':<8} {len(cleaned)} files below ROOT"
