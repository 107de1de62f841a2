"""Cron expressions: five fields, or a word such as `@daily`, and when they come next or came last. Pure.

No library: those that there are (cronsim is the smallest) reckon with `datetime` and `zoneinfo`, which take as long to
import as a pass that finds nothing to do may take in all, and which the core has no use for.

It is what cron(8) of Debian does, with a time zone:
- where both days are restricted, either will do: `0 0 13 * fri` is every 13th and every Friday. A field that begins
  with a star does not count as restricted;
- when clocks jump ahead, what they jump over comes at the jump; when they are set back, what would come twice comes the
  first time. An expression whose minute or hour begins with a star goes by the time that passes: every time it is so.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reconciler.core.calendar import DAY, Offset, date_of, instants, jump, weekday_of

_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # days of the months
_FARTHEST = 8 * 366 + 7  # days: 29 February may be eight years ahead, around 2100


class CronError(ValueError):
    """It is no cron expression. The text is a sentence for its author, `hint` how to mend it."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


class Cron(NamedTuple):
    """An expression that was understood."""

    minutes: tuple[int, ...]  # of a day, at which it may come: 0 to 1439
    days: frozenset[int]  # of the month
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    either: bool  # one of both days is enough
    passing: bool  # it goes by the time that passes, not by the face of the clock

    def on(self, day: int) -> bool:
        """Whether it comes on a day, counted from 1970-01-01."""
        date = date_of(day)
        if date.month not in self.months:
            return False
        of_month, of_week = date.day in self.days, weekday_of(day) in self.weekdays
        return of_month or of_week if self.either else of_month and of_week


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: Sequence[str] = ()  # of its numbers, from `low` on


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 7, _DAYS),
)


# ---------------------------------------------------------------- reading


def parse(text: str) -> Cron:
    """Raises `CronError`."""
    text = text.strip().lower()
    if text.startswith("@") and text not in _WORDS:
        raise CronError(f"`{text[:40]}` is no time that comes again", "there are: " + ", ".join(_WORDS))
    words = _WORDS.get(text, text).split()
    if len(words) != len(_FIELDS):
        hint = 'minute, hour, day of the month, month, day of the week: "30 22 * * mon-fri"'
        raise CronError(f"a cron expression has 5 fields, this has {len(words)}", hint)
    minutes, hours, days, months, weekdays = map(_parse_field, words, _FIELDS)
    either = not (words[2].startswith("*") or words[4].startswith("*"))
    if not either and min(days) > max(_LONGEST[month - 1] for month in months):
        raise CronError(f"`{text}` never comes: no such month has that day")
    return Cron(
        minutes=tuple(sorted(60 * hour + minute for hour in hours for minute in minutes)),
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        either=either,
        passing=words[0].startswith("*") or words[1].startswith("*"),
    )


def _parse_field(text: str, field: _Field) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        found.update(_parse_part(part, field))
    return frozenset(found)


def _parse_part(part: str, field: _Field) -> range:
    """`*`, a number, a range, or one of the first and the last with a step."""
    span, slash, step = part.partition("/")
    if slash and not (_is_number(step) and int(step) > 0):
        raise CronError(f"the step `{step[:20]}` of the {field.name} is no number above 0", 'such as "*/15"')
    low, dash, high = span.partition("-")
    if span == "*":
        first, last = field.low, field.high
    else:
        first = _number(low, field)
        last = _number(high, field) if dash else first
    if slash and not dash and span != "*":
        hint = f"write `{low}-{field.high}/{step}`"
        raise CronError(f"`{part[:20]}` of the {field.name} has a step and no range", hint)
    if last == 0 and first > 0 and field.names is _DAYS:
        last = 7  # fri-sun
    if last < first:
        hint = f"write `{first}-{field.high},{field.low}-{last}`"
        raise CronError(f"the range `{span[:20]}` of the {field.name} runs backwards", hint)
    return range(first, last + 1, int(step or 1))


def _number(text: str, field: _Field) -> int:
    if text in field.names:
        return field.names.index(text) + field.low
    if not _is_number(text) or not field.low <= int(text) <= field.high:
        names = f", or {', '.join(field.names)}" if field.names else ""
        raise CronError(f"`{text[:20]}` is no {field.name}", f"it is {field.low} to {field.high}{names}")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 5


# ---------------------------------------------------------------- when


def next_after(cron: Cron, instant: float, offset: Offset) -> int | None:
    """The first time that it comes later than an instant; None where that is more than eight years ahead."""
    today = int(instant + offset(instant)) // DAY
    for day in range(today - 1, today + _FARTHEST):
        if cron.on(day) and (found := _first(cron, day, offset, instant)) is not None:
            return found
    return None


def last_until(cron: Cron, instant: float, offset: Offset, seconds: float) -> int | None:
    """The last time that it came, up to the instant itself; None where that is so many seconds ago, or more."""
    today = int(instant + offset(instant)) // DAY
    for day in range(today + 1, today - int(seconds // DAY) - 3, -1):
        if cron.on(day) and (found := _last(cron, day, offset, instant)) is not None:
            return found if instant - found < seconds else None
    return None


def _first(cron: Cron, day: int, offset: Offset, instant: float) -> int | None:
    ahead = _steady(day, offset)
    if ahead is None:
        return min((time for time in _times(cron, day, offset) if time > instant), default=None)
    at = bisect_right(cron.minutes, (instant + ahead - day * DAY) / 60)
    return day * DAY + cron.minutes[at] * 60 - ahead if at < len(cron.minutes) else None


def _last(cron: Cron, day: int, offset: Offset, instant: float) -> int | None:
    ahead = _steady(day, offset)
    if ahead is None:
        return max((time for time in _times(cron, day, offset) if time <= instant), default=None)
    at = bisect_right(cron.minutes, (instant + ahead - day * DAY) / 60)
    return day * DAY + cron.minutes[at - 1] * 60 - ahead if at else None


def _steady(day: int, offset: Offset) -> int | None:
    """What the clocks are ahead of UTC on a day and on both beside it; None where they are changed."""
    ahead = offset((day - 1) * DAY)
    return ahead if all(offset((day + more) * DAY) == ahead for more in (0, 1, 2)) else None


def _times(cron: Cron, day: int, offset: Offset) -> Iterator[int]:
    """Every time of a day on which, or near to which, clocks are changed."""
    for minute in cron.minutes:
        local = day * DAY + minute * 60
        found = instants(local, offset)
        if not found and not cron.passing:
            yield jump(local, offset)
        yield from found if cron.passing else found[:1]
