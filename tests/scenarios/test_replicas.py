"""Replicas on a real supervisord: changed one after the other, the next only when the one before is healthy."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.scenarios.test_rollback import TIMES, change, deployment, good, layer, other, running, told
from tests.scenarios.world import SLEEP, World, a_world, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]


def replicated(world: World, count: int, strategy: str, *, more: str = "") -> str:
    """Replicas that each note their starts, and are healthy where there is a file named after their version."""
    noted = f"sh -c 'echo $N $V >> {world.folder}/starts; exec {SLEEP}'"
    env = 'env: {V: "{{ version }}", N: "{{ replica }}"}'
    probe = f"test -e {world.folder}/good-$V-$N || test -e {world.folder}/good-$V"
    health = f"health: {{exec: {{command: {json.dumps(probe)}}}, {TIMES}}}"
    keys = f"component: app, command: {json.dumps(noted)}, supervisor: {{startsecs: 0}}, replicas: {count}"
    return f"{keys}, {env}, {health}, strategy: {{{strategy}}}{more}"


def begun(world: World) -> list[str]:
    path = world.folder / "starts"
    found = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def of_step(done_steps: list[dict[str, object]], name: str) -> str:
    return str(next(step["status"] for step in done_steps if step["id"] == name))


def grown(world: World) -> None:
    """Once no process can have read a file that is written from now on: one that is a second old may have."""
    born = [os.stat(f"/proc/{pid}").st_mtime for pid in world.pids().values()]
    until(lambda: time.time() - max(born) > 1.5)


def test_a_canary_that_fails_is_the_only_one_that_was_touched(world: World) -> None:
    good(world, "1.0")
    world.commit(layer(web=replicated(world, 3, "canary: true, max_unavailable: 2"), other=other()))
    world.once()
    assert sorted(begun(world)) == ["1 1.0", "2 1.0", "3 1.0"]
    grown(world)
    before = world.pids()
    world.commit(world.versions("2.0"))
    plan = deployment(world.run("plan", "--json"))
    done = world.once("--json", code=1)
    steps = deployment(done)["steps"]
    assert [step["id"] for step in steps] == [step["id"] for step in plan["steps"]], "what was shown is what was done"
    assert of_step(steps, "check:web-1:healthy") == "failed"
    assert of_step(steps, "restart:web-2") == of_step(steps, "restart:web-3") == "blocked"
    assert begun(world) == ["1 2.0", "1 1.0"]
    after = world.pids()
    assert {name for name in after if after[name] != before[name]} == {"web-1"}
    again = world.once("--json", code=1)
    assert (deployment(again)["steps"], begun(world)) == ([], [])
    assert {change(again, f"web-{n}")["rollout"] for n in (1, 2, 3)} == {"rolled-back"}
    assert change(again, "web-2")["beside"] == "web-1"
    good(world, "3.0")
    world.commit(world.versions("3.0"))
    world.once()
    assert begun(world)[0] == "1 3.0"
    assert set(running(world).values()) == {"1.0", "3.0"}
    world.idle()


def test_so_many_at_once_and_one_that_fails_takes_all_back(world: World) -> None:
    """What comes after them restarts when all are through."""
    good(world, "1.0", "2.0")
    later = f"component: app, command: {SLEEP}, supervisor: {{startsecs: 0}}, after: [web]"
    world.commit(layer(web=replicated(world, 4, "max_unavailable: 2"), later=later))
    world.once()
    begun(world)
    world.commit(world.versions("2.0"))
    steps = deployment(world.once("--json"))["steps"]
    order = [step["id"] for step in steps if step["id"].startswith(("restart:", "check:")) and step["needs"]]
    assert order.index("check:web-2:healthy") < order.index("restart:web-3")
    started = begun(world)
    assert [sorted(started[:2]), sorted(started[2:])] == [["1 2.0", "2 2.0"], ["3 2.0", "4 2.0"]]
    assert set(running(world).values()) == {"2.0"}
    world.idle()
    for number in (1, 2, 4):
        (world.folder / f"good-3.0-{number}").touch()
    world.commit(world.versions("3.0"))
    done = world.once("--json", code=1)
    assert change(done, "web-3")["rollout"] == "rolled-back"
    assert {version for name, version in running(world).items() if name != "later"} == {"2.0"}
    assert deployment(world.once("--json", code=1))["steps"] == []


def test_what_does_not_go_back_stays_halfway(world: World) -> None:
    """Where git does not want a rollback: told in each pass, and the others are not touched."""
    good(world, "1.0")
    world.commit(layer(web=replicated(world, 2, "rollback: false")))
    world.once()
    world.commit(world.versions("2.0"))
    for _ in range(2):
        world.once(code=1)
        assert running(world) == {"web-1": "2.0", "web-2": "1.0"}
    good(world, "2.0")
    world.once()
    assert set(running(world).values()) == {"2.0"}
    world.idle()


def test_more_and_fewer_of_them(world: World) -> None:
    """What runs goes on; fewer are meant, so that no budget holds them."""
    good(world, "1.0")
    world.commit(layer(web=replicated(world, 2, "")))
    world.once()
    two = world.pids()
    world.commit(layer(web=replicated(world, 6, "")))
    world.once()
    six = world.pids()
    assert {name: six[name] for name in two} == two
    world.commit(layer(web=replicated(world, 1, ""), other=other()))
    done = world.once()
    assert "git wants fewer replicas of web" in told(done)
    assert {name for name in world.pids() if name} == {"web-1", "other"}
    assert world.pids()["web-1"] == two["web-1"]
    world.idle()
