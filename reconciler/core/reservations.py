"""Maintenance of a cluster, as its reservations tell it, and what it means for a job that is to be submitted. Pure.

Slurm starts a job on reserved nodes only if its time limit ends before the reservation begins. So a job that
asks for 90 days waits until a maintenance is over that may be a week ahead. It has to ask for less; in the last
minutes before a maintenance it is not worth beginning, and the job is held.

`--time-min` alone is not the way: Slurm's backfill scheduler starts a job that has one with exactly that time, and
never with more (22.05 and 24.11). So the limit itself is what fits before the maintenance, and `--time-min` only helps
a job that has to wait for its turn.

Only a reservation with the flag MAINT is a maintenance, whoever may use it: a job runs inside of a reservation only if
it asks for that one by name. Without the flag it is somebody's share of the nodes; Slurm finds a job another place
or lets it wait, and says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MINUTE = 60  # the unit of Slurm's time limits, in seconds
MARGIN = 10 * MINUTE  # between the end of a job and a maintenance: so long it may wait for its turn and lose nothing


class Reservation(NamedTuple):
    """Nodes that are set aside for a time. Times are seconds since the epoch."""

    name: str
    start: float
    end: float
    nodes: frozenset[str] | None  # None: all of them, or it is not told which; empty: licences only
    partition: str = ""  # empty: none is named
    flags: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()  # "-NAME": all but this one
    accounts: frozenset[str] = frozenset()

    @property
    def is_maintenance(self) -> bool:
        """One that floats is always ahead and never comes: it only keeps long jobs out."""
        return "MAINT" in self.flags and "TIME_FLOAT" not in self.flags


class Maintenance(NamedTuple):
    """One maintenance, or several that leave no time worth using between them."""

    name: str  # of the reservation that begins first
    start: float
    end: float


class Limits(NamedTuple):
    """Those of a job that waits for its turn, in seconds."""

    time: int | None  # None: it has none
    least: int | None = None  # it begins with that where it has to; None: with no less than its time


class Slot(NamedTuple):
    """Whether a job may be submitted now, and with which time limits, in seconds that are whole minutes.

    `time` goes along as `--time`, and `least`, where it is set, as `--time-min`.
    """

    time: int | None  # None: no limit of our own
    least: int | None = None  # None: the wanted time is far from any maintenance
    held_until: float = 0.0  # seconds since the epoch; 0: it may be submitted now
    because: str = ""  # the name of the reservation that is in the way, or comes next

    @property
    def held(self) -> bool:
        return self.held_until > 0


def touching(
    reservations: Iterable[Reservation], nodes: frozenset[str] | None = None, partition: str = ""
) -> tuple[Reservation, ...]:
    """Those that concern these nodes, or this partition where the nodes are not known; all, where neither is.

    Of a reservation that does not name a partition it cannot be told from the partition's name alone, so it counts.
    """
    return tuple(one for one in reservations if _touches(one, nodes, partition))


def _touches(one: Reservation, nodes: frozenset[str] | None, partition: str) -> bool:
    if one.nodes is not None and not one.nodes:
        return False
    if nodes is not None and one.nodes is not None:
        return not one.nodes.isdisjoint(nodes)
    return not partition or one.partition in ("", partition)


def next_maintenance(reservations: Iterable[Reservation], now: float, buffer: float) -> Maintenance | None:
    """The soonest that is not over, an active one first of all, however they are listed.

    What follows within the buffer (seconds) belongs to it: nothing would be submitted in between.
    """
    ahead = sorted(
        (one.start, one.end, one.name) for one in reservations if one.is_maintenance and one.end > max(now, one.start)
    )
    if not ahead:
        return None
    start, end, name = ahead[0]
    for begin, until, _ in ahead[1:]:
        if begin - end > buffer:
            break
        end = max(end, until)
    return Maintenance(name, start, end)


def decide(reservations: Sequence[Reservation], now: float, wanted: int | None, buffer: float) -> Slot:
    """What to do with a job that wants to run for `wanted` seconds (None: without end) on what these concern.

    With more time than the buffer (seconds) before the next maintenance, it is submitted with the time that there
    is. Within the buffer and during the maintenance it is held until that is over.
    """
    wanted = None if wanted is None else max(MINUTE, -(-wanted // MINUTE) * MINUTE)
    ahead = next_maintenance(reservations, now, buffer)
    if ahead is None:
        return Slot(wanted)
    least = _minutes(ahead.start - now - buffer)
    if least < MINUTE:
        return Slot(wanted, held_until=ahead.end, because=ahead.name)
    if wanted is not None and wanted <= least:
        return Slot(wanted)
    most = _minutes(ahead.start - now - min(MARGIN, buffer))
    return Slot(most if wanted is None else min(wanted, most), least, because=ahead.name)


def adjust(
    reservations: Sequence[Reservation], now: float, wanted: int | None, buffer: float, stands: Limits
) -> Slot | None:
    """What the limits of a job that waits have to become so that it begins when it can; None: they do as they are.

    They are those that it would be submitted with now, or while nothing is submitted, after the maintenance. What it
    has is left where it fits: with every minute there is less time, and each change would be told. A job that has
    no least time was not shortened for a maintenance: somebody else's limit on it stays where it fits.
    """
    slot, at = decide(reservations, now, wanted, buffer), now
    if slot.held:
        at = slot.held_until
        slot = decide(reservations, at, wanted, buffer)
    if slot.held:
        return None
    ahead = next_maintenance(reservations, at, buffer)
    room = math.inf if ahead is None else ahead.start - at
    is_too_long = _or_endless(stands.time if stands.least is None else stands.least) > room
    least = _or_endless(slot.time if slot.least is None else slot.least)
    was_shortened_more = stands.least is not None and stands.least < least
    return slot if is_too_long or was_shortened_more else None


def _or_endless(seconds: int | None) -> float:
    return math.inf if seconds is None else seconds


def _minutes(seconds: float) -> int:
    """Whole minutes, in seconds: what Slurm counts in, rounded to the side that is safe."""
    return int(seconds // MINUTE) * MINUTE
