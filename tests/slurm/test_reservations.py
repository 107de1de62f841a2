"""What cannot be understood is an error, never an empty answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.reservations import (
    MARGIN,
    MINUTE,
    Limits,
    Reservation,
    Slot,
    adjust,
    decide,
    next_maintenance,
    touching,
)
from reconciler.launchers.slurm.hostlist import expand
from reconciler.launchers.slurm.reservations import parse

LINE = (
    "ReservationName=m StartTime=1000 EndTime=2000 Duration=00:16:40 Nodes=n1 NodeCnt=1 CoreCnt=2 Features=(null) "
    "PartitionName=(null) Flags=MAINT TRES=cpu=2 Users=root Groups=(null) Accounts=(null) Licenses=(null) "
    "State=INACTIVE BurstBuffer=(null) MaxStartDelay=(null)"
)


def test_a_line_is_read() -> None:
    (found,) = parse(LINE)
    assert found == Reservation(
        "m", 1000, 2000, frozenset({"n1"}), "", frozenset({"MAINT"}), frozenset({"root"}), frozenset()
    )


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "\n",
        "slurm_load_reservations error: Unable to contact slurm controller",
        f"{LINE}\nslurm_load_reservations error",
        f"No reservations in the system\n{LINE}",
        LINE.replace("1000", "2023-11-14T22:13:20"),
        LINE.replace("EndTime=2000 ", ""),
        LINE.replace("Nodes=n1 ", ""),
        LINE.replace("Flags=MAINT ", ""),
        LINE.replace("Nodes=n1", "Nodes=n[1-"),
        LINE.replace("PartitionName=(null) ", ""),
        LINE[:60],
    ],
)
def test_what_cannot_be_understood_is_an_error(printed: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(printed)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ["n1"]),
        ("n1,m2", ["n1", "m2"]),
        ("nid[001-003,7],login01", ["nid001", "nid002", "nid003", "nid7", "login01"]),
        ("r[0-1]n[09-10]", ["r0n09", "r0n10", "r1n09", "r1n10"]),
        ("r[1]-x[2]b,c", ["r1-x2b", "c"]),
        ("n[9-11]", ["n9", "n10", "n11"]),
    ],
)
def test_hostlist(text: str, names: list[str]) -> None:
    assert list(expand(text)) == names


@pytest.mark.parametrize(
    "text",
    [
        *("", ",", "n1,", "n[1", "n1]", "n[[1]]", "n[]", "n[a]", "n[3-1]", "n[1-]", "n[-1]", "n 1", "(null)"),
        *("n[1-9999999]", "a[0-9999]b[0-9999]", "n[1-99999999999999999999]", "n[1,,2]", "n[²]"),
    ],
)
def test_no_hostlist(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        expand(text)


SPANS = st.builds(
    lambda start, length, flags: Reservation(f"r{start}", start, start + length, None, flags=frozenset(flags)),
    st.integers(0, 100_000),
    st.integers(60, 20_000),
    st.sampled_from([("MAINT",), ("MAINT", "IGNORE_JOBS"), (), ("DAILY",)]),
)


@given(st.lists(SPANS, max_size=6), st.integers(0, 130_000), st.integers(60, 100_000), st.integers(0, 9000))
def test_what_is_submitted_fits_and_what_is_held_comes_back(
    listed: list[Reservation], now: int, wanted: int, buffer: int
) -> None:
    """Checked instant by instant against the maintenances themselves."""
    slot = decide(listed, now, wanted, buffer)
    spans = [(one.start, one.end) for one in listed if one.is_maintenance and one.end > now]
    shortest = wanted if slot.least is None else slot.least
    if not slot.held:
        assert all(now + shortest + buffer <= start for start, _ in spans)
        assert slot.time is not None
        assert MINUTE <= shortest <= slot.time
        assert all(now + slot.time + min(MARGIN, buffer) <= start for start, _ in spans)
    else:
        assert any(now + MINUTE + buffer > start for start, _ in spans)
        assert slot.held_until in [end for _, end in spans]
        assert not any(start <= slot.held_until < end for start, end in spans)
        assert all(start - slot.held_until > buffer for start, _ in spans if start >= slot.held_until)
    assert decide(listed[::-1], now, wanted, buffer)._replace(because="") == slot._replace(because="")


def test_a_maintenance_begins_with_the_first_and_ends_with_the_last() -> None:
    listed = [
        Reservation(name, start, start + 10, None, flags=frozenset({"MAINT"})) for name, start in [("b", 20), ("a", 10)]
    ]
    found = next_maintenance(listed, 0, 0)
    assert found is not None
    assert (found.name, found.start, found.end) == ("a", 10, 30)
    assert next_maintenance(listed, 30, 0) is None


def test_licences_touch_nothing() -> None:
    assert touching([Reservation("l", 0, 1, frozenset())]) == ()


# ---------------------------------------------------------------- a job that waits

NOW, HOUR, WANTED, BUFFER = 1_000_000.0, 3600, 90 * 86400, 7200.0


def announced(hours: float, length: float = 1.0) -> Reservation:
    start = NOW + hours * HOUR
    return Reservation("m", start, start + length * HOUR, None, flags=frozenset({"MAINT"}))


FITTED = Limits(10200, 3600)  # to one in three hours
ADJUSTED: dict[str, tuple[list[Reservation], Limits, Slot | None]] = {
    "none is ahead": ([], Limits(WANTED), None),
    "it does not fit any more": ([announced(3)], Limits(WANTED), Slot(*FITTED, because="m")),
    "without an end": ([announced(3)], Limits(None), Slot(*FITTED, because="m")),
    "it fits": ([announced(3)], FITTED, None),
    "an hour later it still does": ([announced(2.1)], FITTED, None),
    "somebody's own limit that fits": ([announced(3)], Limits(3600), None),
    "it is moved nearer": ([announced(2.5)], Limits(20000, 9900), Slot(8400, 1800, because="m")),
    "it is moved away": ([announced(9)], FITTED, Slot(31800, 25200, because="m")),
    "it is called off": ([], FITTED, Slot(WANTED)),
    "only the least time was less": ([], Limits(WANTED, 3600), Slot(WANTED)),
    "within the buffer, for afterwards": ([announced(1)], Limits(3000, 1800), Slot(WANTED)),
    "within the buffer, and long already": ([announced(1)], Limits(WANTED), None),
    "it is over, and another one comes": (
        [announced(1), announced(7)._replace(name="n")], Limits(WANTED), Slot(17400, 10800, because="n")),
}  # fmt: skip


@pytest.mark.parametrize("case", ADJUSTED)
def test_limits_of_a_job_that_waits(case: str) -> None:
    ahead, stands, expected = ADJUSTED[case]
    assert adjust(ahead, NOW, WANTED, BUFFER, stands) == expected


@given(
    st.lists(st.tuples(st.floats(-3, 300), st.floats(0.1, 30))),
    st.none() | st.integers(1, WANTED // MINUTE).map(lambda minutes: minutes * MINUTE),
    st.none() | st.integers(60, WANTED),
    st.integers(1, 200).map(lambda minutes: minutes * MINUTE),
    st.integers(0, 600),
)
def test_what_was_adjusted_is_left(
    ahead: list[tuple[float, float]], wanted: int | None, stands: int | None, buffer: int, later: int
) -> None:
    """A second pass, a little later, does nothing; a job that waits is left with no more than is wanted."""
    every = [announced(*one) for one in ahead]
    found = adjust(every, NOW, wanted, buffer, Limits(stands))
    if found is not None:
        assert adjust(every, NOW, wanted, buffer, Limits(found.time, found.least)) is None
        if next_maintenance(every, NOW, buffer) == next_maintenance(every, NOW + later, buffer) and later < buffer:
            again = adjust(every, NOW + later, wanted, buffer, Limits(found.time, found.least))
            assert again is None or decide(every, NOW + later, wanted, buffer).held
