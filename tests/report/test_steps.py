"""Lines for steps that are for several services, as a person reads them."""

from __future__ import annotations

from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Action, Phase, Step
from reconciler.report.style import Style
from reconciler.report.text.steps import shared_lines

GONE = Step("clean:hello-1.0", Action.CLEAN, "", "hello 1.0, 12 kB", Phase.RETAIN)
PLAIN = Style(colour=False, width=80)


def told(result: StepResult) -> list[str]:
    return list(shared_lines([GONE], {GONE.id: result}, "/r", PLAIN))


def test_what_went_as_it_was_announced_is_told_once() -> None:
    line = "    clean    hello 1.0, 12 kB"
    assert told(StepResult(GONE.id, Status.DONE, message="hello 1.0, 12 kB")) == [line]
    assert told(StepResult(GONE.id, Status.SKIPPED, message="is used by process 7")) == [
        line,
        "      clean skipped: is used by process 7",
    ]
