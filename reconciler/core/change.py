"""What differs, service by service: the result of a diff."""

# Without postponed annotations, as in `model`.

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple, Self

from reconciler.core.desired import File, Guard
from reconciler.core.observed import FileState, Finding, State
from reconciler.core.problem import Gap


class Kind(Enum):
    """What differs for one service. The value is the word of the contract, `sign` what a person sees."""

    CREATE = "create"
    UPDATE = "update"
    RESTART = "restart"
    REMOVE = "remove"
    KEEP = "keep"
    BLOCKED = "blocked"

    @property
    def sign(self) -> str:
        return _SIGNS[self]


_SIGNS = {Kind.CREATE: "+", Kind.UPDATE: "~", Kind.RESTART: "!", Kind.REMOVE: "-", Kind.KEEP: "=", Kind.BLOCKED: "x"}


class Act(Enum):
    """What happens to the process of a service."""

    NONE = "none"
    START = "start"  # its launcher knows it; it is down
    RESTART = "restart"  # stop, start: the launcher's description stays
    CREATE = "create"  # the launcher takes it up, then start
    RECREATE = "recreate"  # stop, forget, take up anew, start: the description itself changes
    REMOVE = "remove"  # stop, forget
    LOAD = "load"  # the launcher takes its description up anew; the process goes on

    @property
    def starts(self) -> bool:
        return self in (Act.START, Act.RESTART, Act.CREATE, Act.RECREATE)

    @property
    def stops(self) -> bool:
        return self in (Act.RESTART, Act.RECREATE, Act.REMOVE)

    @property
    def loads(self) -> bool:
        """The launcher must read its descriptions anew."""
        return self in (Act.CREATE, Act.RECREATE, Act.REMOVE, Act.LOAD)


class Hold(Enum):
    """What keeps a pass from a change that it would make. It is no failure: the pass is not allowed to."""

    NONE = ""
    BUDGET = "budget"  # more removals at once than `policy.max_removals` allows
    WINDOW = "window"  # it is not the time for it, by `policy.windows`
    PAUSE = "pause"  # a person has paused it on this host
    QUEUE = "queue"  # its launcher waits for its own turn: a job that Slurm has not started
    AFTER = "after"  # what it comes after is held itself
    APPROVAL = "approval"  # a person is to approve it, by `policy.sync`, `self_heal` or `prune`
    PRUNE = "prune"  # by `policy.prune: false` nothing is removed that git no longer has

    def __bool__(self) -> bool:
        return self is not Hold.NONE


class UnitName(NamedTuple):
    launcher: str
    name: str


class Running(NamedTuple):
    """A process by its identity: a pid alone may belong to somebody else by now."""

    pid: int
    started: float


class OldUnit(NamedTuple):
    """A unit of ours that goes, and the process that it ran when that was decided."""

    launcher: str
    name: str
    running: Running | None

    @property
    def unit(self) -> UnitName:
        return UnitName(self.launcher, self.name)


class Change(NamedTuple):
    """What differs for one service, why, and what is to happen to its process."""

    service: str
    kind: Kind
    act: Act
    reasons: tuple[str, ...]
    unit: UnitName
    group: str
    component: str
    version: str  # of what runs, or was last applied; empty when there is none
    wanted: str  # empty: git does not want it
    state: State
    running: Running | None = None  # the process that the change was made from
    restarts: tuple[str, ...] = ()
    replaces: tuple[OldUnit, ...] = ()  # units of ours that give way to it: a rename, another launcher
    strays: tuple[Running, ...] = ()  # processes of ours that no launcher keeps
    renamed_from: str = ""
    held: Hold = Hold.NONE
    detail: str = ""  # the launcher's own words on the state
    managed: bool = True  # False: others run it, and it is only looked at
    guards: tuple[Guard, ...] = ()  # that it was applied with
    taken: bool = False  # the unit of its name is somebody else's: what it does is not this service's doing

    @property
    def acts(self) -> bool:
        return self.act is not Act.NONE or bool(self.replaces) or bool(self.strays)

    @property
    def is_put_off(self) -> bool:
        """Nothing of it is made ready either. What waits for its launcher only is started by that, as git wants it by
        then."""
        return self.kind is Kind.BLOCKED and self.held is not Hold.QUEUE

    def hold(self, by: Hold, why: str) -> Self:
        """The same change, told and not made."""
        return self._replace(
            kind=Kind.BLOCKED, act=Act.NONE, reasons=(*self.reasons, why), replaces=(), strays=(), held=by
        )

    @property
    def gone(self) -> tuple[OldUnit, ...]:
        """All units that the launchers are to forget for it."""
        return (OldUnit(*self.unit, self.running), *self.replaces) if self.act is Act.REMOVE else self.replaces


class FileChange(NamedTuple):
    """A file that does not stand on disk as git wants it."""

    file: File
    before: FileState
    why: str
    by_hand: bool  # drift, not a commit
    foreign: bool = False  # as far as the inventory tells: the file itself may say that it is ours

    @property
    def content_differs(self) -> bool:
        return self.before.digest != self.file.digest


class DaemonAct(Enum):
    NONE = "none"
    START = "start"
    RESTART = "restart"
    STOP = "stop"  # nothing is left for it to run
    RENEW = "renew"  # its time is nearly over: another one is asked for that follows it
    ADJUST = "adjust"  # what was asked for and waits for its turn gets other limits, and keeps its place

    @property
    def begins(self) -> bool:
        """All that it runs is started with it."""
        return self in (DaemonAct.START, DaemonAct.RESTART)


class DaemonChange(NamedTuple):
    launcher: str
    act: DaemonAct
    why: str
    running: Running | None
    waits: str = ""  # why it will run by itself, and does not yet
    queued: bool = False  # it waits, and nothing runs under it
    surplus: tuple[Running, ...] = ()  # further ones of ours that must go
    as_it_was: bool = False  # what git says anew of it waits: it is the one that was applied last


class Diff(NamedTuple):
    """Everything that differs in a deployment, and what was left alone."""

    changes: tuple[Change, ...]  # every service once, sorted by name
    files: tuple[FileChange, ...]  # to be written
    stale_files: tuple[str, ...]  # ours, and no longer wanted
    installs: tuple[str, ...]  # ids that are not in place
    daemons: tuple[DaemonChange, ...]
    stray_daemons: tuple[Running, ...]
    ended_managers: tuple[str, ...]  # launchers that are no longer wanted, and keep nothing of ours after the plan
    gaps: tuple[Gap, ...]
    copies: Mapping[str, str] = {}  # further descriptions of units that have one -> the launcher that reads them
    going: Mapping[str, str] = {}  # `stale_files` and `copies` -> digest of what was found there
    describing: frozenset[str] = frozenset()  # launchers that read descriptions of units, and must be told to
    warnings: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    held_files: frozenset[str] = frozenset()  # that differ, and are not written before their window opens
    waiting: tuple[str, ...] = ()  # what besides services waits for a window, in words
    by_hand: Mapping[str, int] = {}  # services that run as they were adopted -> pid
    theirs: Mapping[str, int] = {}  # services that others run -> pid
    forgotten: frozenset[str] = frozenset()  # services whose unit from before they were adopted is gone for good

    @property
    def former_daemons(self) -> frozenset[str]:
        """Launchers whose daemon is held to what was applied last."""
        return frozenset(daemon.launcher for daemon in self.daemons if daemon.as_it_was)

    def counts(self) -> Mapping[str, int]:
        counted = dict.fromkeys((kind.value for kind in Kind), 0)
        for change in self.changes:
            counted[change.kind.value] += 1
        return counted
