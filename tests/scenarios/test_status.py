"""What `status` says at three in the morning, when something is not as git wants it."""

from __future__ import annotations

import pytest

from tests.backends.beds import a_users_world
from tests.scenarios.world import SLEEP, World, a_world

__all__ = ["a_users_world", "a_world"]

pytestmark = pytest.mark.scenario
UNIT = "[Service]\nExecStart=/bin/sleep 86399\n"


@pytest.mark.systemd
def test_a_stranger_under_the_wanted_name_is_not_our_service(users_world: World) -> None:
    world = users_world
    manager = world.boot()
    world.commit(world.services("one", one=f"component: app, launcher: systemd, command: {SLEEP}"))
    world.once()
    (own,) = world.pids().values()
    manager.write("other.service", UNIT)
    manager.systemctl("daemon-reload")
    manager.systemctl("start", "other.service")
    world.commit(world.services("one", one=f"component: app, launcher: systemd, name: other, command: {SLEEP}"))
    assert "not ours (set `name:` to another one): other.service" in world.once(code=1).out
    done = world.run("status", "--json")
    (seen,) = done.json()["deployments"][0]["services"]
    assert (done.code, seen["healthy"], seen["pid"], seen["version"]) == (1, False, own, "1.0")
    assert str(own) in world.run("status").out
    manager.systemctl("stop", "one-dev.service")
    (seen,) = world.run("status", "--json").json()["deployments"][0]["services"]
    assert (seen["state"], seen["pid"], seen["version"]) == ("absent", None, None)


def test_what_the_last_pass_failed_at_is_told_until_it_is_mended(world: World) -> None:
    world.commit(world.services("one", one="component: app, command: no-such-program"))
    world.once(code=1)
    assert "failed at check:one: command not found: no-such-program" in " ".join(world.run("status").out.split())
    world.commit(world.services("one"))
    world.once()
    done = world.run("status")
    assert (done.code, "failed at" in done.out) == (0, False)


def test_why_a_service_is_not_up_is_told(world: World) -> None:
    ends = "component: app, command: \"sh -c 'exit 3'\", supervisor: {startretries: 0}"
    layer = f"services:\n  one: {{{ends}}}\n"
    world.commit({"desired/environments/dev.yaml": layer})
    world.once(code=1)
    assert "FATAL" in world.run("status").out
