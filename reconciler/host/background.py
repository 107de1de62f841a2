"""Runs a program while other work is done: started now, read later.

What it prints waits in memory, so that it never waits for whoever reads it, as it would at a full pipe.
Like `host.child` it does without the subprocess module.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic, sleep

from reconciler.host.child import Ended

# by number: the signal module costs 5 ms, and POSIX fixes these
_SIGKILL, _SIGPIPE = 9, 13
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0002, 0.002  # seconds between two looks whether it has ended


class Background:
    """A running program, found on the PATH. Whoever starts one must call `finish` or `end`. Raises `OSError`."""

    def __init__(self, argv: list[str], env: Mapping[str, str]) -> None:
        self._pid, self._out, self._err = 0, os.memfd_create("out"), -1
        try:
            self._err = os.memfd_create("err")
            actions = (
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, self._out, 1),
                (os.POSIX_SPAWN_DUP2, self._err, 2),
            )
            self._pid = os.posix_spawnp(
                argv[0], argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=(_SIGPIPE,)
            )
        finally:
            if not self._pid:
                self._close()

    def finish(self, deadline: float) -> Ended:
        """Wait for its end, at most until `deadline` (monotonic seconds); then it is killed."""
        pause = _FIRST_PAUSE
        try:
            while (code := self._reaped()) is None:
                if monotonic() >= deadline:
                    return Ended(-_SIGKILL, b"", _content(self._err), late=True)
                sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            return Ended(code, _content(self._out), _content(self._err), late=False)
        finally:
            self.end()

    def _reaped(self) -> int | None:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return None
        self._pid = 0
        return os.waitstatus_to_exitcode(status)

    def end(self) -> None:
        """Kill it where it still runs. Any number of times."""
        if self._pid:
            with suppress(ProcessLookupError):
                os.killpg(self._pid, _SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
        self._close()

    def _close(self) -> None:
        for descriptor in (self._out, self._err):
            if descriptor >= 0:
                os.close(descriptor)
        self._out = self._err = -1


def _content(descriptor: int) -> bytes:
    """All that was written, wherever the program's position in it is."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
