"""What git wants, as types.

All types of the core are named tuples, not dataclasses: a pass that finds nothing to do must be over before
anybody notices it, and the `dataclasses` module alone costs as much as the rest of such a pass.
"""

# Without postponed annotations: a named tuple compiles each one that is text, here for 2 ms of every pass.

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from reconciler.core.problem import Gap, Origin

if TYPE_CHECKING:
    from reconciler.core.secret import Use


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
    ca: str = ""  # http: a file with the certificates of who may vouch for the server; empty: whom this host trusts


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


class Leaves(Enum):
    """What a launcher, or what it starts, writes itself."""

    LOG = "log"  # that is rotated: beside PATH there are PATH.1 (the newest), PATH.2 and so on
    PID = "pid"  # the pid of a process, and nothing else
    SOCKET = "socket"  # made as PATH.PID at first
    STOP = "stop"  # which process was told to stop: its pid, its start and since when
    JOBS = "jobs"  # a folder of notes on jobs of Slurm's: how to reach them, and what has run in one
    RECORD = "record"  # Apptainer's of an instance, for each host one; the path is that of its configuration


class Trace(NamedTuple):
    """Something that is on disk besides what is rendered, because a launcher or what it starts has put it there."""

    leaves: Leaves
    path: str  # absolute
    launcher: str
    service: str  # empty: the launcher's daemon
    name: str = ""  # of the unit; empty for a daemon
    keep: int = 0  # of a log: rotated copies that stay

    @property
    def key(self) -> tuple[str, str, str]:
        """Of what lies there, whoever has put it there and however much of it stays."""
        return self.path, self.leaves.value, self.name if self.leaves is Leaves.RECORD else ""


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
    traces: tuple[Trace, ...] = ()  # that its launchers leave, by key

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


class Shown(NamedTuple):
    """What may be shown of a file with secrets in it: the same, made without them."""

    content: bytes
    without: frozenset[str]  # the names of what has no value in it


class Compiled(NamedTuple):
    """A deployment with all that only a pass with something to do needs."""

    deployment: Deployment
    contents: Mapping[str, bytes]  # by path
    fields: Mapping[str, Mapping[str, Field]]  # by service, then key: "version", "env.LC_ALL"
    hidden: tuple[str, ...] = ()  # secrets that are in the contents, to be masked in whatever is told
    shown: Mapping[str, Shown] = {}  # by path, of files with secrets of which more can be shown than that they change
