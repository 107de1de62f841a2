"""Running programs: measured ones, and the end of all that they leave behind."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from marshal import dump, load
from typing import IO, NamedTuple, Self, cast

_PR_SET_CHILD_SUBREAPER = 36


class Used(NamedTuple):
    """What one program and all the children that it waited for took."""

    wall: float  # seconds, as are the next two
    user: float
    system: float
    peak: int  # KiB, of the largest of them
    code: int
    late: bool


class Runner:
    """Runs one program at a time and measures it. See `runner.py` for why that is a process of its own."""

    def __init__(self, python: str) -> None:
        argv = [python, "-I", "-S", os.path.join(os.path.dirname(os.path.abspath(__file__)), "runner.py")]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    def run(self, argv: list[str], env: dict[str, str], log: str, limit: float) -> Used:
        requests, answers = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        dump((argv, env, log), requests)
        requests.flush()
        pid = load(answers)
        late = not select.select([answers], [], [], limit)[0]
        if late:
            os.killpg(pid, signal.SIGKILL)
        wall, user, system, peak, code = load(answers)
        return Used(wall, user, system, peak, code, late)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(10)


def adopt_orphans() -> None:
    """Daemons become our children, not init's: so all that was started can be found and ended, by pid."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot adopt what is started here")


def children(pid: int) -> list[int]:
    found = []
    for task in _names(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += [int(word) for word in file.read().split()]
        except OSError:
            continue
    return found


def descendants(pid: int) -> list[int]:
    """All below a process, the eldest first."""
    found = children(pid)
    for child in found:
        found += children(child)
    return found


def end(pid: int) -> None:
    """A process and all below it, at once: an orderly end of supervisord takes a second for each program."""
    for one in (pid, *descendants(pid)):
        _kill(one)
    until = time.monotonic() + 20
    while _alive(pid) and time.monotonic() < until:
        reap()
        time.sleep(0.002)


def end_all(*, spare: Collection[int] = ()) -> None:
    """Everything below this process, but for what is to be spared."""
    until = time.monotonic() + 30
    while left := [pid for pid in descendants(os.getpid()) if pid not in spare]:
        for pid in left:
            _kill(pid)
        reap(spare)
        if time.monotonic() > until:
            print(f"bench: still there: {left}", file=sys.stderr)
            return
        time.sleep(0.005)


def reap(spare: Collection[int] = ()) -> None:
    """Take note of adopted processes that have ended. Those started with `subprocess` are awaited where they are."""
    for pid in children(os.getpid()):
        if pid not in spare and _state(pid) == "Z":
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def seconds(pid: int) -> float:
    """Processor time that a process has taken."""
    try:
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9
    except OSError:
        user, system = _stat(pid)[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _stat(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return ["X"] + ["0"] * 20


def _state(pid: int) -> str:
    return _stat(pid)[0]


def _alive(pid: int) -> bool:
    return _state(pid) not in "ZX"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
