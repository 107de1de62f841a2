"""What a launcher is: one module that renders for its backend, asks it, and drives it.

The pure half (`Launcher`) is used while the desired state is compiled and needs no host. The other
half (`Backend`) is made by `Launcher.backend` for one deployment on this host and does the I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol, TypeVar, cast

from reconciler.core.desired import Manager, Note, Role, Shown, Trace
from reconciler.core.observed import DaemonState, Finding, Process, Unit
from reconciler.core.problem import Gap


class Option(NamedTuple):
    """One key that a launcher understands: of a service (`services.NAME.LAUNCHER.KEY`) or its own (`LAUNCHER.KEY`)."""

    type: type[str | int | bool]
    help: str
    secret: bool = False
    choices: tuple[str, ...] = ()
    minimum: int | None = None


class Mode(Enum):
    """How a container holds its service."""

    RUN = "run"  # in the foreground: the service is the launcher's child
    INSTANCE = "instance"  # in the background, under a name of its own


class Container(NamedTuple):
    """The image that a service runs inside of. Its command is then what the image's start script is given."""

    mode: Mode
    program: str  # Apptainer: a name to be found on PATH, or a path
    image: str  # absolute path
    instance: str  # its name, one for each account and host; empty in mode RUN
    mounts: tuple[str, ...]  # each as `--mount` takes it: "src=/a,dst=/b,ro"
    options: tuple[str, ...]  # further words for Apptainer, such as "--nv"
    configdir: str  # where Apptainer keeps the records of instances
    home: bool  # the account's home is visible inside
    cleanenv: bool  # nothing of the environment outside is visible inside but the service's own `env`


class ServiceSpec(NamedTuple):
    """A service in its full effective form, as a launcher renders it."""

    name: str
    unit: str
    component: str
    version: str
    group: str
    command: str
    env: tuple[tuple[str, str], ...]  # without the marks
    prologue: str
    exports: tuple[str, ...]  # shell lines of the install method, put before the command (a venv's PATH)
    container: Container | None  # None: the command runs on the host itself
    stop_signal: str
    stop_seconds: float
    options: Mapping[str, object]  # of this launcher
    spec: str
    after: tuple[str, ...] = ()  # services that start before it
    on_start: str = ""  # shell lines for when the node is another than at the last start; they may fail
    says_start: bool = False  # each start leaves a line in its log
    secrets: frozenset[str] = frozenset()  # the names in `env` whose values are secret


class Place(NamedTuple):
    """The deployment as a launcher renders for it."""

    site: str
    environment: str
    paths: Mapping[str, str]  # root, bin, config, logs, run, images, venvs
    settings: Mapping[str, object]  # the top-level mapping named after the launcher
    home: str  # of the account; "~" where that is not known, as a repo is checked on another machine


class RenderedFile(NamedTuple):
    path: str
    mode: int
    content: bytes
    role: Role
    service: str  # empty for a daemon's file
    secret: bool = False
    shown: Shown | None = None  # of one with secrets


class Rendering(NamedTuple):
    """All that a launcher writes for a deployment, from which the plan and the process marks follow."""

    files: tuple[RenderedFile, ...]
    launch: Mapping[str, str]  # by service: digest of its description; another one where it must be loaded anew
    ready_seconds: Mapping[str, float]  # by service
    manager: Manager
    ports: tuple[int, ...] = ()  # that the daemon itself listens on
    notes: tuple[Note, ...] = ()  # that what it starts besides services may leave
    traces: tuple[Trace, ...] = ()  # that it leaves on disk, and what it starts does


class Look(NamedTuple):
    """A launcher's answer about all its units at once."""

    units: Mapping[tuple[str, str], Unit] = {}
    claimed: Mapping[tuple[str, str], str] = {}  # unit named by a description of ours on disk -> that file
    copies: tuple[str, ...] = ()  # files of ours that describe a unit which another file describes
    daemon: DaemonState = DaemonState(running=False)  # stays so for a launcher without a daemon of its own
    gaps: tuple[Gap, ...] = ()
    warnings: tuple[str, ...] = ()  # one sentence each, with the command that mends it
    processes: Mapping[int, Process] = {}  # main processes of its units on other hosts
    findings: tuple[Finding, ...] = ()  # what is wrong, and no step mends


class Outcome(NamedTuple):
    """What became of one request to a backend; `error` is empty when it was taken."""

    unit: str
    error: str = ""


class Log(NamedTuple):
    """Where a unit's output goes."""

    files: tuple[str, ...] = ()
    command: tuple[str, ...] = ()  # that prints it, without options for how much: `journalctl --user -u NAME`

    def __str__(self) -> str:
        return " ".join(self.command) or ", ".join(self.files)


class DaemonControl(Protocol):
    """Starts and stops the daemon of a deployment's own, for launchers that have one."""

    def start_daemon(self, progress: Callable[[str], None]) -> None:
        """Start the manager process and wait until it answers. Raises `host.run.CommandFailed` or `BackendError`.

        Raises `NotYet` where it was asked for and comes later by itself.
        """

    def stop_daemon(self, pid: int, seconds: float) -> None:
        """Stop the manager process and all that it runs; returns when it is gone. Raises `BackendError`."""

    def restart_daemon(self, pid: int, seconds: float, progress: Callable[[str], None]) -> None:
        """Have another one in its place, that is started from what git wants. Raises as both of these do."""

    def renew_daemon(self, progress: Callable[[str], None]) -> None:
        """Ask for what is to follow it, as its `renew` says. Raises `BackendError`."""

    def adjust_daemon(self, progress: Callable[[str], None]) -> None:
        """Give what was asked for and waits for its turn other limits, as its `adjust` says. Raises `BackendError`."""

    def reached_at(self) -> str:
        """By what name the place of what it runs is reached from here; empty: it is here, or is not known."""

    def leaves_nothing(self, mains: Collection[int]) -> Collection[int]:
        """Of main processes that ran on another host, those of which nothing is left there; what is left is being
        ended. To be asked until it says so. Raises `BackendError`."""


class Closing(Protocol):
    """A question on its way."""

    def end(self) -> None:
        """Nobody wants the answer any more. Any number of times."""


_C = TypeVar("_C", bound=Closing)


class Shared:
    """What the backends of one pass ask once for all deployments. Whoever makes one must call `close`."""

    def __init__(self) -> None:
        self._asked: dict[str, Closing] = {}

    def once(self, key: str, ask: Callable[[], _C]) -> _C:
        """The question of this key, which is sent by whoever comes first."""
        if key not in self._asked:
            self._asked[key] = ask()
        return cast("_C", self._asked[key])

    def close(self) -> None:
        for question in self._asked.values():
            question.end()
        self._asked.clear()


class Backend(Protocol):
    """Drives one launcher for one deployment. No verb waits for the effect: `units` tells it."""

    @property
    def daemon(self) -> DaemonControl | None:
        """None for a launcher without a daemon of the deployment's own."""

    def ask(self) -> None:
        """Send the one question, so that its answer can be awaited while other work is done."""

    def answer(self, processes: Mapping[int, Process]) -> Look:
        """Await and read the answer. Never raises for a backend that fails: that is a gap.

        The processes of this deployment tell a daemon that does not answer from one that is not there.
        """

    def reload(self) -> frozenset[str]:
        """Make the backend read its descriptions. Raises `BackendError`.

        Returns the units that run from another description than the one on disk.
        """

    def add(self, units: Sequence[str]) -> Iterable[Outcome]:
        """Take up units as their descriptions say, without starting or stopping them.

        Of one that is known already, this mends what its `drift` tells.
        """

    def remove(self, units: Sequence[str]) -> Iterable[Outcome]:
        """Forget units that are down."""

    def start(self, units: Sequence[str]) -> Iterable[Outcome]:
        """Start units that are down. One that runs is left alone; one that is still stopping is an error."""

    def stop(self, units: Sequence[str]) -> Iterable[Outcome]:
        """Begin to stop units. One that is down already is fine."""

    def units(self, names: Sequence[str]) -> Mapping[str, Unit]:
        """The state of these units now; an absent one has `State.ABSENT`. Raises `BackendError`."""

    def process(self, unit: Unit) -> Process | None:
        """The main process of a unit, looked at now; None where it has none. Raises `OSError`."""

    def log(self, unit: str) -> Log:
        """Where a person reads what the unit writes, and why it failed."""

    def close(self) -> None: ...


class BackendError(Exception):
    """A backend refused or could not be reached. The text says what was asked and what it answered."""


class NotYet(Exception):  # noqa: N818 - no error: it waits for its turn
    """What was asked for has been taken and comes later by itself. The text says when, or what it waits for."""


class Launcher(Protocol):
    """The pure half of a launcher."""

    name: str
    service_options: Mapping[str, Option]
    settings: Mapping[str, Option]
    account_wide: bool  # its units have one name space for all deployments of an account on a host
    mode: Mode | None  # the only one that it can keep containers in; None: as the service says

    def unit(self, service: str, environment: str, name: str) -> str:
        """What a service is called on the host; `name` is what git calls it there, if it says so."""

    def render(self, place: Place, services: Sequence[ServiceSpec]) -> Rendering: ...

    def check_settings(self, place: Place) -> str:
        """What stands against the launcher's own settings and paths, or nothing. Asked once for a deployment."""

    def check(self, place: Place, service: ServiceSpec) -> str:
        """What stands against running this service with this launcher, or nothing."""

    def backend(self, manager: Manager, shared: Shared | None = None) -> Backend:
        """What drives it. `shared`: of this pass; none for a look of its own."""
