"""The main processes of a deployment, by /proc alone: on the host, in an instance, in a container in the foreground."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.backends.instances import children
from tests.backends.manager import runs
from tests.backends.processes import read_all
from tests.scenarios.world import World


def pids(world: World) -> dict[str, int]:
    """By service; a daemon under the empty name. Fails where a service has two processes."""
    found = {name: pid for name, pid in world.pids().items() if not _is_empty(pid)}
    for pid, marks in _contained():
        if marks.get("RECONCILE_ROOT") == str(world.root) and runs(pid):
            name = marks["RECONCILE_SERVICE"]
            assert found.get(name, pid) == pid, f"{name} runs as {found[name]} and as {pid}"
            found[name] = pid
    return found


def _is_empty(pid: int) -> bool:
    """An instance whose service has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_bytes() == b"appinit\n" and not children(pid)
    except OSError:
        return True


def _contained() -> Iterator[tuple[int, Mapping[str, str]]]:
    """What `apptainer run` has become, with the marks inside: they name the process outside."""
    for pid, comm in read_all("comm"):
        try:
            if comm != b"starter\n":
                continue
            outer = dict(entry.partition(b"=")[::2] for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
            chunks = int(outer[b"ENGINE_CONFIG_CHUNKS"])
            order = json.loads(b"".join(outer[b"ENGINE_CONFIG%d" % (number + 1)] for number in range(chunks)))
            marks: dict[str, str] = order["engineConfig"]["jsonConfig"]["apptainerEnv"]
        except (OSError, KeyError, ValueError):  # gone meanwhile, somebody else's, or just beginning
            continue
        if marks.get("RECONCILE_PID") == str(pid):
            yield pid, marks
