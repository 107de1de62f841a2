"""`policy.prune` three ways, on a real supervisord."""

from __future__ import annotations

import pytest

from tests.scenarios.test_approval import approve, deployment, waits
from tests.scenarios.test_windows import marks, policy, running
from tests.scenarios.world import World, a_world

__all__ = ["a_world"]
pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]


def test_what_git_no_longer_has_stays_is_told_and_goes_when_it_may(world: World) -> None:
    running(world)
    files = world.files()
    world.commit(world.services("web") | policy(world, "policy: {prune: false}\n"))
    for _ in range(2):
        done = world.once(code=2)
        assert "policy.prune is false, so it stays" in done.out
        assert "1 removal is held by policy.prune." in done.out
        assert (marks(world), world.files()) == ({"web": "1.0", "job": "1.0"}, files)
    (change,) = [one for one in deployment(world.once("--json", code=2))["changes"] if one["kind"] != "keep"]
    assert (change["kind"], change["held_by"]) == ("blocked", "prune")
    world.commit(world.versions("2.0"))  # all else is done
    world.once(code=2)
    assert marks(world) == {"web": "2.0", "job": "1.0"}
    world.commit(policy(world, "policy: {prune: true}\n"))
    world.once()
    assert marks(world) == {"web": "2.0"}
    assert "bin/job" not in world.files()
    world.idle()


def test_a_removal_waits_for_approval_and_nothing_else_does(world: World) -> None:
    running(world)
    world.commit(world.services("web") | world.versions("2.0") | policy(world, "policy: {prune: confirm}\n"))
    world.once(code=2)
    assert marks(world) == {"web": "2.0", "job": "1.0"}
    plan = waits(world)
    assert "- job 1.0 git no longer has it" in approve(world).out
    approve(world, plan)
    world.once()
    assert marks(world) == {"web": "2.0"}
    assert "bin/job" not in world.files()
    world.idle()


@pytest.mark.parametrize("prune", ["false", "confirm"])
def test_what_is_disabled_is_named_in_git_and_ends(world: World, prune: str) -> None:
    running(world)
    keys = "component: tool, command: sleep 86398, enabled: false"
    world.commit(world.services("web", "job", job=keys) | policy(world, f"policy: {{prune: {prune}}}\n"))
    world.once()
    assert marks(world) == {"web": "1.0"}
    world.idle()
