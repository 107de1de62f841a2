"""`guard` of a service on a real supervisord: nothing of it ends before its commands succeed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.scenarios.test_approval import deployment
from tests.scenarios.test_windows import marks
from tests.scenarios.world import World, a_world

__all__ = ["a_world"]
pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]


def backup(world: World) -> Path:
    return world.folder / "backup"


def keys(world: World, more: str = "") -> str:
    """The guard gets the service's variables, and looks for a backup that is not empty."""
    command = 'echo "looking at $DUMP"; test -s "$DUMP"'
    return (
        f"component: app, command: sleep 86397, env: {{DUMP: {backup(world)}}}, "
        f"guard: {{backup: {{command: '{command}', timeout: 20s}}}}{more}"
    )


def guarded(world: World) -> World:
    world.commit(world.services("db", "job", db=keys(world), job="component: tool, command: sleep 86398"))
    world.once()  # it is asked for nothing that starts
    world.idle()
    return world


def refused(world: World) -> None:
    """Twice: told, with what it printed, and nothing of the service changes."""
    pids = world.pids()
    files = {path: found for path, found in world.files().items() if "db" in path}
    for _ in range(2):
        done = world.once(code=1)
        flat = " ".join(done.out.split())
        assert "check failed: guard backup: exit status 1" in flat, done.said
        assert f"looking at {backup(world)}" in flat
        assert "the next pass asks again" in flat
        assert world.pids()["db"] == pids["db"]
        assert {path: found for path, found in world.files().items() if "db" in path} == files


def test_a_restart_waits_for_it_and_all_else_is_done(world: World) -> None:
    guarded(world)
    world.commit(world.versions("2.0", tool="2.0"))
    refused(world)
    assert marks(world) == {"db": "1.0", "job": "2.0"}
    backup(world).write_text("x")
    world.once()
    assert marks(world) == {"db": "2.0", "job": "2.0"}
    world.idle()


@pytest.mark.parametrize("how", ["removed", "disabled", "renamed"])
def test_an_end_waits_for_it_as_it_was_when_it_was_applied(world: World, how: str) -> None:
    """Also where the state directory is lost: the copy below the root remembers it."""
    guarded(world)
    job = "component: tool, command: sleep 86398"
    files = {
        "removed": world.services("job", job=job),
        "disabled": world.services("db", "job", db=keys(world, ", enabled: false"), job=job),
        "renamed": world.services("dbs", "job", dbs=keys(world).replace("guard", "after: [], guard"), job=job),
    }[how]
    shutil.rmtree(world.state)
    world.commit(files)
    pid = world.pids()["db"]
    for _ in range(2):
        done = world.once(code=1)
        assert "guard backup: exit status 1" in done.out, done.said
        assert world.pids()["db"] == pid
    backup(world).write_text("x")
    world.once()
    assert "db" not in world.pids()
    world.idle()


def test_supervisord_does_not_restart_before(world: World) -> None:
    guarded(world)
    world.commit({f"desired/sites/{world.site}.dev.yaml": "supervisor: {minfds: 2048}\n"})
    pids = world.pids()
    for _ in range(2):
        assert "guard backup: exit status 1" in world.once(code=1).out
        assert world.pids() == pids
    backup(world).write_text("x")
    world.once()
    assert set(world.pids().values()).isdisjoint(pids.values())
    world.idle()


def test_what_is_down_is_started_without_it(world: World) -> None:
    guarded(world)
    world.supervisorctl("stop", "db")
    world.once()
    assert set(world.pids()) == {"", "db", "job"}


def test_one_that_hangs_is_ended_and_tells_no_secret(world: World) -> None:
    command = "echo hush; sleep 300"
    guard = f"guard: {{b: {{command: '{command}', timeout: 1s}}}}"
    text = f"component: app, command: sleep 9999, env: {{DB_PASSWORD: hush}}, {guard}"
    world.commit(world.services("db", db=text))
    world.once()
    world.commit(world.versions("2.0"))
    done = world.once(code=1)
    assert "guard b: took longer than 1 s and was ended" in " ".join(done.out.split())
    assert "hush" not in done.out + done.err
    assert marks(world) == {"db": "1.0"}


def test_a_guard_that_nothing_remembers_is_not_lost_without_a_word(world: World) -> None:
    guarded(world)
    shutil.rmtree(world.state)
    (world.root / ".reconcile/inventory.json").unlink()
    world.commit(world.services("job", job="component: tool, command: sleep 86398"))
    plan = deployment(world.run("plan", "--json"))
    (change,) = [one for one in plan["changes"] if one["service"] == "db"]
    assert "whether a guard stood before its removal is not remembered" in change["reasons"]
