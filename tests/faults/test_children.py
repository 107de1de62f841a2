"""The programs that a pass runs are killed or hang, each in turn: what must hold holds, and the next pass mends it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.bench import Bench
from tests.faults.children import FATES, StandIn
from tests.faults.strace import Ran
from tests.scenarios.test_kill import wheels, with_venv
from tests.scenarios.world import SLEEP, World, a_world, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git, pytest.mark.slow]

@pytest.fixture
def bench(short_folder: Path) -> Iterator[Bench]:
    made = Bench(short_folder)
    yield made
    made.end()


def passed(bench: Bench, *words: str) -> Ran:
    done = bench.world.run("--once", *words)
    return Ran(done.code, done.out, done.err, "")


@pytest.mark.parametrize("fate", FATES)
def test_each_call_of_git(fate: str, bench: Bench) -> None:
    """A hung one is ended by its time limit; the commit is told of and followed by the next pass."""
    git = shutil.which("git")
    assert git
    stand_in = StandIn(bench.world.folder / "bin", "git", git, fate)
    path = bench.world.env["PATH"]
    nth = 0
    while True:
        nth += 1
        bench.bump()
        before = bench.seen()
        bench.world.env["PATH"] = f"{stand_in.folder}:{path}"
        stand_in.arm(nth)
        ran = passed(bench, "--timeout", "1s")
        calls = stand_in.disarm()
        bench.world.env["PATH"] = path
        bench.judge("bump", before, ran)
        if calls < nth:
            break
    assert nth > 5, "the story has become shorter than it was"


@pytest.mark.parametrize("fate", ["killed at once", "killed when it has done all"])
def test_each_call_of_what_builds_an_environment(fate: str, world: World) -> None:
    """The old version goes on, the failure is told, and the next pass builds it."""
    wheels(world.folder / "wheels")
    stand_in = StandIn(world.folder / "bin", "python3", sys.executable, fate)

    def layers(version: str) -> dict[str, str]:
        found = with_venv(world, version).items()
        return {name: text.replace(sys.executable, str(stand_in.path)) for name, text in found}

    world.commit(world.services("one", one=f"component: app, command: {SLEEP}") | layers("1.0"))
    world.once()
    for nth, version in ((1, "2.0"), (2, "1.0")):
        shutil.rmtree(world.root / "venvs/.store", ignore_errors=True)
        for link in (world.root / "venvs").glob(f"app-{version}"):
            link.unlink()
        before = world.pids()
        world.commit(layers(version))
        stand_in.arm(nth)
        done = world.run("--once")
        called = stand_in.disarm() >= nth
        assert "Traceback" not in done.err, done.err
        if called:
            assert done.code == 1, done.said
            assert world.pids() == before
        world.once()
        world.idle()
        assert {one.marks["RECONCILE_VERSION"] for one in world.live() if one.service} == {version}


@pytest.mark.parametrize("fate", ["kill -KILL $$", "sleep 86396"])
def test_a_prologue_before_anything_is_stopped(fate: str, world: World) -> None:
    """What runs goes on until the check has gone well. A hung one is ended by its time limit, short here."""
    flag = world.folder / "flag"
    keys = f"component: app, command: {SLEEP}, prologue: 'if [ -e {flag} ]; then {fate}; fi'"
    world.commit(world.services("one", "two", one=keys))
    world.once()
    before = world.pids()
    world.commit(world.versions("2.0"))
    flag.touch()
    impatient = "from reconciler.apply import preflight; preflight._PROLOGUE_SECONDS = 1.0\n"
    words = ["--once", *world.argv()[3:]]
    done = world.run_python(f"{impatient}import sys; from reconciler.cli.main import main; sys.exit(main({words}))")
    assert (done.code, "Traceback" in done.err) == (1, False), done.said
    assert "the prologue" in done.out
    now = world.pids()
    assert (now[""], now["one"]) == (before[""], before["one"])
    assert now["two"] != before["two"]
    flag.unlink()
    world.once()
    world.idle()
    assert not [name for name in filter(str.isdigit, os.listdir("/proc")) if _runs(name, b"sleep\x0086396")]


def test_a_daemon_that_hangs_and_goes_on(bench: Bench) -> None:
    """What cannot be asked is not absent: nothing is stopped or started beside it."""
    before = bench.seen()
    os.kill(before.pids[""], signal.SIGSTOP)
    try:
        bench.bump()
        done = bench.world.run("--once")
    finally:
        os.kill(before.pids[""], signal.SIGCONT)
    assert done.code == 1, done.said
    assert done.out.strip()
    assert bench.seen().pids == before.pids
    bench.judge("bump", before, Ran(done.code, done.out, done.err, ""))


def _runs(pid: str, command: bytes) -> bool:
    try:
        return command in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
