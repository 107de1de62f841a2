"""One program that somebody has set up by hand, as far as it could be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class UnreadableSource(Exception):  # noqa: N818 - it names the thing
    """What was to be adopted cannot be read; nothing of it is. `hint` says how to mend that."""

    def __init__(self, place: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.place, self.message, self.hint = place, message, hint


class Found(NamedTuple):
    """Values as the daemon reads them, with nothing left to expand."""

    unit: str  # its name in its daemon
    name: str  # that it would have as a service
    component: str  # several processes of one section are one component
    group: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    directory: str  # empty: that of the deployment will do
    options: Mapping[str, object]  # of the launcher, where they are not the usual ones there
    stop_signal: str  # empty: the usual one
    stop_seconds: int | None  # None: the usual ones
    pid: int  # 0: it does not run
    started: float
    state: str  # in its daemon's word
    start: str  # digest of how it is started, see `launchers.adopted`
    why_not: str = ""  # why it cannot be taken over at all
    unwritable: str = ""  # why it cannot be described as a service; git may have described it
    off: str = ""  # why it is described as one that is not to run
    notes: tuple[str, ...] = ()  # what is not taken, and what will be otherwise once it has changed
    private: frozenset[str] = frozenset()  # variables that are secret whatever they are called
    given: bool = False  # a person has said its name


class Source(NamedTuple):
    """A daemon, or a part of it, with all that was found there."""

    launcher: str  # that git names for it
    by_hand: str  # that it runs under until it changes, see `launchers.BY_HAND`
    address: tuple[tuple[str, str], ...]  # how that is reached
    place: str  # in words
    found: tuple[Found, ...]
    notes: tuple[str, ...] = ()
