"""One pass at a time, whoever starts it and however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.scenarios.world import SLEEP, World, a_world, finish, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]


@pytest.fixture
def slow(world: World) -> World:
    """A service that takes long to stop, and a bump of it: its pass lasts until there is a file `go`."""
    world.commit(world.services("one", one=f"component: app, command: {world.stubborn()}, stop: {{grace: 60}}"))
    world.once()
    world.commit(world.versions("1.1"))
    return world


@contextmanager
def at_work(world: World) -> Iterator[subprocess.Popen[str]]:
    """A pass that is in the middle of its work."""
    process = world.start("--once")
    until(lambda: "STOPPING" in world.supervisorctl("status"))
    try:
        yield process
    finally:
        (world.folder / "go").touch()
        process.communicate(timeout=60)


@pytest.mark.parametrize("how", ["the same state directory", "another state directory"])
def test_a_second_pass_is_told_who_holds_the_lock(how: str, slow: World) -> None:
    with at_work(slow) as first:
        if how.startswith("another"):
            slow.state = slow.folder / "elsewhere"
        before = slow.files()
        done = slow.run("--once")
        assert (done.code, done.out) == (75, "")
        assert f"pid {first.pid} on {os.uname().nodename} since {time.strftime('%Y-')}" in done.err
        assert slow.files() == before
        assert first.poll() is None
        (slow.folder / "go").touch()
        assert finish(first).code == 0
    done = slow.run("--once")
    assert done.code == 0, done.said


def test_looking_is_not_held_up(slow: World) -> None:
    """Status works while a pass is at work."""
    with at_work(slow):
        told = slow.run("status", "--json")
        assert told.code in (0, 1), told.said
        assert told.json()["deployments"][0]["services"][0]["state"] in ("stopping", "running")


def test_a_killed_holder_does_not_block(slow: World) -> None:
    with at_work(slow) as first:
        first.kill()
        first.wait()
        (slow.folder / "go").touch()
        slow.once()
    slow.idle()
    assert sorted(slow.pids()) == ["", "one"]


def test_a_frozen_holder_blocks_until_it_is_gone(slow: World) -> None:
    with at_work(slow) as first:
        first.send_signal(signal.SIGSTOP)
        assert slow.run("--once").code == 75
        first.kill()
        first.wait()
        (slow.folder / "go").touch()
        slow.once()


def test_nothing_that_a_pass_leaves_running_holds_its_locks(world: World) -> None:
    """Neither the flock nor an open descriptor of the lock's file, in supervisord and in services."""
    world.commit(world.services("one", "two", two=f"component: app, command: {SLEEP}, prologue: 'true'"))
    world.once()
    locks = {path for folder in (world.state, world.root) for path in folder.rglob("lock*") if path.is_file()}
    assert len(locks) >= 2
    for pid in world.pids().values():
        opened = {os.path.realpath(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
        assert not opened & {str(path) for path in locks}
        assert not [path for path in opened if path.startswith(str(world.state))]
    held = {line.split()[5].rpartition(":")[2] for line in Path("/proc/locks").read_text().splitlines()}
    assert not held & {str(path.stat().st_ino) for path in locks}


def test_many_at_once(world: World) -> None:
    """Of six that begin together at least one gets through; each of the others does so too, or says that it is busy."""
    world.commit(world.services("one", "two", "three"))
    ended = [finish(process) for process in [world.start("--once") for _ in range(6)]]
    assert {done.code for done in ended} <= {0, 75}, ended
    assert 0 in {done.code for done in ended}
    assert all("another pass is at work" in done.err for done in ended if done.code == 75)
    assert sorted(world.pids()) == ["", "one", "three", "two"]
    world.idle()
