"""10. No secret reaches a log, a report, a diff, a process list or a file that others can read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.promises.conftest import TOOL
from tests.scenarios.world import SLEEP, World, everything_below

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]

PREFIX = "c4nary"


def test_10_no_secret(world: World) -> None:
    """The password changes, which restarts the service, is told as a reason, and fails in the end."""
    for turn, flag in (("first", ""), ("second", ""), ("third", "; exit 7")):
        env = f"{{DB_PASSWORD: {PREFIX}-{turn}, HARMLESS: !secret {PREFIX}-marked-{turn}}}"
        keys = f"component: app, command: {SLEEP}, env: {env}, prologue: 'echo $DB_PASSWORD >/dev/null{flag}'"
        world.commit(world.services("one", "two", "three", one=keys, three=TOOL))
        said = world.run("plan").said + world.run("plan", "--json").said
        said += world.run("diff", "HEAD~1..HEAD", "--repo", str(world.repo), "--site", world.site, where=False).said
        done = world.run("--once", "--json")
        assert done.code == (1 if flag else 0), done.said
        said += done.said + world.run("--once").said + world.run("status").said + world.run("explain", "one").said
        assert PREFIX not in said
        assert "DB_PASSWORD" in said
        _nowhere_else(world)
    given = Path(f"/proc/{world.pids()['one']}/environ").read_bytes()
    assert f"DB_PASSWORD={PREFIX}-second".encode() in given


def _nowhere_else(world: World) -> None:
    secret = PREFIX.encode()
    for folder in (world.root, world.state / world.site):
        for path, content in everything_below(folder):
            assert secret not in content or not os.stat(path).st_mode & 0o077, f"others can read it: {path}"
            assert secret not in content or path.suffix == ".env", path
    for one in world.live():
        assert secret not in Path(f"/proc/{one.pid}/cmdline").read_bytes()
