"""1. A service whose effective specification did not change keeps its PID, through any bump of any other."""

from __future__ import annotations

import pytest

from tests.promises.conftest import TOOL, add_foreign, foreign, versions
from tests.scenarios.world import World

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]


def test_01_only_the_needed(world: World) -> None:
    other = add_foreign(world)
    before = world.pids()
    for app, tool, concerned in (("2.0", "1.0", {"one", "two"}), ("2.0", "3.0", {"three"})):
        kept = world.pids()
        world.commit(world.versions(app, tool))
        world.once()
        now = world.pids()
        assert {name for name in now if now[name] != kept[name]} == concerned
    # what changes in git and not in what the service is: words, another service beside it
    settled = world.pids()
    world.commit(world.services("one", "two", "three", "four", three=TOOL) | {"README": "words\n"})
    world.once()
    assert {name: pid for name, pid in world.pids().items() if name != "four"} == settled
    assert versions(world) == {"one": "2.0", "two": "2.0", "three": "3.0", "four": "2.0"}
    assert (world.pids()[""], foreign(world)) == (before[""], other)
