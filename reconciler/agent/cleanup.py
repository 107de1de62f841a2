"""The rules of `cleanup` in a pass: which are due, a step for each that has something to remove, and what came of it.

A pass in which no rule is due reads one small file and asks each file system that has a `free_below` what is free.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from reconciler.agent.alone import Busy, alone
from reconciler.agent.store import DamagedError, Store
from reconciler.core import cleanup as rules
from reconciler.core.cleanup import Cleaned, Kept, Memory, Why, bytes_in_words, in_words
from reconciler.core.desired import Cleanup, Deployment
from reconciler.core.observed import Shut
from reconciler.core.outcome import ASKED_TO_STOP, Status
from reconciler.core.plan import Action, Phase, Plan, Step
from reconciler.core.problem import Gap
from reconciler.core.report import Scratch
from reconciler.host.lock import Lock

if TYPE_CHECKING:
    from reconciler.agent.config import Agent
    from reconciler.host.scratch.apart import Inside, Place
    from reconciler.host.scratch.names import Names
    from reconciler.host.scratch.root import Limits
    from reconciler.host.scratch.walk import Task

_PREFIX = "clean:scratch:"  # no path begins so, and every other step of this kind has one
_SELDOM = 10.0  # seconds between two lines of progress

Told = Callable[[str], None]
T = TypeVar("T")


class Ended(NamedTuple):
    """How the step of a rule ended."""

    status: Status
    message: str = ""
    hint: str = ""
    waits: bool = False


class Scratches:
    """The rules of one deployment, in one pass."""

    def __init__(
        self,
        desired: Deployment,
        agent: Agent,
        store: Store,
        host: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        patience: float = 0.0,
        run: str = "",
    ) -> None:
        """`patience`: seconds for which a file system may be silent; 0: as long as usual. `run`: which pass this is."""
        self._clock, self._patience, self._run = clock, patience, run
        self.desired, self._agent, self._store, self._host = desired, agent, store, host
        self._now = time.time()
        self._rules = {rule.name: rule for rule in desired.cleanups}
        self._why: dict[str, Why] = {}
        self._cleaned: dict[str, Cleaned] = {}
        self._end = 0.0  # by the monotonic clock: when this pass has cleaned up for long enough; 0: it has not begun
        self._idle: list[str] = []  # rules that were due, and have nothing to remove
        self.damage = ""  # why it is not known when rules come; a pass notes that anew
        try:
            self._before = store.scratch(desired.environment)
        except DamagedError as damaged:
            self._before = {}
            self.damage = f"{damaged}: each rule of `cleanup` waits for the next time of its schedule"
        self._memory = rules.known(self._before, desired.cleanups)

    # ------------------------------------------------------------ the plan

    def into(self, plan: Plan, shut: Mapping[str, Shut | None]) -> Plan:
        """The plan with what is to be cleaned up. While a window or a pause holds, nothing is."""
        if shut.get("") is not None:
            return plan
        steps, gaps, warnings = [], [], []
        for rule in self._rules.values():
            try:
                why = self._due(rule)
                if why is None:
                    continue
                if not self._why and self._is_taken():
                    return plan
                self._why[rule.name] = why
                found = self._anything(rule)
            except refused() as error:
                gaps.append(Gap("cleanup", rule.name, f"cleanup.{rule.name}: {so_nothing_goes(said(error))}"))
                continue
            if found:
                steps.append(_step(rule))
                continue
            self._idle.append(rule.name)
            if why is Why.FREE:
                warnings.append(f"cleanup.{rule.name}: {_short(rule)}, and nothing below {rule.root} is old enough")
        diff = plan.diff
        diff = diff._replace(gaps=(*diff.gaps, *gaps), warnings=(*diff.warnings, *warnings))
        return plan._replace(steps=(*plan.steps, *steps), diff=diff)

    def _is_taken(self) -> bool:
        """Somebody cleans up by hand: what is due waits for that, without a word in each pass."""
        lock = Lock(self._store.cleanup_lock_path())
        try:
            taken = lock.acquire() is not None
        except OSError:
            return False
        lock.release()
        return taken

    def comes(self, rule: Cleanup) -> float:
        """When a rule comes by itself; 0: not known yet."""
        memory = self._memory.get(rule.name)
        return memory.due if memory is not None else 0.0

    def _due(self, rule: Cleanup) -> Why | None:
        """Raises `RootError`."""
        free = None
        if rule.starts_early:
            from reconciler.host.scratch.root import free_of

            free = self._apart(rule, lambda _: free_of(rule.root))
        return rules.due(rule, self._memory.get(rule.name), self._host, self._now, free)

    def _anything(self, rule: Cleanup) -> bool:
        from reconciler.host.scratch.clean import anything

        made = self._task(rule, self._now)
        return self._apart(rule, lambda inside: anything(made(), inside.must_stop))

    def _apart(
        self,
        rule: Cleanup,
        work: Callable[[Inside], T],
        heard: Callable[[object], None] = lambda _value: None,
        asked_to_stop: Callable[[], bool] = lambda: False,
    ) -> T:
        """What asks the file system of a rule, so that no service has to wait for that. Raises `RootError`."""
        from reconciler.host.scratch.apart import apart

        place = place_of(rule, self._store, self.desired.environment)
        place = place._replace(patience=self._patience or place.patience)
        return apart(work, place, heard, asked_to_stop)

    def _task(
        self, rule: Cleanup, now: float, why: Why = Why.SCHEDULE, *, make_key: bool = False
    ) -> Callable[[], Task]:
        """Raises `RootError`."""
        limits, key = limits_of(self.desired, self._agent), self._store.scratch_key(make=make_key)
        names = names_of(rule, self._store, self.desired.environment, self._run)
        return task(rule, now, limits, key, names, begin=self._begin(rule, why), why=why)

    def _begin(self, rule: Cleanup, why: Why) -> str:
        memory = self._memory.get(rule.name)
        if memory is None:
            return ""
        return memory.early_at if why is Why.FREE else memory.at if self._why.get(rule.name) is Why.SCHEDULE else ""

    def figures(self, plan: Plan) -> tuple[Scratch, ...]:
        """What each step would remove, for people."""
        return tuple(self._surveyed(self._rules[name]) for name in map(_rule_of, plan.steps) if name)

    def _surveyed(self, rule: Cleanup) -> Scratch:
        from reconciler.host.scratch.clean import survey

        try:
            made = self._task(rule, self._now)
            figures, troubles = self._apart(rule, lambda one: survey(made(), asked_to_stop=one.must_stop))
        except refused() as error:
            return Scratch(rule.name, rule.root, troubles=(said(error),))
        return Scratch(rule.name, rule.root, figures, troubles=troubles)

    # ------------------------------------------------------------ carrying it out

    def carry_out(self, step: Step, progress: Told, asked_to_stop: Callable[[], bool]) -> Ended:
        """Remove what the rule of a step says. What is in use is asked for once more.

        All rules together have the time of that which may have the most, so long may a commit have to wait.
        """
        from reconciler.host.scratch.clean import clean

        rule = self._rules[_rule_of(step)]
        why = self._why.get(rule.name, Why.SCHEDULE)
        longest = max(self._rules[name].minutes for name in {*self._why, rule.name})
        self._end = self._end or self._clock() + longest * 60

        def must_stop() -> bool:
            return asked_to_stop() or self._clock() > self._end

        try:
            with alone(self._store.cleanup_lock_path()):
                made, tell = self._task(rule, time.time(), why, make_key=True), _seldom(progress)
                done = self._apart(rule, lambda one: clean(made(), one.say, one.must_stop), tell, must_stop)
                self._store.scratch_key(make=True)
        except Busy as busy:
            return Ended(Status.SKIPPED, f"another clean-up is at work: {busy.holder}", waits=True)
        except (refused(), OSError) as error:
            return Ended(Status.FAILED, said(error))
        self._cleaned[rule.name] = done
        return _ended(rule, done, asked=asked_to_stop())

    def results(self) -> tuple[Scratch, ...]:
        """What was removed in this pass."""
        return tuple(Scratch(name, self._rules[name].root, cleaned=done) for name, done in self._cleaned.items())

    def remember(self) -> None:
        """Note when each rule comes next; nothing is written where nothing has changed. Raises `OSError`."""
        found = dict(self._memory)
        for rule in self._rules.values():
            memory, why = self._memory.get(rule.name), self._why.get(rule.name)
            done = self._cleaned.get(rule.name)
            if memory is None or memory.key != rules.key_of(rule, self._host):
                memory = found[rule.name] = self._begun(rule)
            if rule.name in self._idle:
                done = Cleaned(short=why is Why.FREE)
            if why is not None and done is not None:
                found[rule.name] = rules.after(why, done, memory, self._begun(rule))
        if found != self._before:
            self._store.save_scratch(self.desired.environment, found)

    def _begun(self, rule: Cleanup) -> Memory:
        from reconciler.host.calendar import offset_of

        return rules.begin(rule, self._host, time.time(), offset_of(rule.zone))


def limits_of(desired: Deployment, agent: Agent) -> Limits:
    """What is installed and remembered here, and what the agent goes by, which no rule may reach."""
    from reconciler.host.scratch.root import Limits

    made = {os.path.dirname(path) for path in (*(file.path for file in desired.files), *_places(desired))}
    inner = sorted(path for path in made if not rules.holds(path, desired.root))
    own = (agent.state_dir, os.path.join(desired.root, ".reconcile"), *inner, *agent.reads)
    return Limits((desired.root, *own), own)


def _places(desired: Deployment) -> Iterator[str]:
    """What is built, and the sockets and pid files of daemons."""
    yield from (install.path for install in desired.installs if install.path)
    yield from (value for manager in desired.managers for _, value in manager.address if value.startswith("/"))


def task(
    rule: Cleanup, now: float, limits: Limits, key: str, names: Names, *, begin: str = "", why: Why = Why.SCHEDULE
) -> Callable[[], Task]:
    """What makes a rule with what must stay as it is now. `key`: the store's. Both raise `RootError`.

    A command that tells that has a time limit of its own. A file is read only by what is returned: it may lie where
    nobody answers.
    """
    from reconciler.host.detached import environment
    from reconciler.host.scratch.used import located, told
    from reconciler.host.scratch.walk import Task

    lines = told(rule, environment()) if rule.in_use_command else None

    def kept(lines: tuple[str, ...]) -> Kept:
        return Kept(rule, located(lines, rule.root))

    def again() -> Kept:
        return kept(told(rule, environment()))

    def made() -> Task:
        first = kept(told(rule, {}) if lines is None else lines)
        in_use = again if rule.in_use_command or rule.in_use_file else None
        return Task(rule, first, now, begin, why, key, limits, names, in_use)

    return made


def place_of(rule: Cleanup, store: Store, environment: str) -> Place:
    from reconciler.host.scratch.apart import Place

    return Place(rule.root, store.scratch_mark(environment, rule.name))


def names_of(rule: Cleanup, store: Store, environment: str, run: str) -> Names:
    """Where it is written down what goes."""
    from reconciler.host.scratch.names import Names

    return Names(store.names_path(environment), run, rule.name, rule.root)


def _seldom(progress: Told) -> Callable[[object], None]:
    """For a log: a line now and then, not one a second."""
    last = time.monotonic()

    def tell(line: object) -> None:
        nonlocal last
        if time.monotonic() - last >= _SELDOM:
            last = time.monotonic()
            progress(str(line))

    return tell


def entry(scratches: tuple[Scratch, ...]) -> dict[str, object]:
    """What the journal says of what was removed."""
    found: dict[str, object] = {}
    for one in scratches:
        if one.cleaned is not None:
            done = one.cleaned
            found[one.name] = {
                "root": one.root,
                "entries": done.entries,
                "bytes": done.size,
                "removed": list(done.tops),
                "more": max(done.top_count - len(done.tops), 0),
                "failed": list(done.troubles),
            }
    return {"cleanup": found} if found else {}


def said(error: Exception) -> str:
    """With how to mend it."""
    hint = getattr(error, "hint", "")
    return f"{error}" + (f" ({hint})" if hint else "")


def so_nothing_goes(why: str) -> str:
    """With what follows of it, unless its hint says that already."""
    return why if "nothing is removed" in why else f"{why}; nothing is removed"


def refused() -> type[Exception]:
    """What says that nothing of a rule may be removed."""
    from reconciler.host.scratch.root import RootError

    return RootError


def _step(rule: Cleanup) -> Step:
    return Step(f"{_PREFIX}{rule.name}", Action.CLEAN, "", f"cleanup.{rule.name} below {rule.root}", Phase.SCRATCH)


def _rule_of(step: Step) -> str:
    return step.id.removeprefix(_PREFIX) if step.phase is Phase.SCRATCH else ""


def _short(rule: Cleanup) -> str:
    least = bytes_in_words(rule.free_bytes) if rule.free_bytes else f"{rule.free_percent} %"
    return f"less than {least} is free of bytes or inodes"


def _ended(rule: Cleanup, done: Cleaned, *, asked: bool) -> Ended:
    if done.failed:
        more = [f"and {done.failed - len(done.troubles)} more"] if done.failed > len(done.troubles) else []
        first = f"{done.failed} could not be removed or looked at below {rule.root}"
        hint = "the next pass goes on with the rest" if done.stopped else "all else that is old is gone"
        return Ended(Status.FAILED, "\n".join((first, *done.troubles, *more)), hint)
    if done.stopped:
        message = ASKED_TO_STOP if asked else f"{in_words(done.entries, done.size)} so far: the next pass goes on"
        return Ended(Status.SKIPPED, message, waits=not asked)
    if done.short:
        message = f"removed {in_words(done.entries, done.size)}; still {_short(rule)}, and nothing more is old enough"
        return Ended(Status.FAILED, message, f"look at what fills {rule.root}")
    return Ended(Status.DONE, in_words(done.entries, done.size))
