"""What passes have done, as it was noted at the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from reconciler.core.change import Kind
from reconciler.core.outcome import Status


class PastChange(NamedTuple):
    """What differed for one service."""

    service: str
    kind: str  # as `Kind` has it, or a word of a later version
    reasons: tuple[str, ...]
    version: str = ""  # of what ran
    wanted: str = ""
    intent: str = ""  # "intentional": a commit; "corrective": drift; empty: it was not noted


class PastStep(NamedTuple):
    id: str
    status: str  # as `Status` has it
    seconds: float
    message: str = ""  # what failed, with what it printed
    hint: str = ""

    @property
    def failed(self) -> bool:
        return self.status in (Status.FAILED.value, Status.BLOCKED.value)


class PastRemoval(NamedTuple):
    """What a rule of `cleanup` has removed."""

    rule: str
    root: str
    entries: int
    size: int  # bytes that its file system had more of afterwards
    paths: tuple[str, ...]  # the first of what went by itself, from the root on
    more: int  # of them
    failed: tuple[str, ...] = ()  # the first of what could not be removed, and why


class Part(NamedTuple):
    """What one pass did in one environment."""

    environment: str
    at: str  # when it was over, as 2026-11-29T07:39:38Z
    commit: str
    changes: tuple[PastChange, ...]
    steps: tuple[PastStep, ...]
    seconds: float | None = None  # None: it was not noted
    exit_code: int | None = None  # of this environment; None: it was not noted
    by: str = ""  # "ann on login01"
    findings: tuple[str, ...] = ()
    health: Mapping[str, tuple[str, str]] = {}  # by service that was not healthy at the end, the word and why
    error: str = ""
    cut: bool = False  # there was more than a journal has room for
    rolled_back: tuple[str, ...] = ()  # services that do not run what git wants, as that failed; and why
    removals: tuple[PastRemoval, ...] = ()
    names: str = ""  # the file that has the names of all that was removed; empty: there is none

    @property
    def code(self) -> int:
        """The exit status; of a pass that did not note it, as far as its steps tell."""
        return self.exit_code if self.exit_code is not None else int(any(step.failed for step in self.steps))


class PastRun(NamedTuple):
    """One pass, in all environments in which it did something."""

    id: str
    parts: tuple[Part, ...]
    subject: str = ""  # of the commit, where the mirror still has it
    author: str = ""

    @property
    def at(self) -> str:
        return max(part.at for part in self.parts)

    @property
    def commit(self) -> str:
        return self.parts[-1].commit

    @property
    def code(self) -> int:
        """As of a pass: a failure counts before what merely differs."""
        codes = {part.code for part in self.parts}
        return next((code for code in (3, 1, 75, 2) if code in codes), 0)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many services of each kind of change; kinds that there are none of are left out."""
        told = {(part.environment, change.service): change.kind for part in self.parts for change in part.changes}
        kinds = [*told.values()]
        return {kind.value: kinds.count(kind.value) for kind in Kind if kind.value in kinds}

    @property
    def removed(self) -> int:
        """How many entries of scratch folders."""
        return sum(one.entries for part in self.parts for one in part.removals)

    def services(self) -> set[str]:
        """Every service that it changed, or took a step for."""
        changed = {change.service for part in self.parts for change in part.changes}
        return changed | {name for part in self.parts for step in part.steps if (name := _service(step.id))}


_OF_SERVICES = ("check", "start", "stop", "restart", "remove")


def _service(step: str) -> str:
    """The service that a step is of, by its id; empty for one that is of several, or of a file."""
    action, _, rest = step.partition(":")
    return rest.rpartition("/")[2] if action in _OF_SERVICES and ":" not in rest else ""


class History(NamedTuple):
    runs: tuple[PastRun, ...]  # newest first
    warnings: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # the files that have the names of what clean-ups removed, also those that were killed
