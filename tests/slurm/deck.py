"""A deployment whose services are carried by a job of a real Slurm, and what is seen of it from outside.

Processes are read from /proc of this machine, where those of other nodes are seen too, with other process ids than
they have there; jobs are read from squeue.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.backends.cluster import HOST, Cluster, Job
from tests.scenarios.world import SLEEP, Done, World, until

Pids = dict[str, int]


class Deck:
    """A world of an ordinary user, and the cluster that it submits to. `say` and `commit` bring it into git."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.cluster = cluster
        self.world = World(folder, account=cluster.account)
        self.world.env |= {"SLURM_CONF": cluster.env["SLURM_CONF"], "PATH": cluster.env["PATH"]}
        self.settings: dict[str, str] = {"address": "127.0.0.1"}  # names of nodes are not known to any resolver here
        self.services = {"one": "after: [two]", "two": "component: tool"}
        self.policy = ""

    # ------------------------------------------------------------ git

    def layer(self) -> str:
        lines = ["slurm:", *(f'  {key}: "{value}"' for key, value in self.settings.items() if not value.isdecimal())]
        lines += [f"  {key}: {value}" for key, value in self.settings.items() if value.isdecimal()]
        lines += ["services:"]
        for name, keys in self.services.items():
            component = "" if "component:" in keys else "component: app, files: [app.conf], "
            command = "" if "command:" in keys else f"command: {SLEEP}, "
            launcher = "" if "launcher:" in keys else "launcher: slurm, slurm: {startsecs: 0}, "
            lines.append(f"  {name}: {{{component}{command}{launcher}{keys}}}")
        return "\n".join([*lines, self.policy, ""])

    def commit(self, app: str = "1.0", tool: str = "1.0") -> None:
        self.world.commit({"desired/environments/dev.yaml": self.layer(), **self.world.versions(app, tool)})

    # ------------------------------------------------------------ passes

    def converge(self, code: int = 0) -> dict[str, Any]:
        """One pass; what it says of the deployment."""
        done = self.world.run("--once", "--json")
        assert done.code == code, done.said
        found: dict[str, Any] = done.json()["deployments"][0]
        return found

    def settled(self) -> None:
        """What git wants runs, in one job, and a second pass does nothing."""
        self.world.idle()
        assert [job.state for job in self.jobs()] == ["RUNNING"]
        assert self.running().keys() == {"", *self.services}

    def status(self) -> dict[str, dict[str, Any]]:
        done = self.world.run("status", "--json")
        return {row["service"]: row for row in done.json()["deployments"][0]["services"]}

    def once(self, *words: str, code: int = 0) -> Done:
        return self.world.once(*words, code=code)

    # ------------------------------------------------------------ what is so

    @property
    def name(self) -> str:
        return self.settings.get("job", f"reconcile-{self.world.site}-dev")

    def jobs(self) -> list[Job]:
        """Those that are not over, by id."""
        return sorted((job for job in self.cluster.jobs() if job.name == self.name), key=lambda job: int(job.id))

    def job(self) -> Job:
        (found,) = self.jobs()
        return found

    def running(self) -> Pids:
        """The main processes, by service; a supervisord under the empty name. Fails where a service has two."""
        found: Pids = {}
        for pid, marks in self._marked():
            service = marks["RECONCILE_SERVICE"]
            assert not service or service not in found, f"{service} runs as {found[service]} and as {pid}"
            found[service] = pid
        return found

    def services_running(self) -> Pids:
        """Likewise, where there may be a supervisord besides that of the job."""
        found: Pids = {}
        for pid, marks in self._marked():
            service = marks["RECONCILE_SERVICE"]
            assert service not in found, f"{service} runs as {found[service]} and as {pid}"
            found |= {service: pid} if service else {}
        return found

    def marks(self, service: str) -> Mapping[str, str]:
        return next(marks for _, marks in self._marked() if marks["RECONCILE_SERVICE"] == service)

    def _marked(self) -> Iterator[tuple[int, Mapping[str, str]]]:
        root = f"RECONCILE_ROOT={self.world.root}"
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                entries = Path(f"/proc/{name}/environ").read_bytes().decode(errors="replace").split("\0")
                status = Path(f"/proc/{name}/status").read_text()
            except (OSError, ProcessLookupError):
                continue
            marks = dict(entry.partition("=")[::2] for entry in entries if entry.startswith("RECONCILE_"))
            inner = re.search(r"^NSpid:.*?(\d+)$", status, re.MULTILINE)
            main = inner is not None and marks.get("RECONCILE_PID") == inner[1]
            if root in entries and main and not re.search(r"^State:\s+[ZX]", status, re.MULTILINE):
                yield int(name), marks

    def awaits(self, service: str) -> None:
        until(lambda: service in self.running())

    def end(self) -> None:
        self.cluster.end()
        self.world.end()


def nodes(deck: Deck) -> set[str]:
    """Where its jobs run."""
    return {job.node for job in deck.jobs()}


__all__ = ["HOST", "Deck", "Pids", "nodes"]
