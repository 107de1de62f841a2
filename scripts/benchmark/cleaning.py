"""What cleaning up a scratch folder costs beside `find`: listing what is old, and removing it.

All contenders have the same tree, made anew for each of their runs, in turns and in one go: 20 users with runs of ten
files and a folder each, all of them old. Nothing is dropped from the kernel's caches: what is measured is the work.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from scripts.benchmark.processes import Runner
from tests.scenarios.world import World

USERS, FILES = 20, 10  # of a tree; files of one run
_OLD = 40 * 86400
_GENTLY = ("nice", "-n", "10"), ("ionice", "-c", "2", "-n", "7")  # as our threads do by themselves: the same for all
_REMOVING = ("reconcile cleanup", "find -delete", "find -exec rm -rf {} \\;")
Runs = dict[str, list[tuple[float, float, float]]]


class Cost(NamedTuple):
    """Medians of one contender's runs: seconds, and the MiB of the largest process at its peak."""

    name: str
    wall: float
    cpu: float
    peak: float
    removes: bool


def cleaning(files: int, repeat: int, limit: float) -> list[Cost]:
    """Measure with a tree of so many files. Ours is the first of those that list, and of those that remove."""
    base = tempfile.mkdtemp(prefix="rb")  # TMPDIR says which file system is measured
    os.environ["RECONCILE_TEST_BASE"] = base
    folder = Path(base) / "w"
    folder.mkdir()
    world = World(folder)
    try:
        with Runner(sys.executable) as runner:
            runs = _measured(world, Tree(folder / "scratch", files), repeat, runner, limit)
        return [_cost(name, found, removes=name in _REMOVING) for name, found in runs.items()]
    finally:
        world.end()
        shutil.rmtree(base, ignore_errors=True)


class Tree(NamedTuple):
    root: Path
    files: int


def _measured(world: World, tree: Tree, repeat: int, runner: Runner, limit: float) -> Runs:
    root, files = tree
    rule = f'cleanup: {{inputs: {{root: "{root}", min_depth: 2, max_depth: 2, type: d, older_than: 14}}}}\n'
    world.commit({f"desired/sites/{world.site}.dev.yaml": rule})
    world.once()
    log = str(world.folder / "bench.log")
    gently = [word for first, *others in _GENTLY if (found := shutil.which(first)) for word in (found, *others)]
    contenders = _contenders(world, str(root))
    runs: Runs = {name: [] for name in contenders}
    for _ in range(repeat):
        for name, argv in contenders.items():
            removes = name in _REMOVING
            if not root.exists():
                _make(root, files)
            used = runner.run([*gently, *argv], world.env, log, limit)
            left = sum(len(found) for _, _, found in os.walk(root))
            if used.late or left != (0 if removes else files):
                raise RuntimeError(f"{name}: {left} files are left: {Path(log).read_text(errors='replace')[-2000:]}")
            runs[name].append((used.wall, used.user + used.system, used.peak / 1024))
            if removes:
                shutil.rmtree(root)
    return runs


def _cost(name: str, runs: list[tuple[float, float, float]], *, removes: bool) -> Cost:
    wall, cpu, peak = (median(run[part] for run in runs) for part in range(3))
    return Cost(name, wall, cpu, peak, removes)


def _contenders(world: World, root: str) -> dict[str, list[str]]:
    find = shutil.which("find") or "find"
    old = [find, root, "-mindepth", "2", "-mtime", "+14"]
    runs = [find, root, "-mindepth", "2", "-maxdepth", "2", "-type", "d", "-mtime", "+14"]
    return {
        "reconcile cleanup --dry-run": world.argv("cleanup", "--dry-run"),
        "find -printf, everything": [*old, "-printf", "%T@ %b %p\\n"],
        "reconcile cleanup": world.argv("cleanup", "--all"),
        "find -delete": [*old, "-delete"],
        "find -exec rm -rf {} \\;": [*runs, "-exec", "rm", "-rf", "{}", ";"],
    }


def _make(root: Path, files: int) -> None:
    old = (time.time() - _OLD,) * 2
    for run in range(files // FILES):
        folder = f"{root}/u{run % USERS}/run-{run}"
        os.makedirs(f"{folder}/call")
        for file in range(FILES):
            path = f"{folder}/call/f{file}" if file % 2 else f"{folder}/f{file}"
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
            os.utime(path, old)
        os.utime(f"{folder}/call", old)
        os.utime(folder, old)
    os.sync()


def table(files: int, costs: list[Cost]) -> str:
    """What a person reads; the ratio is ours to the peer's, of those that do the same."""
    lines = [f"a scratch folder of {files:,} files: wall s, cpu s, peak MiB, x reconcile"]
    ours = {cost.removes: cost for cost in reversed(costs) if cost.name.startswith("reconcile")}
    for cost in costs:
        ratio = cost.wall / ours[cost.removes].wall
        lines.append(f"  {cost.name:<28}{cost.wall:8.2f}{cost.cpu:8.2f}{cost.peak:8.1f}{ratio:7.2f}")
    return "\n".join(lines) + "\n"
