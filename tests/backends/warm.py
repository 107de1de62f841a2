"""Runs `reconcile` and other programs in Python without the start of an interpreter: see tests.backends.zygote.

A test calls `reconcile` ten times, and CI some ten thousand times. What only a program that was executed can show is
executed: with variables that change the interpreter, and whatever a test starts with `subprocess` itself (a pass that
is traced, run by cron, killed from outside, or left running). No module needs another to be imported first, as none
imports itself by way of others: tests/test_imports.py.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any, NamedTuple

_ZYGOTE = Path(__file__).with_name("zygote.py")
# Variables that an interpreter, or a module as it is imported, looks at.
_EARLY = ("PYTHON", "LD_", "LANG", "LC_", "GIT_PYTHON")
NOBODY_ELSE: Mapping[str, Any] = MappingProxyType({})
_SET_FIRST = ("LANG", "PYTHONPATH")  # a zygote for each of their values that the tests themselves have


class Ended(NamedTuple):
    """What a program came to."""

    code: int  # negative: ended by that signal
    out: bytes
    err: bytes

    @property
    def texts(self) -> tuple[int, str, str]:
        return self.code, self.out.decode(errors="replace"), self.err.decode(errors="replace")


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    timeout: float = 90,
    become: Mapping[str, Any] = NOBODY_ELSE,
) -> Ended:
    """`PYTHON -m MODULE` or `PYTHON -c CODE` to its end, with nothing to read; `become`: arguments of `Popen` that say
    whose. Raises `subprocess.TimeoutExpired`."""
    if not _is_plain(env):
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, **become}
        done = subprocess.run(argv, env=env, cwd=cwd, timeout=timeout, check=False, **given)
        return Ended(done.returncode, done.stdout, done.stderr)
    python, *words = argv
    control = _zygote(python, *(env.get(name) for name in _SET_FIRST))
    call: dict[str, Any] = {"words": words, "env": dict(env), "cwd": str(cwd), "user": become.get("user")}
    call |= {"group": become.get("group"), "groups": list(become.get("extra_groups", ()))}
    return _called(control, call, timeout)


def _is_plain(env: Mapping[str, str]) -> bool:
    """GitPython looks for git as it is imported."""
    early = {name: value for name, value in env.items() if name.startswith(_EARLY) and value}
    own = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "LANG": "C.UTF-8"}
    return early.items() <= own.items() and bool(shutil.which("git", path=env.get("PATH")))


@cache
def _zygote(python: str, *values: str | None) -> socket.socket:
    """The way to one. It ends when we do."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    env = {"PATH": os.defpath} | {name: value for name, value in zip(_SET_FIRST, values, strict=True) if value}
    argv = [python, "-P", str(_ZYGOTE), str(theirs.fileno())]
    pipe = subprocess.PIPE  # as the streams of its forks are
    with theirs:
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe}
        process = subprocess.Popen(argv, env=env, cwd="/", pass_fds=[theirs.fileno()], **given)
    atexit.register(_end, ours, process)
    return ours


def _end(control: socket.socket, process: subprocess.Popen[bytes]) -> None:
    control.close()
    process.communicate()


def _called(control: socket.socket, call: Mapping[str, Any], timeout: float) -> Ended:
    until = monotonic() + timeout
    answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        socket.send_fds(control, [json.dumps(call).encode()], [nothing, out_end, err_end, theirs.fileno()])
    finally:
        theirs.close()
        for each in (nothing, out_end, err_end):
            os.close(each)
    with answers, open(out, "rb", 0) as out_stream, open(err, "rb", 0) as err_stream:
        pid = int(answers.recv(64))
        try:
            said = _read([out_stream, err_stream], until)
            answers.settimeout(max(0.0, until - monotonic()))
            return Ended(int(answers.recv(64)), *said)
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(call["words"], timeout) from None


def _read(streams: list[Any], until: float) -> list[bytes]:
    """What comes out of each, to its end. Raises `TimeoutError`."""
    said: dict[Any, list[bytes]] = {each: [] for each in streams}
    with selectors.DefaultSelector() as selector:
        for each in streams:
            selector.register(each, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(until - monotonic())
            if not ready and monotonic() >= until:
                raise TimeoutError
            for key, _ in ready:
                part = key.fileobj.read(1 << 16)  # type: ignore[union-attr]
                said[key.fileobj].append(part)
                if not part:
                    selector.unregister(key.fileobj)
    return [b"".join(said[each]) for each in streams]
