"""3. What runs is read from the process, not from what is configured, rendered or remembered."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from tests.promises.conftest import versions
from tests.scenarios.test_kill import killed_at
from tests.scenarios.world import World

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]


def test_03_the_running_thing_is_the_truth(world: World) -> None:
    """Files of the new version lie there, nothing is remembered, and the processes are of the old one."""
    before = world.pids()
    world.commit(world.versions("2.0"))
    assert killed_at(world, "begins restart")[0]
    assert (world.root / "config/app.conf").read_text().endswith("app = 2.0\n")
    assert world.pids() == before
    shutil.rmtree(world.state)
    (world.root / ".reconcile/inventory.json").unlink()
    told = world.run("status", "--json")
    found = {one["service"]: (one["version"], one["wanted"]) for one in told.json()["deployments"][0]["services"]}
    assert found == {"one": ("1.0", "2.0"), "two": ("1.0", "2.0"), "three": ("1.0", "1.0")}
    world.once()
    assert versions(world) == {"one": "2.0", "two": "2.0", "three": "1.0"}
    assert world.pids()["three"] == before["three"]
    world.idle()


def test_03_what_is_gone_is_gone(world: World) -> None:
    """All that is written and remembered says that it runs."""
    world.supervisorctl("stop", "two")
    os.kill(world.pids()["one"], signal.SIGKILL)
    world.once()
    assert versions(world) == {"one": "1.0", "two": "1.0", "three": "1.0"}
