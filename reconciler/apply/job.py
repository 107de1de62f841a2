"""One step on its way: a unit that is stopped and started, or looked at, and how far that has come."""

from __future__ import annotations

from enum import Enum

from reconciler.core.change import UnitName
from reconciler.core.desired import Service
from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Action, Step


class Stage(Enum):
    WAITS_TO_STOP = "waits to stop"
    DRAINING = "draining"
    STOPPING = "stopping"
    WAITS_TO_START = "waits to start"
    STARTING = "starting"
    PROVING = "proving"  # it runs, and others wait until it is healthy
    OVER = "over"

    @property
    def before_down(self) -> bool:
        """What is to be stopped is not down yet."""
        return self in (Stage.WAITS_TO_STOP, Stage.DRAINING, Stage.STOPPING)


class Job:
    """One step on its way."""

    def __init__(self, step: Step, service: Service | None, now: float) -> None:
        self.step = step
        self.service = service
        self.unit: UnitName = step.unit or UnitName("", step.target)
        self.stage = Stage.WAITS_TO_STOP if step.act.stops else Stage.WAITS_TO_START
        self.began = now
        self.drained = False
        self.note = ""  # what went wrong on the way, and keeps nothing from going on
        self.deadline = 0.0
        self.result: StepResult | None = None

    def end(self, status: Status, now: float, message: str = "", hint: str = "") -> None:
        self.stage = Stage.OVER
        self.result = StepResult(self.step.id, status, round(now - self.began, 3), message, hint)

    @property
    def failed(self) -> bool:
        return self.result is not None and self.result.status in (Status.FAILED, Status.BLOCKED)

    @property
    def looks(self) -> bool:
        """It only looks whether a service is healthy."""
        return self.step.action is Action.CHECK

    @property
    def came_to_nothing(self) -> bool:
        """What is to be there after it is not. A replica whose turn did not come goes on as it was."""
        untouched = self.step.gates and self.step.act.stops and self.result and self.result.status is Status.BLOCKED
        return self.failed and not untouched
