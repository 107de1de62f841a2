"""Whether this host's clock is that of a root's file system, which has the dates by which entries are old."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from reconciler.host.scratch.root import Ground, RootError

_APART = 3600  # seconds; no age is less than a day
_HOUR, _DAY = 3600, 86400
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def check(root: str, ground: Ground) -> None:
    """By a file that is made in a root, and is gone afterwards; where none can be made, as on a full disk, nobody can
    tell. Raises `RootError`."""
    apart = _ahead(ground.descriptor)
    if abs(apart) <= _APART:
        return
    way = "ahead of" if apart > 0 else "behind"
    size = f"{abs(apart) / _DAY:.0f} days" if abs(apart) >= 2 * _DAY else f"{abs(apart) / _HOUR:.0f} hours"
    raise RootError(
        f"the clock of this host is {size} {way} that of the file system of {root}",
        "see `timedatectl`, and the clock of the file server; nothing is removed until they agree",
    )


def _ahead(folder: int) -> float:
    """Seconds; 0 where that cannot be told."""
    name = f".reconcile-clock.{os.uname().nodename}"
    with suppress(OSError):
        before = time.time()
        try:
            descriptor = os.open(name, _NEW, 0o600, dir_fd=folder)
        except FileExistsError:  # of a pass that was killed
            os.unlink(name, dir_fd=folder)
            descriptor = os.open(name, _NEW, 0o600, dir_fd=folder)
        try:
            return before - os.fstat(descriptor).st_mtime
        finally:
            os.close(descriptor)
            os.unlink(name, dir_fd=folder)
    return 0.0
