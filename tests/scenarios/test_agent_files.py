"""Files that the agent's file names and that cannot be used: whoever is told looks for the line that names them."""

from __future__ import annotations

import pytest

from tests.scenarios.world import SLEEP, World, a_world

__all__ = ["a_world"]
pytestmark = [pytest.mark.scenario, pytest.mark.git]


@pytest.mark.parametrize(
    ("lines", "named", "code"),
    [
        ("verify:\n  ssh: gone", "`verify.ssh` in {config}:5", 3),
        ("verify:\n  require: all\n  gpg: gone", "`verify.gpg` in {config}:6", 3),
        ("notify: gone", "`notify` in {config}:4", 1),
        ("metrics: gone/file", "`metrics` in {config}:4", 0),
    ],
)
def test_the_line_that_names_a_file_is_told(lines: str, named: str, code: int, world: World) -> None:
    world.commit({})
    config = world.folder / "agent.yaml"
    config.write_text(f"repo: {world.url}\nsite: {world.site}\nstate_dir: {world.state}\n{lines}\n")

    done = world.run("--once", "--config", str(config), where=False)

    assert done.code == code, done.said
    assert "gone" in done.said
    assert named.format(config=config) in " ".join((done.out + done.err).split()), done.said


def test_the_line_that_names_the_private_key_is_told(world: World) -> None:
    pytest.importorskip("pyrage")
    secret = f"component: app, command: {SLEEP}, env: {{A: !secret {{age: secrets/a.age}}}}"
    world.commit({"desired/environments/dev.yaml": f"services: {{one: {{{secret}}}}}\n", "secrets/a.age": "x"})
    config = world.folder / "agent.yaml"
    config.write_text(f"repo: {world.url}\nsite: {world.site}\nstate_dir: {world.state}\nage_identity: gone\n")

    done = world.run("plan", "--config", str(config), where=False)

    assert f"`age_identity` in {config}:4 names it" in " ".join(done.out.split()), done.said
