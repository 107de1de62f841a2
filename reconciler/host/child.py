"""Runs programs that every pass may need, git above all, with posix_spawn.

The subprocess module, which `host.run` uses for all else, takes 13 ms to import: a good part of an idle pass.
A program gets a session of its own: it has no terminal to ask a question on, and it can be ended
together with its children (ssh, git-remote-https). Standard input is empty unless asked for.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic, sleep
from typing import NamedTuple

# by number: the signal module costs 5 ms, and POSIX fixes these
_SIGKILL, _SIGPIPE, _SIGTERM = 9, 13, 15
_CHUNK = 1 << 16
_GRACE = 2.0  # seconds between SIGTERM and SIGKILL: git removes its locks
_SLICE = 0.2  # seconds of waiting, after which whoever waits may have a reason not to go on


class Ended(NamedTuple):
    code: int  # negative: ended by that signal
    out: bytes
    err: bytes
    late: bool  # it took longer than allowed and was ended


class Child:
    """A running program. Whoever starts one must call `finish` or `end`.

    `heed` is called time and again while the program lets us wait, and raises where that is to be given up.
    A program that answers at once is read to its end in any case.
    """

    def __init__(self, pid: int, out: int, err: int, feed: int, heed: Callable[[], None]) -> None:
        self.pid, self._out, self._err, self._feed = pid, out, err, feed
        self._heed = heed
        self._code: int | None = None
        self._said = b""  # what was read from standard error
        self._rest = b""  # read from standard output, not yet asked for

    def finish(self, deadline: float) -> Ended:
        """Wait for the end, at most until `deadline` (monotonic seconds); what is late is ended."""
        self.close_feed()
        chunks = [self._rest]
        try:
            while chunk := self._receive(deadline):
                chunks.append(chunk)
            late = chunk is None or not self._await(deadline)
        finally:
            self.end()  # also when we are interrupted: a terminal's ^C does not reach another session
        return Ended(self._code or 0, b"".join(chunks), self._said, late)

    def send(self, text: bytes) -> None:
        """Write to standard input; keep it below 4096 bytes at a time, or both sides may wait for ever."""
        with suppress(BrokenPipeError):  # it died; reading will tell
            os.write(self._feed, text)

    def line(self, deadline: float) -> bytes | None:
        """The next line of output with its end; None when there is none: the output ended or it is late."""
        while b"\n" not in self._rest:
            chunk = self._receive(deadline)
            if not chunk:
                return None
            self._rest += chunk
        line, newline, self._rest = self._rest.partition(b"\n")
        return line + newline

    def exactly(self, size: int, deadline: float) -> bytes | None:
        """The next `size` bytes of output; None when there are not so many, which `finish` gives then."""
        chunks, have = [self._rest], len(self._rest)
        while have < size:
            chunk = self._receive(deadline)
            if not chunk:
                self._rest = b"".join(chunks)
                return None
            chunks.append(chunk)
            have += len(chunk)
        content = b"".join(chunks)
        self._rest = content[size:]
        return content[:size]

    def _receive(self, deadline: float) -> bytes | None:
        """A piece of standard output; empty at its end, None when it is late. Collects standard error meanwhile.

        The end of standard output is the end: an ssh master that stays in the background may hold
        standard error open for hours.
        """
        waiter = select.poll()
        waiter.register(self._out, select.POLLIN)
        waiter.register(self._err, select.POLLIN)
        while True:
            left = max(0.0, deadline - monotonic())
            ready = waiter.poll(min(left, _SLICE) * 1000)
            if not ready:
                if left <= _SLICE:
                    return None
                self._heed()
            for descriptor, _ in ready:
                if descriptor == self._out:
                    return os.read(self._out, _CHUNK)
                said = os.read(self._err, _CHUNK)
                self._said += said
                if not said:
                    waiter.unregister(self._err)

    def _await(self, deadline: float) -> bool:
        """Whether the program has ended by `deadline`."""
        while not self._reap(min(deadline, monotonic() + _SLICE)):
            if monotonic() >= deadline:
                return False
            self._heed()
        return True

    def _reap(self, deadline: float) -> bool:
        """Whether the program has ended by `deadline`."""
        pause = 0.0001
        while self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            elif monotonic() >= deadline:
                return False
            else:
                sleep(pause)
                pause = min(pause * 2, 0.02)
        return True

    def end(self) -> None:
        """SIGTERM, and SIGKILL where that does not help; to its children too. Any number of times."""
        self.close_feed()
        if self._code is None and not self._reap(monotonic()):
            self._signal(_SIGTERM)
            deadline = monotonic() + _GRACE
            if not (self._reap(deadline) and self._is_alone(deadline)):
                self._signal(_SIGKILL)
                deadline = monotonic() + _GRACE
                self._reap(deadline)
                self._is_alone(deadline)
        self._drain()
        for descriptor in (self._out, self._err):
            if descriptor >= 0:
                os.close(descriptor)
        self._out = self._err = -1

    def _is_alone(self, deadline: float) -> bool:
        """Whether its children, ssh above all, have ended by `deadline` too."""
        while self._signal(0):
            if monotonic() >= deadline:
                return False
            sleep(0.002)
        return True

    def _signal(self, number: int) -> bool:
        """Whether there was anybody to get it."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)
            return True
        return False

    def _drain(self) -> None:
        """Keep what it last said."""
        if self._err < 0:
            return
        os.set_blocking(self._err, False)
        with suppress(BlockingIOError):
            while said := os.read(self._err, _CHUNK):
                self._said += said

    def close_feed(self) -> None:
        if self._feed >= 0:
            os.close(self._feed)
        self._feed = -1

    @property
    def said(self) -> bytes:
        """Standard error so far; complete after `end`."""
        return self._said


def _patient() -> None:
    """There is no reason not to wait."""


def start(argv: list[str], env: Mapping[str, str], *, feed: bool = False, heed: Callable[[], None] = _patient) -> Child:
    """Start a program found on the PATH; `feed` gives it a pipe as standard input. Raises `OSError`."""
    (out, out_end), (err, err_end), *fed = _pipes(3 if feed else 2)
    given, ours = fed[0] if feed else (-1, -1)
    source = (os.POSIX_SPAWN_DUP2, given, 0) if feed else (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    actions = (source, (os.POSIX_SPAWN_DUP2, out_end, 1), (os.POSIX_SPAWN_DUP2, err_end, 2))
    try:
        # python ignores SIGPIPE and a caller may block signals: neither is for git to inherit
        pid = os.posix_spawnp(
            argv[0], argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=(_SIGPIPE,)
        )
    except OSError:
        for descriptor in (out, err, ours):
            if descriptor >= 0:
                os.close(descriptor)
        raise
    finally:
        for descriptor in (out_end, err_end, given):
            if descriptor >= 0:
                os.close(descriptor)
    return Child(pid, out, err, ours, heed)


def _pipes(number: int) -> list[tuple[int, int]]:
    """All of them or none, where no more can be opened. Raises `OSError`."""
    made: list[tuple[int, int]] = []
    try:
        while len(made) < number:
            made.append(os.pipe())
    except OSError:
        for descriptor in sum(made, ()):
            os.close(descriptor)
        raise
    return made
