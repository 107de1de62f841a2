"""A log on a full disk, and an account that may start no more threads: passes do their work all the same."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.scenarios.world import World, a_world, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]

_NO_THREADS = """
import sys, threading
def start(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = start
from reconciler.cli.main import main
code = main({words})
sys.stdout.flush()
sys.exit(code)
"""


@pytest.fixture
def bumped(world: World) -> World:
    world.commit(world.services("one", "two"))
    world.once()
    world.commit(world.versions("2.0"))
    return world


def served(world: World) -> set[str]:
    return {one.marks["RECONCILE_VERSION"] for one in world.live() if one.service}


@pytest.mark.parametrize(
    ("full", "code"), [(("stdout",), 1), (("stderr",), 0), (("stdout", "stderr"), 1)], ids=["answer", "log", "both"]
)
def test_a_single_pass(full: tuple[str, ...], code: int, bumped: World) -> None:
    """All is done; that the answer could not be printed is told, where that can be."""
    with open("/dev/full", "w") as nowhere:
        process = bumped.start("--once", **dict.fromkeys(full, nowhere))
        out, err = process.communicate(timeout=60)
    assert (process.returncode, served(bumped)) == (code, {"2.0"}), (out, err)
    assert "Traceback" not in (err or "")
    assert ("No space left on device" in (err or "")) == (full == ("stdout",))
    bumped.idle()


@pytest.fixture
def mute(bumped: World) -> Iterator[subprocess.Popen[str]]:
    """A loop that can print nothing."""
    with open("/dev/full", "w") as nowhere:
        process = bumped.start("--interval", "0.2s", stdout=nowhere, stderr=nowhere)
    yield process
    process.kill()
    process.wait()


def test_the_loop(bumped: World, mute: subprocess.Popen[str]) -> None:
    for version in ("2.0", "3.0", "4.0"):
        bumped.commit(bumped.versions(version))
        until(lambda wanted=version: served(bumped) == {wanted})  # type: ignore[misc]
    assert mute.poll() is None


def test_no_more_threads(bumped: World) -> None:
    done = bumped.run_python(_NO_THREADS.format(words=["--once", *bumped.argv()[3:]]))
    assert (done.code, served(bumped)) == (0, {"2.0"}), done.said
    assert "a defect" not in done.err
    bumped.idle()


def test_no_more_threads_for_the_loop(bumped: World) -> None:
    """Nothing is watched then: it looks at the interval."""
    argv = [bumped.python, "-c", _NO_THREADS.format(words=["--interval", "0.2s", *bumped.argv()[3:]])]
    with (bumped.folder / "said").open("w") as said:
        process = subprocess.Popen(argv, env=bumped.env, stdout=said, stderr=said)
    try:
        for version in ("2.0", "3.0"):
            bumped.commit(bumped.versions(version))
            until(lambda wanted=version: served(bumped) == {wanted})  # type: ignore[misc]
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in (bumped.folder / "said").read_text()
