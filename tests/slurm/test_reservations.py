"""What cannot be understood is an error, never an empty answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.reservations import MARGIN, MINUTE, Reservation, decide, next_maintenance, touching
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
