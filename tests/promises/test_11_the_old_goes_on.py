"""11. Installs and images are made aside and preflight has passed before anything is stopped."""

from __future__ import annotations

import sys

import pytest

from tests.promises.conftest import TOOL, versions
from tests.scenarios.test_kill import wheels, with_venv
from tests.scenarios.world import SLEEP, World

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]


def test_11_a_preflight_that_fails(world: World) -> None:
    before = world.pids()
    keys = f"component: app, command: {SLEEP}, prologue: 'exit 7'"
    world.commit(world.versions("2.0") | world.services("one", "two", "three", one=keys, three=TOOL))
    world.once(code=1)
    now = world.pids()
    assert (now["one"], versions(world)["one"]) == (before["one"], "1.0")
    assert versions(world)["two"] == "2.0"


def test_11_a_build_that_fails(world: World) -> None:
    """And one that goes well: what it is built for is not stopped while it is."""
    wheels(world.folder / "wheels")
    world.commit(with_venv(world, "1.0"))
    world.once()
    before = world.pids()
    world.commit(with_venv(world, "9.9"))
    done = world.once(code=1)
    assert "9.9" in done.out
    assert world.pids() == before
    witness = world.folder / "witness"
    python = world.folder / "python"
    python.write_text(f"#!/bin/sh\nkill -0 {before['one']} && echo alive >>{witness}\nexec {sys.executable} \"$@\"\n")
    python.chmod(0o755)
    world.commit({name: text.replace(sys.executable, str(python)) for name, text in with_venv(world, "2.0").items()})
    world.once()
    assert set(witness.read_text().split()) == {"alive"}
    assert versions(world)["one"] == "2.0"
    assert world.pids()["one"] != before["one"]
