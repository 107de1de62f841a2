"""The words of the project as types: what git wants, what was observed, what is ours.

All of them are named tuples, not dataclasses: a pass that finds nothing to do must be over before
anybody notices it, and the `dataclasses` module alone costs as much as the rest of such a pass.
"""

# Without postponed annotations: a named tuple compiles each one that is text, here for 2 ms of every pass.

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from reconciler.core.secret import Use


class Origin(NamedTuple):
    """Where a value was written. Lines and columns count from 1; 0 means the file as a whole."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Problem(NamedTuple):
    """One thing that is wrong with an input: where, what, and how to mend it."""

    origin: Origin
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.origin.file}:{self.origin.line}:{self.origin.column}" if self.origin.line else self.origin.file
        return f"{place}: {self.message}" + (f"\n    {self.hint}" if self.hint else "")


class Gap(NamedTuple):
    """Something that could not be observed. Unknown is never absent."""

    scope: str  # "launcher", "process", "file", "install", "inventory"
    subject: str  # the launcher's name, a service, a path, an install id
    message: str


# ---------------------------------------------------------------- desired


class Role(Enum):
    """What a rendered file is for; it decides what a change of the file means."""

    CONFIG = "config"  # declared under `files:`; its services restart when it changes
    SHIM = "shim"  # starts one service; carries its version
    ENV = "env"  # the environment of one service, readable by the account only
    UNIT = "unit"  # the launcher's own description of one service
    DAEMON = "daemon"  # the launcher's own configuration


class File(NamedTuple):
    """A file that the deployment renders. The content itself is not kept: see `Compiled.contents`."""

    path: str  # absolute
    mode: int
    digest: str  # of the content, see `core.digest`
    role: Role
    services: tuple[str, ...]  # whose specification it is part of
    name: str  # the key under `files:`, or a short name for generated files
    secret: bool  # its content depends on a secret: only digests are ever shown


class Install(NamedTuple):
    """One component in one version on this host."""

    id: str  # COMPONENT-VERSION; what plans and reports call it
    component: str
    version: str
    method: str
    digest: str  # identity of everything that goes into the build
    path: str  # where the finished thing is found; empty for method `none`
    source: str  # the requirement (venv) or the image's source
    tool: str  # the program that builds it: a Python, an Apptainer
    prologue: str
    sha256: str = ""  # that the finished file must have; empty: any


class Service(NamedTuple):
    """A long-running process that git wants."""

    name: str  # its key under `services:`
    unit: str  # its name on the host
    component: str
    version: str
    launcher: str
    group: str
    spec: str  # digest of all that the process was started from; the process carries it
    launch: str  # digest of the launcher's own description of it, which carries no version
    install: str  # id of its Install, empty for none
    after: tuple[str, ...]
    ready_seconds: float  # how long it must stay up to count as started
    stop_seconds: float  # how long it may take to stop
    program: str  # what the shim executes, for the preflight
    prologue: str
    mounted: tuple[str, ...] = ()  # paths of the host that its container shows inside


class Unmanaged(NamedTuple):
    """A service that others run: it is looked at, and nothing is ever done about it."""

    name: str
    group: str
    launcher: str  # that keeps it; "process" where it is seen by its command line
    unit: str  # its name there; empty where it is seen by its command line
    process: str  # a pattern that its command line holds
    user: str  # whose process it is; empty: anybody's
    names: tuple[tuple[str, str], ...]  # launcher and unit of what was perhaps started for it when it was ours
    files: tuple[str, ...]  # that were perhaps written for it then


class Elsewhere(NamedTuple):
    """A service that another account runs, or another host: it is that one's agent's part, and left alone here."""

    name: str
    where: str  # in words: "as jtm", "on login[12]", "as jtm on login01"
    names: tuple[tuple[str, str], ...]  # launcher and unit of what was perhaps started for it when it was ours
    files: tuple[str, ...]  # that were perhaps written for it then


class Note(NamedTuple):
    """A file of this host in which a start leaves word of what went wrong without keeping it from starting."""

    name: str  # of the service, or of what else is started
    path: str  # absolute; nothing is there while all is well
    private: bool  # what it says may hold a secret, and is not told


class Ask(Enum):
    """How a probe asks whether a service does its work, or a verification what something outside is set to."""

    HTTP = "http"
    TCP = "tcp"
    EXEC = "exec"
    LOG = "log"
    HEARTBEAT = "heartbeat"


class Probe(NamedTuple):
    """One question, of `health` or `verify`. Nothing of it may be a secret: it is kept and shown."""

    ask: Ask
    seconds: float  # it may take
    target: str = ""  # a URL; HOST:PORT; a command; the path of a file; empty of a log: the launcher knows where
    status: int = 0  # http: the one that it must have; 0: any from 200 to 399
    holds: str = ""  # a pattern that must be found; empty: none
    lacks: str = ""  # log: a pattern that must not be found
    json: str = ""  # http: the field of the answer that tells the version, with dots between its parts
    header: str = ""  # http: the header that does
    within: float = 0.0  # heartbeat: seconds that the file may be old
    equals: str | None = None  # exec: what it must print; None: anything


class Watch(NamedTuple):
    """How it is seen that a service does its work, not only runs."""

    service: str
    probes: tuple[Probe, ...]
    start_period: float  # seconds that it may take from its start until it does
    interval: float  # seconds between two questions
    retries: int  # so many failures in a row of what was healthy are too many
    settle: float  # seconds that it must have gone well before it counts as healthy
    private: bool  # it was given a secret: nothing that it says is told
    env_file: str  # with its variables, which commands get


class Verify(NamedTuple):
    """A setting of something outside, which a command tells. That it is another one is a finding."""

    name: str
    service: str  # empty: of the deployment
    probe: Probe
    interval: float  # seconds for which a good answer stands
    private: bool
    env_file: str  # empty: none

    @property
    def id(self) -> str:
        """Unlike that of any other of the deployment, and fit for the name of a file."""
        return f"{self.service}@{self.name}"


class Drain(NamedTuple):
    """A command that is waited for before a service is stopped, so that it can end its work."""

    service: str
    command: str  # lines for bash; they get the service's variables, and its pid as MAINPID
    seconds: float  # it may take; then the stop goes on without it
    env_file: str  # with its variables; empty: none


class ReplicaSet(NamedTuple):
    """One entry under `services:` that stands for several services, which are changed one after the other."""

    name: str  # its key under `services:`
    services: tuple[str, ...]  # NAME-1, NAME-2 and so on, in that order
    canary: bool  # one is changed first, and has to prove healthy before the others
    max_unavailable: int  # so many of them at once
    proved: bool = False  # what they are to run has been healthy before: it is gone back to


class Manager(NamedTuple):
    """What keeps a launcher's units on this host, and how it is reached.

    It may be a daemon of the deployment's own (supervisord), which a pass starts and stops, or something that
    the host has anyway (systemd's user manager) or needs no process at all (Apptainer's instances).
    """

    launcher: str
    spec: str  # digest of the daemon's configuration, which the process carries; empty: it is no daemon of ours
    address: tuple[tuple[str, str], ...]  # what the launcher needs to reach and to start it

    @property
    def is_daemon(self) -> bool:
        """A process that passes start and stop."""
        return bool(self.spec)


class Opens(Enum):
    """What a window is for."""

    DENY = "deny"  # while it is open, nothing new is done
    ALLOW = "allow"  # only while one of these is open, something new is done
    MAINTENANCE = "slurm_reservation"  # nothing new is done while Slurm's nodes are in maintenance, and shortly before


class Window(NamedTuple):
    """One entry of `policy.windows`: when what git says anew waits."""

    name: str
    opens: Opens
    seconds: int  # how long it stays open; of a maintenance, how long before it nothing new is begun
    cron: str = ""  # when it opens; of a maintenance, its reservation tells
    zone: str = ""  # whose clocks `cron` goes by; empty: this host's
    holds_all: bool = False  # drift waits as well
    services: tuple[str, ...] = ()  # only these; empty: the whole deployment
    nodes: str = ""  # the hostlist that a maintenance must touch; empty: any
    partition: str = ""


class Guard(NamedTuple):
    """A command that must succeed before its service is stopped or removed."""

    name: str
    command: str  # lines for bash
    seconds: float  # it may take
    private: bool = False  # the service was given a secret: nothing that the command prints is told
    env_file: str = ""  # with the service's variables, which it gets


class Prune(Enum):
    """What becomes of services that git no longer has."""

    TRUE = "true"  # they are removed, within the budget
    CONFIRM = "confirm"  # a person approves it first
    FALSE = "false"  # they are told, and stay


class Policy(NamedTuple):
    """What a pass may do. `max_removals` counts services, `max_removal_percent` is of those that are ours."""

    max_removals: int = 3
    max_removal_percent: int = 30
    windows: tuple[Window, ...] = ()
    keep_schedule: bool = False  # it mends what starts the passes, where that was installed with `schedule install`
    manual: bool = False  # what git says anew waits until a person approves it
    self_heal: bool = True  # drift is mended without one
    prune: Prune = Prune.TRUE


class Approval(NamedTuple):
    """Somebody has approved one plan of one deployment."""

    plan: str  # its whole id
    reason: str
    account: str = ""  # who, where it was said on a host
    host: str = ""  # from where
    at: float = 0.0  # seconds since the epoch; 0: not known
    place: str = ""  # where it stands, unless it was said on the host: a file and line of git, or a tag


class Age(Enum):
    """By which date an entry of a scratch folder is old."""

    SELF = "self"  # its own date of change, as `find -mtime` has it
    NEWEST = "newest"  # of a folder: that of the newest file below it


class Sort(Enum):
    """Which entries may go by themselves; the values are those of `find -type`."""

    ANY = "any"
    FOLDER = "d"
    FILE = "f"


class RootIs(Enum):
    """What a root may be that else it must not be."""

    PLAIN = ""
    MOUNT = "mount"  # a mount point
    HOME = "home"  # the account's home; a mount point as well


class Cleanup(NamedTuple):
    """One entry of `cleanup`: what of a scratch folder goes, and when. See `core.cleanup`."""

    name: str
    root: str  # absolute, without `..`; nothing outside of it is ever touched
    days: int  # an entry is old when it is older than so many days and one more, as with `find -mtime +N`
    min_depth: int = 1  # 1: what lies in the root itself
    max_depth: int = 0  # 0: any
    sort: Sort = Sort.ANY
    age: Age = Age.SELF
    exclude: tuple[str, ...] = ()  # patterns of names; with a slash, of paths below the root
    cron: str = ""  # empty: once in a night
    zone: str = ""  # whose clocks `cron` goes by; empty: this host's
    free_bytes: int = 0  # it starts early while its file system has less than this free
    free_percent: int = 0
    in_use_command: str = ""  # prints what must stay, one a line
    in_use_file: str = ""  # holds that
    root_is: RootIs = RootIs.PLAIN
    minutes: int = 2  # that one pass may spend on it
    entries: int = 0  # that one pass may remove; 0: any number

    @property
    def starts_early(self) -> bool:
        return bool(self.free_bytes or self.free_percent)


class Retention(NamedTuple):
    """How many old versions of one component stay on this host. See `core.retention`."""

    component: str
    method: str
    place: str  # where the version is that git wants; the others stand beside it
    keep: int = 0  # that stay, however large they are
    size: int = -1  # bytes that all versions may have together before more than `keep` go; negative: none


class Deployment(NamedTuple):
    """What git wants of one site in one environment, complete and without any template left."""

    site: str
    environment: str
    commit: str
    root: str
    folders: tuple[tuple[str, int], ...]  # to be made, with their modes
    services: tuple[Service, ...]
    files: tuple[File, ...]
    installs: tuple[Install, ...]
    managers: tuple[Manager, ...]
    disabled: Mapping[str, Origin]  # services with `enabled: false`
    policy: Policy
    spare_managers: tuple[Manager, ...] = ()  # of launchers that it does not use, and that need no daemon
    notes: tuple[Note, ...] = ()
    unmanaged: tuple[Unmanaged, ...] = ()
    elsewhere: tuple[Elsewhere, ...] = ()
    watches: tuple[Watch, ...] = ()  # by service
    verifies: tuple[Verify, ...] = ()  # by id
    rollbacks: Mapping[str, bool] = {}  # by service, whether one that fails goes back, where git says so
    drains: tuple[Drain, ...] = ()  # by service
    sets: tuple[ReplicaSet, ...] = ()  # by name
    syncs: Mapping[str, bool] = {}  # services that say themselves whether a person approves what git says anew
    guards: Mapping[str, tuple[Guard, ...]] = {}  # by service; of a disabled one also where it has none
    approvals: tuple[Approval, ...] = ()  # plans that git approves
    secrets: "tuple[Use, ...]" = ()  # that git only refers to
    gaps: tuple[Gap, ...] = ()  # secrets that cannot be had on this host now; what they go into is not made
    cleanups: tuple[Cleanup, ...] = ()  # by name
    retentions: tuple[Retention, ...] = ()  # by component, where git says what stays

    @property
    def guarded(self) -> frozenset[str]:
        """Services of which a new specification has to prove healthy, or goes back to the last that did."""
        watched = {watch.service for watch in self.watches if self.rollbacks.get(watch.service, True)}
        return frozenset(watched | {name for name, wanted in self.rollbacks.items() if wanted})

    @property
    def others(self) -> tuple[Unmanaged | Elsewhere, ...]:
        """Services of which no step is taken here."""
        return (*self.unmanaged, *self.elsewhere)

    @property
    def is_elsewhere(self) -> bool:
        """None of it is for this account on this host."""
        return bool(self.elsewhere) and not self.services

    @property
    def whose(self) -> str:
        """Who runs what is not for here, and where, in words."""
        return "; ".join(sorted({one.where for one in self.elsewhere}))

    @property
    def id(self) -> str:
        return f"{self.site}/{self.environment}"


def without_services(site: str, environment: str, commit: str, root: str, policy: Policy) -> Deployment:
    """What git wants of a deployment that it no longer has: nothing."""
    return Deployment(site, environment, commit, root, (), (), (), (), (), {}, policy)


class Field(NamedTuple):
    """One effective value of a service, JSON-like, for people. Of a secret it is a salted digest."""

    value: object
    origin: Origin
    secret: bool = False


class Compiled(NamedTuple):
    """A deployment with all that only a pass with something to do needs."""

    deployment: Deployment
    contents: Mapping[str, bytes]  # by path
    fields: Mapping[str, Mapping[str, Field]]  # by service, then key: "version", "env.LC_ALL"
    hidden: tuple[str, ...] = ()  # secrets that are in the contents, to be masked in whatever is told


# ---------------------------------------------------------------- observed


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
    renew: str = ""  # why what is to follow it has to be asked for now: its time is nearly over
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


# ---------------------------------------------------------------- inventory


class Owned(NamedTuple):
    """What was last applied for one service."""

    unit: str
    launcher: str
    spec: str
    launch: str
    version: str
    pid: int = 0
    started: float = 0.0
    fields: Mapping[str, object] = {}  # effective values, for reasons; secrets as digests
    guards: tuple[Guard, ...] = ()  # that stand before its removal also when git no longer has it
    manual: bool = False  # so does a person, by its own `sync`


class Stage(Enum):
    """How far something that ran by hand has come on its way to us."""

    OFFERED = "offered"  # `reconcile adopt` has described it; git does not have that yet, so it is nobody's of ours
    TAKEN = "taken"  # git has it, and the process that was started by hand counts as the service
    LEFT = "left"  # the service runs under a launcher of ours now; what runs under the old one again must go


class Adopted(NamedTuple):
    """A unit that was made by hand, and which service its process counts as.

    Its process has no mark. That the unit is the one that was looked at is known by its name there, and by
    `start`: it may be another process by now, if it was started in the same way.
    """

    launcher: str  # that it runs under, one of `launchers.BY_HAND`
    unit: str  # its name there
    start: str  # digest of how it is started, as far as its launcher tells
    spec: str  # what it counts as started from
    launch: str
    version: str
    pid: int = 0
    started: float = 0.0
    stage: Stage = Stage.OFFERED


class Inventory(NamedTuple):
    """What is ours on this host. Written as the union of old and new before a pass acts."""

    services: Mapping[str, Owned] = {}
    files: Mapping[str, str] = {}  # path -> digest of what was written
    managers: tuple[Manager, ...] = ()  # that may still run units of ours
    roots: tuple[str, ...] = ()  # every root this deployment had and may still have something in
    pending: Mapping[str, tuple[int, float]] = {}  # service -> (pid, started) that must still be restarted
    notes: tuple[str, ...] = ()  # paths of notes that starts may have left
    adopted: Mapping[str, Adopted] = {}  # by service
    by_hand: tuple[Manager, ...] = ()  # what those run under
