"""Ports: free, or held by the service that wants them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from reconciler.core.checked import Checked, error, ok
from reconciler.core.desired import Field, Service
from reconciler.host import proc

_LISTEN = "0A"
_AWAY = frozenset({"slurm"})  # launchers whose services mostly run on another host


class Taken(NamedTuple):
    """Which ports are held, and which of them by somebody else: what is told of each."""

    held: int
    foreign: Mapping[int, str]


def wanted(fields: Mapping[str, Mapping[str, Field]], services: Iterable[Service]) -> dict[int, str]:
    """The service of each port, of those services that run on this host."""
    found: dict[int, str] = {}
    for name in sorted(one.name for one in services if one.launcher not in _AWAY and one.name in fields):
        value = fields[name]["ports"].value if "ports" in fields[name] else ()
        ports = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
        found |= {port: name for port in ports if isinstance(port, int)}
    return found


def check(where: str, deployment: str, ports: Mapping[int, str], ours: Collection[int] = ()) -> Iterator[Checked]:
    """One for each that somebody else listens on; or one for all."""
    if not ports:
        return
    found = taken(deployment, ports, ours)
    for port in sorted(found.foreign):
        yield error(where, "ports", found.foreign[port], mend(ports[port]))
    if not found.foreign:
        held = f", {found.held} held by its services" if found.held else ""
        yield ok(where, "ports", f"{len(ports)} wanted{held}, none held by anybody else")


def mend(service: str) -> str:
    return f"end that, or give {service} another port; see `ss -ltnp`"


def taken(deployment: str, ports: Mapping[int, str], ours: Collection[int] = ()) -> Taken:
    """Those of the ports that somebody listens on. `ours`: processes of the deployment, which may hide their marks.

    A socket of this account's whose process cannot be found is taken for nobody else's: that it is cannot be known.
    """
    listening = {port: (uid, inode) for port, uid, inode in _listening() if port in ports}
    holders = _holders({inode for _, inode in listening.values()})
    foreign = {}
    for port, (uid, inode) in listening.items():
        pid = holders.get(inode, 0)
        others = not (_is_of(pid, deployment) or proc.descends(pid, ours)) if pid else uid != os.getuid()
        if others:
            foreign[port] = f"port {port} of {ports[port]} is held by {_named(pid)}"
    return Taken(len(listening), foreign)


def _listening() -> Iterator[tuple[int, int, str]]:
    """Port, account and inode of each socket that listens on this host."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError), open(f"/proc/net/{table}", encoding="ascii") as lines:
            for line in lines:
                words = line.split()
                if len(words) > 9 and words[3] == _LISTEN:
                    yield int(words[1].rpartition(":")[2], 16), int(words[7]), words[9]


def _holders(inodes: set[str]) -> dict[str, int]:
    """By inode, a process that has the socket open, as far as this account may see."""
    links = {f"socket:[{inode}]": inode for inode in inodes}
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc") if links else ()):
        with suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    inode = links.get(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
                    if inode:
                        found[inode] = int(pid)
    return found


def _is_of(pid: int, deployment: str) -> bool:
    """Children of a service have its marks too."""
    with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as environ:
        return b"RECONCILE_DEPLOYMENT=" + deployment.encode() in environ.read().split(b"\0")
    return False


def _named(pid: int) -> str:
    if not pid:
        return "a process of another account"
    with suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
        return f"pid {pid} ({comm.read().strip()})"
    return f"pid {pid}"
