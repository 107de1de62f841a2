"""What cleaning up a scratch folder costs beside `find`: listing what is old, and removing it.

All contenders have the same tree, made anew for each of their runs, in turns and in one go: 20 users with runs of ten
files and a folder each, all of them old. Nothing is dropped from the kernel's caches: what is measured is the work.

Over a network it is the waiting. The tree is on sshfs then, which keeps neither names nor attributes, and each answer
of its server comes so much later. The first to find it is not the one who waits for all: nothing is cached.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from scripts.benchmark.processes import Runner
from tests.host.mounts import mounted
from tests.scenarios.world import World

USERS, FILES = 20, 10  # of a tree; files of one run
_OLD = 40 * 86400
_GENTLY = ("nice", "-n", "10"), ("ionice", "-c", "2", "-n", "7")  # as our threads do by themselves: the same for all
_ONE = "reconcile, one thread"
_REMOVING = ("reconcile cleanup", _ONE, "find -delete", "find -exec rm -rf {} \\;")
_ONE_THREAD = """
import sys, time
from reconciler.core.cleanup import Kept
from reconciler.core.desired import Cleanup, Sort
from reconciler.host.scratch.clean import clean
from reconciler.host.scratch.walk import Task
of = Cleanup("inputs", sys.argv[1], 14, min_depth=2, max_depth=2, sort=Sort.FOLDER, minutes=60)
print(clean(Task(of, Kept(of), time.time()), workers=1))
"""
Runs = dict[str, list[tuple[float, float, float]]]


class Cost(NamedTuple):
    """Medians of one contender's runs: seconds, and the MiB of the largest process at its peak."""

    name: str
    wall: float
    cpu: float
    peak: float
    removes: bool


def cleaning(files: int, repeat: int, limit: float, answer: float | None = None) -> list[Cost]:
    """Measure with a tree of so many files. Ours is the first of those that list, and of those that remove.

    `answer`: seconds that each answer of a server takes; None: the tree is on this host.
    """
    base = tempfile.mkdtemp(prefix="rb")  # TMPDIR says which file system is measured
    os.environ["RECONCILE_TEST_BASE"] = base
    folder = Path(base) / "w"
    folder.mkdir()
    world = World(folder)
    try:
        with Runner(sys.executable) as runner, ExitStack() as stack:
            tree = Tree(folder / "at" / "scratch", folder / "scratch", files)
            if answer is None:
                tree = tree._replace(root=tree.made)
            else:
                (folder / "served").mkdir()
                tree.root.parent.mkdir()
                tree = tree._replace(made=folder / "served" / "scratch")
                stack.enter_context(mounted(folder / "served", tree.root.parent, answer / 2))
            runs = _measured(world, tree, repeat, runner, limit)
        return [_cost(name, found, removes=name in _REMOVING) for name, found in runs.items()]
    finally:
        world.end()
        shutil.rmtree(base, ignore_errors=True)


class Tree(NamedTuple):
    root: Path  # where it is cleaned up
    made: Path  # where it is made and looked at: over a network that is where its server has it
    files: int


def _measured(world: World, tree: Tree, repeat: int, runner: Runner, limit: float) -> Runs:
    root, made, files = tree
    rule = f'cleanup: {{inputs: {{root: "{root}", min_depth: 2, max_depth: 2, type: d, older_than: 14}}}}\n'
    world.commit({f"desired/sites/{world.site}.dev.yaml": rule})
    world.once()
    log = str(world.folder / "bench.log")
    gently = [word for first, *others in _GENTLY if (found := shutil.which(first)) for word in (found, *others)]
    contenders = _contenders(world, str(root), alone=root != made)
    runs: Runs = {name: [] for name in contenders}
    for _ in range(repeat):
        for name, argv in contenders.items():
            removes = name in _REMOVING
            if not made.exists():
                _make(made, files)
            used = runner.run([*gently, *argv], world.env, log, limit)
            left = sum(len(found) for _, _, found in os.walk(made))
            if used.late or left != (0 if removes else files):
                raise RuntimeError(f"{name}: {left} files are left: {Path(log).read_text(errors='replace')[-2000:]}")
            runs[name].append((used.wall, used.user + used.system, used.peak / 1024))
            if removes:
                shutil.rmtree(made)
    return runs


def _cost(name: str, runs: list[tuple[float, float, float]], *, removes: bool) -> Cost:
    wall, cpu, peak = (median(run[part] for run in runs) for part in range(3))
    return Cost(name, wall, cpu, peak, removes)


def _contenders(world: World, root: str, *, alone: bool) -> dict[str, list[str]]:
    """`alone`: with ours in a single thread."""
    find = shutil.which("find") or "find"
    old = [find, root, "-mindepth", "2", "-mtime", "+14"]
    runs = [find, root, "-mindepth", "2", "-maxdepth", "2", "-type", "d", "-mtime", "+14"]
    return {
        "reconcile cleanup --dry-run": world.argv("cleanup", "--dry-run"),
        "find -printf, everything": [*old, "-printf", "%T@ %b %p\\n"],
        "reconcile cleanup": world.argv("cleanup", "--all"),
        **({_ONE: [sys.executable, "-c", _ONE_THREAD, root]} if alone else {}),
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


def table(what: str, costs: list[Cost]) -> str:
    """What a person reads; the ratio is ours to the peer's, of those that do the same."""
    lines = [f"a scratch folder of {what}: wall s, cpu s, peak MiB, x reconcile"]
    ours = {cost.removes: cost for cost in reversed(costs) if cost.name.startswith("reconcile")}
    for cost in costs:
        ratio = cost.wall / ours[cost.removes].wall
        lines.append(f"  {cost.name:<28}{cost.wall:8.2f}{cost.cpu:8.2f}{cost.peak:8.1f}{ratio:7.2f}")
    return "\n".join(lines) + "\n"
