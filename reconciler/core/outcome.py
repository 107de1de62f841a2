"""What became of each step of a plan."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Status(Enum):
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"  # it had become so by itself, or the pass was asked to stop
    BLOCKED = "blocked"  # something that it needs failed


class StepResult(NamedTuple):
    id: str
    status: Status
    seconds: float = 0.0
    message: str = ""  # why, what was run and what it printed; empty for what went well
    hint: str = ""  # what a person does next
