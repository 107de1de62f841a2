"""A pass killed at any instant costs nothing: SIGKILL at every step boundary, and at random instants."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.backends import warm
from tests.install.packages import write_wheel
from tests.scenarios.world import SLEEP, Done, World, a_world, everything_below, finish, temporary, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git, pytest.mark.slow]

# Between the end of a step and the beginning of the next nothing is done: they count as one boundary.
VICTIM = """
import os, signal, sys
from reconciler.agent.config import Options, load_agent
from reconciler.agent.run import Pass

class Killer:
    boundary, rests = 0, False
    def _reached(self, name):
        here = not (self.rests and name.startswith("begins"))
        self.boundary, self.rests = self.boundary + here, name.startswith("ended")
        print(name, flush=True)
        if name.startswith(sys.argv[4]) or (here and sys.argv[4] == str(self.boundary)):
            os.kill(os.getpid(), signal.SIGKILL)
    def deployment(self, plan, run): self._reached("deployment")
    def begins(self, step): self._reached(f"begins {step.id}")
    def ended(self, step, result): self._reached(f"ended {step.id} {result.status.value}")
    def progress(self, step, line): self._reached(f"progress {step.id}")
    def waits(self): pass
    def event(self, level, name, **fields): pass
    def flush(self): pass

repo, site, state = sys.argv[1:4]
report = Pass(load_agent(Options(repo=repo, site=site, state_dir=state), os.environ), Killer()).run()
sys.exit(report.exit_code)
"""

NAMES = ("one", "two", "three")
AFTER = {"three": f"component: tool, command: {SLEEP}, after: [one]"}


def run_to(world: World, boundary: int | str) -> Done:
    """A pass that ends itself at its n-th boundary, or at the first whose name begins so; it prints all names."""
    argv = [world.python, "-c", VICTIM, world.url, world.site, str(world.state), str(boundary)]
    return Done(*warm.run(argv, cwd=world.folder, env=world.env, become=world.account.become).texts)


def killed_at(world: World, boundary: int | str, code: int = 0) -> tuple[bool, str]:
    """A pass that ends itself at a boundary, see `run_to`; whether it came so far, and where that was. `code`: of one
    that comes to its end."""
    done = run_to(world, boundary)
    where = (done.out.splitlines() or ["no boundary"])[-1]
    if done.code == -signal.SIGKILL:
        return True, where
    assert done.code == code, (where, done.err)
    return False, where


def killed_after(world: World, seconds: float) -> bool:
    """A pass of the command that is killed after so long; False where it was over before."""
    process = world.start("--once")
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    return False


def converges(world: World, before: Mapping[str, bytes], where: str) -> None:
    """What must hold after a kill: whole files, then one pass that mends all, then one that has nothing to do."""
    torn = world.files()
    world.once()
    after = world.files()
    for path, content in torn.items():
        if not temporary([path]):
            assert content in (before.get(path), after.get(path)), (where, path, content)
    assert temporary(after) == [], where
    inventories = [path for path, _ in everything_below(world.root) if path.name == "inventory.json"]
    assert inventories
    assert all(json.loads(line) for path in inventories for line in path.read_text().splitlines())
    world.idle()
    assert world.files() == after, where


def served(world: World, *names: str) -> None:
    """Exactly these services run, once each, with one daemon."""
    assert sorted(world.pids()) == sorted(["", *names])


@pytest.fixture
def cold(short_folder: Path) -> Iterator[Callable[[], World]]:
    """Makes the host of one and the same repo anew: another root and no state."""
    world = World(short_folder)
    world.commit(world.services(*NAMES, **AFTER))
    count = 0

    def fresh() -> World:
        nonlocal count
        world.end()
        count += 1
        world.root, world.state = world.folder / f"r{count}", world.folder / f"s{count}"
        world.commit({f"desired/sites/{world.site}.yaml": f'environments: [dev]\npaths: {{root: "{world.root}"}}\n'})
        return world

    yield fresh
    world.end()


def test_a_cold_start_killed_at_every_boundary(cold: Callable[[], World]) -> None:
    boundary = 0
    while True:
        boundary += 1
        world = cold()
        killed, where = killed_at(world, boundary)
        if not killed:
            break
        converges(world, {}, where)
        served(world, *NAMES)
    assert boundary > 20, "the story has become shorter than it was"


def test_a_bump_killed_at_every_boundary(world: World) -> None:
    world.commit(world.services(*NAMES, **AFTER))
    world.once()
    boundary, killed = 0, True
    while killed:
        boundary += 1
        before, kept = world.files(), world.pids()
        world.commit(world.versions(f"2.{boundary}"))
        killed, where = killed_at(world, boundary)
        converges(world, before, where)
        served(world, *NAMES)
        now = world.pids()
        assert (now[""], now["three"]) == (kept[""], kept["three"]), where
        assert now["one"] != kept["one"], where
        versions = {one.service: one.marks["RECONCILE_VERSION"] for one in world.live() if one.service}
        assert versions == {"one": f"2.{boundary}", "two": f"2.{boundary}", "three": "1.0"}, where
    assert boundary > 8, "the story has become shorter than it was"


def drift(world: World) -> None:
    """A file edited, one gone, one with another mode, and a program stopped by hand."""
    config = world.root / "config"
    config.joinpath("app.conf").write_text("edited\n")
    config.joinpath("env/one.env").unlink()
    os.chmod(world.root / "bin/three", 0o755)
    world.supervisorctl("stop", "two")


def test_drift_an_orphan_and_a_new_service_killed_at_every_boundary(world: World) -> None:
    """Two commits to and fro: what one has, the other has not."""
    sides = ("left", f"component: app, command: {SLEEP}"), ("right", f"component: tool, command: {SLEEP} 0")
    layers = [world.services(*NAMES, name, **AFTER, **{name: keys}) for name, keys in sides]
    world.commit(layers[0])
    world.once()
    boundary, killed = 0, True
    while killed:
        boundary += 1
        drift(world)
        before, kept = world.files(), world.pids()
        world.commit(layers[boundary % 2])
        killed, where = killed_at(world, boundary)
        converges(world, before, where)
        served(world, *NAMES, sides[boundary % 2][0])
        assert world.pids()["three"] == kept["three"], where
    assert boundary > 15, "the story has become shorter than it was"


@pytest.mark.parametrize("seed", range(4))
def test_random_instants(seed: int, world: World) -> None:
    """Five of each seed, over the whole length of a pass that does a bit of everything."""
    pick = random.Random(seed)
    sides = ("left", f"component: app, command: {SLEEP}"), ("right", f"component: tool, command: {SLEEP} 0")
    layers = [world.services(*NAMES, name, **AFTER, **{name: keys}) for name, keys in sides]
    world.commit(layers[0])
    world.once()
    seconds, kills, turn = 1.0, 0, 0
    while kills < 5:
        turn += 1
        assert turn < 40, "the passes are over before they are killed"
        drift(world)
        before = world.files()
        world.commit(layers[turn % 2])
        began = monotonic()
        instant = pick.uniform(0, seconds)
        if killed_after(world, instant):
            kills += 1
        else:
            seconds = monotonic() - began  # that a whole one takes
        converges(world, before, f"after {instant:.3f} s")
        served(world, *NAMES, sides[turn % 2][0])


@pytest.mark.parametrize("seed", range(2))
def test_random_instants_of_a_cold_start(seed: int, cold: Callable[[], World]) -> None:
    pick = random.Random(100 + seed)
    kills, seconds = 0, 0.8
    for _ in range(20):
        world = cold()
        kills += killed_after(world, pick.uniform(0.05, seconds))
        converges(world, {}, "cold")
        served(world, *NAMES)
        if kills == 5:
            return
    pytest.fail("the passes are over before they are killed")


def test_killed_while_supervisord_comes_up(cold: Callable[[], World]) -> None:
    """It lives and does not answer yet: the next pass waits for it instead of giving up, and starts no second one."""
    world = cold()
    victim = world.start("--once")
    daemon = until(world.live)[0].pid
    os.kill(daemon, signal.SIGSTOP)
    victim.kill()
    victim.communicate()
    assert not list((world.root / "run").glob("supervisord.pid")), "it was up before it was stopped"
    following = world.start("--once")
    with pytest.raises(subprocess.TimeoutExpired):
        following.communicate(timeout=1)
    os.kill(daemon, signal.SIGCONT)
    done = finish(following)
    assert done.code == 0, done.said
    served(world, *NAMES)
    assert world.pids()[""] == daemon
    world.idle()


# ---------------------------------------------------------------- builds


def wheels(folder: Path) -> str:
    """A folder with versions 1.0 and 2.0 of a package, and a requirement that uses nothing else."""
    folder.mkdir()
    for version in ("1.0", "2.0"):
        write_wheel(folder, "hello", version)
    return f"--no-index --find-links {folder} hello=={{{{ version }}}}"


def with_venv(world: World, version: str) -> dict[str, str]:
    requirement = f"--no-index --find-links {world.folder}/wheels hello=={{{{ version }}}}"
    text = (
        f'versions: {{app: "{version}"}}\nenvironments: [dev]\npaths: {{root: "{world.root}"}}\n'
        f'components: {{app: {{install: venv, requirement: "{requirement}", python: "{sys.executable}"}}}}\n'
    )
    return {f"desired/sites/{world.site}.yaml": text}


def builders(world: World) -> list[int]:
    """Processes that work on a build below this world's root."""
    mark = b"RECONCILE_BUILD=" + os.fsencode(world.root)
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if mark in Path(f"/proc/{name}/environ").read_bytes():
                found.append(int(name))
        except OSError:
            continue
    return found


def test_killed_while_an_environment_is_built(world: World) -> None:
    """An unfinished one is never used, the old version goes on, and the next pass builds it."""
    wheels(world.folder / "wheels")
    world.commit(world.services("one", one=f"component: app, command: {SLEEP}") | with_venv(world, "1.0"))
    began = monotonic()
    world.once()
    seconds = monotonic() - began
    kept = world.pids()
    world.commit(with_venv(world, "2.0"))
    for part in (0.2, 0.35, 0.5, 0.65, 0.8):
        process = world.start("--once")
        sleep(seconds * part)
        if process.poll() is not None:
            process.communicate()
            break
        process.kill()
        process.communicate()
        # Where the machine was quicker than the first pass, the kill falls between the stop and the start.
        running = {one.service: one.marks.get("RECONCILE_VERSION") for one in world.live() if one.service}
        if running != {"one": "1.0"}:
            assert list(world.root.glob("venvs/app-2.0/bin/hello")), "the old one stopped before the new one was ready"
        else:
            assert world.pids() == kept
            status: Done = world.run("status", "--json")
            assert status.code in (0, 2), status.said
            assert status.json()["deployments"][0]["services"][0]["version"] == "1.0"
    world.once()
    served(world, "one")
    assert {one.marks["RECONCILE_VERSION"] for one in world.live() if one.service} == {"2.0"}
    world.idle()
    until(lambda: not builders(world))
    hello = subprocess.run([*world.root.glob("venvs/app-2.0/bin/hello")], capture_output=True, text=True, check=True)
    assert hello.stdout == "2.0\n"
    unfinished = [str(path) for path in (world.root / "venvs").iterdir() if path.name.startswith(".") and path.suffix]
    assert unfinished == []
