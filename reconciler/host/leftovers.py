"""What a service leaves behind when it has ended: children that went into sessions of their own, or took no notice.

They carry its marks, with its pid, and so are found; those that have cleared their environment are not. A job that it
has submitted to Slurm carries them too, and is none of them: it has a life of its own, also on the same node.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from time import monotonic

from reconciler.host import marks, proc, procfs

_SIGKILL, _SIGTERM = 9, 15  # by number: the signal module costs 5 ms
_GRACE = 5.0  # seconds between the two; the service itself has had its own time
_AFTER = 5.0  # seconds that a process may take to end after SIGKILL

Found = tuple[int, float]  # a pid, and when it began


def left_by(deployment: str, mains: Collection[int]) -> dict[int, list[Found]]:
    """By the pid of a main process, all others that carry its marks. What cannot be read is none of them."""
    found: dict[int, list[Found]] = {pid: [] for pid in mains}
    wanted, boot, own = marks.wanted(deployment), procfs.boot(), _ancestors()
    for name in filter(str.isdigit, os.listdir("/proc") if mains else ()):
        pid = int(name)
        if pid in own or pid in found:
            continue
        try:
            environ = procfs.environ(name)
            if not wanted(environ) or marks.is_of_another_job(environ):
                continue
            stat = procfs.read_stat(pid)
        except OSError:
            continue  # it has ended, or it is somebody else's
        mark = marks.read_mark(environ, pid, stat.name, leads=False)
        if stat.runs and mark is not None and mark.service and mark.pid in found and not mark.daemon:
            found[mark.pid].append((pid, stat.started(boot)))
    return found


def _ancestors() -> set[int]:
    """This process and those above it: a pass may be run by a service."""
    found, pid = set(), os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            pid = procfs.read_stat(pid).parent
        except OSError:
            break
    return found


class Leftovers:
    """Ends what services have left behind, without waiting: `gone` is asked until it says so."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment
        self._left: dict[int, tuple[list[Found], float, int]] = {}  # by main process: who, until when, what was sent

    def gone(self, mains: Collection[int]) -> set[int]:
        """Those main processes of which nothing is left, or nothing that could be ended."""
        new = [pid for pid in mains if pid not in self._left]
        for pid, found in left_by(self._deployment, new).items():
            self._left[pid] = (found, monotonic() + _GRACE, _SIGTERM)
            _send(found, _SIGTERM)
        return {pid for pid in mains if self._is_gone(pid)}

    def _is_gone(self, main: int) -> bool:
        found, until, sent = self._left[main]
        left = [one for one in found if proc.alive(*one)]
        if left and monotonic() >= until and sent == _SIGTERM:
            _send(left, _SIGKILL)
            self._left[main] = (left, monotonic() + _AFTER, _SIGKILL)
            return False
        return not left or monotonic() >= until

    def forget(self, mains: Collection[int]) -> None:
        """Their pids may be others' by now."""
        for pid in mains:
            self._left.pop(pid, None)

    def wait(self, mains: Collection[int]) -> None:
        """Until nothing is left of any of them."""
        while self.gone(mains) != set(mains):
            proc.wait_gone([one for main in mains for one in self._left[main][0]], 0.05)


def _send(found: Collection[Found], number: int) -> None:
    for pid, started in found:
        try:
            proc.signal_process(pid, started, number)
        except PermissionError:
            continue  # it has become somebody else's
