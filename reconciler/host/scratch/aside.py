"""Removes one entry of a folder that is known by its name. From the first instant on it has another one.

So what a killed pass leaves of it is never taken for the whole thing, and the next pass finds it by that name.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from stat import S_ISDIR
from typing import NamedTuple

from reconciler.core.cleanup import Kept
from reconciler.core.desired import Cleanup, RootIs
from reconciler.core.retention import GONE
from reconciler.host import files
from reconciler.host.scratch.crew import Tally
from reconciler.host.scratch.remove import Remover
from reconciler.host.scratch.root import RootError, open_root
from reconciler.host.scratch.walk import Entry, Task, Walk

_MINUTES = 30  # a version has some ten thousand files at most


class Removed(NamedTuple):
    troubles: tuple[str, ...] = ()  # the first of what could not be removed, and why
    stopped: bool = False  # the rest is left to the next pass


def put_aside(path: str) -> str:
    """Give an entry the name by which it is going; the new path. Raises `OSError`."""
    name = f"{GONE}{os.urandom(8).hex()}"
    files.rename(path, name)
    return os.path.join(os.path.dirname(path), name)


def remove(path: str, asked_to_stop: Callable[[], bool]) -> Removed:
    """Remove what was put aside, with all that is in it, on its own file system only. Raises `OSError`."""
    folder, name = os.path.split(path)
    if not name.startswith(GONE):
        raise ValueError(path)
    rule = Cleanup("versions", folder, 0, root_is=RootIs.MOUNT)
    try:
        ground = open_root(rule)
    except RootError as error:
        return Removed((str(error),))
    if ground is None:
        return Removed()
    try:
        info = os.stat(name, dir_fd=ground.descriptor, follow_symlinks=False)
        tally = Tally(_MINUTES, 0, asked_to_stop)
        walk = Walk(Task(rule, Kept(rule), 0.0), ground, tally)
        Remover(walk)(ground.descriptor, Entry(name, name, S_ISDIR(info.st_mode), info.st_ino, 0, begun=True))
        return Removed(tuple(tally.troubles), tally.stopped)
    except FileNotFoundError:
        return Removed()
    finally:
        os.close(ground.descriptor)
