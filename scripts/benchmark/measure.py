"""Scenarios, run contender by contender in turns, each result checked against what really runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

from scripts.benchmark import processes
from scripts.benchmark.contenders import BOUND, PACKAGES, RECONCILE, Contender, Tools
from scripts.benchmark.processes import Runner
from scripts.benchmark.repo import Repo

SCENARIOS = {
    "idle": "nothing to do",
    "bump": "one service bumped",
    "all": "all services bumped at once",
    "cold": "cold start: no supervisord, no file, nothing remembered",
}
REFERENCE = {"idle": "bound cached", "bump": "bound", "all": "bound", "cold": "bound"}


class Run(NamedTuple):
    """One run of one contender."""

    wall: float
    cpu: float
    peak: float  # MiB
    daemon_cpu: float  # of supervisord, while the run lasted; at a cold start, in its whole life until then
    turn: int
    wrong: str  # why it is not counted


class Row(NamedTuple):
    """All runs of one contender in one scenario."""

    scenario: str
    services: int
    contender: str
    runs: tuple[Run, ...]
    ratios: tuple[float, ...]  # of wall time to the reference's in the same turn
    forks: int | None

    @property
    def good(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if not run.wrong)


class Bench:
    """The site in one size, and all contenders on it."""

    def __init__(self, count: int, names: Sequence[str], tools: Tools, folder: str, *, limit: float, via: str) -> None:
        self.repo = Repo(folder, count, tools.env)
        self.limit, self.count = limit, count
        address = _serve(folder, tools.env) if via == "git" else self.repo.bare
        self.contenders = {name: Contender(name, self.repo, address, tools, folder) for name in names}
        self.forks_known = shutil.which("strace") is not None

    def scenario(self, scenario: str, repeat: int, runner: Runner) -> list[Row]:
        """Every contender `repeat` times, in turns. Who fails or takes too long is told and set up again."""
        reference = REFERENCE[scenario]
        entered = [name for name in self.contenders if _takes_part(name, scenario)]
        entered = [name for name in entered if self._bring_up(self.contenders[name], runner)]
        runs: dict[str, list[Run]] = {name: [] for name in entered}
        for turn in range(repeat if entered else 0):
            expected = self._change(scenario, turn)
            for name in entered[turn % len(entered) :] + entered[: turn % len(entered)]:
                contender = self.contenders.get(name)
                if contender and (not runs[name] or runs[name][-1].wrong != _TOO_LONG):
                    runs[name].append(self._run(contender, scenario, turn, expected, runner))
                    if runs[name][-1].wrong:
                        self._bring_up(contender, runner)
        base = {run.turn: run.wall for run in runs.get(reference, []) if not run.wrong}
        counted = [contender for name, contender in self.contenders.items() if _good(runs.get(name, []))]
        forks = {contender.name: self._forks(scenario, contender, runner) for contender in counted}
        return [
            Row(scenario, self.count, name, tuple(runs[name]), _ratios(runs[name], base), forks.get(name))
            for name in entered
        ]

    def _change(self, scenario: str, turn: int) -> set[str]:
        """Commit what the scenario asks for; who must restart because of it."""
        names = self.repo.names
        chosen = {"bump": [names[(turn * 37 + 3) % self.count]], "all": names}.get(scenario, [])
        if chosen:
            self.repo.bump(*chosen)
        return set(names) if scenario == "cold" else set(chosen)

    def _bring_up(self, contender: Contender, runner: Runner) -> bool:
        """Not measured; nothing is done where all is well already. Who cannot do the job takes no part."""
        wrong = contender.wait_up(0.01)
        for anew in (not os.path.isdir(contender.root), True):
            if not wrong:
                break
            if anew:
                contender.clear()
            used = runner.run(contender.argv, contender.env, contender.log, 600)
            wrong = f"exit status {used.code}" if used.code else contender.wait_up(30)
        if wrong:
            print(f"bench: {contender.name} takes no part: {wrong}; it says last:", file=sys.stderr)
            _show(contender.log)
            self.contenders.pop(contender.name, None)
            return False
        # A second pass settles what a first one leaves to be written.
        runner.run(contender.argv, contender.env, contender.log, 600)
        return True

    def _run(self, contender: Contender, scenario: str, turn: int, expected: set[str], runner: Runner) -> Run:
        if scenario == "cold":
            contender.clear()
            before: dict[str, tuple[str, int]] = {}
        else:
            wrong = contender.wait_up(30) if scenario == "idle" else ""
            before = contender.states()
            if wrong:
                return Run(0, 0, 0, 0, turn, f"before the run: {wrong}")
        daemon = contender.daemon()
        began = processes.seconds(daemon) if daemon else 0.0
        used = runner.run(contender.argv, contender.env, contender.log, self.limit)
        daemon_cpu = processes.seconds(contender.daemon()) - began
        wrong = f"exit status {used.code}" if used.code else contender.wait_up(30)
        wrong = _TOO_LONG if used.late else wrong or _restarts(before, contender.states(), expected)
        if wrong and used.code and not used.late:
            _show(contender.log)
        return Run(used.wall, used.user + used.system, used.peak / 1024, daemon_cpu, turn, wrong)

    def _forks(self, scenario: str, contender: Contender, runner: Runner) -> int | None:
        """Processes that one more run starts, itself included. Counted apart: it slows the run, some by minutes."""
        if not self.forks_known or scenario not in ("idle", "bump") or contender.kind in PACKAGES.keys() - {BOUND}:
            return None
        self._change(scenario, 99)
        out = contender.log + ".forks"
        strace = [shutil.which("strace") or "", "-f", "-qq", "-o", out, "-e", "trace=clone,clone3,fork,vfork"]
        used = runner.run([*strace, *contender.argv], contender.env, contender.log, self.limit * 10)
        with open(out) as file:
            lines = file.read().splitlines()
        begun = [line for line in lines if "clone" in line or "fork" in line]
        made = [line for line in begun if "CLONE_THREAD" not in line and "resumed>" not in line and "= -1" not in line]
        return None if used.code else 1 + len(made)


_TOO_LONG = "it takes longer than the limit"


@contextmanager
def bench(count: int, names: Sequence[str], tools: Tools, *, limit: float, via: str) -> Iterator[Bench]:
    """Set up below a short path, because unix sockets have no long ones; ends all that was started."""
    folder = tempfile.mkdtemp(prefix="rb", dir="/tmp")
    earlier = set(processes.children(os.getpid()))
    try:
        yield Bench(count, names, tools, folder, limit=limit, via=via)
    finally:
        processes.end_all(spare=earlier)
        shutil.rmtree(folder, ignore_errors=True)


def _serve(folder: str, env: dict[str, str]) -> str:
    """A git daemon for the repo, for what asking a remote costs; its address."""
    import socket
    import time

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = ["git", "daemon", "--export-all", f"--base-path={folder}", "--listen=127.0.0.1", f"--port={port}", folder]
    with open(f"{folder}/daemon.log", "w") as log:
        subprocess.Popen(argv, env=env, stderr=log)  # ended with all the others
    address = f"git://127.0.0.1:{port}/repo.git"
    for _ in range(200):
        if not subprocess.run(["git", "ls-remote", address], check=False, env=env, capture_output=True).returncode:
            return address
        time.sleep(0.02)
    raise RuntimeError("git daemon does not answer")


def _takes_part(name: str, scenario: str) -> bool:
    """The bound's two modes differ where there is nothing to do only."""
    if name.startswith(BOUND):
        return (name != BOUND) == (scenario == "idle")
    return name == RECONCILE or scenario in ("bump", "all", "cold") or not name.startswith(RECONCILE)


def _restarts(before: dict[str, tuple[str, int]], after: dict[str, tuple[str, int]], expected: set[str]) -> str:
    changed = {name for name, (_, pid) in after.items() if before.get(name, ("", 0))[1] != pid}
    if changed == expected:
        return ""
    return f"{len(changed - expected)} restarted in vain, {len(expected - changed)} did not restart"


def _ratios(runs: Sequence[Run], base: dict[int, float]) -> tuple[float, ...]:
    return tuple(run.wall / base[run.turn] for run in runs if not run.wrong and run.turn in base)


def _good(runs: Sequence[Run]) -> bool:
    return any(not run.wrong for run in runs)


def _show(log: str) -> None:
    with open(log, errors="replace") as file:
        for line in file.read().splitlines()[-12:]:
            print(f"    {line}", file=sys.stderr)


# ---------------------------------------------------------------- for people and machines


def as_data(row: Row) -> dict[str, object]:
    return {
        "scenario": row.scenario,
        "services": row.services,
        "contender": row.contender,
        "runs": [run._asdict() for run in row.runs],
        "wall": median(run.wall for run in row.good) if row.good else None,
        "ratio": median(row.ratios) if row.ratios else None,
        "forks": row.forks,
    }


def table(rows: Sequence[Row]) -> str:
    """One scenario, the quickest first."""
    scenario, count = rows[0].scenario, rows[0].services
    text = f"\n{SCENARIOS[scenario]}, {count} services\n"
    text += f"{'':17}{'wall, ms':>9} {'(least-most)':>15}{'x bound':>9} {'(least-most)':>15}{'cpu':>8}{'peak':>6}"
    text += f"{'sv cpu':>8}{'forks':>7}{'runs':>6}\n"
    for row in sorted(rows, key=lambda row: median(run.wall for run in row.good) if row.good else 1e9):
        text += _line(row)
        for wrong in dict.fromkeys(run.wrong for run in row.runs if run.wrong):
            text += f"{'':17}not counted: {wrong}\n"
    return text


def _line(row: Row) -> str:
    good = row.good
    if not good:
        return f"{row.contender:17}\n"
    walls = [run.wall * 1000 for run in good]
    ratios = f"{'':9} {'':15}"
    if row.ratios:
        ratios = f"{median(row.ratios):9.2f} {f'({min(row.ratios):.2f}-{max(row.ratios):.2f})':>15}"
    return (
        f"{row.contender:17}{median(walls):9.1f} {f'({min(walls):.0f}-{max(walls):.0f})':>15}{ratios}"
        f"{median(run.cpu for run in good) * 1000:8.0f}{median(run.peak for run in good):6.0f}"
        f"{median(run.daemon_cpu for run in good) * 1000:8.0f}{row.forks if row.forks is not None else '':>7}"
        f"{f'{len(good)}/{len(row.runs)}':>6}\n"
    )
