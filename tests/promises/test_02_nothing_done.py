"""2. Nothing to do means nothing done: a second pass makes no step, writes no file, forks only to look."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.strace import recorded
from tests.promises.conftest import stamps
from tests.scenarios.world import World

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]


def written(world: World) -> dict[str, tuple[int, int]]:
    """All that a pass might write. A lock is taken, and a time of change says when the remote last answered."""
    found = {**stamps(world.root), **stamps(world.state)}
    return {
        path: stamp
        for path, stamp in found.items()
        if os.path.basename(path) not in ("lock", "source.json") and "/logs/" not in path
    }


def test_02_nothing_done(world: World) -> None:
    world.commit({"desired/environments/prod.yaml": "vars: {of: another environment}\n"})
    world.once()
    pids, files, source = world.pids(), written(world), world.state / world.site / "source.json"
    noted = source.read_bytes(), source.stat().st_ino
    for _ in range(2):
        world.idle()
        done = world.once()
        assert (done.out, done.err) == ("", "")
    assert (world.pids(), written(world)) == (pids, files)
    assert (source.read_bytes(), source.stat().st_ino) == noted


@pytest.mark.strace
def test_02_it_forks_only_to_look(world: World, tmp_path: Path) -> None:
    """With supervisord and a repo on this host there is nobody to ask by a program: no process is made at all."""
    ran, calls = recorded(world.argv("--once"), world.env, tmp_path / "log", [str(world.root), str(world.state)])
    assert ran.code == 0
    acts = ("fork", "vfork", "clone", "clone3", "kill", "write", "fsync", "rename", "renameat", "unlinkat", "mkdirat")
    assert [str(call) for call in calls if call.name in acts] == []
    assert {call.place.rpartition("/")[2] for call in calls if call.creates} <= {"lock"}
