"""4. An unreadable source, a failed probe or a file that does not parse never leads to a stop or a removal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.promises.conftest import TOOL
from tests.scenarios.world import World

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]


def test_04_a_source_that_cannot_be_read(world: World) -> None:
    """What is away is not empty."""
    before = world.pids(), world.files()
    world.repo.rename(world.folder / "away")
    done = world.once()
    assert "the repo cannot be read; holding to" in done.out
    assert (world.pids(), world.files()) == before


def test_04_a_launcher_that_does_not_answer(world: World) -> None:
    """Git wants one gone and one changed, and nobody can say what runs."""
    before = world.pids(), world.files()
    socket = next((world.root / "run").glob("*.sock"))
    socket.rename(world.folder / "hidden")
    world.commit(world.services("one", "three", three=TOOL) | world.versions("2.0"))
    done = world.once(code=1)
    assert "cannot be seen" in done.out
    pids, files = world.pids(), world.files()
    assert (pids, {path: content for path, content in files.items() if path in before[1]}.keys()) == (
        before[0],
        before[1].keys(),
    )
    (world.folder / "hidden").rename(socket)
    world.once()
    assert sorted(world.pids()) == ["", "one", "three"]


def test_04_a_state_that_does_not_parse(world: World) -> None:
    """What it would have told of is kept for a pass, not taken for nothing."""
    before = world.pids()
    inventories = (world.state / world.site / "dev/inventory.json", world.root / ".reconcile/inventory.json")
    for path in inventories:
        Path(path).write_text("half of")
    world.commit(world.services("one", "three", three=TOOL))
    done = world.once(code=1)
    assert "is damaged" in done.out
    assert world.pids() == before
    assert os.path.exists(world.root / "bin/two")
