"""`reconcile` without --once: at once where events arrive, at the interval where not, and a clean end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep

import pytest

from tests.scenarios.test_source import git_daemon
from tests.scenarios.world import SLEEP, World, a_world, finish, until  # noqa: F401
from tests.source.conftest import free_port

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]

Start = Callable[..., subprocess.Popen[str]]
CALM = 3.5  # seconds, in which a pass ends and what it wrote is no longer taken for its own


@pytest.fixture
def loop(world: World) -> Iterator[Start]:
    """Starts the loop; its output goes to files beside the world."""
    started = []

    def start(*words: str) -> subprocess.Popen[str]:
        with (world.folder / "loop.out").open("a") as out, (world.folder / "loop.err").open("a") as err:
            started.append(world.start(*words, stdout=out, stderr=err))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def two(world: World) -> World:
    world.commit(world.services("one", "two", two=f"component: tool, command: {SLEEP}"))
    return world


def said(world: World) -> str:
    return "".join(path.read_text() for path in world.folder.glob("loop.*"))


def serves(world: World, *names: str) -> bool:
    return sorted(one.service for one in world.live()) == sorted(["", *names])


def level(world: World) -> str:
    try:
        return (world.root / "config/app.conf").read_text()
    except FileNotFoundError:
        return ""


def watching(world: World, process: subprocess.Popen[str]) -> bool:
    """It has come to rest and listens: a watch of the kernel exists."""
    assert process.poll() is None, said(world)
    for path in Path(f"/proc/{process.pid}/fdinfo").iterdir():
        try:
            if "inotify wd" in path.read_text():
                return True
        except OSError:
            continue
    return False


def test_a_commit_and_an_edited_file_are_noticed_at_once(two: World, loop: Start) -> None:
    process = loop("--interval", "1h")
    until(lambda: serves(two, "one", "two") and watching(two, process))
    before = {one.service: one.pid for one in two.live()}
    two.commit(two.versions("1.1"))
    until(lambda: "app = 1.1" in level(two))
    until(lambda: serves(two, "one", "two"))
    until(lambda: "1 updated" in said(two))
    after = {one.service: one.pid for one in two.live()}
    assert (after[""], after["two"], after["one"] == before["one"]) == (before[""], before["two"], False)
    sleep(CALM)
    (two.root / "config/app.conf").write_text("edited\n")
    until(lambda: "app = 1.1" in level(two))
    sleep(CALM)
    (two.root / "config/supervisor/two.conf").unlink()
    until((two.root / "config/supervisor/two.conf").exists)
    process.terminate()
    assert process.wait(20) == 0
    two.idle()


def test_a_branch_that_is_packed_and_pushed_to(world: World, loop: Start) -> None:
    """A bare repo that others push to, with its refs packed away."""
    bare = world.folder / "bare.git"
    world.commit(world.services("one"))
    world.git("clone", "--quiet", "--bare", ".", str(bare))
    world.git("remote", "add", "origin", str(bare))
    subprocess.run(["git", "-C", str(bare), "pack-refs", "--all"], check=True, env=world.env)
    world.url = str(bare)
    process = loop("--interval", "1h")
    until(lambda: serves(world, "one") and watching(world, process))
    for version in ("1.1", "1.2"):
        world.commit(world.versions(version))
        world.git("push", "--quiet", "origin", "main")
        until(lambda wanted=version: f"app = {wanted}" in level(world))  # type: ignore[misc]
        subprocess.run(["git", "-C", str(bare), "gc", "--quiet"], check=True, env=world.env)


def test_what_a_pass_writes_is_no_news(two: World, loop: Start) -> None:
    """One pass for one commit: no second one that finds what the first has written."""
    process = loop("--interval", "1h")
    until(lambda: serves(two, "one", "two") and watching(two, process))
    first = _passes(two)
    sleep(CALM)
    assert _passes(two) == first
    two.commit(two.versions("1.1"))
    until(lambda: "1 updated" in said(two))
    second = _passes(two)
    sleep(CALM)
    (two.repo / "README").write_text("x")
    two.git("add", "README")  # the index is in the folder of the refs
    sleep(CALM)
    assert (second > first, _passes(two)) == (True, second)
    assert process.poll() is None


@pytest.mark.parametrize("first", [True, False], ids=["the first pass", "a later pass"])
def test_a_push_during_a_pass_is_not_lost(first: bool, world: World, loop: Start) -> None:
    """In the first pass nothing is watched yet."""
    keys = f"component: app, command: {world.stubborn()}, stop: {{grace: 60}}"
    world.commit(world.services("one", one=keys))
    if first:
        world.once()
        world.commit(world.versions("1.1"))
    process = loop("--interval", "1h")
    if not first:
        until(lambda: serves(world, "one") and watching(world, process))
        sleep(CALM)
        world.commit(world.versions("1.1"))
    until(lambda: "STOPPING" in world.supervisorctl("status"))
    world.commit(world.versions("1.2"))
    sleep(1)  # the event has come
    (world.folder / "go").touch()
    until(lambda: "app = 1.2" in level(world))
    assert process.poll() is None


_STRESS = """
import faulthandler, io, os, signal, sys
from reconciler.agent.config import Agent
from reconciler.agent.loop import Loop
from reconciler.report.log import Log

class Busy(Loop):
    def _once(self):
        signal.setitimer(signal.ITIMER_REAL, 0.00002 + turn % 50 * 0.000004)

def asked(*_):
    os.kill(os.getpid(), signal.SIGTERM)

faulthandler.dump_traceback_later(40, exit=True)
signal.signal(signal.SIGALRM, asked)
for turn in range(int(sys.argv[1])):
    assert Busy(Agent("git://nowhere/x", "here", interval=0.00005), Log(io.StringIO()), print).run() == 0
    signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_a_signal_at_any_instant_ends_it() -> None:
    """A handler that takes a lock would wait for the very thread that it has interrupted."""
    argv = [sys.executable, "-c", _STRESS, "8000"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_remote_is_followed_at_the_interval(world: World, loop: Start) -> None:
    """No event tells of a push to another host."""
    port = free_port()
    world.url = f"git://127.0.0.1:{port}/repo"
    world.commit(world.services("one"))
    with git_daemon(world, port):
        process = loop("--interval", "0.3s")
        until(lambda: serves(world, "one"))
        world.commit(world.versions("1.1"))
        until(lambda: "app = 1.1" in level(world))
    until(lambda: "the repo cannot be read" in said(world))
    with git_daemon(world, port):
        world.commit(world.versions("1.2"))
        until(lambda: "app = 1.2" in level(world))
    assert process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_between_two_steps(number: int, world: World, loop: Start) -> None:
    """The step in hand is finished, the next one is not begun."""
    keys = f"component: app, command: {world.stubborn()}, stop: {{grace: 60}}"
    world.commit(world.services("one", "two", one=keys, two=f"component: app, command: {SLEEP}, after: [one]"))
    process = loop("--interval", "1h")
    until(lambda: serves(world, "one", "two") and watching(world, process))
    old = {one.service: one.pid for one in world.live()}
    world.commit(world.versions("1.1"))
    until(lambda: "STOPPING" in world.supervisorctl("status"))
    process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    (world.folder / "go").touch()
    assert process.wait(30) == 0, said(world)
    assert "Traceback" not in said(world)
    now = {one.service: one.pid for one in world.live()}
    assert "one" in now, "the restart that was in hand was not finished"
    assert now["one"] != old["one"]
    world.once()
    world.idle()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_resting_loop_ends_at_once(number: int, two: World, loop: Start) -> None:
    process = loop("--interval", "1h")
    until(lambda: serves(two, "one", "two") and watching(two, process))
    pids = two.pids()
    process.send_signal(number)
    assert process.wait(20) == 0
    assert two.pids() == pids
    assert "Traceback" not in said(two)


def test_it_goes_on_through_whatever_happens(two: World, loop: Start) -> None:
    """An invalid commit, a repo that is away, a lock that another holds, a state directory that goes."""
    process = loop("--interval", "0.2s")
    until(lambda: serves(two, "one", "two"))
    two.commit({"desired/environments/dev.yaml": "}{"})
    until(lambda: "is not valid" in said(two))
    two.repo.rename(two.folder / "hidden")
    until(lambda: "the repo cannot be read" in said(two))
    (two.folder / "hidden").rename(two.repo)
    shutil.rmtree(two.state)
    two.commit(two.services("one", "three"))
    until(lambda: serves(two, "one", "three"))
    assert process.poll() is None
    assert "Traceback" not in said(two)
    assert "defect" not in said(two)


def test_what_it_says_about_one_fault_is_bounded(two: World, loop: Start) -> None:
    """A pass with nothing to do says nothing, in a loop as well."""
    process = loop("--interval", "0.1s")
    until(lambda: serves(two, "one", "two"))
    until(lambda: "2 created" in said(two))
    before = said(two)
    used = _passes(two)
    until(lambda: _passes(two) - used > 5)
    assert said(two) == before
    assert process.poll() is None


def _passes(world: World) -> float:
    """A number that grows with every pass: when the remote was last asked, in tenths of seconds."""
    try:
        return (world.state / world.site / "source.json").stat().st_mtime * 10
    except FileNotFoundError:
        return 0.0


@pytest.mark.slow
def test_its_memory_stays_level(two: World, loop: Start) -> None:
    """Passes that do nothing, and passes with news: what the tenth leaves is what the fortieth leaves."""
    process = loop("--interval", "0.1s")
    until(lambda: serves(two, "one", "two"))
    sizes, opened = [], []
    for turn in range(40):
        two.commit({"desired/environments/prod.yaml": f"vars: {{a: {turn}}}\n"} | two.versions(f"2.{turn}"))
        until(lambda wanted=turn: f"app = 2.{wanted}\n" in level(two))  # type: ignore[misc]
        sizes.append(_resident(process.pid))
        opened.append(_opened(process.pid))
    grown = sum(sizes[-5:]) / 5 - sum(sizes[8:13]) / 5
    assert grown < 4 * 2**20, [size >> 10 for size in sizes]
    assert min(opened[-8:]) <= min(opened[8:16]), opened
    threads = len(os.listdir(f"/proc/{process.pid}/task"))
    assert threads < 12
    assert not _children(process.pid)


def _opened(pid: int) -> int:
    """The fewest within a moment: a pass at work has more open than one that rests."""
    found = []
    for _ in range(20):
        found.append(len(os.listdir(f"/proc/{pid}/fd")))
        sleep(0.01)
    return min(found)


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _children(pid: int) -> list[str]:
    """Remains of processes that nobody has collected."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            state = Path(f"/proc/{child}/stat").read_text()
            if ") Z " in state:
                found.append(state)
    return found


def test_a_loop_and_a_single_pass(two: World, loop: Start) -> None:
    """While a loop rests, `--once` can be used; nothing is done twice."""
    process = loop("--interval", "1h")
    until(lambda: serves(two, "one", "two") and watching(two, process))
    pids = two.pids()
    for _ in range(3):
        assert finish(two.start("--once")).code in (0, 75)
    assert two.pids() == pids
