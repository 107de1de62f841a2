"""Old versions in a pass: a step for each that goes, and for what killed passes left beside them.

Nothing goes while anything of the deployment cannot be seen, is blocked, waits or is paused, and nothing that lies
outside of the deployment's root: who else uses that is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from reconciler.agent.memory.store import Store
from reconciler.core.desired import Deployment, Retention
from reconciler.core.inventory import Inventory
from reconciler.core.observed import Observed
from reconciler.core.outcome import ASKED_TO_STOP, Status
from reconciler.core.plan import Action, Phase, Plan, Step
from reconciler.core.problem import Gap
from reconciler.core.retention import Needed, Stored, left_behind, surplus
from reconciler.install import method
from reconciler.install.stored import Leftover, Shelf, again, link_of, lock_of, marker_of, shelf

if TYPE_CHECKING:
    from reconciler.agent.rollout.rollouts import Rollouts

_VERSION, _LEFT = "clean:version:", "clean:leftover:"


class Unknown(Exception):  # noqa: N818 - it says what is so
    """What is needed cannot be told, so nothing goes. The text says why."""


class Ended(NamedTuple):
    """How a step ended."""

    status: Status
    message: str = ""
    hint: str = ""
    waits: bool = False


class Around(NamedTuple):
    """Who may need a version, besides the deployment as it is wanted now."""

    store: Store
    everything: Mapping[str, Deployment]  # that git wants on this host, by environment
    inventory: Inventory
    rollouts: Rollouts | None  # of the deployment


class Versions:
    """The old versions of one deployment, in one pass."""

    def __init__(self, desired: Deployment, around: Around) -> None:
        self.desired, self._around = desired, around
        self._observed: Observed | None = None
        self._used: list[Stored] = []  # they run, and look older than others
        self._going: dict[str, Stored] = {}  # by step
        self._left: dict[str, Leftover] = {}  # by step

    # ------------------------------------------------------------ the plan

    def into(self, plan: Plan, observed: Observed) -> Plan:
        """The plan with the old versions that go."""
        self._observed = observed
        try:
            shelves = self._shelves()
            self._judge(shelves)
        except (Unknown, OSError) as error:
            return self._unclear(plan, str(error))
        clear = not (plan.waits or plan.blocked or plan.diff.gaps or observed.gaps or any(observed.shut.values()))
        if not clear or self.desired.elsewhere:
            self._going, self._left = {}, {}
            return plan
        steps = [_step(name, _told(one)) for name, one in self._going.items()]
        steps += [_step(name, _told_left(one)) for name, one in self._left.items()]
        return plan._replace(steps=(*plan.steps, *steps))

    def _unclear(self, plan: Plan, why: str) -> Plan:
        self._going, self._left = {}, {}
        gap = Gap("versions", "", f"old versions: {why}; none is removed")
        return plan._replace(diff=plan.diff._replace(gaps=(*plan.diff.gaps, gap)))

    def _shelves(self) -> dict[tuple[str, bool], Shelf]:
        """By folder and what stands there; each is listed once. Raises `OSError`."""
        root = os.path.realpath(self.desired.root)
        found: dict[tuple[str, bool], Shelf] = {}
        for rule in self.desired.retentions:
            key = _key(rule)
            if key not in found and os.path.realpath(key[0]).startswith(f"{root}/"):
                found[key] = shelf(key[0], is_image=key[1])
        return found

    def _judge(self, shelves: Mapping[tuple[str, bool], Shelf]) -> None:
        """Raises `Unknown`, `OSError`."""
        standing = {rule: shelves[_key(rule)].versions for rule in self.desired.retentions if _key(rule) in shelves}
        cheap = self._wanted() | self._running()
        if any(surplus(rule, stored, cheap) for rule, stored in standing.items()):
            needed = cheap | self._needed_else()
            going = [one for rule, stored in standing.items() for one in surplus(rule, stored, needed)]
            held = _held(going)
            self._going = {f"{_VERSION}{_name(one.path)}": one for one in going if one.path not in held}
        self._used = [one for rule, stored in standing.items() for one in left_behind(rule, stored, cheap)]
        left = [one for each in shelves.values() for one in each.leftovers if one.version not in cheap.paths]
        self._left = {f"{_LEFT}{_name(one.path)}": one for one in left}

    # ------------------------------------------------------------ what is needed

    def _wanted(self) -> Needed:
        """What git wants on this host, of any environment; of this one also what it will have when it is not held."""
        rollouts = self._around.rollouts
        wanted = [self.desired, *self._around.everything.values(), *([rollouts.wanted] if rollouts else [])]
        return Needed(_paths(wanted))

    def _running(self) -> Needed:
        """What was applied last, and what processes say that they run."""
        processes = self._observed.processes.values() if self._observed else ()
        marks = [process.mark for process in processes if process.mark is not None]
        ids = frozenset(f"{mark.component}-{mark.version}" for mark in marks if mark.component)
        return Needed(ids=ids, versions=_applied(self._around.inventory))

    def _needed_else(self) -> Needed:
        """What rollbacks go back to, and what other deployments of this account have. Raises `Unknown`, `OSError`."""
        found = Needed()
        if self._around.rollouts is not None:
            found |= self._rollbacks(self._around.rollouts)
        own = self._around.store
        for site in sorted(os.listdir(own.state_dir)):
            store = own if site == own.site else Store(own.state_dir, site)
            for environment in store.environments():
                recalled = store.inventory(environment, "")
                if recalled.damage:
                    raise Unknown(recalled.damage)
                ids = _ids(_rollouts(store, environment, recalled.inventory.roots))
                found |= Needed(ids=ids, versions=_applied(recalled.inventory))
        return found

    def _rollbacks(self, rollouts: Rollouts) -> Needed:
        if rollouts.damage:
            raise Unknown(rollouts.damage)
        specs = [spec for record in rollouts.state.values() for spec in record if spec is not None]
        former = [rollouts.former(commit) for commit in sorted({spec.commit for spec in specs if spec.commit})]
        ids = frozenset(spec.install for spec in specs if spec.install)
        return Needed(_paths(one for one in former if one is not None), ids)

    # ------------------------------------------------------------ carrying it out

    def begin(self) -> None:
        """Note what is still used although git wants another one by now: it is the last to go."""
        for one in self._used:
            with suppress(OSError):  # it is another account's; then it counts from when it was finished
                os.utime(marker_of(one.path, is_image=self._is_image(one)))
        self._used = []

    def carry_out(self, step: Step, progress: Callable[[str], None], asked_to_stop: Callable[[], bool]) -> Ended:
        """Remove what a step says, if that is still what it was and nobody needs it. Raises `OSError`."""
        del progress
        try:
            one, left = self._going.get(step.id), self._left.get(step.id)
            if one is not None:
                return self._remove(one, asked_to_stop)
            return self._clear(left, asked_to_stop) if left is not None else Ended(Status.SKIPPED, "is gone")
        except (Unknown, OSError) as error:
            return Ended(Status.FAILED, str(error), "nothing else was removed; the next pass looks again")

    def _remove(self, one: Stored, asked_to_stop: Callable[[], bool]) -> Ended:
        is_image = self._is_image(one)
        with _alone(lock_of(one.path, is_image=is_image)) as builder:
            if builder:
                return Ended(Status.SKIPPED, f"it is being built by {builder}")
            now = again(one, is_image=is_image)
            if now is None or now._replace(used=one.used, size=one.size) != one:
                return Ended(Status.SKIPPED, "is another one since the plan was made")
            if (self._wanted() | self._needed_else()).has(one):
                return Ended(Status.SKIPPED, "is needed since the plan was made")
            return _take(one, asked_to_stop, is_image=is_image)

    def _clear(self, left: Leftover, asked_to_stop: Callable[[], bool]) -> Ended:
        from reconciler.host.scratch.aside import put_aside
        from reconciler.install.building import end_processes

        if not left.lock:
            return _removed(left.path, asked_to_stop)
        with _alone(left.lock) as builder:
            if builder:
                return Ended(Status.SKIPPED, f"it is being built by {builder}")
            if not any(one.path == left.path for each in self._shelves().values() for one in each.leftovers):
                return Ended(Status.SKIPPED, "is gone, or finished by now")
            end_processes(left.path)
            return _removed(put_aside(left.path), asked_to_stop)

    def _is_image(self, one: Stored) -> bool:
        rule = next(rule for rule in self.desired.retentions if rule.component == one.component)
        return _key(rule)[1]


def _take(one: Stored, asked_to_stop: Callable[[], bool], *, is_image: bool) -> Ended:
    """Put it aside, and look once more: from then on nobody can begin with it."""
    from reconciler.host.scratch.aside import put_aside

    held = _held([one])
    if held:
        return Ended(Status.SKIPPED, f"is used by {held[one.path]}")
    if not is_image:
        link, name = link_of(one.path), os.path.basename(one.path)
        with suppress(OSError):
            if os.path.basename(os.readlink(link)) == name:
                os.unlink(link)
    aside = put_aside(one.path)
    held = _held([one], aside)
    if held:
        os.rename(aside, one.path)
        return Ended(Status.SKIPPED, f"is used by {held[one.path]}")
    if is_image:
        from reconciler.host import files

        files.remove(marker_of(one.path, is_image=True))
    done = _removed(aside, asked_to_stop)
    return done._replace(message=_told(one)) if done.status is Status.DONE else done


def _removed(path: str, asked_to_stop: Callable[[], bool]) -> Ended:
    from reconciler.host.scratch.aside import remove

    done = remove(path, asked_to_stop)
    if done.stopped:
        return Ended(Status.SKIPPED, ASKED_TO_STOP)
    if done.troubles:
        return Ended(Status.FAILED, "\n".join(("not all of it could be removed", *done.troubles)))
    return Ended(Status.DONE)


def _held(going: Iterable[Stored], aside: str = "") -> dict[str, str]:
    """By path, who uses it. Raises `Unknown`, `OSError`."""
    from reconciler.host.holders import Unseen, holders

    places = {one.path: _names(one.path, aside) for one in going}
    try:
        return holders(places) if places else {}
    except Unseen as error:
        raise Unknown(str(error)) from error


def _names(path: str, aside: str) -> tuple[str, ...]:
    """All that a process may know it by. The link for people has no digest: another version's may begin like it."""
    folder = os.path.realpath(os.path.dirname(path))
    here = os.path.join(folder, os.path.basename(path))
    moved = os.path.join(folder, os.path.basename(aside)) if aside else here
    links = tuple(f"{link_of(each)}/" for each in (path, here)) if os.path.basename(folder) == ".store" else ()
    return tuple(dict.fromkeys((path, here, moved, *links)))


@contextmanager
def _alone(path: str) -> Iterator[str]:
    """The lock of builders, not waited for; gives who has it. Raises `OSError`."""
    from reconciler.host.lock import Lock

    lock = Lock(path)
    holder = lock.acquire()
    try:
        yield str(holder) if holder is not None else ""
    finally:
        if holder is None:
            lock.release()


def _paths(deployments: Iterable[Deployment]) -> frozenset[str]:
    return frozenset(
        path
        for one in deployments
        for path in (*(install.path for install in one.installs), *(rule.place for rule in one.retentions))
    )


def _applied(inventory: Inventory) -> frozenset[str]:
    return frozenset(owned.version for owned in inventory.services.values() if owned.version)


def _rollouts(store: Store, environment: str, roots: Sequence[str]) -> Mapping[str, object]:
    """Raises `Unknown`."""
    data, damage = store.rollouts(environment, roots[-1] if roots else store.environment_path(environment))
    if damage:
        raise Unknown(damage)
    return data


def _ids(data: Mapping[str, object]) -> frozenset[str]:
    """Of what rollouts remember. Raises `Unknown`."""
    try:
        return frozenset(
            spec["install"]
            for row in data.values()
            for spec in row.values()  # type: ignore[attr-defined]
            if spec["install"]
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise Unknown("what rollouts remember is damaged") from error


def _key(rule: Retention) -> tuple[str, bool]:
    return os.path.dirname(rule.place), method(rule.method).is_image


def _name(path: str) -> str:
    return os.path.basename(path)


def _told(one: Stored) -> str:
    from reconciler.core.cleanup import bytes_in_words

    return f"{one.component} {one.version}, {bytes_in_words(one.size)}"


def _told_left(left: Leftover) -> str:
    return f"{_name(left.path)}, which a killed pass has left"


def _step(name: str, target: str) -> Step:
    return Step(name, Action.CLEAN, "", target, Phase.RETAIN)
