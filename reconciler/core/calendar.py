"""Days and clock faces by arithmetic: the core may not ask for the time, nor which zone it is in.

A local time is written as the seconds since 1970 that a clock in UTC with the same face would show. What a zone's
clocks show at an instant is told by an `Offset`, which comes from outside (`host.calendar`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

DAY = 86400  # seconds
Offset = Callable[[float], int]  # seconds since the epoch -> seconds that local clocks are ahead of UTC then

_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_SHIFT = 719468  # days from 0000-03-01 to 1970-01-01: years that begin in March have their leap day at the end
_ERA = 146097  # days of 400 years, after which everything comes again
_NEAR = 6  # days within which a weekday says which day is meant


class Date(NamedTuple):
    year: int
    month: int  # from 1
    day: int  # from 1


def date_of(day: int) -> Date:
    """The date of a day, counted from 1970-01-01, in the Gregorian calendar."""
    era, of_era = divmod(day + _SHIFT, _ERA)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153  # from March
    in_month = of_year - (153 * month + 2) // 5 + 1
    number = month + 3 if month < 10 else month - 9
    return Date(era * 400 + year + (number <= 2), number, in_month)


def weekday_of(day: int) -> int:
    """0 is Sunday, as in cron."""
    return (day + 4) % 7


def instants(local: int, offset: Offset) -> tuple[int, ...]:
    """When clocks show a local time: once as a rule, never where they jump over it, twice where they are set back."""
    around = {offset(local - DAY), offset(local + DAY)}
    return tuple(sorted(local - ahead for ahead in around if offset(local - ahead) == ahead))


def jump(local: int, offset: Offset) -> int:
    """The instant at which clocks jump over a local time that they never show."""
    around = (offset(local - DAY), offset(local + DAY))
    before, after = local - max(around), local - min(around)
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (middle, after) if offset(middle) == around[0] else (before, middle)
    return after


def face(instant: float, now: float, offset: Offset) -> str:
    """What a person reads of an instant: `06:00 Mon`, with the date where that is further away than a week."""
    local = int(instant) + offset(instant)
    day, second = divmod(local, DAY)
    clock = f"{second // 3600:02}:{second % 3600 // 60:02}"
    if abs(instant - now) <= _NEAR * DAY:
        return f"{clock} {_WEEKDAYS[weekday_of(day)]}"
    return clock + " {:04}-{:02}-{:02}".format(*date_of(day))
