"""The command line of scripts/bench; its usage text stands there."""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
from statistics import median

from scripts.benchmark import processes
from scripts.benchmark.contenders import BOUND, PACKAGES, RECONCILE, Tools
from scripts.benchmark.measure import SCENARIOS, Row, as_data, bench, table
from scripts.benchmark.processes import Runner
from scripts.benchmark.repo import HERE

OURS = (RECONCILE, "bound", "bound cached", "bound full")
ALWAYS, ON_REQUEST = ("bash-tuned", "bash"), ("pyinfra", "ansible")
SERVICES = [8, 200, 1000]
ANSWERS = (0.0005, 0.002)  # seconds that a server takes at the least
READY = f"{RECONCILE} ready"  # with startsecs=1


def main() -> int:
    options = _options()
    tools = _tools(options)
    if options.command == "plan":
        argv = [tools.python, f"{HERE}/planning.py", *(["--json"] if options.json else [])]
        return subprocess.run(argv, check=False).returncode
    if options.command == "looking":
        return _looking(options)
    if options.command == "cleanup":
        return _cleanup(options)
    if options.command == "diff":
        return _reviewing(options, tools)
    if not tools.install(BOUND):
        print("bench: without a lower bound there is nothing to measure against", file=sys.stderr)
        return 1
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    processes.adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended on the way out
    rows = _memory(options, tools) if options.command == "memory" else _compare(options, tools)
    if options.json:
        print(json.dumps([as_data(row) for row in rows], indent=1))
    return 1 if any(row.contender.startswith(RECONCILE) and len(row.good) < len(row.runs) for row in rows) else 0


def _compare(options: argparse.Namespace, tools: Tools) -> list[Row]:
    names = [*OURS, READY, *_peers(options, tools)]
    rows = []
    for count in options.services:
        with Runner(tools.python) as runner, bench(count, names, tools, limit=options.limit, via=options.via) as world:
            for scenario in options.scenarios:
                rows += _told(world.scenario(scenario, options.repeat or _repeat(scenario, count), runner), options)
    return rows


def _looking(options: argparse.Namespace) -> int:
    """A pass with nothing to do beside the bare look, for each backend of those named with --only."""
    from scripts.benchmark.looking import COUNTS, looking, table

    processes.adopt_orphans()
    found = {}
    for backend, count in COUNTS.items():
        if not options.only or backend in options.only:
            found[backend] = looking(backend, count, options.repeat or 15, options.limit)
            print("" if options.json else table(backend, count, found[backend]), end="", flush=True)
    if options.json:
        print(json.dumps({name: [cost._asdict() for cost in costs] for name, costs in found.items()}, indent=1))
    return 0


def _cleanup(options: argparse.Namespace) -> int:
    """A scratch folder listed and removed, beside find. -n: how many files (default 20000,200000; over sshfs 5000)."""
    from scripts.benchmark.cleaning import cleaning, table
    from tests.host.mounts import why_no_mount

    if options.over and (why := why_no_mount()):
        print(f"bench: no sshfs: {why}", file=sys.stderr)
        return 1
    processes.adopt_orphans()
    usual = [5000] if options.over else [20_000, 200_000]
    counts = usual if options.services == SERVICES else options.services
    found = {}
    for count in counts:
        for answer in ANSWERS if options.over else (None,):
            costs = cleaning(count, options.repeat or 3, max(options.limit, 1800.0), answer)
            what = f"{count:,} files" + ("" if answer is None else f", each answer after {answer * 1000:g} ms")
            found[what] = costs
            print("" if options.json else table(what, costs), end="", flush=True)
    if options.json:
        print(json.dumps({what: [cost._asdict() for cost in costs] for what, costs in found.items()}, indent=1))
    return 0


def _reviewing(options: argparse.Namespace, tools: Tools) -> int:
    """`reconcile diff` of several kinds of change, over ever more sites."""
    from scripts.benchmark.reviewing import reviewing, table

    costs = reviewing(tools.reconcile, tools.env, (5, 10, 20), options.repeat or 5)
    print(json.dumps([cost._asdict() for cost in costs], indent=1) if options.json else table(costs), end="")
    return 0


def _memory(options: argparse.Namespace, tools: Tools) -> list[Row]:
    """Peak memory of a pass of reconcile with many services."""
    rows = []
    with Runner(tools.python) as runner, bench(1000, [RECONCILE], tools, limit=300, via="path") as world:
        for scenario in ("idle", "bump"):
            rows += world.scenario(scenario, options.repeat or 3, runner)
    if not options.json:
        for row in rows:
            peaks = [run.peak for run in row.good]
            told = f"{median(peaks):.1f} MiB ({min(peaks):.1f}-{max(peaks):.1f})" if peaks else "failed"
            print(f"{SCENARIOS[row.scenario]:20} 1000 services: {told}")
    return rows


def _told(rows: list[Row], options: argparse.Namespace) -> list[Row]:
    if rows and not options.json:
        print(table(rows), end="", flush=True)
    return rows


def _repeat(scenario: str, count: int) -> int:
    often = {"idle": 21, "bump": 11, "all": 5, "cold": 5}[scenario]
    return often if count <= 50 else max(3, often // 2) if count <= 400 else 3


def _peers(options: argparse.Namespace, tools: Tools) -> list[str]:
    found = []
    for peer in (*ALWAYS, *ON_REQUEST):
        if options.only and peer not in options.only:
            continue
        if peer in PACKAGES and not (tools.install(peer) if options.peers else tools.has(peer)):
            print(f"bench: {peer} is left out: it is not installed; --peers installs it", file=sys.stderr)
            continue
        found.append(peer)
    return found


def _tools(options: argparse.Namespace) -> Tools:
    usual = os.path.join(os.environ.get("RECONCILE_VENV", ".venv"), "bin/reconcile")
    path = os.path.abspath(options.reconcile or usual)
    if not os.access(path, os.X_OK):
        sys.exit(f"bench: no {path}: run scripts/setup, or say where it is with --reconcile PATH")
    python = os.path.join(os.path.dirname(path), "python")
    if not os.access(python, os.X_OK):
        with open(path, "rb") as file:
            python = file.readline().decode().removeprefix("#!").strip()
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "reconcile-bench")
    # Nothing of the account's own settings; the same for all.
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
    }
    return Tools(path, python, os.path.abspath(options.cache or cache), env)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", add_help=False)
    commands = ("compare", "plan", "memory", "looking", "cleanup", "diff")
    parser.add_argument("command", nargs="?", choices=commands, default="compare")
    parser.add_argument("-n", dest="services", type=_numbers, default=SERVICES)
    parser.add_argument("--scenarios", type=_scenarios, default=list(SCENARIOS))
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--limit", type=float, default=60.0)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--only", type=lambda text: text.split(","))
    parser.add_argument("--via", choices=("path", "git"), default="path")
    parser.add_argument("--over", choices=("sshfs",))
    parser.add_argument("--reconcile")
    parser.add_argument("--cache")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _scenarios(text: str) -> list[str]:
    unknown = set(text.split(",")) - set(SCENARIOS)
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(SCENARIOS)}")
    return text.split(",")


try:
    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(130)
