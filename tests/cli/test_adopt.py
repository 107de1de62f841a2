"""What `reconcile adopt` says is next. The command itself is in tests/adopt."""

from __future__ import annotations

from reconciler.adopt.found import Found
from reconciler.adopt.matching import Fate, Matched
from reconciler.cli.adopt import ways_on

FOUND = Found("web", "web", "web", "web", ("serve",), {}, "", {}, "", None, 7, 1.0, "RUNNING", "x")


def test_what_waits_can_go_on_without_a_restart() -> None:
    """What cannot be written down is not offered to be."""
    waits = Matched("web", FOUND, Fate.WAITS, ("runs version 1",))
    assert "--differing keep" in ways_on([waits])
    assert "--differing write" in ways_on([waits])
    unwritable = waits._replace(why="no layer can say what stands in its files")
    assert "--differing keep" in ways_on([waits, unwritable])
    assert "--differing write" not in ways_on([waits, unwritable])
