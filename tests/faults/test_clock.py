"""The clock of the host jumps by a day, between two passes and within one.

What the program asks for the time of day is shifted in its own process; the kernel's clock, which all on this machine
share, stays. What the program has noted under the other clock is there, and that is what a jump leaves behind.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.bench import Bench
from tests.scenarios.world import SLEEP, Done, World, a_world, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]

DAY = 86400
_SHIFTED = """
import sys, time
real, count, jumps = time.time, 0, {jumps}
def shifted():
    global count
    count += 1
    return real() + ({by} if not jumps or count % 2 else 0)
time.time = shifted
for name in ("gmtime", "localtime"):
    setattr(time, name, lambda when=None, plain=getattr(time, name): plain(shifted() if when is None else when))
from reconciler.cli.main import main
code = main({words})
sys.stdout.flush()
sys.exit(code)
"""


def shifted(world: World, by: int, *words: str, jumps: bool = False) -> Done:
    """The command under a clock that is wrong by so many seconds, or jumps there and back at every look."""
    done = world.run_python(_SHIFTED.format(jumps=jumps, by=by, words=[*words, *world.argv()[3:]]))
    assert "Traceback" not in done.err, done.err
    assert "a defect" not in done.err, done.err
    return done


@pytest.fixture
def bench(short_folder: Path) -> Iterator[Bench]:
    made = Bench(short_folder)
    yield made
    made.end()


@pytest.mark.parametrize("jumps", [False, True], ids=["before the pass", "within the pass"])
def test_a_jump_there_and_back(jumps: bool, bench: Bench) -> None:
    """Nothing restarts for it, a bump concerns those of its component, and the lock is nobody's afterwards."""
    for by in (DAY, -DAY):
        bench.world.idle()
        before = bench.seen()
        done = shifted(bench.world, by, "--once", jumps=jumps)
        assert (done.code, done.out) == (0, ""), done.said
        assert bench.seen() == before
        bench.bump()
        done = shifted(bench.world, by, "--once", jumps=jumps)
        assert done.code == 0, done.said
        assert shifted(bench.world, by, "status", jumps=jumps).code == 0
        after = bench.seen()
        assert {name for name in after.pids if after.pids[name] == before.pids[name]} == {"", "three"}
        assert after.foreign == before.foreign
        bench.world.idle()
        assert bench.seen() == after


def test_what_is_healthy_stays_so(world: World) -> None:
    """What an interval counts from lies in the future after a jump back: then it is asked again, not never."""
    health = f"health: {{exec: {{command: 'test ! -e {world.folder}/ill'}}, interval: 1h, settle: 0s}}"
    world.commit(world.services("one", one=f"component: app, command: {SLEEP}, {health}"))
    world.once()
    before = world.pids()
    for by in (DAY, -DAY, 0):
        done = shifted(world, by, "status", "--json")
        told = json.loads(done.out)["deployments"][0]["services"][0]
        assert (done.code, told["health"]) == (0, "healthy"), (by, done.said)
        done = shifted(world, by, "--once")
        assert (done.code, done.out) == (0, ""), (by, done.said)
    assert world.pids() == before


def test_a_pause_holds_and_ends(world: World) -> None:
    """A clock that was put back lengthens it by no more than that; one that was put forward ends it."""
    world.commit(world.services("one"))
    world.once()
    assert world.run("pause", "--for", "2h", "--reason", "a look").code == 0
    world.commit(world.versions("2.0"))
    before = world.pids()
    assert shifted(world, -DAY, "--once").code == 2
    assert world.pids() == before
    done = shifted(world, DAY, "--once")
    assert (done.code, "is over" in done.out) == (0, True), done.said
    assert world.pids()["one"] != before["one"]
    world.idle()


def test_a_window_by_the_clock_as_it_is(world: World) -> None:
    """Shut now, open under a clock that is ten hours off, and shut again."""
    world.commit(world.services("one"))
    world.once()
    at = time.gmtime(time.time() - 600)
    window = f'{{deny: "{at.tm_min} {at.tm_hour} * * *", for: 2h, zone: UTC}}'
    policy = f"policy: {{windows: {{w: {window}}}}}\n"
    world.commit(world.versions("2.0") | {f"desired/sites/{world.site}.dev.yaml": policy})
    before = world.pids()
    for by in (0, DAY, -DAY):
        assert shifted(world, by, "--once").code == 2
        assert world.pids() == before
    done = shifted(world, 10 * 3600, "--once")
    assert done.code == 0, done.said
    world.idle()


def test_a_repo_out_of_reach(world: World) -> None:
    """Put forward, the last contact is long ago, which is told as a failure; put back, it is not in the past."""
    world.commit(world.services("one"))
    world.once()
    world.repo.rename(world.folder / "away")
    assert shifted(world, -DAY, "--once").code == 0
    done = shifted(world, 2 * DAY, "--once")
    assert (done.code, "longer than max_staleness" in done.out) == (1, True), done.said
    (world.folder / "away").rename(world.repo)
    world.idle()


def test_a_lock_of_a_dead_pass(world: World) -> None:
    """Whether its holder lives is asked of the kernel, not of the clock."""
    world.commit(world.services("one", one=f"component: app, command: {world.stubborn()}, stop: {{grace: 60}}"))
    world.once()
    world.commit(world.versions("2.0"))
    holder = world.start("--once")
    until(lambda: "STOPPING" in world.supervisorctl("status"))
    for by in (DAY, -DAY):
        done = shifted(world, by, "--once")
        assert (done.code, str(holder.pid) in done.err) == (75, True), done.said
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    (world.folder / "go").touch()
    assert shifted(world, -DAY, "--once").code == 0
    world.idle()


def test_a_process_that_hides_what_it_was_started_from(world: World) -> None:
    """It is known by the start that a pass has noted, which is an instant of the clock of that time."""
    world.commit(world.services("one", one="component: app, command: env -i sleep 86399"))
    world.once()
    (pid,) = [one.pid for one in world.live() if not one.service]
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for by in (DAY, -DAY, 0):
        done = shifted(world, by, "--once")
        assert (done.code, done.out) == (0, ""), (by, done.said)
    assert Path(f"/proc/{pid}/task/{pid}/children").read_text().split() == [child]
