"""What became of each step of a plan."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Status(Enum):
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"  # it had become so by itself, comes later by itself, or the pass was asked to stop
    BLOCKED = "blocked"  # something that it needs failed


ASKED_TO_STOP = "the pass was asked to stop before this step"


class StepResult(NamedTuple):
    id: str
    status: Status
    seconds: float = 0.0
    message: str = ""  # why, what was run and what it printed; empty for what went well
    hint: str = ""  # what a person does next
    waits: bool = False  # it has been asked for, and comes later by itself

    @property
    def is_so(self) -> bool:
        """What the step is for is the case now: it was done, or was found to be so already."""
        return self.status is Status.DONE or (self.status is Status.SKIPPED and not self.left_out)

    @property
    def left_out(self) -> bool:
        """It was not come to, or will come later."""
        return self.status is Status.SKIPPED and (self.waits or self.message == ASKED_TO_STOP)
