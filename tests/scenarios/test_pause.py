"""`reconcile pause` and `resume` on a real supervisord: nothing of what is paused changes, and it is not forgotten."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.test_windows import marks, running
from tests.scenarios.world import Done, World, a_world, until

__all__ = ["a_world"]
pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]

WHY = "--reason=the database moves"


def pause(world: World, *words: str, code: int = 0) -> Done:
    done = world.run("pause", *words, *(() if any("--for" in word for word in words) else ("--for", "2h")), WHY)
    assert done.code == code, done.said
    return done


def kept(world: World) -> Path:
    return world.state / world.site / "pauses.json"


def deployment(done: Done) -> dict[str, Any]:
    (found,) = done.json()["deployments"]
    assert isinstance(found, dict)
    return found


def test_nothing_of_a_paused_deployment_changes_not_even_drift(world: World) -> None:
    running(world)
    pause(world)
    world.supervisorctl("stop", "web")
    config = world.root / "config/app.conf"
    config.write_text("by hand\n")
    world.commit(world.versions("2.0", tool="2.0"))
    pids, files = world.pids(), world.files()
    done = world.once(code=2)
    assert (world.pids(), world.files()) == (pids, files)
    assert "paused: all of it, by " in done.out
    assert "the database moves" in done.out
    assert "2 are paused: `reconcile resume` goes on." in done.out
    found = deployment(world.once("--json", code=2))
    assert {change["held_by"] for change in found["changes"]} == {"pause"}
    assert (found["steps"], found["converged"]) == ([], False)
    (told,) = found["pauses"]
    assert (told["environment"], told["service"], told["reason"]) == (None, None, "the database moves")
    assert told["account"]
    assert told["host"] == os.uname().nodename.partition(".")[0]
    assert told["until"] - told["since"] == 7200
    assert world.once("--ignore-windows", code=2)

    assert world.run("resume").code == 0
    world.once()
    assert marks(world) == {"web": "2.0", "job": "2.0"}
    world.idle()


def test_one_service_is_paused_and_the_other_goes_on(world: World) -> None:
    running(world)
    pause(world, "web")
    pids = world.pids()
    world.commit(world.versions("2.0", tool="2.0"))
    done = world.once(code=2)
    assert marks(world) == {"web": "1.0", "job": "2.0"}
    assert world.pids()["web"] == pids["web"]
    assert "paused: web, by " in done.out
    os.kill(world.pids()["job"], signal.SIGKILL)
    world.supervisorctl("stop", "web")
    world.once(code=2)
    assert set(world.pids()) == {"", "job"}
    world.run("resume", "web")
    world.once()
    assert marks(world) == {"web": "2.0", "job": "2.0"}


def test_where_nothing_differs_a_pass_is_silent_and_status_shows_the_pause(world: World) -> None:
    running(world)
    pause(world, "job")
    assert world.once().out == ""
    status = world.run("status")
    assert (status.code, "paused: job, by " in status.out) == (0, True), status.said
    assert "paused: job, by " in world.run("plan").out
    data = deployment(world.run("status", "--json"))
    assert [(one["service"], one["reason"]) for one in data["pauses"]] == [("job", "the database moves")]


def test_it_survives_a_restart_and_a_lost_supervisord(world: World) -> None:
    running(world)
    pause(world)
    world.power_cut()
    for _ in range(2):
        world.once(code=2)
        assert world.live() == []
    world.run("resume")
    world.once()
    assert set(world.pids()) == {"", "web", "job"}


def test_it_ends_by_itself_and_that_is_said_once(world: World) -> None:
    running(world)
    pause(world, "--for=3s")
    world.commit(world.versions("2.0"))
    world.once(code=2)
    end = json.loads(kept(world).read_bytes().splitlines()[1])["pauses"][0]["until"]
    until(lambda: time.time() > end)
    assert "is over, by " in world.run("plan").out
    done = world.once()
    assert "is over, by " in done.out
    assert "the database moves" in done.out
    assert marks(world)["web"] == "2.0"
    assert not kept(world).exists()
    assert world.once().out == ""


def test_what_is_paused_and_cannot_be_read_holds_everything_until_somebody_resumes(world: World) -> None:
    running(world)
    pause(world, "web")
    kept(world).write_bytes(kept(world).read_bytes()[:-9])
    world.commit(world.versions("2.0"))
    pids = world.pids()
    done = world.once(code=1)
    assert "what is paused cannot be told, so all of it is" in done.out
    assert world.pids() == pids
    assert "reconcile resume" in world.run("pause", "--for=2h", WHY).err
    resumed = world.run("resume")
    assert (resumed.code, "could not be told" in resumed.out) == (0, True), resumed.said
    world.once()
    assert marks(world)["web"] == "2.0"


def test_a_pause_before_the_first_pass_holds_it(world: World) -> None:
    world.commit(world.services("web"))
    pause(world)
    world.once(code=2)
    assert world.live() == []
    assert not (world.root / "config").exists()


def test_a_pause_of_one_environment_leaves_the_others(world: World) -> None:
    site = f"desired/sites/{world.site}.yaml"
    root = f'paths: {{root: "{world.root}-{{{{ environment }}}}"}}\n'
    services = world.services("web")["desired/environments/dev.yaml"]
    world.commit(
        {site: f"environments: [dev, prod]\n{root}", "desired/environments/dev.yaml": services}
        | {"desired/environments/prod.yaml": services}
    )
    pause(world, "--environment", "dev")
    found = {one["environment"]: one for one in world.run("plan", "--json").json()["deployments"]}
    assert {name: len(one["pauses"]) for name, one in found.items()} == {"dev": 1, "prod": 0}
    assert found["dev"]["steps"] == []
    assert found["prod"]["steps"]
    assert "nothing of that is paused" in world.run("resume", "--environment", "prod").out
    assert [one["environment"] for one in world.run("resume", "--json").json()["resumed"]] == ["dev"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--for", "8d"], "at most 7d"),
        (["--for", "0s"], "no time to pause for"),
        (["--for", "soon"], "is no time"),
        (["wbe", "--for", "2h"], "did you mean `web`?"),
        (["web", "--for", "2h", "--environment", "deev"], "did you mean `dev`?"),
    ],
)
def test_what_cannot_be_paused_is_told(world: World, words: list[str], told: str) -> None:
    running(world)
    done = pause(world, *words, code=3)
    assert told in done.err
    assert not kept(world).exists()


def test_the_end_and_the_reason_are_asked_for(world: World) -> None:
    assert "--for" in world.run("pause", WHY).err
    assert "--reason" in world.run("pause", "--for", "2h").err
    said = world.run("pause", "--for", "2h", "--reason", "\x1b \n")
    assert (said.code, "says nothing" in said.err) == (3, True), said.said


def test_a_reason_cannot_speak_to_the_terminal(world: World) -> None:
    done = world.run("pause", "--for", "2h", "--reason", "a\x1b[2Jb\nc", "--json")
    assert done.json()["paused"][0]["reason"] == "a [2Jb c"


def test_what_is_resumed_must_be_paused(world: World) -> None:
    running(world)
    assert world.run("resume", "web").out == "nothing is paused\n"
    pause(world)
    assert "all of it is" in world.run("resume", "web").err
    assert "every environment" in world.run("resume", "--environment", "dev").err
    world.run("resume")
    pause(world, "web")
    assert world.run("resume", "job").code == 3
    assert world.run("resume", "web").code == 0


def test_a_pause_again_takes_the_place_of_the_one_before(world: World) -> None:
    running(world)
    pause(world, "web")
    again = world.run("pause", "web", "--for", "3h", "--reason", "longer", "--json").json()
    assert [(one["service"], one["reason"]) for one in again["pauses"]] == [("web", "longer")]


def test_many_at_once_lose_none(world: World) -> None:
    names = [f"s{n}" for n in range(6)]
    world.commit(world.services(*names))
    world.once()
    with ThreadPoolExecutor(3) as pool:
        assert {done.code for done in pool.map(lambda name: pause(world, name), names)} == {0}
    listed = deployment(world.run("status", "--json"))["pauses"]
    assert sorted(one["service"] for one in listed) == names


def test_a_pass_at_work_is_told(world: World) -> None:
    stubborn = world.stubborn()
    keys = f"component: app, command: {stubborn}, stop: {{grace: 60}}"
    world.commit(world.services("web", web=keys))
    world.once()
    world.commit(world.versions("2.0"))
    at_work = world.start("--once")
    try:
        until(lambda: "RESTART" in world.supervisorctl("status") or "STOPPING" in world.supervisorctl("status"))
        assert "a pass is at work and goes on to its end: pid " in pause(world).out
    finally:
        (world.folder / "go").touch()
        at_work.communicate(timeout=60)
    assert at_work.returncode == 0
    assert marks(world)["web"] == "2.0"
