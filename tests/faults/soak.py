"""scripts/soak: the loop for many passes, with random commits, hands and faults.

    scripts/soak [PASSES]         default 500
      --seed N      another story (default 1)

One process runs the loop for as long as it lasts. After each pass nothing is lost, torn, or touched that is not
concerned, and at the end all is as git wants it, and the process holds no more than when it was warm.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median_low
from time import monotonic, sleep
from typing import NamedTuple

from tests.faults.children import StandIn
from tests.faults.stepped import FUNCTIONS
from tests.scenarios.world import SLEEP, World, everything_below, temporary, until

KEEPER = "keeper"  # whom nothing concerns
_WARM = 25  # passes until all is loaded that will be
_ERRORS = ("ENOSPC", "EACCES", "EIO", "EROFS", "EMFILE")
_POOL = tuple(f"s{number}" for number in range(6))
_MOST_GROWN = 6 << 20  # bytes


class Step(NamedTuple):
    """What the loop's process tells after a pass."""

    code: int
    hit: bool
    resident: int
    descriptors: int
    children: int


def _usual(steps: list[Step]) -> int:
    """How many descriptors are held between passes. While the watch for changes begins anew there are fewer."""
    return median_low(step.descriptors for step in steps)


class Soak:
    """One story. `end` ends it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.pick = random.Random(seed)
        self.world = World(folder)
        git = shutil.which("git")
        assert git
        self.git = StandIn(folder / "bin", "git", git, "killed while it answers")
        self.version, self.names, self.head = 1, ["s0", "s1"], ""
        self.valid = True
        self.owed: set[str] = set()  # who may be restarted until a pass has mended all
        self.touched: set[str] = set()  # who may have been in this turn
        self.done: Counter[str] = Counter()
        self.steps: list[Step] = []
        self.world.commit(subject="an empty site")
        self._commit()
        self.said = folder / "loop.err"
        with self.said.open("w") as err:
            self.loop = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.stepped", self.world.url, self.world.site, str(self.world.state)],
                env=self.world.env | {"PATH": f"{self.git.folder}:{self.world.env['PATH']}"},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True,
            )  # fmt: skip
        self._answer()
        self._settled()
        self._add_foreign(0)
        self.kept = until(lambda: found if (found := self._neighbours())["foreign"] else None)

    def end(self) -> None:
        self.loop.kill()
        self.loop.wait()
        for pipe in (self.loop.stdin, self.loop.stdout):
            if pipe:
                pipe.close()
        self.world.end()

    # ------------------------------------------------------------ the loop

    def step(self, fault: str = "") -> Step:
        """One pass."""
        assert self.loop.stdin
        print(fault, file=self.loop.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Step:
        assert self.loop.stdout
        line = self.loop.stdout.readline()
        assert line, f"the loop has ended: {self.said.read_text()[-3000:]}"
        self.steps.append(Step(**json.loads(line)))
        return self.steps[-1]

    # ------------------------------------------------------------ what happens

    def turn(self) -> None:
        """Something happens, a pass is made, and what must hold is looked at."""
        commits = (self.bump, self.bump, self.add, self.remove, self.rename, self.invalid, self.rewind)
        hands = (self.kill, self.edit, self.delete, self.stop, self.foreign, self.nothing)
        faults = (*(self.fault,) * 5, self.unreachable, self.git_killed)
        happens = self.pick.choice((*commits, *hands, *faults))
        before, self.touched = self.world.pids(), set(self.owed)
        self.done[happens.__name__] += 1
        happens()
        self.check(before, happens.__name__)

    def _clean(self) -> None:
        """A pass without a fault: what git wants is so afterwards, soon."""
        if not self.valid:
            assert self.step().code == 3
            return
        self.step()
        self._settled()

    def _settled(self) -> None:
        for _ in range(4):  # what supervisord is just restarting is waited for by the next pass
            if self.steps[-1].code == 0 and self._is_as_wanted():
                self.owed.clear()
                return
            self.step()
        said = self.said.read_text()[-3000:]
        raise AssertionError(f"does not converge: {self.steps[-1]} {self.world.live()}\n{said}")

    def _is_as_wanted(self) -> bool:
        live = {one.service: one.marks["RECONCILE_VERSION"] for one in self.world.live() if one.service}
        conf = self.world.root / "config/app.conf"
        wanted = {**dict.fromkeys(self.names, f"1.{self.version}"), KEEPER: "1.0"}
        return live == wanted and (not self.names or f"app = 1.{self.version}\n" in conf.read_text())

    def _commit(self) -> None:
        layers = self.world.services(*self.names, KEEPER, **{KEEPER: f"component: tool, command: {SLEEP}"})
        self.head = self.world.commit(self.world.versions(f"1.{self.version}") | layers)
        self.valid = True

    def _concern(self, *names: str) -> None:
        self.owed.update(names)
        self.touched.update(names)

    def _release(self) -> None:
        self.version += 1
        self._concern(*self.names)
        self._commit()

    def bump(self) -> None:
        self._release()
        self._clean()

    def add(self) -> None:
        free = [name for name in _POOL if name not in self.names]
        if free:
            self.names.append(self.pick.choice(free))
        self._commit()
        self._clean()

    def remove(self) -> None:
        if len(self.names) > 1:
            self.names.remove(self.pick.choice(self.names))
        self._commit()
        self._clean()

    def rename(self) -> None:
        free = [name for name in _POOL if name not in self.names]
        self.names[self.pick.randrange(len(self.names))] = self.pick.choice(free or self.names[:1])
        self.names = sorted(set(self.names))
        self._commit()
        self._clean()

    def invalid(self) -> None:
        """It changes nothing; what broke meanwhile is mended all the same."""
        self.head = self.world.commit({"desired/environments/dev.yaml": "services: [\n"})
        self.valid = False
        self._clean()

    def rewind(self) -> None:
        """It is refused until the branch has what was accepted again."""
        self._clean()  # so that it was seen
        self.world.git("reset", "--quiet", "--hard", "HEAD~1")
        pids, files = self.world.pids(), self.world.files()
        assert self.step().code == 1
        if not self.owed:
            assert (self.world.pids(), self.world.files()) == (pids, files)
        self.world.git("reset", "--quiet", "--hard", self.head)
        self._clean()

    def kill(self) -> None:
        name = self._somebody()
        os.kill(self.world.pids()[name], signal.SIGKILL)
        self._clean()

    def edit(self) -> None:
        conf = self.world.root / "config/app.conf"
        if conf.exists():
            conf.write_text("edited\n")
        self._concern(*self.names)
        self._clean()

    def delete(self) -> None:
        name = self._somebody()
        paths = [self.world.root / "bin" / name, self.world.root / f"config/env/{name}.env"]
        self.pick.choice(paths).unlink(missing_ok=True)
        self._clean()

    def stop(self) -> None:
        self.world.supervisorctl("stop", self._somebody())
        self._clean()

    def foreign(self) -> None:
        self._add_foreign(self.pick.randrange(3))
        self.kept = self._neighbours()
        self._clean()

    def nothing(self) -> None:
        self._clean()

    def fault(self) -> None:
        """A commit, and a call that fails while it is applied. The next passes have to mend it."""
        self._release()
        self.step(f"{self.pick.choice(FUNCTIONS)} {self.pick.randint(1, 60)} {self.pick.choice(_ERRORS)}")
        self.done["fault that came"] += self.steps[-1].hit
        if self.pick.random() < 0.7:
            self._clean()

    def unreachable(self) -> None:
        away = self.world.folder / "away"
        self.world.repo.rename(away)
        self.step()
        away.rename(self.world.repo)
        self._clean()

    def git_killed(self) -> None:
        self._release()
        self.git.arm(self.pick.randint(1, 6))
        self.step()
        self.git.disarm()
        self._clean()

    def _somebody(self) -> str:
        """One who runs, and may be restarted from now on."""
        running = sorted(set(self.names) & set(self.world.pids()))
        name = self.pick.choice(running) if running else self._healed()
        self._concern(name)
        return name

    def _healed(self) -> str:
        if not self.valid:
            self._commit()
        self._clean()
        return self.pick.choice(self.names)

    def _add_foreign(self, number: int) -> None:
        path = self.world.root / f"config/supervisor/foreign{number}.conf"
        if not path.exists():
            path.write_text(f"[program:foreign{number}]\ncommand=/bin/sleep 86398\nstartsecs=0\nautorestart=false\n")
            self.world.supervisorctl("update", f"foreign{number}")

    # ------------------------------------------------------------ what must hold

    def check(self, before: dict[str, int], happened: str) -> None:
        said = self.said.read_text()
        assert "Traceback" not in said, said
        assert "defect" not in said, said
        now = self.world.pids()
        for name in set(before) & set(now) - self.touched:
            assert now[name] == before[name], f"{happened}: {name} was restarted"
        found = self._neighbours()
        assert found == self.kept, f"{happened}: touched, though nobody's concern: {self.kept} {found}"
        for path, content in everything_below(self.world.state / self.world.site):
            if path.suffix == ".json":
                assert all(json.loads(line) for line in content.splitlines()), f"half a file: {path}"

    def _neighbours(self) -> dict[str, object]:
        """The daemon, the service that nothing concerns, and what others run and have written."""
        pids = self.world.pids()
        children = Path(f"/proc/{pids['']}/task/{pids['']}/children").read_text().split()
        foreign = [pid for pid in children if b"86398" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        paths = sorted(str(path) for path in (self.world.root / "config/supervisor").glob("foreign*"))
        return {"daemon": pids[""], KEEPER: pids[KEEPER], "foreign": sorted(foreign), "paths": paths}

    def conclude(self) -> str:
        """The end of the story; figures."""
        self.git.program_only()
        if not self.valid:
            self._commit()
        self._clean()
        self.world.git("commit", "--allow-empty", "--quiet", "--message", "the last one")
        warm = self.steps[min(_WARM, len(self.steps) // 2) :][:10]
        for _ in range(50):  # what watches for changes lets go of the former folders by itself, and not at once
            last = [self.step() for _ in range(5)]
            if _usual(last) <= _usual(warm):
                break
            sleep(0.1)
        assert self.steps[-1].code == 0
        self._no_leftovers()
        grown = min(step.resident for step in last) - min(step.resident for step in warm)
        figures = (
            f"{len(self.steps)} passes: {dict(sorted(self.done.items()))}\n"
            f"memory {min(s.resident for s in warm) / 2**20:.1f} -> {min(s.resident for s in last) / 2**20:.1f} MiB, "
            f"descriptors {_usual(warm)} -> {_usual(last)}, "
            f"children {last[-1].children}"
        )
        assert grown < _MOST_GROWN, figures
        assert _usual(last) <= _usual(warm), figures
        assert last[-1].children == 0, figures
        return figures

    def _no_leftovers(self) -> None:
        below = [str(path) for place in (self.world.root, self.world.state) for path in place.rglob("*")]
        left = [path for path in below if path.removesuffix("/cleanup.lock").endswith(".lock") or "/tmp_" in path]
        assert temporary(below) + left == [], "left over"
        running = {b"HOME=" + os.fsencode(self.world.home)}
        mine = [pid for pid in filter(str.isdigit, os.listdir("/proc")) if running & set(_environ(pid))]
        assert mine == [str(self.loop.pid)], f"still runs: {mine}"


def _environ(pid: str) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def soak(folder: Path, passes: int, seed: int, told: Callable[[str], None] = print) -> str:
    """Tell a story of at least so many passes; its figures. Raises `AssertionError` with the turn and the seed."""
    story = Soak(folder, seed)
    began, turns = monotonic(), 0
    try:
        while len(story.steps) < passes:
            turns += 1
            if turns % 50 == 0:
                told(f"turn {turns}, pass {len(story.steps)}: {story.steps[-1].resident >> 10} KiB")
            story.turn()
        return f"{story.conclude()}, {monotonic() - began:.0f} s"
    except AssertionError as error:
        raise AssertionError(f"seed {seed}, turn {turns}: {error}") from error
    finally:
        story.end()


def main(argv: Sequence[str]) -> int:
    assert __doc__
    parser = argparse.ArgumentParser("scripts/soak", description=__doc__.partition("\n")[0])
    parser.add_argument("passes", nargs="?", type=int, default=500, metavar="PASSES")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another story")
    options = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="rc-", dir="/tmp"))
    try:
        print(soak(folder / "w", options.passes, options.seed))
    except AssertionError:
        traceback.print_exc()
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
