"""Runs programs: argument lists, time limits, both outputs kept. What every pass may need runs by `host.child`."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import NamedTuple

_LINES, _BYTES = 20, 4096  # of what a program printed that are told


class Finished(NamedTuple):
    argv: tuple[str, ...]
    code: int  # negative: ended by that signal
    out: bytes
    err: bytes
    seconds: float


class CommandFailed(Exception):  # noqa: N818 - it says what happened
    """A program failed, could not be started, or took too long. The text has the command and what it printed."""

    def __init__(self, argv: Sequence[str], why: str, out: bytes = b"", err: bytes = b"") -> None:
        self.argv, self.why, self.out, self.err = tuple(argv), why, out, err
        printed = tail(err) or tail(out)
        super().__init__(f"{' '.join(argv)}: {why}" + (f"\n{printed}" if printed else ""))


def tail(printed: bytes) -> str:
    """The end of what a program printed, which says why it failed: a report has room for a few lines, not for all."""
    end = printed.rstrip()[-_BYTES:].lstrip(b" \t\r\n")
    text = end.decode(errors="replace")
    if len(end) < len(printed.strip()):
        text = "…" + text[1:]
    return "\n".join(text.splitlines()[-_LINES:])


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    stdin: bytes = b"",
    check: bool = True,
) -> Finished:
    """Run a program to its end.

    It gets a session of its own, so that a terminal's interrupt reaches this program first, and a
    time limit in seconds: then SIGTERM, so that git removes its locks, and SIGKILL two seconds later,
    to it and its children. Raises `CommandFailed`; with `check=False` a bad exit status is returned.
    """
    began = monotonic()
    process = _started(argv, env, cwd, feed=bool(stdin))
    try:
        out, err = process.communicate(stdin or None, timeout=timeout)
    except subprocess.TimeoutExpired:
        out, err = _end(process)
        raise CommandFailed(argv, f"took longer than {timeout:g} s and was ended", out, err) from None
    except BaseException:
        _end(process)
        raise
    finished = Finished(tuple(argv), process.returncode, out, err, monotonic() - began)
    if check and finished.code != 0:
        how = f"exit status {finished.code}" if finished.code > 0 else f"ended by signal {-finished.code}"
        raise CommandFailed(argv, how, out, err)
    return finished


def _started(
    argv: Sequence[str], env: Mapping[str, str] | None, cwd: str | None, *, feed: bool
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(argv, f"could not be started: {error.strerror or error}") from error


def _end(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    _signal_group(process, signal.SIGTERM)
    try:
        return process.communicate(timeout=2)
    except subprocess.TimeoutExpired:
        _signal_group(process, signal.SIGKILL)
    try:
        return process.communicate(timeout=2)
    except subprocess.TimeoutExpired:  # a grandchild in a session of its own still holds the pipe
        return b"", b""


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        process.send_signal(number)
