"""One rule: what it would remove, whether that is anything, and removing it."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic

from reconciler.core.cleanup import Cleaned, Figures, Why
from reconciler.host.dead import is_local
from reconciler.host.scratch.clock import check as check_clock
from reconciler.host.scratch.crew import BEHIND, WORKERS, Crew, Tally
from reconciler.host.scratch.remove import Remover
from reconciler.host.scratch.root import FOLDER, Ground, RootError, free_of, open_root
from reconciler.host.scratch.survey import Surveyor
from reconciler.host.scratch.walk import Entry, Task, Walk

_OLDEST = 20_000  # entries that are held at once where the oldest go first
AGAIN = 60.0  # seconds after which it is asked again what is in use
_LOOK = 16  # files between two looks at what is free; a folder may hold much

Told = Callable[[str], None]


def anything(task: Task, asked_to_stop: Callable[[], bool] = lambda: False) -> bool:
    """Whether a rule has something to remove; the walk ends at the first. Raises `RootError`."""
    found: list[str] = []
    tally = Tally(task.rule.minutes, 0, lambda: asked_to_stop() or bool(found))
    with _Held(task) as ground:
        if ground is not None:
            Walk(task, ground, tally).run(lambda _folder, entry: found.append(entry.path), task.begin)
    return bool(found) or tally.stopped or bool(tally.failed)


def survey(
    task: Task,
    told: Callable[[Entry, int], None] = lambda _entry, _size: None,
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> tuple[Figures, tuple[str, ...]]:
    """What a rule would remove, and what could not be looked at. Raises `RootError`.

    `told` gets one entry at a time, in no order, and not in the thread that calls this.
    """
    tally = Tally(task.rule.minutes, 0, asked_to_stop)
    with _Held(task) as ground:
        if ground is None:
            return Figures(), ()
        crew = Crew()
        walk = Walk(task, ground, tally, crew)
        surveyor = Surveyor(walk, told)
        crew.run(lambda: walk.run(surveyor), lambda: None)
        return surveyor.figures(), tuple(tally.troubles)


def clean(
    task: Task,
    progress: Told = lambda _line: None,
    asked_to_stop: Callable[[], bool] = lambda: False,
    workers: int = 0,
    clock: Callable[[], float] = monotonic,
) -> Cleaned:
    """Remove what a rule says, as far as its limit for one pass goes. Raises `RootError`. `clock`: in seconds.
    `workers`: threads; 0: one on a disk of this host, where several only get into one another's way, else `WORKERS`."""
    rule, scheduled = task.rule, task.why is Why.SCHEDULE
    workers = workers or (1 if is_local(rule.root) else WORKERS)
    tally = Tally(rule.minutes, rule.entries, asked_to_stop, clock)
    with _Held(task) as ground:
        if ground is None:
            return Cleaned()
        check_clock(rule.root, ground)
        before = free_of(ground.descriptor)
        crew = Crew(workers if scheduled else 1)
        walk = Walk(task, ground, tally, crew if scheduled else None)
        remover = Remover(walk)
        in_order = partial(walk.run, remover, task.begin, in_order=True)
        early = partial(_oldest_first, walk, remover, task.begin)
        ask = _Asking(task, walk)

        def tick() -> None:
            progress(f"{rule.name}: {tally.entries:,} entries removed below {rule.root}")
            ask.now_and_then()

        crew.run(in_order if scheduled else early, tick)
        if failed := task.names.close():
            tally.trouble("what was removed could not be written down", failed)
        at = tally.goes_on_at(task.begin) if scheduled else tally.unfinished or ""
        free = free_of(ground.descriptor)
        return Cleaned(
            tally.entries,
            max(free.available - before.available, 0) if free and before else 0,
            tuple(tally.tops),
            tally.top_count,
            tuple(tally.troubles),
            tally.failed,
            at=at if tally.stopped else "",
            stopped=tally.stopped,
            short=not scheduled and (free is None or free.is_short(rule)),
        )


class _Asking:
    """Asks again what is in use, as it may be another thing by now: a clean-up may take hours."""

    def __init__(self, task: Task, walk: Walk) -> None:
        self._task, self._walk = task, walk
        self._next = monotonic() + AGAIN

    def now_and_then(self) -> None:
        """Where nobody can tell any more nothing more is removed."""
        if self._task.again is None or monotonic() < self._next or self._walk.tally.stopped:
            return
        try:
            self._walk.keep(self._task.again())
        except RootError as error:
            self._walk.tally.stop(f"{error}; {error.hint}" if error.hint else error)
        self._next = monotonic() + AGAIN


class _Held:
    """A root, held open."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._ground: Ground | None = None

    def __enter__(self) -> Ground | None:
        self._ground = open_root(self._task.rule, self._task.limits)
        return self._ground

    def __exit__(self, *_: object) -> None:
        if self._ground is not None:
            os.close(self._ground.descriptor)


# ---------------------------------------------------------------- the oldest first


def _oldest_first(walk: Walk, remover: Remover, begin: str) -> None:
    """Until enough is free. The oldest are held, a bounded number of them; where that was not enough, they are looked
    for again. Where half of the time was not enough to look everywhere, the oldest go of what was seen, and the next
    pass looks at the rest."""
    tally = walk.tally
    while not tally.must_stop():
        oldest: list[tuple[int, str, Entry]] = []
        cut = _look(walk, oldest, begin)
        went = tally.entries
        for count, (_, _, entry) in enumerate(sorted(oldest, reverse=True)):
            looks = entry.is_folder or count % _LOOK == 0
            if tally.must_stop() or (looks and not _is_short(walk)):
                break
            _again(walk, remover, entry)
        if tally.stopped or not _is_short(walk):
            break
        if cut is not None or begin:
            tally.stopped, tally.unfinished = True, cut or ""
            return
        if len(oldest) < _OLDEST or tally.entries == went:
            return
    tally.unfinished = begin


def _look(walk: Walk, oldest: list[tuple[int, str, Entry]], begin: str) -> str | None:
    """Find the oldest, from a path on; where the next pass goes on, None when all was seen."""
    walk.tally.begins_to_look()
    walk.run(_Holder(oldest), begin, in_order=True)
    walk.tally.has_looked()
    cut = walk.tally.unfinished
    return begin + BEHIND if begin and cut == begin and not begin.endswith(BEHIND) else cut


class _Holder:
    """Takes entries by holding the oldest of them."""

    def __init__(self, found: list[tuple[int, str, Entry]]) -> None:
        self._found = found

    def __call__(self, _folder: int, entry: Entry) -> None:
        heapq.heappush(self._found, (-entry.date, entry.path, entry))
        if len(self._found) > _OLDEST:
            heapq.heappop(self._found)


def _is_short(walk: Walk) -> bool:
    free = free_of(walk.ground.descriptor)
    return free is not None and free.is_short(walk.rule)


def _again(walk: Walk, remover: Remover, entry: Entry) -> None:
    """Take an entry that was found before, minutes maybe: the way to it is gone once more, without any link."""
    held = [os.dup(walk.ground.descriptor)]
    try:
        with suppress(OSError):
            for name in entry.path.split("/")[:-1]:
                held.append(os.open(name, FOLDER, dir_fd=held[-1]))
                if not walk.ground.is_own(os.fstat(held[-1])):
                    return
            if walk.still_goes(held[-1], entry):
                remover(held[-1], entry)
    finally:
        for descriptor in held:
            os.close(descriptor)
