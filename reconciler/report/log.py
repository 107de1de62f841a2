"""The log of a pass on standard error: structlog, for people on a terminal, JSON lines otherwise.

Importing structlog takes as long as an idle pass may take altogether, so events are held back until there
is nothing to do but wait for a service, or the pass is over. An idle pass has none and never imports it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TextIO

from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Action, Plan, Step
from reconciler.report.style import Style

# Worth a line only when they fail: the report counts them.
_ROUTINE = (Action.CHECK, Action.RENDER, Action.RELOAD)


class Log:
    """An `agent.run.Observer` that writes what happens."""

    def __init__(self, stream: TextIO | None = None, *, colour: bool = False) -> None:
        self.stream = stream or sys.stderr
        self.colour = colour  # on a terminal
        self.holds = False  # until a step is done: what fails may be what the last pass has told
        self._held: list[tuple[float, str, str, dict[str, Any]]] = []
        self._bound: dict[str, Any] = {}
        self._logger: Any = None

    # ------------------------------------------------------------ what a pass tells

    def deployment(self, plan: Plan, run: str) -> None:
        self._bound = {"site": plan.site, "environment": plan.environment, "commit": plan.commit[:12], "run": run}

    def begins(self, step: Step) -> None:
        """Said when it has ended; a step that takes long says so itself."""

    def progress(self, step: Step, line: str) -> None:
        self.event("info", "progress", step=step.id, line=line)
        self.waits()

    def ended(self, step: Step, result: StepResult) -> None:
        if result.status is Status.DONE and step.action is not Action.CHECK:
            self.holds = False
        if result.status is Status.DONE and step.action in _ROUTINE:
            return
        level = "error" if result.status in (Status.FAILED, Status.BLOCKED) else "info"
        more = {"message": result.message} if result.message else {}
        more |= {"hint": result.hint} if result.hint else {}
        service = {"service": step.service} if step.service else {}
        self.event(level, f"step {result.status.value}", step=step.id, **service, seconds=result.seconds, **more)

    def waits(self) -> None:
        if not self.holds:
            self.flush()

    # ------------------------------------------------------------ writing

    def event(self, level: str, name: str, **fields: object) -> None:
        self._held.append((time.time(), level, name, {**self._bound, **fields}))

    def forget_steps(self) -> None:
        """What became of them was told by an earlier pass; all else is written."""
        self._held = [event for event in self._held if "step" not in event[3]]
        self.flush()

    def flush(self) -> None:
        if not self._held:
            return
        held, self._held = self._held, []
        if self._logger is None:
            self._logger = _make_logger(self.stream, Style(self.colour, 0))
        with suppress(OSError):  # a log on a full disk: what is to be done is done without it, and the report tells it
            for when, level, name, fields in held:
                getattr(self._logger, level)(name, timestamp=_stamp(when), **fields)


def _stamp(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when)) + f".{int(when % 1 * 1000):03d}Z"


def _make_logger(stream: TextIO, style: Style) -> Any:
    import structlog

    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    if stream.isatty():
        renderer = partial(_for_people, style)
    return structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[structlog.stdlib.add_log_level, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )


# What the report that follows says once, and a machine wants with every event.
_SAID = frozenset({"timestamp", "level", "event", "site", "environment", "commit", "run", "service"})
_COLOURS = {"warning": "yellow", "error": "red"}


def _for_people(style: Style, _logger: object, _method: str, fields: Mapping[str, Any]) -> str:
    """One short line: when, which step, what of it. A line of progress speaks for itself."""
    told = dict(fields)
    colour = _COLOURS.get(told["level"], "")
    mark = style.paint(told["level"], colour) + " " if colour else ""
    head = [style.paint(told["timestamp"][11:19] + "Z", "dim") + " ", mark]
    if told["event"] == "progress":
        return "".join((*head, str(told["line"])))
    step = told.pop("step", "")
    what = f"{step} {told['event'].removeprefix('step ')}" if step else told["event"]
    took = f" in {told.pop('seconds', 0.0):.1f} s" if step and told["event"] == "step done" else ""
    rest = [f"\n    {key}: {value}" for key, value in told.items() if key not in {*_SAID, "seconds"}]
    return "".join((*head, what, took, *rest))
