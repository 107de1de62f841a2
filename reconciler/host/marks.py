"""What an environment says of its process: our marks, as they stand in variables or in what Apptainer was told.

Apptainer clears the environment of its own processes and hands them one JSON document instead, cut into
the variables ENGINE_CONFIG1, ENGINE_CONFIG2, ...: there, under `apptainerEnv`, stands what was set for the inside.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from reconciler.core.observed import Mark

FOREIGN = Mark("", "", "", "", "", "", "", 0)  # its environment could be read and has no mark of ours

_MARKS = re.compile(rb"\0RECONCILE_([A-Z]+)=([^\0]*)")
_JOB = re.compile(rb"\0SLURM_JOB_ID=([0-9]+)\0")
_PREFIX = "RECONCILE_"
_ENGINE, _MORE = b"\0ENGINE_CONFIG1=", b"\0ENGINE_CONFIG2="
INIT = b"appinit"  # the name of the first process of an instance; the service is its child
_FIRST = "1"  # what such a process is marked with as its pid: it is the first of a namespace of its own
_DIGITS = 10  # of a pid


class Wanted(NamedTuple):
    """How the mark of one deployment is spelled, to be looked for in every environment of a host."""

    variable: bytes
    inner: bytes

    def __call__(self, environ: bytes) -> bool:
        """Whether this environment may be of that deployment."""
        if self.variable in environ:
            return True
        return _ENGINE in environ and (self.inner in environ or (_MORE in environ and self.inner in _engine(environ)))


def wanted(deployment: str) -> Wanted:
    """`deployment` has nothing in it that JSON would write in another way: SITE/ENVIRONMENT, both names."""
    name = os.fsencode(deployment)
    return Wanted(b"\0RECONCILE_DEPLOYMENT=" + name + b"\0", b'"RECONCILE_DEPLOYMENT":"' + name + b'"')


class Instance(NamedTuple):
    """What Apptainer was told of a container."""

    name: str  # empty where it is no instance
    env: Mapping[str, str]  # set for the inside


def is_of_another_job(environ: bytes) -> bool:
    """Whether this process runs in a job of Slurm's that is not the one which carries the service (`RECONCILE_JOB_ID`):
    the service has submitted it."""
    found = _JOB.search(environ)
    return found is not None and b"\0RECONCILE_JOB_ID=" + found[1] + b"\0" not in environ


def read_instance(environ: bytes) -> Instance | None:
    """What an environment tells of a container; None where that is nothing, or not to be understood."""
    return _parsed(_engine(environ)) if _ENGINE in environ else None


@lru_cache(maxsize=256)  # a pass comes to the same process from several sides
def _parsed(document: bytes) -> Instance | None:
    import json

    try:
        match json.loads(document):
            case {"containerID": str(name), "engineConfig": {"jsonConfig": dict(config)}}:
                env = config.get("apptainerEnv", {})
                kept = {key: _clean(value) for key, value in env.items() if isinstance(value, str)}
                return Instance(_clean(name), kept)
    except (ValueError, RecursionError, AttributeError):  # it is not what Apptainer writes
        pass
    return None


def read_mark(environ: bytes, pid: int, name: bytes, *, leads: bool) -> Mark | None:
    """The mark in an environment, or None where it is no environment any more.

    `leads`: it leads its process group. A launcher makes every service's main process such a leader, which
    tells it from its children until the start script has set its pid.
    """
    if len(environ) < 2 or b"\0\0" in environ or b"=" not in environ[1:].split(b"\0", 1)[0]:
        return None
    values = {key.decode(): value.decode(errors="surrogateescape") for key, value in _MARKS.findall(environ)}
    if not values and _ENGINE in environ:
        return _contained(environ, pid, name)
    return _made(values, pid if leads else 0)


def _contained(environ: bytes, pid: int, name: bytes) -> Mark | None:
    """The mark of a process of Apptainer's own, in front of the container or the first one inside."""
    instance = read_instance(environ)
    if instance is None:
        return None
    values = {key.removeprefix(_PREFIX): value for key, value in instance.env.items() if key.startswith(_PREFIX)}
    if name == INIT and values.get("PID") == _FIRST:
        values["PID"] = str(pid)
    return _made(values, 0)


def _made(values: Mapping[str, str], leader: int) -> Mark:
    if not values.get("DEPLOYMENT"):
        return FOREIGN
    get = values.get
    service, pid = get("SERVICE", ""), get("PID", "")
    return Mark(
        deployment=values["DEPLOYMENT"],
        root=get("ROOT", ""),
        service=service,
        spec=get("SPEC", ""),
        launch=get("LAUNCH", ""),
        version=get("VERSION", ""),
        component=get("COMPONENT", ""),
        pid=int(pid) if pid.isdecimal() and len(pid) <= _DIGITS else leader if service and not pid else 0,
        daemon=get("DAEMON", ""),
    )


def stop_signal(instance: Instance) -> int:
    """The number of the signal that an instance is to be ended with: its mark RECONCILE_STOP begins with the name."""
    import signal

    name = instance.env.get("RECONCILE_STOP", "").partition(" ")[0]
    number = getattr(signal, f"SIG{name}", None)
    return number if isinstance(number, signal.Signals) else signal.SIGTERM


def _engine(environ: bytes) -> bytes:
    """The document with its pieces joined. The kernel allows 128 KiB a variable, so it seldom has more than one."""
    entries = (entry.partition(b"=") for entry in environ.split(b"\0") if entry.startswith(b"ENGINE_CONFIG"))
    pieces = {name: piece for name, _, piece in entries}
    return b"".join(pieces.get(b"ENGINE_CONFIG%d" % number, b"") for number in range(1, len(pieces) + 1))


def _clean(text: str) -> str:
    """Without halves of characters, which JSON can spell and nothing can print."""
    return text.encode(errors="replace").decode()
