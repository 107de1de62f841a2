"""Processes of this account that do what a service is to do, and that nobody of ours has started."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from reconciler.host import procfs

_OURS = b"\0RECONCILE_DEPLOYMENT="


class Command(NamedTuple):
    """What a service runs."""

    words: tuple[str, ...]  # empty: a shell would make others of them, or they are for a container
    root: str  # of its deployment


def command(text: str, root: str) -> Command:
    try:
        return Command(tuple(shlex.split(text.strip().removeprefix("exec "))), root)
    except ValueError:
        return Command((), root)


def find(commands: Mapping[str, Command]) -> dict[str, int]:
    """By service, the pid of such a process. What hides its environment may be ours, and is none."""
    found: dict[str, int] = {}
    names = os.listdir("/proc") if commands else []
    for pid in sorted(int(name) for name in names if name.isdigit()):
        with suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
                continue
            argv = os.fsdecode(procfs.arguments(pid).rstrip(b"\0")).split("\0")
            alike = [name for name, one in commands.items() if name not in found and is_twin(argv, one)]
            if alike and _is_nobodys(pid):
                found |= dict.fromkeys(alike, pid)
    return found


def is_twin(argv: Sequence[str], command: Command) -> bool:
    """It is started with the same program and the same task, and with something below the root of the deployment."""
    inside = command.root.rstrip("/") + "/"
    return is_alike(argv, command) and any(inside in word for word in argv)


def is_alike(argv: Sequence[str], command: Command) -> bool:
    """The same program, be it by way of an interpreter, and the same last word."""
    words = command.words
    if not words or not argv:
        return False
    program = os.path.basename(words[0])
    at = next((at for at, word in enumerate(argv[:2]) if os.path.basename(word) == program), -1)
    if at < 0:
        return False
    alone = len(words) == 1
    return (len(argv) == at + 1) if alone else (argv[-1] == words[-1] and len(argv) > at + 1)


def _is_nobodys(pid: int) -> bool:
    content = procfs.environ(str(pid))
    return len(content) > 1 and _OURS not in content
