"""6. Killed at any instant, the next pass converges; no file is ever half-written."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.promises.conftest import versions
from tests.scenarios.world import World, temporary

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]

# Dies in the middle of writing a file, whatever that is called meanwhile.
_KILLED = """
import os, signal, sys
plain, name = os.write, sys.argv[1]
def half(descriptor, content):
    place = os.readlink(f"/proc/self/fd/{descriptor}")
    if name in os.path.basename(place) and not place.endswith("lock"):
        plain(descriptor, bytes(content)[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(descriptor, content)
os.write = half
from reconciler.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("name", ["app.conf", "inventory.json", "source.json", "one"])
def test_06_a_killed_pass_costs_nothing(name: str, world: World) -> None:
    before, kept = world.files(), world.pids()
    world.commit(world.versions("2.0"))
    argv = [sys.executable, "-c", _KILLED, name, *world.argv("--once")[3:]]
    done = subprocess.run(argv, env=world.env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done
    torn = world.files()
    world.once()
    after = world.files()
    for path, content in torn.items():
        if not temporary([path]):
            assert content in (before.get(path), after[path]), f"half a file: {path}"
    assert temporary(after) == []
    assert versions(world) == {"one": "2.0", "two": "2.0", "three": "1.0"}
    assert (world.pids()[""], world.pids()["three"]) == (kept[""], kept["three"])
    world.idle()
