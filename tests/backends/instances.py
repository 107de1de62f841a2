"""Apptainer's instances, as /proc tells them: its own records can be wrong, missing or another's.

An instance's first process, `appinit`, has the whole order that it was started with in its
environment, as JSON: with what `--env` set, and with the environment that the order was given in.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.backends.processes import read_all

_HELPERS = (b"starter", b"squashfuse_ll", b"squashfuse")


class Instance(NamedTuple):
    """One that runs."""

    pid: int  # its `appinit`
    parent: int  # holds the image open
    name: str
    image: str  # the path that it was started from
    env: Mapping[str, str]  # inside


def instances() -> Iterator[Instance]:
    """All of them whose `appinit` may be read."""
    for pid, comm in read_all("comm"):
        try:
            if comm == b"appinit\n":
                parent = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1]
                yield _instance(pid, int(parent), Path(f"/proc/{pid}/environ").read_bytes())
        except (OSError, KeyError, ValueError, IndexError):  # gone meanwhile, somebody else's, or just beginning
            continue


def helpers(folder: Path) -> Iterator[int]:
    """Processes around an instance whose image lies there: the one that keeps it, and the one that mounts it.

    They end with it, unless they are killed one by one: then the latter stays.
    """
    for pid, comm in read_all("comm"):
        with suppress(OSError):
            if comm.strip() in _HELPERS and _holds(pid, f"{folder}/"):
                yield pid


def _holds(pid: int, folder: str) -> bool:
    descriptors = f"/proc/{pid}/fd"
    return any(os.readlink(f"{descriptors}/{name}").startswith(folder) for name in os.listdir(descriptors))


def children(pid: int) -> list[int]:
    """Of an `appinit`: those that do the work. One whose work has ended may go on without any."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _words(task / "children")]


def _instance(pid: int, parent: int, environ: bytes) -> Instance:
    outer = dict(entry.partition(b"=")[::2] for entry in environ.split(b"\0"))
    chunks = int(outer.get(b"ENGINE_CONFIG_CHUNKS", b"1"))
    order = json.loads(b"".join(outer[b"ENGINE_CONFIG%d" % (number + 1)] for number in range(chunks)))
    engine: dict[str, Any] = order["engineConfig"]["jsonConfig"]
    inherited = order["engineConfig"]["ociConfig"]["process"].get("env", ())
    env = dict(entry.partition("=")[::2] for entry in inherited) | (engine.get("apptainerEnv") or {})
    return Instance(pid, parent, order["containerID"], engine["image"], env)


def _words(path: Path) -> list[str]:
    return path.read_text().split()
