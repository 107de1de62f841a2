"""Where the programs of a service are, in the version that runs: what is said to it, that version has to understand."""

from __future__ import annotations

import os
from collections.abc import Iterable

from reconciler.core.desired import Install
from reconciler.core.observed import ELSEWHERE
from reconciler.host import procfs
from reconciler.install import method

_MARK, _VENV = b"\0RECONCILE_VERSION=", b"\0VIRTUAL_ENV="


def programs_of(pid: int, component: str, version: str, installs: Iterable[Install]) -> str:
    """The folder with the programs that a process was started with; empty where it has none of its own.

    The process itself knows best. One that cannot be asked (it is down, on another node, in a container, has
    overwritten its environment) has those of its version, as far as they are there.
    """
    told = _told(pid) if 0 < pid < ELSEWHERE else None
    if told is not None:
        return told
    known = list(installs)
    of_component = [one for one in known if one.component == component] or known
    found = (method(one.method).programs(one, component, version) for one in of_component)
    return next(filter(None, found), "")


def _told(pid: int) -> str | None:
    """None where the environment of a process does not tell."""
    try:
        if not os.path.samefile(f"/proc/{pid}/ns/mnt", "/proc/self/ns/mnt"):
            return None  # what it calls a folder is another one here
        environ = procfs.environ(str(pid))
    except OSError:
        return None
    if _MARK not in environ:
        return None
    folder = os.fsdecode(environ.partition(_VENV)[2].partition(b"\0")[0])
    programs = os.path.join(folder, "bin")
    return programs if folder and os.path.isdir(programs) else ""
