"""Asks a file system in a process of its own, which is left behind where no answer comes.

A call to a network file system whose server is gone may wait for ever, and on some of them not even SIGKILL ends it: a
process with such a call under way, in whatever of its threads, cannot end. So it must be another one than that which
has services to look after. It holds nothing that anybody else waits for: no lock, and no end of a pipe.
"""

from __future__ import annotations

import os
import pickle
import select
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from mmap import PAGESIZE, mmap
from threading import Lock
from typing import NamedTuple, NoReturn, TypeVar, cast

from reconciler.host import files, proc, procfs
from reconciler.host.scratch.root import RootError

PATIENCE = 60.0  # seconds without a sign of life; a server that fails over to another may take as long
_TICK = 0.2
_SIGKILL = 9
_GRACE = 1.0  # seconds in which whoever was killed is gone, unless no signal reaches him
_STOP, _ALIVE = 0, 1  # numbers that both share
_LENGTH = 8  # bytes in which the length of a message stands before it

T = TypeVar("T")


class Kind(Enum):
    """Of a message."""

    SAID = 1
    DONE = 2
    FAILED = 3


class SilentError(RootError):
    """A file system does not answer."""


class Place(NamedTuple):
    """What is asked."""

    root: str
    mark: str  # the file that tells the next pass who was left behind
    patience: float = PATIENCE


class Inside:
    """What the work in the process of its own has of the other one."""

    def __init__(self, pipe: int, shared: memoryview, parent: int) -> None:
        self.pipe, self._shared, self._parent, self._lock = pipe, shared, parent, Lock()

    def must_stop(self) -> bool:
        """To be asked time and again: that is the sign of life. Also true when nobody is there any more to stop it."""
        self._shared[_ALIVE] += 1
        return bool(self._shared[_STOP]) or os.getppid() != self._parent

    def say(self, value: object) -> None:
        """Have `heard` called with it."""
        self.send(Kind.SAID, value)

    def send(self, kind: Kind, value: object) -> None:
        message = pickle.dumps((kind, value))
        with self._lock:
            rest = memoryview(len(message).to_bytes(_LENGTH, "big") + message)
            while rest:
                rest = rest[os.write(self.pipe, rest) :]


def apart(
    work: Callable[[Inside], T],
    place: Place,
    heard: Callable[[object], None] = lambda _value: None,
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> T:
    """What the work returns, or raises. Raises `SilentError`, at once where an earlier one still waits."""
    _ask_for_earlier(place)
    shared = memoryview(mmap(-1, PAGESIZE)).cast("Q")
    shared[_STOP] = asked_to_stop()
    parent = os.getpid()
    mine, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError as error:
        os.close(mine)
        os.close(theirs)
        raise RootError(f"{place.root}: no process can be started: {error.strerror}") from error
    if not pid:
        _inside(work, Inside(theirs, shared, parent))
    os.close(theirs)
    try:
        return cast("T", _answer(mine, shared, place, heard, asked_to_stop))
    finally:
        os.close(mine)
        if not _ended(pid):
            _note(pid, place.mark)


def _answer(
    pipe: int,
    shared: memoryview,
    place: Place,
    heard: Callable[[object], None],
    asked_to_stop: Callable[[], bool],
) -> object:
    alive, last = shared[_ALIVE], time.monotonic()
    while True:
        if select.select((pipe,), (), (), _TICK)[0]:
            kind, value = _received(pipe, place)
            if kind is Kind.DONE:
                return value
            if kind is Kind.FAILED and isinstance(value, Exception):
                raise value
            heard(value)
            last = time.monotonic()
        if asked_to_stop():
            shared[_STOP] = 1
        if shared[_ALIVE] != alive:
            alive, last = shared[_ALIVE], time.monotonic()
        elif time.monotonic() - last > place.patience:
            raise _silent(place, f"for {place.patience:g} s")


def _silent(place: Place, since: str) -> SilentError:
    return SilentError(f"{place.root} has not answered {since}", "nothing is removed until its file system answers")


def _received(pipe: int, place: Place) -> tuple[Kind, object]:
    length = int.from_bytes(_bytes(pipe, _LENGTH, place), "big")
    kind, value = pickle.loads(_bytes(pipe, length, place))  # noqa: S301 - what this very program has written
    return kind, value


def _bytes(pipe: int, many: int, place: Place) -> bytes:
    found = bytearray()
    while len(found) < many:
        chunk = os.read(pipe, many - len(found))
        if not chunk:
            raise RootError(f"the process that looks at {place.root} was ended", "the next pass tries it again")
        found += chunk
    return bytes(found)


# ---------------------------------------------------------------- in the process of its own


def _inside(work: Callable[[Inside], object], inside: Inside) -> NoReturn:
    try:
        _hold_nothing(inside.pipe)
        kind: Kind
        value: object
        try:
            kind, value = Kind.DONE, work(inside)
        except (RootError, OSError) as error:
            kind, value = Kind.FAILED, error
        except BaseException:  # noqa: BLE001 - it is raised where `apart` was called
            from traceback import format_exc

            kind, value = Kind.FAILED, RuntimeError(format_exc())
        inside.send(kind, value)
    finally:
        os._exit(0)


def _hold_nothing(pipe: int) -> None:
    """Nothing that was open stays so; signals to the whole group are for the other one, who says what follows.

    The numbers stay taken: some object may still close one, which must not be that of a folder by then.
    """
    import signal

    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in (pipe, null):
            os.dup2(null, int(name), inheritable=int(name) < 3)


# ---------------------------------------------------------------- who was left behind


def _ended(pid: int) -> bool:
    """It has done its work, or nobody waits for it any more."""
    os.kill(pid, _SIGKILL)
    until = time.monotonic() + _GRACE
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > until:
            return False
        time.sleep(0.001)
    return True


def _note(pid: int, mark: str) -> None:
    with suppress(OSError):  # then the next pass waits as long as this one
        started = procfs.read_stat(pid).started(procfs.boot())
        files.write(mark, f"{pid} {started!r} {proc.boot_id()}".encode(), 0o600)


def _ask_for_earlier(place: Place) -> None:
    """Raises `SilentError` where one that was left behind is still there; else the note of it is taken away."""
    try:
        pid, started, boot = files.read(place.mark).split()
    except (OSError, ValueError):
        return
    if boot.decode() == proc.boot_id() and proc.alive(int(pid), float(started)):
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(started)))
        raise _silent(place, f"since {since}: process {int(pid)} still waits for it")
    with suppress(ChildProcessError):
        os.waitpid(int(pid), os.WNOHANG)
    with suppress(OSError):
        files.remove(place.mark)
