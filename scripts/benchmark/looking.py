"""What a pass with nothing to do costs beside the bare question to the same backend.

The backends are the ones of the tests: a `systemd --user` and instances of Apptainer of an ordinary
user's. Runs of all contenders are taken in turns.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from scripts.benchmark.processes import Runner
from tests.backends.account import Account, ordinary
from tests.backends.images import image
from tests.scenarios.world import SLEEP, World

_BATCH = 12  # services that are started in one pass: a pass for all of them is not what is measured
_PROPERTIES = "Id,LoadState,ActiveState,SubState,Result,MainPID,UnitFileState,NeedDaemonReload,FragmentPath,DropInPaths"


class Contender(NamedTuple):
    """A command that is measured."""

    name: str
    argv: list[str]


class Cost(NamedTuple):
    """Medians of one contender's runs; seconds, and processes started, the first included."""

    name: str
    wall: float
    cpu: float
    forks: int | None


def looking(backend: str, count: int, repeat: int, limit: float) -> list[Cost]:
    """Measure one backend with so many services. The first of the result is reconcile, the second the bare look."""
    with _world() as world, Runner(sys.executable) as runner:
        contenders = _CONTENDERS[backend](world, count)
        argvs = {one.name: [*_as(world.account), *one.argv] for one in contenders}
        log = str(world.folder / "bench.log")
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in argvs}
        for turn in range(repeat + 1):
            for name, argv in argvs.items():
                used = runner.run(argv, world.env, log, limit)
                if used.code or used.late:
                    raise RuntimeError(f"{name}: exit status {used.code}: {Path(log).read_text()[-2000:]}")
                if turn:  # the first one fills caches
                    runs[name].append((used.wall, used.user + used.system))
        forks = {name: _forks(argv, world, runner, log, limit) for name, argv in argvs.items()}
        return [
            Cost(name, median(wall for wall, _ in found), median(cpu for _, cpu in found), forks[name])
            for name, found in runs.items()
        ]


def table(backend: str, count: int, costs: list[Cost]) -> str:
    """What a person reads; the ratio is to the bare look."""
    bare = costs[1].wall
    lines = [f"nothing to do, {count} services under {backend}: wall ms, cpu ms, forks, x bare look"]
    for cost in costs:
        forks = "?" if cost.forks is None else str(cost.forks)
        lines.append(
            f"  {cost.name:<28}{cost.wall * 1000:8.1f}{cost.cpu * 1000:8.1f}{forks:>5}{cost.wall / bare:7.2f}"
        )
    return "\n".join(lines) + "\n"


@contextmanager
def _world() -> Iterator[World]:
    base = tempfile.mkdtemp(prefix="rb", dir="/tmp")
    os.chmod(base, 0o755)
    os.environ["RECONCILE_TEST_BASE"] = base
    folder = Path(base) / "w"
    folder.mkdir()
    world = World(folder, account=ordinary())
    try:
        yield world
    finally:
        world.end()
        shutil.rmtree(base, ignore_errors=True)


def _as(account: Account) -> list[str]:
    """Nothing that lasts: the command takes the place of setpriv."""
    if not account.become:
        return []
    setpriv = shutil.which("setpriv") or "setpriv"
    return [setpriv, f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", "--"]


def _reconcile(world: World) -> Contender:
    return Contender("reconcile --once", world.argv("--once"))


def _python(world: World) -> Contender:
    return Contender("python -c pass", [world.python, "-c", "pass"])


def _systemd(world: World, count: int) -> list[Contender]:
    names = [f"s{number:03}" for number in range(count)]
    keys = f"component: app, launcher: systemd, command: {SLEEP}, systemd: {{start_seconds: 0}}"
    world.commit(world.services(*names, **dict.fromkeys(names, keys)))
    world.boot()
    world.once()
    world.idle()
    systemctl = shutil.which("systemctl") or "systemctl"
    units = [f"{name}-dev.service" for name in names]
    show = [systemctl, "--user", "show", f"--property={_PROPERTIES}", *units]
    listing = [systemctl, "--user", "list-units", "--all", "--output=json", "*-dev.service"]
    return [
        _reconcile(world),
        Contender("systemctl show", show),
        Contender("systemctl list-units", listing),
        _python(world),
    ]


def _apptainer(world: World, count: int) -> list[Contender]:
    _instances(world, count, "launcher: apptainer, apptainer: {start_seconds: 0}")
    apptainer = shutil.which("apptainer") or "apptainer"
    return [_reconcile(world), Contender("apptainer instance list", [apptainer, "instance", "list"]), _python(world)]


def _both(world: World, count: int) -> list[Contender]:
    """Instances that systemd keeps: the bare look asks both."""
    world.boot()
    names = _instances(world, count, "launcher: systemd, container: {mode: instance}, systemd: {start_seconds: 0}")
    units = " ".join(f"{name}-dev.service" for name in names)
    script = f"systemctl --user show --property={_PROPERTIES} {units}; exec apptainer instance list"
    return [_reconcile(world), Contender("systemctl show; instance list", ["/bin/sh", "-c", script]), _python(world)]


def _instances(world: World, count: int, how: str) -> list[str]:
    image(world.folder, "1.0")
    component = f'install: apptainer-sif, image: "app.sif", source: "{world.folder}/app-1.0.sif"'
    world.commit({"desired/defaults.yaml": f'versions: {{app: "1.0"}}\ncomponents: {{app: {{{component}}}}}\n'})
    names = [f"s{number:03}" for number in range(count)]
    keys = f"component: app, command: {SLEEP}, {how}"
    for started in range(_BATCH, count + _BATCH, _BATCH):
        world.commit(world.services(*names[:started], **dict.fromkeys(names[:started], keys)))
        world.once()
    world.idle()
    return names


_CONTENDERS = {"systemd": _systemd, "apptainer": _apptainer, "both": _both}
COUNTS = {"systemd": 200, "apptainer": 50, "both": 50}


def _forks(argv: list[str], world: World, runner: Runner, log: str, limit: float) -> int | None:
    strace = shutil.which("strace")
    if strace is None:
        return None
    out = str(world.folder / "forks")
    world.account.own(world.folder)
    whole = [strace, "-f", "-qq", "-o", out, "-e", "trace=clone,clone3,fork,vfork", *argv]
    if runner.run(whole, world.env, log, limit * 10).code:
        return None
    begun = [line for line in Path(out).read_text().splitlines() if "clone" in line or "fork" in line]
    return 1 + len([line for line in begun if not any(no in line for no in ("CLONE_THREAD", "resumed>", "= -1"))])
