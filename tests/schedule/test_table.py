"""The surgery on crontabs: all that is not ours survives byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.schedule import table
from reconciler.schedule.base import Trouble

ME, OTHER = b"site, /home/ann/state", b"site, /home/ann/state2"
BLOCK = table.block(ME, [b"# explained", b"#SCRON --qos=cron", b"*/5 * * * * /opt/reconcile --once"])
THEIRS = table.block(OTHER, [b"*/5 * * * * /opt/reconcile --once --state-dir /home/ann/state2"])

# What people have in their crontabs, and what nobody should have.
ODD = [b"MAILTO=ann\r", b"", b"  ", b"#DISABLED: #SCRON -q x", b"*/5 * * * * /opt/reconcile --once", b"\xff\x00%", b"#"]
ROWS = st.one_of(st.sampled_from(ODD), st.binary(max_size=20).map(lambda row: row.replace(b"\n", b"")))
FOREIGN = st.builds(lambda rows, end: b"\n".join(rows) + end, st.lists(ROWS, max_size=6), st.sampled_from([b"", b"\n"]))
FIRST = st.booleans()


@given(table=FOREIGN, first=FIRST)
def test_what_is_not_ours_survives(table: bytes, first: bool) -> None:
    once = put(table, first)
    assert once.count(BLOCK) == 1
    assert once.replace(BLOCK, b"") == table
    assert put(once, first) == put(once, not first) == once
    assert take(once) == table
    assert trouble(once) is None


@given(above=FOREIGN, below=FOREIGN, first=FIRST)
def test_it_is_replaced_where_it_stands(above: bytes, below: bytes, first: bool) -> None:
    above = above if above.endswith(b"\n") or not above else above + b"\n"
    new = table.block(ME, [b"1 * * * * other"])
    assert table.put(above + BLOCK + below, ME, new, first=first) == above + new + below
    assert take(above + BLOCK + below) == above + below


@given(rows=st.lists(st.sampled_from(["mine", "theirs", "foreign"]), max_size=6))
def test_agents_do_not_touch_each_other(rows: list[str]) -> None:
    before = b"".join({"mine": BLOCK, "theirs": THEIRS, "foreign": b"0 1 * * * true\n"}[row] for row in rows)
    assert take(before) == before.replace(BLOCK, b"")
    after = put(before, first=False)
    assert (after.count(BLOCK), after.replace(BLOCK, b"")) == (1, before.replace(BLOCK, b""))


@given(table=FOREIGN, first=FIRST, data=st.data())
def test_a_mark_that_is_gone_takes_nothing_with_it(table: bytes, first: bool, data: st.DataObject) -> None:
    """Nobody can say how far it went: our known lines go, and all others stay."""
    rows = BLOCK.splitlines(keepends=True)
    gone = data.draw(st.sampled_from([0, len(rows) - 1]))
    broken = put(table, first).replace(BLOCK, b"".join(rows[:gone] + rows[gone + 1 :]))
    assert trouble(broken) is Trouble.CHANGED
    left = take(broken)
    known = [] if gone else rows[1:-1]
    assert left == (table if gone else put(table, first).replace(BLOCK, b"".join(known)))


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (b"", Trouble.MISSING),
        (THEIRS, Trouble.MISSING),
        (BLOCK, None),
        (BLOCK + BLOCK, Trouble.CHANGED),
        (BLOCK.replace(b"*/5", b"#*/5"), Trouble.CHANGED),
        (BLOCK.replace(b"\n", b"\r\n"), Trouble.CHANGED),
        (BLOCK.replace(b"\n", b"\\r\n"), Trouble.CHANGED),
        (BLOCK.replace(b"#SCRON", b"#DISABLED: #SCRON").replace(b"*/5", b"#DISABLED: */5"), Trouble.DISABLED),
        (b"".join(b"#DISABLED: " + row for row in BLOCK.splitlines(keepends=True)), Trouble.DISABLED),
        (BLOCK.replace(b"#SCRON", b"#DISABLED: #SCRON").replace(b"*/5", b"#DISABLED: */7"), Trouble.CHANGED),
    ],
)
def test_what_has_become_of_it(after: bytes, found: Trouble | None) -> None:
    assert trouble(b"# before\n" + after + b"0 1 * * * true\n") is found
    mended = put(b"# before\n" + after + b"0 1 * * * true\n", first=False)
    assert trouble(mended) is None
    assert take(mended) == b"# before\n" + (THEIRS if after == THEIRS else b"") + b"0 1 * * * true\n"


def put(content: bytes, first: bool) -> bytes:
    return table.put(content, ME, BLOCK, first=first)


def take(content: bytes) -> bytes:
    return table.take(content, ME, BLOCK)


def trouble(content: bytes) -> Trouble | None:
    return table.trouble(content, ME, BLOCK)
