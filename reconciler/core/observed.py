"""What was observed of a host, as types."""

# Without postponed annotations: a named tuple compiles each one that is text, here for 2 ms of every pass.

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from reconciler.core.problem import Gap


class State(Enum):
    """What a launcher says of one unit."""

    RUNNING = "running"
    STARTING = "starting"
    BACKOFF = "backoff"  # it died while starting; the launcher will try again
    STOPPING = "stopping"
    STOPPED = "stopped"  # by a person or a program, not by itself
    EXITED = "exited"
    FATAL = "fatal"  # the launcher gave up
    ABSENT = "absent"
    UNKNOWN = "unknown"

    @property
    def alive(self) -> bool:
        """There is a process."""
        return self in (State.RUNNING, State.STARTING, State.STOPPING)

    @property
    def down(self) -> bool:
        """There is no process, and the launcher will not start one by itself."""
        return self in (State.STOPPED, State.EXITED, State.FATAL, State.ABSENT)


class Mark(NamedTuple):
    """What a process of ours carries in its environment: who owns it and what it was started from."""

    deployment: str
    root: str
    service: str  # empty for a launcher's daemon
    spec: str  # empty while the shim has not got that far
    launch: str
    version: str
    component: str
    pid: int  # of the service's main process; its children inherit it, and so can be told apart
    daemon: str = ""  # of which launcher it is the daemon


def daemon_key(launcher: str) -> str:
    """By which a launcher's daemon is named among services: no service is called so."""
    return f"daemon:{launcher}"


ELSEWHERE = 1 << 32  # added to pids of another host: they mean nothing here, and no call takes such a number


class Process(NamedTuple):
    pid: int  # of another host: see `ELSEWHERE`
    started: float  # seconds since the epoch
    mark: Mark | None  # None: it could not be read
    parent: int = 0


class Drift(NamedTuple):
    """A hand-made difference between what a launcher was told of a unit and what it goes by."""

    message: str  # reads after the service's name: "has a drop-in PATH", "is masked"
    restarts: bool = False  # the process may have been started that way, so it restarts when that is mended


class Unit(NamedTuple):
    """One name that a launcher knows."""

    launcher: str
    name: str
    state: State
    pid: int = 0
    since: float = 0.0  # seconds since the epoch, of the state
    detail: str = ""  # the launcher's own words: exit status, spawn error
    drift: tuple[Drift, ...] = ()  # that taking its description up anew mends


class FileState(NamedTuple):
    digest: str  # empty: it is not there
    mode: int = 0
    changed: float = 0.0  # st_ctime, or of the folder where the file is missing


class DaemonState(NamedTuple):
    running: bool
    pid: int = 0  # or the id of the job that carries it
    started: float = 0.0
    spec: str = ""  # it was started from; empty: that could not be read
    waits: str = ""  # why it does not run yet, and will by itself: it has been asked for, or it is not the time
    queued: bool = False  # it waits and nothing of it is there yet: what it has run has ended
    renew: str = ""  # why what is to follow it has to be asked for now: its time is nearly over
    adjust: str = ""  # why what waits for its turn is to be asked for with other limits: a maintenance was announced
    surplus: tuple[int, ...] = ()  # further ones of ours that must go, as `pid`
    place: str = ""  # where it runs, and until when: "job 12 on nid001, until 04:20"; empty: here, and for ever

    @property
    def exists(self) -> bool:
        """It runs, or has been asked for."""
        return self.running or bool(self.waits and self.pid)


class Finding(NamedTuple):
    """Something that is wrong, and that no step mends: a person has to. It is told for as long as it stands."""

    name: str  # the service, or what else it is about
    message: str  # of one line or several: what is wrong, then what was printed
    since: float  # seconds since the epoch; 0: not known
    check: str = ""  # what found it: "on_start", "verify"


class Word(Enum):
    """How a service is. Ordered by severity, the best first, as users of Argo CD know them."""

    HEALTHY = "healthy"  # it does its work
    SUSPENDED = "suspended"  # it does not run, and that is meant: a window or a queue holds it
    PROGRESSING = "progressing"  # it is on its way to be healthy, and still has time
    MISSING = "missing"  # git wants it, and there is none
    DEGRADED = "degraded"  # it does not do its work
    UNKNOWN = "unknown"  # that cannot be told

    @property
    def severity(self) -> int:
        """0 is the best; of several words the one with the highest counts."""
        return list(Word).index(self)

    @property
    def is_failure(self) -> bool:
        """A pass that meets it ends with exit status 1."""
        return self in (Word.MISSING, Word.DEGRADED, Word.UNKNOWN)

    @property
    def is_on_its_way(self) -> bool:
        """It becomes another one by itself."""
        return self is Word.PROGRESSING


class Verdict(NamedTuple):
    """How a service is, and why."""

    word: Word
    message: str = ""
    since: float = 0.0  # seconds since the epoch; 0: not known


class Pause(NamedTuple):
    """A person has told the passes of this host to leave something as it is, for a time."""

    environment: str  # empty: every one of the site
    service: str  # empty: the whole deployment
    since: float  # seconds since the epoch
    until: float  # seconds since the epoch; then it ends by itself
    account: str  # who opened it
    host: str  # from where
    reason: str

    def holds(self, environment: str, now: float) -> bool:
        return self.environment in ("", environment) and now < self.until


class Shut(NamedTuple):
    """It is not the time to do what git says anew: by `policy.windows`, by a pause, or before a person approves it."""

    why: str  # "held until 06:00 Mon (policy.windows.nights)"
    holds_all: bool = False  # nor to mend drift
    until: float = 0.0  # seconds since the epoch; 0: that is not to be seen
    paused: bool = False  # by a person, not by git
    gate: bool = False  # until a person approves it
    holds_changes: bool = True  # False: of a gate that is there for drift or removals only
    holds_removals: bool = True  # of what git no longer has

    def holds(self, *, drift: bool, removal: bool) -> bool:
        """Whether it holds what has changed by itself, what git no longer has, or else what git says anew."""
        return self.holds_all if drift else self.holds_removals if removal else self.holds_changes


class Observed(NamedTuple):
    now: float
    units: Mapping[tuple[str, str], Unit]  # by launcher and unit name
    processes: Mapping[int, Process]  # of this deployment: main processes and daemons, by pid
    files: Mapping[str, FileState]
    installs: Mapping[str, bool]  # by id: complete and of the wanted build
    daemons: Mapping[str, DaemonState]  # by launcher
    claimed: Mapping[tuple[str, str], str]  # units that a description of ours on disk names -> its path
    gaps: tuple[Gap, ...] = ()
    copies: Mapping[str, str] = {}  # files of ours that describe a unit once more -> the launcher that reads them
    remains: tuple[str, ...] = ()  # files of ours that nothing remembers
    outdated: Mapping[int, str] = {}  # by pid: why what it runs from is no longer what stands in its place
    warnings: tuple[str, ...] = ()  # nothing is wrong yet, and will be: lingering is off
    findings: tuple[Finding, ...] = ()
    unmanaged: Mapping[str, Unit] = {}  # by service; one that could not be looked at is missing
    shut: Mapping[str, Shut | None] = {}  # by service that some window or pause names; "": for all others
    pauses: tuple[Pause, ...] = ()  # that hold now
    gates: Mapping[str, Shut | None] = {}  # likewise: what waits for a person
