"""SIGTERM and SIGINT while something outside lets a pass wait: git, or the building of a version."""

from __future__ import annotations

import signal
from pathlib import Path
from time import monotonic

import pytest

from tests.install.packages import write_wheel
from tests.scenarios.world import World, a_world, finish, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def hang(world: World) -> Path:
    """From now on the repo is behind an ssh that never gets through; the file that names its process."""
    program, told = world.folder / "ssh", world.folder / "ssh.pid"
    program.write_text(f"#!/bin/sh\necho $$ > {told}.new && mv {told}.new {told}\nexec sleep 300\n")
    program.chmod(0o755)
    world.env["GIT_SSH"] = str(program)
    world.url = f"ssh://host{world.repo}"
    return told


@SIGNALS
@pytest.mark.parametrize("known", [True, False], ids=["held to a commit", "the first pass"])
def test_a_pass_that_waits_for_git(known: bool, number: int, world: World) -> None:
    """It ends at once, says why, and leaves no process; what runs goes on."""
    world.commit(world.services("one"))
    if known:
        world.once()
    before, told = world.pids(), hang(world)
    process = world.start("--once")
    until(told.exists)
    began = monotonic()
    process.send_signal(number)
    done = finish(process)
    assert monotonic() - began < 5
    assert done.code == 1, done.said
    assert "the pass was asked to stop before it was known what the branch says" in done.out
    assert ("holding to " in done.out) == known
    assert "Traceback" not in done.err
    assert not runs(int(told.read_text()))
    assert world.pids() == before
    world.url = str(world.repo)
    world.once()
    world.idle()


@SIGNALS
def test_a_loop_that_waits_for_git(number: int, world: World) -> None:
    world.commit(world.services("one"))
    world.once()
    before, told = world.pids(), hang(world)
    process = world.start("--interval", "1h")
    until(told.exists)
    began = monotonic()
    process.send_signal(number)
    done = finish(process)
    assert monotonic() - began < 5
    assert (done.code, "Traceback" in done.err) == (0, False), done.said
    assert not runs(int(told.read_text()))
    assert world.pids() == before


@pytest.mark.slow
@SIGNALS
def test_a_pass_that_builds(number: int, world: World) -> None:
    """The build is ended and nothing of it stays; the old version runs on, and the next pass begins anew."""
    world.commit(world.services("one"))
    world.once()
    before, begun, wheels = world.pids(), world.folder / "begun", world.folder / "wheels"
    wheels.mkdir()
    write_wheel(wheels, "hello", "1.0")
    slow = f"echo $$ > {begun}.new; mv {begun}.new {begun}; while [ ! -e {world.folder}/go ]; do sleep 0.1; done"
    component = f'{{install: venv, requirement: "--no-index -f {wheels} hello", prologue: "{slow}"}}'
    world.commit(
        {
            "desired/environments/dev.yaml": world.services("one")["desired/environments/dev.yaml"]
            + f"components: {{app: {component}}}\n"
        }
    )
    process = world.start("--once")
    until(begun.exists)
    began = monotonic()
    process.send_signal(number)
    done = finish(process)
    assert monotonic() - began < 5
    assert done.code in (1, 2), done.said
    assert "the pass was asked to stop" in done.out
    assert "Traceback" not in done.err
    assert not runs(int(begun.read_text()))
    assert [path for path in (world.root / "venvs/.store").iterdir() if path.is_dir()] == []
    assert world.pids() == before
    (world.folder / "go").touch()
    world.once()
    world.idle()
    assert world.pids()["one"] != before["one"]
