"""The rules of `cleanup` in a pass: which are due, a step for each that has something to remove, and what came of it.

A pass in which no rule is due reads one small file and asks each file system that has a `free_below` what is free.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from reconciler.agent.cleanup.limits import check_others, limits_of
from reconciler.agent.memory.store import DamagedError, Store
from reconciler.core import cleanup as rules
from reconciler.core.cleanup import Cleaned, Free, Kept, Memory, Why, bytes_in_words, in_words
from reconciler.core.desired import Cleanup, Deployment
from reconciler.core.observed import Finding, Shut
from reconciler.core.outcome import ASKED_TO_STOP, Status
from reconciler.core.plan import Action, Phase, Plan, Step
from reconciler.core.problem import Gap
from reconciler.core.report import Scratch

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
        is_awaited: Callable[[], bool] = lambda: False,
    ) -> None:
        """`patience`: seconds for which a file system may be silent; 0: as long as usual. `run`: which pass this is.
        `is_awaited`: somebody waits for the end of it."""
        self._clock, self._patience, self._run, self._is_awaited = clock, patience, run, is_awaited
        self.desired, self._agent, self._store, self._host = desired, agent, store, host
        self._now = time.time()
        self._rules = {rule.name: rule for rule in desired.cleanups}
        self._why: dict[str, Why] = {}
        self._cleaned: dict[str, Cleaned] = {}
        self._end = 0.0  # by the monotonic clock: when this pass has cleaned up for long enough; 0: it has not begun
        self._gaps: list[Gap] = []
        self._findings: list[Finding] = []
        self._idle: list[str] = []  # rules that were due, and have nothing to remove
        self.notices: list[str] = []  # what is told once for each time of a schedule, be there anything else or not
        try:
            self._before = store.scratch(desired.environment)
        except DamagedError as damaged:
            self._before = {}
            self.notices.append(f"{damaged}: each rule of `cleanup` waits for the next time of its schedule")
        self._memory = rules.known(self._before, desired.cleanups)

    # ------------------------------------------------------------ the plan

    def begin(self, shut: Mapping[str, Shut | None]) -> bool:
        """Whether there is anything to do or to note. While a window or a pause holds, nothing is removed."""
        for rule in self._rules.values() if shut.get("") is None else ():
            try:
                free = self._free(rule)
            except refused() as error:
                self._gaps.append(_gap(rule, error))
                continue
            memory = self._memory.get(rule.name)
            if rules.fitting(rule, memory, self._host, self._now) is None:
                self.notices.append(f"{self.desired.environment}: cleanup.{rule.name} {_begins(self._begun(rule))}")
            why = rules.due(rule, memory, self._host, self._now, free)
            if why is not None:
                self._why[rule.name] = why
            elif free is not None and free.is_short(rule) and memory is not None and memory.early:
                self._findings.append(_shortage(rule, memory.early))
        return bool(self._why) or self._to_note() != self._before

    def told(self, plan: Plan) -> Plan:
        """The plan with what is wrong and needs no further look."""
        diff = plan.diff
        findings = (*diff.findings, *self._findings)
        return plan._replace(diff=diff._replace(gaps=(*diff.gaps, *self._gaps), findings=findings))

    def into(self, plan: Plan) -> Plan:
        """The plan with what is to be cleaned up, by the rules that are due."""
        steps = []
        self._gaps, self._findings = [], []
        for name, why in self._why.items():
            rule = self._rules[name]
            try:
                found, missing = self._anything(rule)
            except refused() as error:
                self._gaps.append(_gap(rule, error))
                continue
            if found:
                steps.append(_step(rule))
                continue
            self._idle.append(name)
            if why is Why.FREE:
                self._findings.append(_shortage(rule))
            elif missing:
                self.notices.append(f"{self.desired.environment}: cleanup.{name}: {not_there(rule)}")
        return self.told(plan._replace(steps=(*plan.steps, *steps)))

    def times(self, rule: Cleanup) -> tuple[float, float]:
        """When a rule comes by itself, and when it has come so last; 0: that is not known."""
        memory = rules.fitting(rule, self._memory.get(rule.name), self._host, self._now)
        return (memory.due if memory is not None else 0.0), rules.came(memory)

    def _free(self, rule: Cleanup) -> Free | None:
        """None where that is not asked, or cannot be told. Raises `RootError`."""
        if not rule.starts_early:
            return None
        from reconciler.host.scratch.root import free_of

        return self._apart(rule, lambda _: free_of(rule.root))

    def _anything(self, rule: Cleanup) -> tuple[bool, bool]:
        """Whether there is something to remove, and whether there is no such root. Raises `RootError`."""
        from reconciler.host.scratch.clean import anything

        made = self._task(rule, self._now)
        return self._apart(rule, lambda inside: (anything(made(), inside.must_stop), is_missing(rule.root)))

    def _apart(
        self,
        rule: Cleanup,
        work: Callable[[Inside], T],
        heard: Callable[[object], None] = lambda _value: None,
        asked_to_stop: Callable[[], bool] = lambda: False,
    ) -> T:
        """What asks the file system of a rule, so that no service has to wait for that. Raises `RootError`."""
        from reconciler.host.scratch.apart import apart

        return apart(work, self._place(rule), heard, asked_to_stop)

    def _place(self, rule: Cleanup) -> Place:
        place = place_of(rule, self._store, self.desired.environment)
        return place._replace(patience=self._patience or place.patience)

    def _task(
        self, rule: Cleanup, now: float, why: Why = Why.SCHEDULE, *, make_key: bool = False
    ) -> Callable[[], Task]:
        """Raises `RootError`."""
        check_others(self.desired, rule, self._place)
        limits, key = limits_of(self.desired, self._agent), self._store.scratch_key(make=make_key)
        names = names_of(rule, self._store, self.desired.environment, self._run)
        begin = self._begin(rule, why)
        return task(rule, now, limits, key, names, begin=begin, why=why)

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

        All rules together have the time of that which may have the most: so long a pass goes on.
        """
        from reconciler.host.scratch.clean import clean

        rule = self._rules[_rule_of(step)]
        why = self._why.get(rule.name, Why.SCHEDULE)
        longest = max(self._rules[name].minutes for name in {*self._why, rule.name})
        self._end = self._end or self._clock() + longest * 60

        def must_stop() -> bool:
            return asked_to_stop() or self._clock() > self._end or self._is_awaited()

        try:
            made, tell = self._task(rule, time.time(), why, make_key=True), _seldom(progress)
            done = self._apart(rule, lambda one: clean(made(), one.say, one.must_stop), tell, must_stop)
            self._store.scratch_key(make=True)
        except (refused(), OSError) as error:
            return Ended(Status.FAILED, said(error))
        self._cleaned[rule.name] = done
        return _ended(rule, done, asked=asked_to_stop())

    def results(self) -> tuple[Scratch, ...]:
        """What was removed in this pass."""
        return tuple(Scratch(name, self._rules[name].root, cleaned=done) for name, done in self._cleaned.items())

    def remember(self) -> None:
        """Note when each rule comes next; nothing is written where nothing has changed. Raises `OSError`."""
        found = self._to_note()
        if found != self._before:
            self._store.save_scratch(self.desired.environment, found)

    def _to_note(self) -> dict[str, Memory]:
        found = dict(self._memory)
        for rule in self._rules.values():
            memory = rules.fitting(rule, self._memory.get(rule.name), self._host, self._now)
            why, done = self._why.get(rule.name), self._cleaned.get(rule.name)
            if memory is None:
                memory = found[rule.name] = self._begun(rule)
            if rule.name in self._idle:
                done = Cleaned(short=why is Why.FREE)
            if why is not None and done is not None:
                found[rule.name] = rules.after(why, done, memory, self._begun(rule))
        return found

    def _begun(self, rule: Cleanup) -> Memory:
        from reconciler.host.calendar import offset_of

        return rules.begin(rule, self._host, time.time(), offset_of(rule.zone))


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


def is_missing(root: str) -> bool:
    try:
        os.stat(root)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # it cannot be seen, which is told elsewhere
    return False


def not_there(rule: Cleanup) -> str:
    return f"{rule.root} is not there: nothing is removed until it is"


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


def _gap(rule: Cleanup, error: Exception) -> Gap:
    return Gap("cleanup", rule.name, f"cleanup.{rule.name}: {so_nothing_goes(said(error))}")


def _begins(memory: Memory) -> str:
    """Once, so that somebody can look before it comes."""
    when = time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(memory.due)) if memory.due else "never"
    return f"is new, or means something else now: it comes first at {when}, and `--dry-run` lists what would go"


def _shortage(rule: Cleanup, looked: float = 0.0) -> Finding:
    """`looked`: when; each look walks through the whole tree, so it is not done anew in each pass."""
    is_ = "is" if not looked else f"was at {time.strftime('%H:%M', time.localtime(looked))}"
    again = "; it is looked for again each hour" if looked else ""
    message = f"{_short(rule)}, and nothing more below {rule.root} {is_} old enough{again}"
    return Finding(f"cleanup.{rule.name}", message, 0.0)


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
        return Ended(Status.FAILED, "\n".join((first, *done.troubles, *more)), _rest(done))
    if done.stopped:
        so_far = f"{in_words(done.entries, done.size)} so far: the next pass goes on"
        if not asked:
            return Ended(Status.SKIPPED, so_far, waits=True)
        if not done.entries:
            return Ended(Status.SKIPPED, ASKED_TO_STOP)
        return Ended(Status.SKIPPED, f"the pass was asked to stop: {so_far}", waits=True)
    if done.short:
        message = f"removed {in_words(done.entries, done.size)}; still {_short(rule)}, and nothing more is old enough"
        return Ended(Status.FAILED, message, f"look at what fills {rule.root}")
    return Ended(Status.DONE, in_words(done.entries, done.size))


def _rest(done: Cleaned) -> str:
    """What became of what could be removed."""
    if done.stopped:
        return "the next pass goes on with what is left"
    return "all else that is old is gone" if done.entries else "nothing has gone: `reconcile doctor` tells what is shut"
