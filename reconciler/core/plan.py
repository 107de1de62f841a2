"""What a pass does: the steps of a plan, what each needs, and what of it is done before what."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from reconciler.core.change import Act, Change, Diff, Kind, Running, UnitName
from reconciler.core.desired import Guard


class Action(Enum):
    INSTALL = "install"
    CHECK = "check"
    RENDER = "render"
    RELOAD = "reload"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    REMOVE = "remove"
    CLEAN = "clean"


class Phase(Enum):
    """What is done before what. Nothing is stopped before all that replaces it is in place."""

    INSTALL = 0
    CHECK = 1
    RENDER = 2
    COPIES = 3  # a launcher would read them besides what git wants
    DAEMON = 4
    STRAYS = 5
    RELOAD = 6
    STOP = 7
    START = 8
    RETIRE = 9
    CLEAN = 10  # only where all before it went well: what failed may still need what git no longer has
    RETAIN = 11  # old versions, likewise
    REMAINS = 12  # what launchers have left of what is over, likewise
    SCRATCH = 13  # whatever became of all before: a full disk may be why it failed


class Step(NamedTuple):
    """One act. What it was decided from (`running`, `before`) is checked again just before it is done."""

    id: str
    action: Action
    service: str  # empty where it is for several
    target: str  # what a person reads
    phase: Phase
    wave: int = 0
    needs: tuple[str, ...] = ()  # ids; a service's step is held up by a failure of any of them
    act: Act = Act.NONE
    unit: UnitName | None = None
    path: str = ""
    foreign: bool = False  # what stands at `path` may be somebody else's, and is kept beside it
    before: str = ""  # digest of the file that the plan found; empty: there was none
    running: Running | None = None
    launcher: str = ""
    restarts: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()  # ids, of the same convoy: nothing of the step begins, a stop neither, before these
    batch: int = 0  # of replicas that are changed one after the other
    guards: tuple[Guard, ...] = ()  # commands that must succeed


class Plan(NamedTuple):
    """What a pass does in one deployment. `plan` shows it and `--once` carries it out: it is one and the same."""

    site: str
    environment: str
    commit: str
    diff: Diff
    steps: tuple[Step, ...]

    @property
    def held(self) -> tuple[Change, ...]:
        return tuple(change for change in self.diff.changes if change.held)

    @property
    def waits(self) -> bool:
        """The pass is not allowed to do all of it."""
        return bool(self.held or self.diff.waiting)

    @property
    def blocked(self) -> tuple[Change, ...]:
        return tuple(change for change in self.diff.changes if change.kind is Kind.BLOCKED and not change.held)
