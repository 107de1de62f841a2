"""When windows hold, and until when, against the minutes of some days looked at one by one."""

# ruff: noqa: E501 - a table reads best with a row to a line

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.calendar import DAY
from reconciler.core.desired import Opens, Window
from reconciler.core.observed import Shut
from reconciler.core.reservations import Maintenance
from reconciler.core.windows import Sky, shut
from reconciler.host.calendar import offset_of
from tests.core.test_cron import at, slowly

HOUR = 3600
NOON = at("2026-11-29 12:00")  # a Sunday
NIGHTS = Window("nights", Opens.DENY, 8 * HOUR, "0 22 * * *")
OFFICE = Window("office", Opens.ALLOW, 8 * HOUR, "0 9 * * mon-fri")
MAINTENANCE = Window("maintenance", Opens.MAINTENANCE, 2 * HOUR)


def sky(now: float, ahead: Maintenance | None = None, *zones: str) -> Sky:
    offsets = {"": offset_of("UTC"), **{zone: offset_of(zone) for zone in zones}}
    return Sky(now, offsets, {"maintenance": ahead})


def why(now: str, *windows: Window, ahead: Maintenance | None = None, service: str = "") -> str:
    found = shut(windows, sky(at(now), ahead, *(window.zone for window in windows)))
    held = found.get(service, found.get(""))
    return held.why if held else ""


@pytest.mark.parametrize(
    ("now", "windows", "told"),
    [
        ("2026-11-29 12:00", [], ""),
        ("2026-11-29 21:59", [NIGHTS], ""),
        ("2026-11-29 22:00", [NIGHTS], "held until 06:00 Mon (policy.windows.nights)"),
        ("2026-11-30 05:59", [NIGHTS], "held until 06:00 Mon (policy.windows.nights)"),
        ("2026-11-30 06:00", [NIGHTS], ""),
        ("2026-11-29 12:00", [OFFICE], "held until 09:00 Mon (policy.windows.office)"),
        ("2026-11-30 12:00", [OFFICE], ""),
        # 06:00 ends the night, and the office opens at 9
        ("2026-11-29 23:00", [NIGHTS, OFFICE], "held until 09:00 Mon (policy.windows.nights, policy.windows.office)"),
        ("2026-11-30 12:00", [OFFICE, NIGHTS._replace(cron="0 11 * * *")], "held until 09:00 Tue (policy.windows.nights)"),
        # one of several that allow is enough
        ("2026-11-29 12:00", [OFFICE, OFFICE._replace(name="sundays", cron="0 10 * * sun")], ""),
        ("2026-11-29 22:00", [NIGHTS._replace(seconds=DAY)], "held, with no end in sight (policy.windows.nights)"),
        ("2026-11-29 22:00", [NIGHTS._replace(zone="Europe/Berlin")], "held until 06:00 Mon Europe/Berlin (policy.windows.nights)"),
        ("2026-12-24 22:30", [NIGHTS._replace(cron="0 22 24 12 *", seconds=9 * DAY)], "held until 22:00 2027-01-02 (policy.windows.nights)"),
    ],
)  # fmt: skip
def test_what_is_told(now: str, windows: list[Window], told: str) -> None:
    assert why(now, *windows) == told


def test_a_maintenance_holds_before_it_begins_and_until_it_is_over() -> None:
    ahead = Maintenance("mnt", NOON, NOON + HOUR)
    assert why("2026-11-29 09:59", MAINTENANCE, ahead=ahead) == ""
    told = "held until 13:00 Sun (policy.windows.maintenance: maintenance mnt)"
    assert why("2026-11-29 10:00", MAINTENANCE, ahead=ahead) == told
    assert why("2026-11-29 12:59", MAINTENANCE, ahead=ahead) == told
    assert why("2026-11-29 13:00", MAINTENANCE, ahead=ahead) == ""
    assert why("2026-11-29 13:00", MAINTENANCE) == ""


def test_what_is_not_known_of_a_maintenance_holds() -> None:
    found = shut([MAINTENANCE], Sky(NOON, {"": offset_of("UTC")}, {}, "slurmctld does not answer"))
    assert found == {"": Shut("held, as it cannot be told whether a maintenance is near (policy.windows.maintenance)")}


def test_a_window_for_some_services_is_nothing_to_the_others() -> None:
    some = NIGHTS._replace(services=("web",))
    assert why("2026-11-29 23:00", some) == ""
    assert why("2026-11-29 23:00", some, service="web") == "held until 06:00 Mon (policy.windows.nights)"
    assert why("2026-11-29 23:00", some, service="job") == ""
    # one that allows some services lets them through where another keeps all out
    allowed = OFFICE._replace(name="web", cron="0 22 * * *", services=("web",))
    assert why("2026-11-29 23:00", OFFICE, allowed, service="web") == ""
    assert why("2026-11-29 23:00", OFFICE, allowed, service="job").startswith("held until 09:00 Mon")


def test_what_one_of_several_holds_is_held() -> None:
    found = shut([NIGHTS, NIGHTS._replace(name="all", holds_all=True)], sky(at("2026-11-29 23:00")))
    assert found[""] is not None
    assert found[""].holds_all


CRONS = st.sampled_from(
    ["0 22 * * *", "30 2 * * *", "*/20 * * * *", "15 */6 * * *", "0 9 * * mon-fri", "0 0 1 * *", "59 23 28 * sun"]
)
WINDOWS = st.tuples(
    st.just("w"),
    st.sampled_from([Opens.DENY, Opens.ALLOW]),
    st.sampled_from([600, 1800, HOUR, 5 * HOUR, 13 * HOUR, DAY]),
    CRONS,
    st.sampled_from(["UTC", "Europe/Berlin"]),
).map(lambda parts: Window(*parts))


@given(
    st.lists(WINDOWS, min_size=1, max_size=3),
    st.sampled_from(["2026-03-28", "2026-10-24", "2026-11-29"]),
    st.integers(0, 48 * 60),
)
@settings(max_examples=25, deadline=None)
def test_it_holds_until_the_minute_that_is_told(windows: list[Window], day: str, minutes: int) -> None:
    now = at(f"{day} 00:00") + 60 * minutes
    begin, end = now - 2 * DAY, now + 2 * DAY
    opened = [(one, slowly(one.cron, begin, end, one.zone)) for one in windows]

    def holds(instant: int) -> bool:
        is_open = [
            (one.opens, any(start <= instant < start + one.seconds for start in starts)) for one, starts in opened
        ]
        allowing = [state for opens, state in is_open if opens is Opens.ALLOW]
        return (Opens.DENY, True) in is_open or (bool(allowing) and not any(allowing))

    found = shut(windows, sky(now, None, "UTC", "Europe/Berlin"))[""]
    assert (found is not None) == holds(now)
    if found is not None:
        until = int(found.until) or end
        assert all(holds(instant) for instant in range(now, min(until, end), 60))
        assert until >= end or not holds(until)
