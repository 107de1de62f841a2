"""What keeps units on the host in memory: a daemon for each root, one manager for the account, or nothing at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum

from reconciler.core.desired import Manager
from reconciler.core.observed import Drift, State

UNIT_FOLDER = "/home/units"  # of the account, below no root


class Keeping(Enum):
    """How a launcher keeps its units."""

    DAEMON = "daemon"  # of the deployment's own: it is started, and forgets everything when it ends
    ACCOUNT = "account"  # like systemd: always there, reads unit files when told to, starts again what dies
    INSTANCES = "instances"  # like Apptainer: a unit is there exactly as long as its process

    @property
    def own(self) -> bool:
        return self is Keeping.DAEMON


_KEEPING = {"systemd": Keeping.ACCOUNT, "apptainer": Keeping.INSTANCES}


def keeping(launcher: str) -> Keeping:
    return _KEEPING.get(launcher, Keeping.DAEMON)


class Loaded:
    """A unit that a manager knows."""

    def __init__(self, unit: str, description: Mapping[str, str], *, raw: bytes = b"", foreign: bool = False) -> None:
        self.unit = unit
        self.description = description
        self.raw = raw  # the file that the description was read from
        self.foreign = foreign
        self.state = State.STOPPED
        self.pid = 0
        self.since = 0.0
        self.next: tuple[float, State] | None = None  # when it will be in which state
        self.odd = False  # its process was begun in another way than its description says


class SimManager:
    """What keeps the units of one launcher: below one root, or for the whole account."""

    def __init__(self, launcher: str, root: str) -> None:
        self.launcher, self.root = launcher, root
        self.keeping = keeping(launcher)
        self.pid = 0
        self.available: dict[str, Mapping[str, str]] = {}
        self.loaded: dict[str, Loaded] = {}
        self.foreign: set[str] = set()  # units of somebody else's, which it starts by itself
        self.enabled: set[str] = set()  # ACCOUNT: what it starts by itself at boot
        self.masked: set[str] = set()
        self.dropins: set[str] = set()

    @property
    def answers(self) -> bool:
        return bool(self.pid) or not self.keeping.own

    @property
    def folder(self) -> str:
        """Where it finds descriptions; empty for none."""
        if self.keeping is Keeping.INSTANCES:
            return ""
        return UNIT_FOLDER if self.keeping is Keeping.ACCOUNT else f"{self.root}/config/{self.launcher}"

    def drift(self, loaded: Loaded, on_disk: bytes) -> Iterator[Drift]:
        """What somebody has told the manager besides its files."""
        if self.keeping is not Keeping.ACCOUNT or loaded.foreign:
            return
        if loaded.unit in self.masked:
            yield Drift("is masked")
        if loaded.unit in self.dropins:
            yield Drift("has a drop-in", restarts=True)
        if loaded.unit not in self.enabled:
            yield Drift("is not enabled")
        if loaded.raw != on_disk:
            yield Drift("runs by an older unit file")


def key_of(manager: Manager) -> tuple[str, str]:
    """An account has one manager of its own, whatever the root."""
    own = keeping(manager.launcher).own
    return (manager.launcher, dict(manager.address)["root"] if own else "")
