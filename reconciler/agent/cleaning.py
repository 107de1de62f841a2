"""`reconcile cleanup`: the rules of a site, looked at or carried out by a person, whether they are due or not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from reconciler.agent.alone import alone
from reconciler.agent.cleanup.halves import MEND, half_gone
from reconciler.agent.cleanup.limits import check_others, limits_of
from reconciler.agent.cleanup.scratch import Scratches, entry, is_missing, names_of, place_of, refused, said, task
from reconciler.agent.config import InvalidInput
from reconciler.agent.holding.windows import Windows
from reconciler.agent.memory import journal
from reconciler.agent.run import InvalidCommit, Pass
from reconciler.core.desired import Cleanup, Deployment
from reconciler.core.problem import Origin, Problem
from reconciler.core.report import Scratch

if TYPE_CHECKING:
    from reconciler.core.cleanup import Cleaned, Figures
    from reconciler.host.scratch.apart import Inside
    from reconciler.host.scratch.walk import Entry, Task

_SELDOM = 5.0  # seconds between two looks at windows and pauses
_BUNDLE = 500  # entries that are told at once
_FOREVER = 7 * 24 * 60  # minutes: whoever waits for it may end it


class Now(NamedTuple):
    """One rule, and what it would remove or has removed."""

    environment: str
    rule: Cleanup
    scratch: Scratch
    due: float = 0.0  # when it comes by itself; 0: not known
    last: float = 0.0  # when it has come by itself last; likewise
    held: str = ""  # why nothing of it is removed now
    error: str = ""
    missing: bool = False  # there is no such root


class Listed(NamedTuple):
    """One entry that would go."""

    environment: str
    rule: str
    date: float  # seconds since the epoch; 0: it is being removed
    size: int  # bytes
    path: str  # from the root on


class ByHand:
    """The rules of the agent's deployments at the last valid commit."""

    def __init__(self, one: Pass, name: str) -> None:
        """`name`: of a rule; empty: all. Raises `InvalidInput` for one that nobody knows, and as a pass does."""
        self._pass, self._name = one, name
        from reconciler.desired.problems import suggest

        try:
            every = one.deployments().values()
        except InvalidCommit as invalid:
            raise InvalidInput(invalid.problems) from invalid
        if not every:
            site, others = one.agent.site, set(one.store.sites()) - {one.agent.site}
            hint = suggest(site, others) or "`reconcile --once` first, or another --state-dir"
            message = f"no commit is known here for {site}, so nobody can tell its rules"
            raise InvalidInput([Problem(Origin("--site", 0, 0), message, hint)])
        self._deployments = [desired for desired in every if not desired.is_elsewhere]
        self._commit = next((desired.commit for desired in every), "")
        known = sorted({rule.name for desired in self._deployments for rule in desired.cleanups})
        if name and name not in known:
            hint = f"known: {', '.join(known)}; a pass brings what is newer" if known else self.no_rules
            raise InvalidInput([Problem(Origin("RULE", 0, 0), f"there is no rule `{name}`{self._at}", hint)])

    @property
    def _at(self) -> str:
        return f" at {self._commit[:8]}, which the last pass has applied"

    @property
    def no_rules(self) -> str:
        """What is told where there are none."""
        return f"git has no rules for clean-up here{self._at}"

    def left(self) -> Iterator[str]:
        """What rules have left half removed that git no longer has, a sentence for each."""
        for desired in self._deployments:
            yield from (f"{one}; {MEND}" for one in half_gone(desired, self._pass.store))

    def _rules(self) -> Iterator[tuple[Deployment, Cleanup]]:
        for desired in self._deployments:
            for rule in desired.cleanups:
                if self._name in ("", rule.name):
                    yield desired, rule._replace(minutes=_FOREVER, entries=0)

    def times(self) -> Iterator[Now]:
        """Each rule, and when it comes. No tree is walked through."""
        yield from (now for _, now in self._times())

    def _times(self) -> Iterator[tuple[Deployment, Now]]:
        for desired, rule in self._rules():
            memory = Scratches(desired, self._pass.agent, self._pass.store, self._pass.host.name)
            due, last = memory.times(rule)
            yield desired, Now(desired.environment, rule, Scratch(rule.name, rule.root), due, last)

    def look(self, begun: Callable[[Now], None], told: Callable[[Listed], None]) -> Iterator[Now]:
        """What each rule would remove. `begun` gets each rule before anything is seen; `told` each entry that would go
        by itself."""
        from reconciler.host.scratch.apart import apart

        for desired, now in self._times():
            where, rule, name = now.environment, now.rule, now.rule.name
            begun(now)

            def tell(rows: object, where: str = where, name: str = name) -> None:
                for date, size, path in cast("list[tuple[float, int, str]]", rows):
                    told(Listed(where, name, date, size, path))

            try:
                look = partial(_look, self._task(desired, rule), rule.root)
                figures, troubles, missing = apart(look, place_of(rule, self._pass.store, where), tell)
            except refused() as error:
                yield now._replace(error=said(error))
                continue
            yield now._replace(scratch=Scratch(name, rule.root, figures, troubles=troubles), missing=missing)

    def _task(self, desired: Deployment, rule: Cleanup, *, make_key: bool = False) -> Callable[[], Task]:
        """Raises `RootError`."""
        store = self._pass.store
        check_others(desired, rule, lambda one: place_of(one, store, desired.environment))
        limits, key = limits_of(desired, self._pass.agent), store.scratch_key(make=make_key)
        names = names_of(rule, store, desired.environment, self._pass.id)
        return task(rule, time.time(), limits, key, names)

    def carry_out(self, progress: Callable[[str], None], asked_to_stop: Callable[[], bool]) -> Iterator[Now]:
        """Remove what each rule says, to its end, unless a window or a pause holds. Raises `Busy`, `OSError`.

        Passes go on meanwhile, but for what they would clean up.
        """
        self._pass.store.prepare()
        with alone(self._pass.store.cleanup_lock_path()):
            self._pass.windows.ask(self._deployments)
            try:
                for desired, rule in self._rules():
                    if asked_to_stop():
                        return
                    yield self._carried_out(desired, rule, progress, asked_to_stop)
            finally:
                self._pass.windows.close()

    def _carried_out(
        self, desired: Deployment, rule: Cleanup, progress: Callable[[str], None], asked_to_stop: Callable[[], bool]
    ) -> Now:
        from reconciler.host.scratch.apart import apart
        from reconciler.host.scratch.clean import clean

        now = Now(desired.environment, rule, Scratch(rule.name, rule.root))
        held = _Held(self._pass.windows, desired)
        if held.why:
            return now._replace(held=held.why)

        def must_stop() -> bool:
            return asked_to_stop() or held.now()

        def work(inside: Inside) -> tuple[Cleaned, bool]:
            done = clean(made(), inside.say, inside.must_stop)
            return done, not done.entries and not done.failed and is_missing(rule.root)

        try:
            made, place = self._task(desired, rule, make_key=True), place_of(rule, self._pass.store, now.environment)
            done, missing = apart(work, place, lambda line: progress(str(line)), must_stop)
            self._pass.store.scratch_key(make=True)
        except refused() as error:
            return now._replace(error=said(error))
        now = now._replace(scratch=now.scratch._replace(cleaned=done), held=held.why, missing=missing)
        if not done.entries and not done.failed:
            return now  # history has nothing to tell
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        host = self._pass.host
        line = {"run": self._pass.id, "at": at, "commit": desired.commit, "by": f"{host.account} on {host.name}"}
        removed = {"exit": int(bool(done.failed)), **entry((now.scratch,))}
        journal.append(self._pass.store.journal_path(desired.environment), line | removed)
        return now


def _look(made: Callable[[], Task], root: str, inside: Inside) -> tuple[Figures, tuple[str, ...], bool]:
    """What would go, with what could not be looked at, and whether there is no such root. What goes by itself is said
    in bundles: date, bytes and path."""
    from reconciler.host.scratch.clean import survey

    rows: list[tuple[float, int, str]] = []
    last = time.monotonic()

    def tell(one: Entry, size: int) -> None:
        nonlocal last
        rows.append((one.date / 1e9, size, one.named))
        if len(rows) >= _BUNDLE or time.monotonic() - last > 1:
            inside.say(rows)
            rows.clear()
            last = time.monotonic()

    figures, troubles = survey(made(), tell, inside.must_stop)
    inside.say(rows)
    return figures, troubles, not figures.entries and is_missing(root)


class _Held:
    """Whether a window or a pause holds a deployment, asked again now and then: its clean-up may take hours."""

    def __init__(self, windows: Windows, desired: Deployment) -> None:
        self._windows, self._desired = windows, desired
        self.why = self._ask()
        self._next = 0.0  # to ask what is in use may have taken a while

    def now(self) -> bool:
        if not self.why and time.monotonic() >= self._next:
            self.why = self._ask()
            self._next = time.monotonic() + _SELDOM
        return bool(self.why)

    def _ask(self) -> str:
        shut = self._windows.holding(self._desired, time.time()).shut.get("")
        return shut.why if shut is not None else ""
