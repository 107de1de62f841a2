"""`scripts/mutants` takes guards out by their text: each still stands where it is looked for."""

from __future__ import annotations

from tests.promises.mutants import HERE, MUTANTS


def test_every_guard_stands_once() -> None:
    found = {str(one): (HERE / "reconciler" / one.file).read_text().count(one.code) for one in MUTANTS}
    assert {what: count for what, count in found.items() if count != 1} == {}
