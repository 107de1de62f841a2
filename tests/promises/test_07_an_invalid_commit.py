"""7. An invalid commit changes nothing; services go on, and drift is still mended against the last valid commit."""

from __future__ import annotations

import pytest

from tests.promises.conftest import TOOL, versions
from tests.scenarios.world import World

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]


@pytest.mark.parametrize("wrong", ["services: [\n", "services: {one: {comand: x}}\n", "vars: {level: '{{ gone }}'}\n"])
def test_07_an_invalid_commit(wrong: str, world: World) -> None:
    before, files = world.pids(), world.files()
    world.commit(world.versions("2.0") | world.services("one", "three", three=TOOL))
    world.commit({"desired/environments/dev.yaml": wrong})
    for _ in range(2):
        done = world.once(code=3)
        assert "desired/environments/dev.yaml:" in done.out
        assert (world.pids(), world.files()) == (before, files)
    world.supervisorctl("stop", "one")
    (world.root / "config/app.conf").write_text("by hand\n")
    world.once(code=3)
    assert world.files() == files
    assert versions(world) == dict.fromkeys(("one", "two", "three"), "1.0")
    assert world.pids()["three"] == before["three"]
