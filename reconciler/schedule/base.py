"""What a kind of schedule is: something that runs `reconcile --once` again and again on behalf of this account."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple, Protocol


class ScheduleError(Exception):
    """A schedule could not be read or written. The text says what was run, what it printed, and what to do."""


class UnfitError(ScheduleError):
    """What was asked for cannot be written in this kind of schedule."""


class Trouble(Enum):
    """Why a schedule does not stand as it was installed."""

    MISSING = "missing"
    DISABLED = "commented out by Slurm"
    CHANGED = "changed by hand"
    NOT_ENABLED = "not enabled"
    MASKED = "masked"
    INACTIVE = "not active"
    LINGER_OFF = "lingering is off"
    PROGRAM_GONE = "its program is gone"
    CONFIG_GONE = "the agent's file is gone"
    UNTOLD = "cannot be told"

    @property
    def can_be_mended(self) -> bool:
        """Whether writing the same once more puts it right. Unknown is not absent: nothing is written for it."""
        return self is not Trouble.UNTOLD and not self.is_gone

    @property
    def is_gone(self) -> bool:
        """It would be begun, and could not run."""
        return self in (Trouble.PROGRAM_GONE, Trouble.CONFIG_GONE)


class Finding(NamedTuple):
    trouble: Trouble
    message: str  # a sentence's beginning, without the command that mends it


class Job(NamedTuple):
    """What is run how often, and for whom."""

    site: str
    state_dir: str  # of the agent; together with the site it names the agent on this host
    minutes: int
    offset: int  # seconds into each interval
    argv: tuple[str, ...]
    options: tuple[str, ...] = ()  # of the site, for Slurm
    units: str = ""  # the folder for units of systemd
    log: str = ""  # for what passes print, where the scheduler sends no mail

    @property
    def label(self) -> str:
        return f"{self.site}, {self.state_dir}"


class Asked(NamedTuple):
    """What the scheduler itself says of an installed schedule."""

    findings: tuple[Finding, ...] = ()
    next_run: str = ""  # empty where that is not told
    remarks: tuple[str, ...] = ()  # worth knowing, but no trouble


class Entry(NamedTuple):
    """What is, or is to be, written for a job: texts by the table or the path that each belongs to."""

    job: Job
    texts: Mapping[str, str]  # empty where they are not known

    @property
    def label(self) -> bytes:
        return os.fsencode(self.job.label)


class Look(Protocol):
    """A question about an installed schedule, asked and not answered yet."""

    def finish(self, deadline: float, /) -> tuple[Finding, ...]:
        """What is wrong; waits at most until `deadline` (monotonic seconds). What cannot be told is a finding too."""

    def close(self) -> None:
        """End it where it was not finished. Any number of times."""


class Kind(Protocol):
    """One kind of schedule."""

    name: str

    def why_not(self) -> str:
        """Why it cannot be used by this account on this host; or nothing."""

    def why_rather_not(self) -> str:
        """Why it is not chosen where nobody asks for it; or nothing."""

    def entry(self, job: Job) -> Entry:
        """What is to be written for a job. Raises `UnfitError`."""

    def install(self, entry: Entry) -> None:
        """Write it, and make it run. Raises `ScheduleError`."""

    def remove(self, entry: Entry) -> bool:
        """Take the agent's own away; whether there was anything. Raises `ScheduleError`."""

    def has(self, job: Job) -> bool:
        """Whether anything of this agent's is there. Raises `ScheduleError`."""

    def look(self, entry: Entry) -> Look: ...

    def ask(self, entry: Entry) -> Asked:
        """What only the scheduler knows; it may take a moment."""
