"""What is ours on a host, as types."""

# Without postponed annotations: a named tuple compiles each one that is text, here for 2 ms of every pass.

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from reconciler.core.desired import Guard, Manager, Service, Trace


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

    launcher: str  # that it runs under, see `launchers.BY_HAND`
    unit: str  # its name there
    start: str  # digest of how it is started, as far as its launcher tells
    spec: str  # what it counts as started from
    launch: str
    version: str
    pid: int = 0
    started: float = 0.0
    stage: Stage = Stage.OFFERED
    differs: tuple[str, ...] = ()  # in what it runs otherwise than git says, in words without any secret
    waits: bool = False  # and it becomes what git says only once a person has approved that

    def is_of(self, service: Service) -> bool:
        """Git says the same of it as when it was adopted."""
        return (self.spec, self.launch) == (service.spec, service.launch)


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
    traces: tuple[Trace, ...] = ()  # that launchers may have left, by key
