"""Processes of this account that do what a service is to do, and that nobody of ours has started."""

from __future__ import annotations

import os
import shlex
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from reconciler.core.desired import Field
from reconciler.host import proc, procfs

_OURS = b"\0RECONCILE_DEPLOYMENT="
_INSIDE = b"\0APPTAINER_CONTAINER="  # set by Apptainer for whatever runs inside of an image


class Command(NamedTuple):
    """What a service runs."""

    words: tuple[str, ...]  # empty: they cannot be read
    root: str  # of its deployment
    inside: bool = False  # of an image, whose own script may put its program before them


def command(fields: Mapping[str, Field], root: str) -> Command:
    """`fields`: the effective values of the service."""
    inside = "image" in fields
    text = str(fields["command"].value).strip().removeprefix("exec ") if "command" in fields else ""
    try:
        return Command(tuple(shlex.split(text)), root, inside)
    except ValueError:
        return Command((), root, inside)


def find(commands: Mapping[str, Command], known: Container[int] = ()) -> dict[str, int]:
    """By service, the pid of such a process. What hides its environment may be ours, and is none; so is what descends
    from a process that is `known`."""
    found: dict[str, int] = {}
    names = os.listdir("/proc") if commands else []
    for pid in sorted(int(name) for name in names if name.isdigit()):
        with suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
                continue
            argv = os.fsdecode(procfs.arguments(pid).rstrip(b"\0")).split("\0")
            alike = [name for name, one in commands.items() if is_alike(argv, one)]
            own = [name for name in _nearest(argv, commands, alike) if _is_below(pid, argv, commands[name])]
            if own and _is_nobodys(pid) and not proc.descends(pid, known):
                found = dict.fromkeys(own, pid) | found
    return found


def _nearest(argv: Sequence[str], commands: Mapping[str, Command], alike: Sequence[str]) -> list[str]:
    """Of several services that a process may be, those that it has the most words in common with."""
    common = {name: len({*commands[name].words} & {*argv}) for name in alike}
    return [name for name in alike if common[name] == max(common.values())]


def _is_below(pid: int, argv: Sequence[str], command: Command) -> bool:
    """It works with something below the root of the deployment: a word says so, or a mount of its container."""
    if any(f"{command.root.rstrip('/')}/" in word for word in argv):
        return True
    if not command.inside or _INSIDE not in procfs.environ(str(pid)):
        return False
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        return any(is_part(line.split()[3], command.root) for line in mounts)


def is_part(mounted: str, root: str) -> bool:
    """Whether what is mounted lies below a root. It is told by its path within its own file system, which may be
    mounted on any of the folders above."""
    parts = root.strip("/").split("/")
    return any(f"{mounted}/".startswith(f"/{'/'.join(parts[at:])}/") for at in range(len(parts)))


def is_alike(argv: Sequence[str], command: Command) -> bool:
    """The same program, be it by way of an interpreter, and the same last word."""
    words = command.words
    if not words or not argv:
        return False
    if command.inside:
        return argv[-1] == words[-1]
    program = os.path.basename(words[0])
    at = next((at for at, word in enumerate(argv[:2]) if os.path.basename(word) == program), -1)
    if at < 0:
        return False
    alone = len(words) == 1
    return (len(argv) == at + 1) if alone else (argv[-1] == words[-1] and len(argv) > at + 1)


def _is_nobodys(pid: int) -> bool:
    content = procfs.environ(str(pid))
    return len(content) > 1 and _OURS not in content
