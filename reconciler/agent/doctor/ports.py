"""Ports: free, or held by the service that wants them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress

from reconciler.core.checked import Checked, error, ok
from reconciler.core.model import Field

_LISTEN = "0A"


def wanted(fields: Mapping[str, Mapping[str, Field]], services: set[str]) -> dict[int, str]:
    """The service of each port, of those services."""
    found: dict[int, str] = {}
    for name in sorted(services & fields.keys()):
        value = fields[name]["ports"].value if "ports" in fields[name] else ()
        ports = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
        found |= {port: name for port in ports if isinstance(port, int)}
    return found


def check(where: str, deployment: str, ports: Mapping[int, str]) -> Iterator[Checked]:
    """One for each that somebody else listens on; or one for all."""
    if not ports:
        return
    listening = {port: inode for port, inode in _listening() if port in ports}
    holders = _holders(set(listening.values()))
    taken = {}
    for port, inode in listening.items():
        pid = holders.get(inode, 0)
        if not pid or not _is_of(pid, deployment):
            taken[port] = f"port {port} of {ports[port]} is held by {_named(pid)}"
    for port in sorted(taken):
        yield error(where, "ports", taken[port], f"end that, or give {ports[port]} another port; see `ss -ltnp`")
    if not taken:
        held = f", {len(listening)} held by its services" if listening else ""
        yield ok(where, "ports", f"{len(ports)} wanted{held}, none held by anybody else")


def _listening() -> Iterator[tuple[int, str]]:
    """Port and inode of each socket that listens on this host."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError), open(f"/proc/net/{table}", encoding="ascii") as lines:
            for line in lines:
                words = line.split()
                if len(words) > 9 and words[3] == _LISTEN:
                    yield int(words[1].rpartition(":")[2], 16), words[9]


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
