"""Several threads that walk and remove, with a common limit, at low priority.

What takes time is the file system, and Python lets go of its lock while it waits for that: on a parallel file system,
where each call is a message to a server, threads help nearly as many times as there are. Work is handed over only
while somebody is idle, so what waits is never more than a few folders, however large the tree is.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Lock, Thread
from time import monotonic
from typing import Generic, TypeVar

WORKERS = 4
_NICE = 10
_IOPRIO = {"x86_64": 251, "aarch64": 30, "ppc64le": 273, "s390x": 282}  # ioprio_set(2), by machine
_LOWEST = 2 << 13 | 7  # best effort, the last level: idle might never get its turn
_TOLD_TROUBLES, _TOLD_TOPS = 20, 100
_TICK = 1.0  # seconds between two lines of progress
BEHIND = "\0"  # after a name: what comes next by name, whatever that is

Job = Callable[[], None]
T = TypeVar("T")


class Tally:
    """What was done by now, by all threads together."""

    def __init__(
        self,
        minutes: float,
        entries: int,
        asked_to_stop: Callable[[], bool],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.entries = 0
        self.tops: list[str] = []
        self.top_count = 0
        self.troubles: list[str] = []
        self.failed = 0
        self.unfinished: str | None = None  # the first path that was not done with, by the order of names
        self.stopped = False
        self._looks = False  # nothing is removed yet: half of the time is given for that
        self._lock, self._clock = Lock(), clock
        self._half, self._end = clock() + minutes * 30, clock() + minutes * 60
        self._most = entries
        self._asked_to_stop = asked_to_stop

    def must_stop(self) -> bool:
        """The limit of this pass is reached, or of what is done now, or it was asked to stop."""
        if not self.stopped and (
            (self._most and self.entries >= self._most) or self._clock() > self._end or self._asked_to_stop()
        ):
            self.stopped = True
        return self.stopped or (self._looks and self._clock() > self._half)

    def begins_to_look(self) -> None:
        """Half of the time is given for that, as something is to be removed afterwards."""
        self._looks, self.unfinished = True, None

    def has_looked(self) -> None:
        self._looks = False

    def stop(self, why: object) -> None:
        """Nothing more may be removed."""
        self.stopped = True
        self.trouble("stopped", why)

    def add(self, entries: int) -> None:
        """So many more were removed."""
        with self._lock:
            self.entries += entries

    def trouble(self, path: str, why: object) -> None:
        """Something could not be looked at or removed."""
        said = why.strerror if isinstance(why, OSError) and why.strerror else str(why)
        with self._lock:
            self.failed += 1
            if len(self.troubles) < _TOLD_TROUBLES:
                self.troubles.append(f"{path or '.'}: {said}")

    def took(self, path: str, entries: int = 0) -> None:
        """An entry that goes by itself has gone; so many were not yet told of by `add`."""
        with self._lock:
            self.entries += entries
            self.top_count += 1
            if len(self.tops) < _TOLD_TOPS:
                self.tops.append(path)

    def left(self, path: str) -> None:
        """What the next pass has to go on with."""
        with self._lock:
            if self.unfinished is None or order_of(path) < order_of(self.unfinished):
                self.unfinished = path

    def goes_on_at(self, begin: str) -> str:
        """Where the next pass does, if this one began at `begin`.

        What has had its time in vain, as it was the first, would have all of it in the next pass too, and in each one
        after that. So they go on behind it, until the rule begins anew.
        """
        if not begin or self.unfinished != begin or begin.endswith(BEHIND) or self._clock() < self._half:
            return max(self.unfinished or "", begin, key=order_of)  # what goes already is found by its name
        self.trouble(begin, "takes longer than a pass may: the next one goes on behind it")
        return begin + BEHIND


def order_of(path: str) -> list[str]:
    """By which a walk in order comes to paths."""
    return path.split("/")


class Crew:
    """Runs jobs, which may give more of them."""

    def __init__(self, workers: int = WORKERS) -> None:
        self._jobs: deque[Job] = deque()
        self._change = Condition()
        self._busy = 0
        self._workers = workers
        self._error: BaseException | None = None

    def wants(self) -> bool:
        """Somebody is idle. Without the lock the answer may be wrong: `give` asks again."""
        return self._busy + len(self._jobs) < self._workers

    def give(self, job: Job) -> bool:
        """Whether somebody idle does it. What is given never waits for those who are busy: they may wait for it."""
        with self._change:
            if not self.wants():
                return False
            self._jobs.append(job)
            self._change.notify()
            return True

    def run(self, first: Job, tick: Callable[[], None]) -> None:
        """Do a job and all that come of it; `tick` is called once a second. What a job raises is raised here."""
        self._jobs.append(first)
        threads = [Thread(target=self._work, daemon=True) for _ in range(self._workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_TICK)
                if thread.is_alive():
                    tick()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        be_gentle()
        while (job := self._next()) is not None:
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - it is raised where `run` was called
                self._error = error
            finally:
                with self._change:
                    self._busy -= 1
                    self._change.notify_all()

    def _next(self) -> Job | None:
        """The next job; None when there are none and nobody is left who could give one."""
        with self._change:
            while not self._jobs:
                if not self._busy:
                    self._change.notify_all()
                    return None
                self._change.wait()
            self._busy += 1
            return self._jobs.popleft()


class Helpers(Generic[T]):
    """Idle colleagues who do parts of the work on one folder, and are waited for."""

    __slots__ = ("_add", "_change", "_crew", "_parts")

    def __init__(self, crew: Crew | None, add: Callable[[T], None]) -> None:
        """`add` gets what came of each part, one at a time. Without a crew nobody helps."""
        self._crew, self._add, self._parts = crew, add, 0
        self._change: Condition | None = None  # there are millions of folders, and few colleagues

    def wanted(self) -> bool:
        """Somebody is idle, as far as is known."""
        return self._crew is not None and self._crew.wants()

    def take(self, folder: int, work: Callable[[int], T]) -> bool:
        """Whether somebody does it, with a descriptor of his own. Raises `OSError`."""
        if self._crew is None:
            return False
        held, change = os.dup(folder), self._change or Condition()

        def job() -> None:
            try:
                done = work(held)
                with change:
                    self._add(done)
            finally:
                os.close(held)
                with change:
                    self._parts -= 1
                    change.notify()

        self._change = change
        with change:
            taken = self._crew.give(job)
            self._parts += taken
        if not taken:
            os.close(held)
        return taken

    def wait(self) -> None:
        """Until all that was taken is done."""
        if self._change is not None:
            with self._change:
                while self._parts:
                    self._change.wait()


def be_gentle() -> None:
    """This thread gives way to all others: on the processor and, where the disk's scheduler knows that, on the disk."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)  # on Linux it counts for the calling thread
    number = _IOPRIO.get(os.uname().machine)
    if number is None:
        return
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).syscall(number, 1, 0, _LOWEST)
