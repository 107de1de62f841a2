"""Cron expressions against a slow reference: every minute of some days looked at, with the library's time zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.calendar import DAY, date_of, face, weekday_of
from reconciler.core.cron import CronError, last_until, next_after, parse
from reconciler.host.calendar import offset_of

ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe", "Asia/Kolkata", "Asia/Beirut"]
_NUMBERS = {"mon": 1, "fri": 5, "sun": 0, "jan": 1, "mar": 3, "oct": 10, "nov": 11}


def at(text: str, zone: str = "UTC", fold: int = 0) -> int:
    """`2026-03-29 02:30` in a zone, in seconds since the epoch."""
    moment = datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(moment.timestamp())


def shown(instant: float | None, zone: str = "UTC") -> str:
    return datetime.fromtimestamp(instant, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M %z") if instant else "never"


# ---------------------------------------------------------------- the reference


def allowed(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        begin = low if first == "*" else _NUMBERS.get(first) if first in _NUMBERS else int(first)
        end = high if first == "*" else (_NUMBERS.get(last) if last in _NUMBERS else int(last)) if last else begin
        assert begin is not None
        assert end is not None
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


def says(text: str, minute: datetime) -> bool:
    """Whether a clock that shows this minute is what the expression asks for."""
    words = text.split()
    minutes, hours = allowed(words[0], 0, 59), allowed(words[1], 0, 23)
    days, months = allowed(words[2], 1, 31), allowed(words[3], 1, 12)
    weekdays = {day % 7 for day in allowed(words[4], 0, 7)}
    on_day, on_weekday = minute.day in days, minute.isoweekday() % 7 in weekdays
    restricted = words[2][0] != "*" and words[4][0] != "*"
    good = (on_day or on_weekday) if restricted else (on_day and on_weekday)
    return minute.minute in minutes and minute.hour in hours and minute.month in months and good


def slowly(text: str, begin: int, end: int, zone: str) -> list[int]:
    """All times from `begin` to `end`, minute by minute of the time that passes."""
    found = []
    passing = any(word[0] == "*" for word in text.split()[:2])
    before = None
    shown_already = set()
    for instant in range(begin - DAY, end, 60):
        local = datetime.fromtimestamp(instant, ZoneInfo(zone)).replace(tzinfo=None)
        if passing:
            faces = [local]
        else:
            step = before + timedelta(minutes=1) if before else local
            jumped = [step + timedelta(minutes=n) for n in range(int((local - step).total_seconds() // 60))]
            faces = [one for one in [*jumped, local] if one not in shown_already]
            shown_already |= set(faces)
        before = local
        if instant >= begin and any(says(text, one) for one in faces):
            found.append(instant)
    return found


def field(low: int, high: int, *names: str) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    pair = st.tuples(number, number).map(sorted)
    part = st.one_of(
        st.just("*"),
        number.map(str),
        st.sampled_from(names) if names else st.just("*"),
        pair.map(lambda two: f"{two[0]}-{two[1]}"),
        st.tuples(pair, st.integers(1, 20)).map(lambda given: f"{given[0][0]}-{given[0][1]}/{given[1]}"),
        st.integers(1, 30).map(lambda step: f"*/{step}"),
    )
    return st.lists(part, min_size=1, max_size=2).map(",".join)


EXPRESSIONS = st.tuples(
    field(0, 59),
    st.one_of(st.just("*"), field(0, 3), field(0, 23)),  # clocks are changed at night
    st.one_of(st.just("*"), field(1, 28)),
    st.one_of(st.just("*"), field(1, 12, "mar", "oct", "nov")),
    st.one_of(st.just("*"), field(0, 7, "mon", "fri", "sun")),
).map(" ".join)

# The nights of the changes of clocks in the zones above, and an ordinary one.
NIGHTS = ["2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01", "2026-06-10"]


@given(EXPRESSIONS, st.sampled_from(ZONES), st.sampled_from(NIGHTS), st.integers(-36 * 60, 36 * 60))
@settings(max_examples=60, deadline=None)
def test_next_and_last_are_what_the_minutes_say(text: str, zone: str, night: str, minutes: int) -> None:
    cron, offset = parse(text), offset_of(zone)
    instant = at(f"{night} 02:00") + 60 * minutes
    reference = slowly(text, instant - DAY, instant + DAY, zone)
    ahead = next((one for one in reference if one > instant), None)
    past = next((one for one in reversed(reference) if one <= instant), None)
    found = next_after(cron, instant, offset)
    assert shown(found if found and found < instant + DAY else None, zone) == shown(ahead, zone)
    assert shown(last_until(cron, instant, offset, DAY + 1), zone) == shown(past, zone)


# ---------------------------------------------------------------- examples


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("0 22 * * *", "2026-11-29 12:00", "2026-11-29 22:00"),
        ("0 22 * * *", "2026-11-29 22:00", "2026-11-30 22:00"),
        ("*/15 * * * *", "2026-11-29 12:01", "2026-11-29 12:15"),
        ("30 9 * * mon-fri", "2026-11-28 12:00", "2026-11-30 09:30"),
        ("0 0 * * FRI-SUN", "2026-11-29 12:00", "2026-12-04 00:00"),
        ("0 0 * * 7", "2026-11-28 12:00", "2026-11-29 00:00"),
        ("0 0 29 2 *", "2026-11-28 12:00", "2028-02-29 00:00"),
        ("0 0 13 * fri", "2026-11-28 12:00", "2026-12-04 00:00"),
        ("0 0 13 * fri", "2026-12-11 12:00", "2026-12-13 00:00"),
        ("0 0 */2 * mon", "2026-11-28 12:00", "2026-12-07 00:00"),
        ("0 0 31 jan,feb *", "2026-11-28 12:00", "2027-01-31 00:00"),
        ("10-30/10,45 3 * * *", "2026-11-28 03:20", "2026-11-28 03:30"),
        ("@daily", "2026-11-28 12:00", "2026-11-29 00:00"),
        ("@weekly", "2026-11-28 12:00", "2026-11-29 00:00"),
        ("@Monthly", "2026-11-28 12:00", "2026-12-01 00:00"),
        ("@yearly", "2026-11-28 12:00", "2027-01-01 00:00"),
        ("@hourly", "2026-11-28 12:00", "2026-11-28 13:00"),
    ],
)
def test_what_comes_next(text: str, after: str, expected: str) -> None:
    assert shown(next_after(parse(text), at(after), offset_of("UTC"))).startswith(expected)


def test_around_a_leap_year_that_is_none() -> None:
    found = next_after(parse("0 0 29 2 *"), at("2096-03-01 00:00"), offset_of("UTC"))
    assert shown(found).startswith("2104-02-29")


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        # 02:00 to 03:00 does not exist on 29 March
        ("30 2 * * *", "2026-03-29 01:00", "2026-03-29 03:00 +0200"),
        ("30 1 * * *", "2026-03-29 00:00", "2026-03-29 01:30 +0100"),
        ("*/30 * * * *", "2026-03-29 01:30", "2026-03-29 03:00 +0200"),
        # 02:00 to 03:00 comes twice on 25 October
        ("30 2 * * *", "2026-10-25 01:00", "2026-10-25 02:30 +0200"),
        ("30 2 * * *", "2026-10-25 02:30", "2026-10-26 02:30 +0100"),
        ("30 * * * *", "2026-10-25 02:30", "2026-10-25 02:30 +0100"),
    ],
)
def test_when_clocks_are_changed(text: str, after: str, expected: str) -> None:
    zone = "Europe/Berlin"
    assert shown(next_after(parse(text), at(after, zone), offset_of(zone)), zone) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this has 0"),
        ("* * * *", "this has 4"),
        ("* * * * * *", "this has 6"),
        ("60 * * * *", "`60` is no minute"),
        ("* 24 * * *", "`24` is no hour"),
        ("* * 0 * *", "`0` is no day of the month"),
        ("* * * 13 *", "`13` is no month"),
        ("* * * * 8", "`8` is no day of the week"),
        ("* * * * monday", "`monday` is no day"),
        ("22-6 * * * *", "runs backwards"),
        ("*/0 * * * *", "is no number above 0"),
        ("5/10 * * * *", "has a step and no range"),
        ("1,,2 * * * *", "`` is no minute"),
        ("0 0 31 2,4 *", "never comes"),
        ("@reboot", "no time that comes again"),
        ("² * * * *", "`²` is no minute"),
    ],
)
def test_what_is_no_expression(text: str, message: str) -> None:
    with pytest.raises(CronError, match=r".") as caught:
        parse(text)
    assert message in str(caught.value)


@given(st.integers(-100_000, 100_000))
def test_dates_are_those_of_the_library(day: int) -> None:
    known = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
    assert date_of(day) == (known.year, known.month, known.day)
    assert weekday_of(day) == known.isoweekday() % 7


def test_faces() -> None:
    berlin, now = offset_of("Europe/Berlin"), at("2026-11-29 12:00")
    assert face(at("2026-11-30 05:00"), now, berlin) == "06:00 Mon"
    assert face(at("2026-12-24 05:00"), now, berlin) == "06:00 2026-12-24"


def test_an_unknown_zone_is_an_error() -> None:
    for zone in ("Europe/Berlim", "../etc/passwd", "Europe"):
        with pytest.raises(ValueError, match="knows no time zone"):
            offset_of(zone)
