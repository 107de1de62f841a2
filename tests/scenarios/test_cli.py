"""The command line as people and cron use it: words, exit statuses, terminals, pipes, silence."""

from __future__ import annotations

import pytest

from tests.scenarios.world import SLEEP, World, a_world  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]

TOOL = {"two": f"component: tool, command: {SLEEP}"}


@pytest.fixture
def up(world: World) -> World:
    """Two services that run."""
    world.commit(world.services("one", "two", **TOOL))
    world.once()
    return world


# ---------------------------------------------------------------- exit statuses


def test_what_cannot_be_seen_is_told(up: World) -> None:
    """A folder stands where a file of a service belongs: nobody knows what it would start with."""
    pids = up.pids()
    env = up.root / "config/env/one.env"
    env.unlink()
    env.mkdir()
    for words in (["--once"], ["plan"]):
        done = up.run(*words)
        assert (done.code, f"{env} cannot be read" in done.out) == (1, True), done.said
    assert up.pids() == pids
    up.commit(up.versions("1.1", "1.1"))
    for _ in range(2):
        assert "cannot be read" in up.once(code=1).out
    now = up.pids()
    assert (now["one"], now["two"] == pids["two"]) == (pids["one"], False), "it was restarted on unknown ground"
    env.rmdir()
    up.once()
    assert up.pids()["one"] != pids["one"]
    up.idle()
