"""When passes begin: an interval, and a place in it that is this agent's own.

Hundreds of hosts that all fetch at :00 are a load that none of them alone is. So each begins at an offset into the
interval that follows from a digest of host, site and account: another one on each host, the same one after every
install. It is written out in the schedule rather than left to the scheduler: cron has nothing of that kind, systemd
rolls the dice anew at each run before version 247, and a fixed time can be read.

Intervals are whole minutes that divide an hour, or whole hours that divide a day: what cron can say without a gap at
the turn of the hour. They make every rule simple: a pass begins where the minute of the day, modulo the interval, is
the minute of the offset.
"""

from __future__ import annotations

import time

from reconciler.core.digest import digest

_HOUR, _DAY = 60, 24 * 60  # minutes
INTERVALS = (
    *(minutes for minutes in range(1, _HOUR) if _HOUR % minutes == 0),
    *(minutes for minutes in range(_HOUR, _DAY + 1, _HOUR) if _DAY % minutes == 0),
)


def seed(host: str, site: str, account: str) -> int:
    """What the offset of an agent is taken from."""
    return int(digest(f"{host}/{site}/{account}".encode("utf-8", "surrogateescape"))[:8], 16)


def offset(seed: int, minutes: int) -> int:
    """Seconds into each interval."""
    return seed % (minutes * 60)


def fields(minutes: int, offset: int, *, steps: bool = True) -> str:
    """The five fields of a crontab for the minute that the offset falls into.

    Without `steps` each value is written out: Slurm takes `3-59/5` for all multiples of 5 from 3 on.
    """
    hour, minute = divmod(offset // 60, _HOUR)
    if minutes < _HOUR:
        return f"{_every(minute, _HOUR, minutes, steps)} * * * *"
    return f"{minute} {_every(hour, 24, minutes // _HOUR, steps)} * * *"


def _every(first: int, end: int, step: int, steps: bool) -> str:
    values = range(first, end, step)
    if step == 1:
        return "*"
    if len(values) == 1 or not steps:
        return ",".join(map(str, values))
    return f"{first}-{end - 1}/{step}" if first else f"*/{step}"


def calendar(minutes: int, offset: int) -> str:
    """The same as `OnCalendar=` of systemd, with its seconds."""
    minute, second = divmod(offset, 60)
    hour, minute = divmod(minute, _HOUR)
    if minutes < _HOUR:
        each = "*" if minutes == 1 else f"{minute:02}/{minutes}"
        return f"*-*-* *:{each}:{second:02}"
    steps = minutes // _HOUR
    each = "*" if steps == 1 else f"{hour:02}" if hour + steps > 23 else f"{hour:02}/{steps}"
    return f"*-*-* {each}:{minute:02}:{second:02}"


def next_run(now: float, minutes: int, offset: int) -> float:
    """When the next pass begins, in seconds since the epoch, by the local clock as cron reads it."""
    minute, second = divmod(offset, 60)
    start = int(now) // 60 * 60
    for ahead in range(_DAY + _HOUR * 2):  # a day in which the clock is put back is longer
        local = time.localtime(start + ahead * 60)
        begins = start + ahead * 60 + second
        if (local.tm_hour * _HOUR + local.tm_min) % minutes == minute and begins > now:
            return float(begins)
    return float(start + _DAY * 60)


def spelled(minutes: int) -> str:
    """`5m`, `2h`, `1d`, as `--every` takes it."""
    if minutes % _DAY == 0:
        return f"{minutes // _DAY}d"
    return f"{minutes // _HOUR}h" if minutes % _HOUR == 0 else f"{minutes}m"
