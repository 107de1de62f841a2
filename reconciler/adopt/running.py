"""A process that was started by hand, as it is: its words, its variables, its folder, its container. Only read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from reconciler.host import procfs

_IMAGE = "APPTAINER_CONTAINER"  # what Apptainer tells whatever runs inside: the path of its image
_DEPTH = 6  # of children that are looked through for what runs inside
_METADATA = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)\.dist-info")


class Running(NamedTuple):
    """What the kernel tells of a process; of a container, of the one inside that does the work."""

    argv: tuple[str, ...]
    env: Mapping[str, str]  # that it began with; empty where it hides that
    folder: str  # that it works in; empty where that cannot be read
    started: float  # seconds since the epoch
    image: str = ""  # of its container


def look(pid: int, started: float) -> Running:
    """This process, or what it keeps inside of a container."""
    inside = next(_inside(pid, _DEPTH), None)
    if inside is not None:
        return Running(_words(inside), environ(inside), _folder(inside), started, environ(inside)[_IMAGE])
    return Running(_words(pid), environ(pid), _folder(pid), started)


def environ(pid: int) -> dict[str, str]:
    """What a process began with; nothing where that cannot be read, or was overwritten."""
    try:
        entries = procfs.environ(str(pid))[1:].split(b"\0")
    except OSError:
        return {}
    return {key: value for key, _, value in (os.fsdecode(entry).partition("=") for entry in entries if b"=" in entry)}


def _inside(pid: int, depth: int) -> Iterator[int]:
    for child in _children(pid) if depth else ():
        if _IMAGE in environ(child):
            yield child
        yield from _inside(child, depth - 1)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def _words(pid: int) -> tuple[str, ...]:
    try:
        line = procfs.arguments(pid)
    except OSError:
        return ()
    return tuple(os.fsdecode(line.removesuffix(b"\0")).split("\0")) if line.rstrip(b"\0") else ()


def _folder(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def installed(program: str, package: str) -> tuple[str, float]:
    """The version of a package in the venv that a program stands in, and when that was put there, in seconds since the
    epoch; an empty version where it cannot be told."""
    venv = os.path.dirname(os.path.dirname(program))
    wanted = _plain(package)
    with suppress(OSError):
        if not os.path.exists(f"{venv}/pyvenv.cfg"):
            return "", 0.0
        for python in os.listdir(f"{venv}/lib"):
            for name in os.listdir(f"{venv}/lib/{python}/site-packages"):
                found = _METADATA.fullmatch(name)
                if found and _plain(found["name"]) == wanted:
                    return found["version"], os.stat(f"{venv}/lib/{python}/site-packages/{name}").st_ctime
    return "", 0.0


def _plain(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()
