"""Which old versions go, and which never do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.desired import Retention
from reconciler.core.retention import Needed, Stored, left_behind, newest_first, surplus

_NUMBERS = st.integers(0, 9)


@st.composite
def shelves(draw: st.DrawFn) -> list[Stored]:
    """Versions of two components, each of them in several builds."""
    drawn = draw(
        st.lists(st.tuples(st.sampled_from(("site", "other")), _NUMBERS, _NUMBERS, _NUMBERS), max_size=12, unique=True)
    )
    return [Stored(f"/v/{c}-{v}-{used}-{size}", c, str(v), used, size) for c, v, used, size in drawn]


@st.composite
def needs(draw: st.DrawFn, stored: list[Stored]) -> Needed:
    some = st.lists(st.sampled_from(stored), max_size=2) if stored else st.just([])
    picked = [draw(some) for _ in range(3)]
    paths, ids, versions = picked
    return Needed(
        frozenset(one.path for one in paths),
        frozenset(one.id for one in ids),
        frozenset(one.version for one in versions),
    )


@given(st.data(), shelves(), st.integers(0, 4), st.integers(-1, 40))
def test_never_what_is_needed_nor_below_keep(data: st.DataObject, stored: list[Stored], keep: int, size: int) -> None:
    needed = data.draw(needs(stored))
    place = data.draw(st.sampled_from([one.path for one in stored] or ["/v/none"]))
    rule = Retention("site", "venv", place, keep, size)
    gone = surplus(rule, stored, needed)
    old = newest_first(rule, stored, needed)
    stays = [one for one in old if one not in gone]
    assert place not in {one.path for one in gone}
    assert not [one for one in gone if one.component != "site" or needed.has(one)]
    assert len(stays) >= min(keep, len(old))
    assert old[:keep] == stays[:keep]
    left = [one for one in stored if one not in gone]
    assert surplus(rule, left, needed) == []
    if size < 0:
        assert len([one for one in stays if not needed.has(one)]) <= keep
    elif len(stays) > keep and not any(needed.has(one) for one in stays):
        assert sum(one.size for one in left if one.component == "site") <= size


@given(st.data(), shelves())
def test_what_is_used_now_is_newer_than_all_else_once_that_is_noted(data: st.DataObject, stored: list[Stored]) -> None:
    needed, rule = data.draw(needs(stored)), Retention("site", "venv", "", 1)
    behind = left_behind(rule, stored, needed)
    assert all(needed.has(one) for one in behind)
    noted = [one._replace(used=99.0) if one in behind else one for one in stored]
    assert left_behind(rule, noted, needed) == []
    assert [needed.has(one) for one in newest_first(rule, noted, Needed())] == sorted(
        (needed.has(one) for one in noted if one.component == "site"), reverse=True
    )


def test_the_oldest_go() -> None:
    stored = [Stored(f"/v/site-{n}", "site", str(n), float(n), 10) for n in range(6)]
    rule = Retention("site", "venv", "/v/site-5", 2)
    assert [one.version for one in surplus(rule, stored, Needed())] == ["0", "1", "2"]
    assert [one.version for one in surplus(rule, stored, Needed(versions=frozenset("0")))] == ["1", "2", "3"]


def test_keep_bytes_lets_more_stay() -> None:
    stored = [Stored(f"/v/site-{n}", "site", str(n), float(n), 10) for n in range(6)]
    rule = Retention("site", "venv", "/v/site-5", 1, 45)
    assert [one.version for one in surplus(rule, stored, Needed())] == ["0", "1"]
    assert [one.version for one in surplus(rule._replace(keep=3, size=5), stored, Needed())] == ["0", "1"]
    assert surplus(rule._replace(keep=0, size=60), stored, Needed()) == []
