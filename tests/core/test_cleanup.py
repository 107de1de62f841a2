"""When a rule for clean-up is due, and what must stay. What goes is held against `find` in tests/host."""

from __future__ import annotations

import pytest

from reconciler.core.cleanup import (
    Cleaned,
    Free,
    Kept,
    Memory,
    Stay,
    Why,
    after,
    begin,
    bytes_in_words,
    due,
    fitting,
    limit_of,
    reach,
)
from reconciler.core.desired import Age, Cleanup, RootIs, Sort

HOUR, DAY = 3600, 86400
MIDNIGHT = 20_000 * DAY  # a Thursday
RULE = Cleanup("inputs", "/scratch/inputs", 14, cron="0 2 * * *")
GB = 10**9


def utc(_instant: float) -> int:
    return 0


def begun(rule: Cleanup, now: float) -> Memory:
    return begin(rule, "login01", now, utc)


def is_due(rule: Cleanup, memory: Memory | None, now: float, free: Free | None = None) -> Why | None:
    return due(rule, memory, "login01", now, free)


def test_a_rule_comes_at_its_time_and_not_with_its_commit() -> None:
    memory = begun(RULE, MIDNIGHT)
    assert is_due(RULE, None, MIDNIGHT + 3 * HOUR) is None  # nothing is remembered: not yet seen, or lost
    assert is_due(RULE, memory, MIDNIGHT + 2 * HOUR - 1) is None
    assert is_due(RULE, memory, MIDNIGHT + 2 * HOUR) is Why.SCHEDULE
    assert is_due(RULE, memory, MIDNIGHT + 3 * DAY) is Why.SCHEDULE  # the host was off
    done = after(Why.SCHEDULE, Cleaned(5), memory, begun(RULE, MIDNIGHT + 3 * DAY))
    assert is_due(RULE, done, MIDNIGHT + 3 * DAY + HOUR) is None
    assert is_due(RULE, done, MIDNIGHT + 3 * DAY + 2 * HOUR) is Why.SCHEDULE


@pytest.mark.parametrize(
    "other",
    [
        RULE._replace(cron="0 1 * * *"),
        RULE._replace(zone="America/New_York"),
        RULE._replace(root="/scratch/two"),
        RULE._replace(days=7),
        RULE._replace(min_depth=2),
        RULE._replace(max_depth=2),
        RULE._replace(sort=Sort.FILE),
        RULE._replace(age=Age.NEWEST),
        RULE._replace(exclude=("*.keep",)),
        RULE._replace(in_use_command="ids"),
        RULE._replace(in_use_file="/ids"),
        RULE._replace(root_is=RootIs.MOUNT),
        RULE._replace(free_percent=90),
    ],
)
def test_another_meaning_begins_anew(other: Cleanup) -> None:
    """What was due is not so any more, nor is it known where another root had come to."""
    memory = begun(RULE, MIDNIGHT)
    assert is_due(other, memory, MIDNIGHT + 5 * HOUR) is None
    assert is_due(other, memory, MIDNIGHT + 5 * HOUR, Free(0, GB)) is None
    limits = RULE._replace(minutes=9, entries=9)
    assert is_due(limits, memory, MIDNIGHT + 5 * HOUR) is Why.SCHEDULE


def test_a_new_rule_does_not_come_early_before_it_could_be_looked_at() -> None:
    """A day, or until its first time: whoever merges it wants to see what it lists."""
    rule, full = RULE._replace(free_percent=10), Free(0, GB)
    assert is_due(rule, None, MIDNIGHT, full) is None
    memory = begun(rule, MIDNIGHT)
    assert is_due(rule, memory, MIDNIGHT + HOUR, full) is None
    first = after(Why.SCHEDULE, Cleaned(), memory, begun(rule, MIDNIGHT + 2 * HOUR))
    assert is_due(rule, first, MIDNIGHT + 3 * HOUR, full) is Why.FREE
    seldom = rule._replace(cron="0 2 29 2 *")
    memory = begun(seldom, MIDNIGHT)
    assert is_due(seldom, memory, MIDNIGHT + DAY - 1, full) is None
    assert is_due(seldom, memory, MIDNIGHT + DAY, full) is Why.FREE


def test_a_clock_that_was_wrong_removes_nothing_and_does_not_put_it_off_for_years() -> None:
    memory, years = begun(RULE, MIDNIGHT), 400 * DAY
    assert is_due(RULE, memory, MIDNIGHT + years) is None
    ahead = begun(RULE, MIDNIGHT + years)
    assert fitting(RULE, ahead, "login01", MIDNIGHT + years) == ahead
    assert fitting(RULE, ahead, "login01", MIDNIGHT) is None  # it is begun anew
    assert fitting(RULE, memory, "login01", MIDNIGHT - 60) == memory


def test_what_goes_on_for_longer_than_a_time_may_be_missed_goes_on() -> None:
    memory, now = begun(RULE, MIDNIGHT), float(MIDNIGHT + 2 * HOUR)
    for _ in range(12):
        assert is_due(RULE, memory, now) is Why.SCHEDULE
        memory = after(Why.SCHEDULE, Cleaned(5, stopped=True, at="u"), memory, begun(RULE, now))
        now += DAY


def test_what_has_stopped_for_its_limit_stays_due_and_goes_on_there() -> None:
    memory, now = begun(RULE, MIDNIGHT), MIDNIGHT + 2 * HOUR
    stopped = after(Why.SCHEDULE, Cleaned(5, stopped=True, at="u7"), memory, begun(RULE, now))
    assert (stopped.at, is_due(RULE, stopped, now + 60)) == ("u7", Why.SCHEDULE)
    through = after(Why.SCHEDULE, Cleaned(5), stopped, begun(RULE, now + 60))
    assert (through.at, is_due(RULE, through, now + 120)) == ("", None)


def test_too_little_free_starts_it_early_and_not_again_at_once_where_that_was_not_enough() -> None:
    rule = RULE._replace(free_percent=10)
    memory = after(Why.SCHEDULE, Cleaned(), begun(rule, MIDNIGHT), begun(rule, MIDNIGHT))
    now, full, roomy = MIDNIGHT + HOUR, Free(99 * GB, 1000 * GB), Free(100 * GB, 1000 * GB)
    assert is_due(rule, memory, now, roomy) is None
    assert is_due(rule, memory, now, None) is None  # it cannot be told
    assert is_due(rule, memory, now, full) is Why.FREE
    short = after(Why.FREE, Cleaned(5, short=True), memory, begun(rule, now))
    assert is_due(rule, short, now + HOUR - 1, full) is None
    assert is_due(rule, short, MIDNIGHT + 2 * HOUR, full) is Why.SCHEDULE  # which it does not put off
    stopped = after(Why.FREE, Cleaned(5, stopped=True, short=True, at="u7"), memory, begun(rule, now))
    assert (stopped.early_at, stopped.at, is_due(rule, stopped, now + 60, full)) == ("u7", "", Why.FREE)
    enough = after(Why.FREE, Cleaned(5), memory, begun(rule, now))
    assert is_due(rule, enough, now + 60, full) is Why.FREE
    rule = RULE._replace(free_bytes=500 * GB)
    memory = after(Why.SCHEDULE, Cleaned(), begun(rule, MIDNIGHT), begun(rule, MIDNIGHT))
    assert is_due(rule, memory, now, full) is Why.FREE


@pytest.mark.parametrize("rule", [RULE._replace(free_percent=10), RULE._replace(free_bytes=100 * GB)])
def test_too_few_free_inodes_are_too_little_as_well(rule: Cleanup) -> None:
    """Of bytes there are plenty. What a file system does not count it does not lack."""
    memory, now = begun(rule, MIDNIGHT)._replace(new=0.0), MIDNIGHT + HOUR
    assert is_due(rule, memory, now, Free(900 * GB, 1000 * GB, 99, 1000)) is Why.FREE
    assert is_due(rule, memory, now, Free(900 * GB, 1000 * GB, 100, 1000)) is None
    assert is_due(rule, memory, now, Free(900 * GB, 1000 * GB, 0, 0)) is None


def test_without_a_schedule_each_host_has_a_time_of_its_own_in_the_night() -> None:
    rule = RULE._replace(cron="")
    times = {begin(rule, f"login{number:02}", MIDNIGHT, utc).due - MIDNIGHT for number in range(30)}
    assert len(times) > 20
    assert all(HOUR <= time < 5 * HOUR for time in times)


def test_a_day_more_than_it_says_has_to_be_over() -> None:
    """`-mtime +14` of find: the fraction of a day is left out, and 14 are not more than 14."""
    now = float(MIDNIGHT)
    assert limit_of(RULE, now) == (MIDNIGHT - 15 * DAY) * 10**9


@pytest.mark.parametrize(
    ("depth", "folder", "may_go", "may_hold"),
    [(1, True, False, True), (2, True, True, True), (3, True, True, False), (2, False, False, False)],
)
def test_depth_and_type(depth: int, *, folder: bool, may_go: bool, may_hold: bool) -> None:
    rule = RULE._replace(min_depth=2, max_depth=3, sort=Sort.FOLDER)
    assert reach(rule, depth, is_folder=folder, is_file=not folder) == (may_go, may_hold)


def test_what_must_stay() -> None:
    rule = RULE._replace(exclude=("*.keep", "shared/*/raw"))
    kept = Kept(rule, ["run-1", "/scratch/inputs/ann/run-2\n", "/scratch/inputs-2/ann/run-3", "/scratch/inp", "./x/y"])
    found = {path: kept.stays(path.rpartition("/")[2], path) for path in (
        "a/run-1", "ann/run-2", "ann", "ann/run-3", "a.keep", "shared/b/raw", "shared/b", "x", "x/y",
    )}  # fmt: skip
    assert found == {
        "a/run-1": Stay.ALL, "ann/run-2": Stay.ALL, "ann": Stay.ABOVE, "ann/run-3": Stay.NO, "a.keep": Stay.ALL,
        "shared/b/raw": Stay.ALL, "shared/b": Stay.NO, "x": Stay.ABOVE, "x/y": Stay.ALL,
    }  # fmt: skip


@pytest.mark.parametrize("line", ["/scratch/inputs", "/scratch/inputs/", "/scratch", "/"])
def test_all_must_stay_where_the_root_itself_is_in_use(line: str) -> None:
    kept = Kept(RULE, [line])
    assert (kept.any, kept.stays("run-1", "ann/run-1")) == (True, Stay.ALL)


def test_bytes_are_told_as_people_say_them() -> None:
    assert [bytes_in_words(size) for size in (0, 999, 1500, 123_456_789, 5 * 10**12)] == [
        "0 B", "999 B", "1.5 kB", "123 MB", "5.0 TB",
    ]  # fmt: skip
