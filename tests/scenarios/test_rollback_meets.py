"""Where a rollback meets gates and secrets: nobody is asked for the way back, and all else waits as before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scenarios.test_approval import approve, waits
from tests.scenarios.test_rollback import deployment, good, layer, running, still, told, watched
from tests.scenarios.test_windows import policy
from tests.scenarios.world import SLEEP, World, a_world, until

__all__ = ["a_world"]
pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]


def starting(world: World, more: str = "") -> str:
    """A service that starts where there is a file named after its version."""
    fails = f"sh -c 'test -e {world.folder}/good-$V && exec {SLEEP}'"
    start = "supervisor: {startretries: 0}, strategy: {rollback: true}"
    return f'component: app, command: {json.dumps(fails)}, env: {{V: "{{{{ version }}}}"}}, {start}{more}'


def test_what_does_not_start_goes_back_where_drift_waits_for_a_person(world: World) -> None:
    """That it is down is what the pass has done itself. What somebody else does to it afterwards is drift."""
    good(world, "1.0")
    world.commit(layer(web=starting(world)) | policy(world, "policy: {self_heal: false}\n"))
    world.once()
    world.commit(world.versions("2.0"))
    done = world.once(code=1)
    assert "waits for approval" not in done.out
    assert "rolled-back: web: 2.0" in told(done)
    assert running(world) == {"web": "1.0"}
    still(world, world.pids())
    world.supervisorctl("stop", "web")
    assert "waits for approval" in world.once(code=1).out
    assert running(world) == {}


def waiting(world: World) -> str:
    """The id of the plan that waits, once all else is done."""
    world.once(code=2)
    return str(deployment(world.once("--json", code=2))["approval"]["plan"])


def test_what_a_person_approves_goes_back_unasked_and_still_is_removed_by_one_only(world: World) -> None:
    good(world, "1.0")
    web = watched(world, more=", sync: manual")
    world.commit(layer(web=web, other=f"component: tool, command: {SLEEP}, supervisor: {{startsecs: 0}}"))
    approve(world, waiting(world))
    world.once()
    world.commit(world.versions("2.0"))
    approve(world, waiting(world))
    assert "rolled-back: web: 2.0" in told(world.once(code=1))
    assert running(world)["web"] == "1.0"
    kept = world.pids()
    still(world, kept)
    world.commit(layer(other=f"component: tool, command: {SLEEP}, supervisor: {{startsecs: 0}}"))
    assert "waits for approval" in world.once(code=2).out
    assert world.pids() == kept


def test_drift_waits_and_a_new_deployment_does_not(world: World) -> None:
    """What a commit brings is not begun under a daemon that was ended by somebody: it waits with that."""
    world.commit(world.services("web", "job") | policy(world, "policy: {self_heal: false}\n"))
    world.once()
    world.idle()
    world.supervisorctl("shutdown")
    until(lambda: not world.live())
    world.commit(world.versions("2.0"))
    approve(world, waits(world)[:8])
    world.once()
    assert running(world) == {"web": "2.0", "job": "2.0"}
    world.idle()


def test_what_failed_is_remembered_while_a_secret_cannot_be_had(world: World) -> None:
    """What git wants cannot be told then; once it can, it still is what has failed."""
    good(world, "1.0")
    key = world.folder / "key"
    key.write_text("abcdefgh\n")
    key.chmod(0o600)
    web = watched(world).replace("env: {", f"env: {{K: !secret {{file: {key}}}, ")
    world.commit(layer(web=web))
    world.once()
    world.commit(world.versions("2.0"))
    assert "rolled-back: web: 2.0" in told(world.once(code=1))
    kept = world.pids()
    still(world, kept)
    key.rename(f"{key}.away")
    assert "cannot be had" in told(world.once(code=1))
    assert world.pids() == kept
    Path(f"{key}.away").rename(key)
    still(world, kept)


def test_the_rest_of_what_was_approved_is_done_beside_what_goes_back(world: World) -> None:
    """It was stopped for it already. What git wants of it is what was approved."""
    good(world, "1.0")
    job = f"component: tool, command: {SLEEP}, supervisor: {{startsecs: 0}}, after: [web]"
    world.commit(layer(web=starting(world), job=job) | policy(world, "policy: {sync: manual}\n"))
    approve(world, waiting(world))
    world.once()
    world.commit(world.versions("2.0", tool="2.0"))
    approve(world, waiting(world))
    done = world.once("--json", code=1)
    assert deployment(done)["rollback"]["steps"][-1]["id"] == "start:job"
    assert "waits for approval" not in done.out
    assert running(world) == {"web": "1.0", "job": "2.0"}
    kept = world.pids()
    still(world, kept)
    world.commit(world.versions("2.0", tool="3.0"))
    plan = deployment(world.once("--json", code=1))["approval"]["plan"]
    assert deployment(world.once("--json", code=1))["approval"]["plan"] == plan
    assert world.pids() == kept
    approve(world, plan)
    world.once(code=1)
    assert running(world) == {"web": "1.0", "job": "3.0"}
