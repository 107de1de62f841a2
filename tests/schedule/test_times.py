"""Intervals and offsets, in the words of each scheduler."""

from __future__ import annotations

import shutil
import subprocess
import time
from calendar import timegm
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.schedule import times

MINUTES = st.sampled_from(times.INTERVALS)


def of_day(fields: str) -> set[int]:
    """The minutes of a day that five fields stand for, as crontab(5) says."""
    minute, hour, *rest = fields.split()
    assert rest == ["*", "*", "*"]
    return {h * 60 + m for h in values(hour, 24) for m in values(minute, 60)}


def values(field: str, end: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, dash, last = ("0", "-", str(end - 1)) if span == "*" else span.partition("-")
        found |= set(range(int(first), int(last) + 1 if dash else int(first) + 1, int(step or 1)))
    return found


@given(minutes=MINUTES, seed=st.integers(0, 2**32 - 1), steps=st.booleans())
def test_the_fields_are_those_minutes_of_the_day(minutes: int, seed: int, steps: bool) -> None:
    offset = times.offset(seed, minutes)
    assert 0 <= offset < minutes * 60
    fields = times.fields(minutes, offset, steps=steps)
    assert of_day(fields) == {minute for minute in range(24 * 60) if minute % minutes == offset // 60}
    assert steps or "/" not in fields


@pytest.mark.parametrize(
    ("minutes", "offset", "fields", "calendar"),
    [
        (1, 17, "* * * * *", "*-*-* *:*:17"),
        (5, 0, "*/5 * * * *", "*-*-* *:00/5:00"),
        (5, 3 * 60 + 17, "3-59/5 * * * *", "*-*-* *:03/5:17"),
        (30, 29 * 60, "29-59/30 * * * *", "*-*-* *:29/30:00"),
        (60, 59 * 60 + 1, "59 * * * *", "*-*-* *:59:01"),
        (120, 61 * 60, "1 1-23/2 * * *", "*-*-* 01/2:01:00"),
        (1440, 23 * 3600, "0 23 * * *", "*-*-* 23:00:00"),
    ],
)
def test_in_words(minutes: int, offset: int, fields: str, calendar: str) -> None:
    assert (times.fields(minutes, offset), times.calendar(minutes, offset)) == (fields, calendar)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
@pytest.mark.parametrize("minutes", times.INTERVALS)
def test_systemd_reads_the_same(minutes: int) -> None:
    """Its next runs, from a fixed time on, are as far apart as they should be, at the offset."""
    offset = times.offset(times.seed("host", "site", "ann"), minutes)
    argv = ["systemd-analyze", "calendar", "--iterations=3", "--base-time=2026-03-01 00:00:00 UTC"]
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
    done = subprocess.run([*argv, times.calendar(minutes, offset)], env=env, capture_output=True, text=True, check=True)
    told = [
        line.partition(": ")[2] for line in done.stdout.splitlines() if ("Next elapse" in line or "Iter. #" in line)
    ]
    begins = [timegm(time.strptime(each, "%a %Y-%m-%d %H:%M:%S UTC")) for each in told]
    assert [late - early for early, late in pairwise(begins)] == [minutes * 60] * 2
    assert begins[0] - timegm((2026, 3, 1, 0, 0, 0)) == offset


@given(minutes=MINUTES, seed=st.integers(0, 2**32 - 1), now=st.integers(1_700_000_000, 1_900_000_000))
def test_the_next_run_is_soon_and_at_the_offset(minutes: int, seed: int, now: int) -> None:
    offset = times.offset(seed, minutes)
    begins = times.next_run(now, minutes, offset)
    local = time.localtime(begins)
    assert now < begins <= now + minutes * 60 + 7200
    assert (local.tm_hour * 60 + local.tm_min) % minutes * 60 + local.tm_sec == offset


def test_hosts_are_spread() -> None:
    """And the same host gets the same again."""
    offsets = [times.offset(times.seed(f"node{number}", "site", "ann"), 5) for number in range(300)]
    assert offsets == [times.offset(times.seed(f"node{number}", "site", "ann"), 5) for number in range(300)]
    assert max(offsets.count(offset) for offset in set(offsets)) < 8
    assert len({offset // 60 for offset in offsets}) == 5
