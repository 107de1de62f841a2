"""What `reconcile diff` costs over many sites, as a whole process: what a merge request waits for."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from statistics import median
from typing import NamedTuple

ENVIRONMENTS = ("dev", "staging", "prod")
SERVICES = 20
_IDENTITY = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")


class Cost(NamedTuple):
    """Runs of one change of the repo, in seconds of a whole process."""

    sites: int
    change: str
    differ: int  # deployments
    walls: tuple[float, ...]
    cpus: tuple[float, ...]  # user and system, of it and all that it waited for


def reviewing(command: str, env: dict[str, str], sites: tuple[int, ...], repeat: int) -> list[Cost]:
    """Measure each kind of change over so many sites of three environments with twenty services each."""
    costs = []
    for count in sites:
        folder = tempfile.mkdtemp(prefix="rb", dir="/tmp")
        try:
            repo = _repo(folder, count, env)
            for name, branch in repo.items():
                costs.append(_measure(command, env, folder, (count, name, branch), repeat))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return costs


def _measure(command: str, env: dict[str, str], folder: str, what: tuple[int, str, str], repeat: int) -> Cost:
    sites, name, branch = what
    argv = [command, "diff", f"main..{branch}", "--repo", f"{folder}/tree", "--json"]
    walls, cpus = [], []
    for turn in range(repeat + 1):
        began, used = time.perf_counter(), _cpu()
        done = subprocess.run(argv, env=env, capture_output=True, check=False)
        if done.returncode not in (0, 2):
            raise RuntimeError(f"{' '.join(argv)}: exit status {done.returncode}: {done.stderr.decode()[-2000:]}")
        if turn:  # the first one fills caches
            walls.append(time.perf_counter() - began)
            cpus.append(_cpu() - used)
    told = json.loads(done.stdout)
    return Cost(sites, name, sum(len(site["deployments"]) for site in told["sites"]), tuple(walls), tuple(cpus))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(costs: list[Cost]) -> str:
    """What a person reads."""
    lines = [f"reconcile diff, {len(ENVIRONMENTS)} environments x {SERVICES} services of each site: wall ms, cpu ms"]
    for cost in costs:
        walls = [wall * 1000 for wall in cost.walls]
        spread = f"({min(walls):.0f}-{max(walls):.0f})"
        lines.append(
            f"  {cost.sites:3} sites  {cost.change:<28}{cost.differ:4} differ {median(walls):7.0f} {spread:>12}"
            f" {median(cost.cpus) * 1000:7.0f}"
        )
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- the repo


def _repo(folder: str, sites: int, env: dict[str, str]) -> dict[str, str]:
    """A repo with a branch for each kind of change; branches by what they change."""
    tree = f"{folder}/tree"
    _write(tree, "desired/defaults.yaml", _defaults(folder))
    for name in ENVIRONMENTS:
        _write(tree, f"desired/environments/{name}.yaml", f'vars: {{level: "{name}"}}\nversions: {{app: "1.0.0"}}\n')
    for number in range(sites):
        _write(tree, f"desired/sites/site{number:02}.yaml", f"vars: {{queue: q{number}, base: {9000 + number}}}\n")
    _write(tree, "templates/app.conf.j2", "level={{ level }}\nqueue={{ queue }}\n" + _LOOP)
    _git(tree, env, "init", "-q", "-b", "main")
    _commit(tree, env, "start")
    dev, first = "desired/environments/dev.yaml", "desired/sites/site00.yaml"
    changes = {
        "nothing (a README)": ("README", "told\n"),
        "a bump in one environment": (dev, 'vars: {level: "dev"}\nversions: {app: "1.0.1"}\n'),
        "a value of one site": (first, "vars: {queue: other, base: 9000}\n"),
        "a template that all read": ("templates/app.conf.j2", "level={{ level }}\nq={{ queue }}\n" + _LOOP),
        "a bump everywhere": ("desired/defaults.yaml", _defaults(folder).replace("sleep infinity", "sleep 9999")),
    }
    branches = {}
    for number, (name, (path, text)) in enumerate(changes.items()):
        _git(tree, env, "checkout", "-q", "-b", f"change{number}", "main")
        _write(tree, path, text)
        _commit(tree, env, name)
        branches[name] = f"change{number}"
    _git(tree, env, "checkout", "-q", "main")
    return branches


_LOOP = "{% for n in range(20) %}\nworker{{ n }}={{ base + n }}\n{% endfor %}\n"


def _defaults(folder: str) -> str:
    services = "".join(
        f"  svc{n:02}: {{component: app, launcher: supervisor, command: sleep infinity, files: [app.conf], "
        f'env: {{SERVICE_NAME: "{{{{ service }}}}", LEVEL: "{{{{ level }}}}", PORT: "{9000 + n}", LC_ALL: C.UTF-8}}}}\n'
        for n in range(SERVICES)
    )
    return (
        f'paths: {{root: "{folder}/r/{{{{ site }}}}-{{{{ environment }}}}"}}\n'
        "components: {app: {install: none}}\n"
        'files: {app.conf: {template: app.conf.j2, path: "{{ paths.config }}/app.conf"}}\n'
        f"services:\n{services}"
    )


def _write(tree: str, path: str, text: str) -> None:
    whole = os.path.join(tree, path)
    os.makedirs(os.path.dirname(whole), exist_ok=True)
    with open(whole, "w") as file:
        file.write(text)


def _commit(tree: str, env: dict[str, str], subject: str) -> None:
    _git(tree, env, "add", "-A")
    _git(tree, env, "commit", "-q", "-m", subject)


def _git(tree: str, env: dict[str, str], *words: str) -> None:
    subprocess.run(["git", "-C", tree, *_IDENTITY, *words], check=True, env=env)
