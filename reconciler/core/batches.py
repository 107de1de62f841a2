"""Replicas of one service are changed in batches, so that the others serve meanwhile. Pure.

Each batch begins, stops of the old among it, once the one before it is healthy: a step of the plan looks at that, and
where it fails the rest stays as it is. What comes `after` the replicas and restarts too does so when all of them are
through. Nothing else of a plan changes, and without replicas nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from reconciler.core.change import Act, Change, Diff, Kind
from reconciler.core.desired import Deployment, ReplicaSet, Role
from reconciler.core.observed import State
from reconciler.core.plan import Action, Phase, Step


class _Batches(NamedTuple):
    """How one set is changed."""

    kept: tuple[str, ...]  # run what git wants already, and are to be healthy before any other is changed
    batches: tuple[tuple[str, ...], ...]
    begun: tuple[str, ...]  # serve nobody yet, and begin once the first batch is healthy

    def gates(self, number: int) -> tuple[str, ...]:
        """What a batch waits for."""
        return tuple(map(check_of, self.batches[number - 1] if number else self.kept))


class Together(NamedTuple):
    """Replicas that all change at once, `canary` or not, when what they share with what they come after changes."""

    name: str  # of the set
    after: tuple[str, ...]  # services that restart with it, and come before it
    shared: str  # "component app", "file app.conf"


def told_together(desired: Deployment) -> tuple[Together, ...]:
    """Sets whose `canary` counts for nothing, as far as git alone tells."""
    sets = [one for one in desired.sets if one.canary or one.max_unavailable < len(one.services)]
    serving = {name for one in sets for name in one.services}
    found: dict[str, Together] = {}
    while True:
        left = [one for one in sets if one.name not in found]
        more = {one.name: made for one in left if (made := _together(one, desired, serving)) is not None}
        if not more:
            return tuple(found[one.name] for one in sets if one.canary and one.name in found)
        found |= more
        serving -= {name for one in left if one.name in more for name in one.services}


def _together(one: ReplicaSet, desired: Deployment, serving: set[str]) -> Together | None:
    """`serving`: services of which some are always up."""
    own = [service for service in desired.services if service.name in one.services]
    before = {name for service in own for name in service.after} - serving
    if len(own) < 2 or not before:
        return None
    components = {service.component for service in own}
    same = [other for other in desired.services if other.name in before and other.component in components]
    if same:
        names = tuple(sorted(other.name for other in same if other.component == same[0].component))
        return Together(one.name, names, f"component {same[0].component}")
    for file in desired.files:
        if file.role is Role.CONFIG and set(file.services) & set(one.services) and set(file.services) & before:
            return Together(one.name, tuple(sorted(set(file.services) & before)), f"file {file.name}")
    return None


def idle_canaries(desired: Deployment, diff: Diff) -> tuple[str, ...]:
    """Words on each set whose `canary` counts for nothing in this plan."""
    changes = {change.service: change for change in diff.changes}
    found = _by_set(desired, changes)
    serving = {name for batches in found.values() for names in batches.batches for name in names}
    said = []
    for one in desired.sets:
        own = [changes[name] for name in one.services if name in changes]
        restarts = [change for change in own if change.act.starts and change.act.stops]
        down = sorted(_down_before(one, desired, changes, serving))
        if one.canary and one.name not in found and len(restarts) > 1 and down:
            verb = "restarts" if len(down) == 1 else "restart"
            after = f"{', '.join(down)}, which they come after, {verb} too"
            said.append(f"the canary of {one.name} counts for nothing here: {after}, so all of them change at once")
    return tuple(said)


def check_of(service: str) -> str:
    """The id of the step that looks whether a service is healthy; a name has no colon."""
    return f"check:{service}:healthy"


def in_batches(desired: Deployment, diff: Diff, steps: Sequence[Step]) -> list[Step]:
    """The steps of a plan, with those that look at replicas, and with what each of them waits for."""
    changes = {change.service: change for change in diff.changes}
    found = _by_set(desired, changes)
    made = list(steps)
    for batches in found.values():
        made = [*_gated(made, batches), *_checks(made, batches, changes)]
    return _followed(desired, made, found)


def _by_set(desired: Deployment, changes: Mapping[str, Change]) -> dict[str, _Batches]:
    """Of each set that is changed in batches; what comes after one that is can be so too."""
    found: dict[str, _Batches] = {}
    while True:
        left = [one for one in desired.sets if one.name not in found]
        serving = {name for batches in found.values() for names in batches.batches for name in names}
        made = {one.name: _batches(one, desired, changes, serving) for one in left}
        more = {name: batches for name, batches in made.items() if batches is not None}
        if not more:
            return found
        found |= more


def _batches(
    one: ReplicaSet, desired: Deployment, changes: Mapping[str, Change], serving: set[str]
) -> _Batches | None:
    """None where there is nothing to do one after the other. `serving`: of which some are always up."""
    own = [changes[name] for name in one.services if name in changes]
    pending = [change for change in own if change.act.starts and (change.act.stops or change.replaces)]
    if not pending or _down_before(one, desired, changes, serving):
        return None
    pending.sort(key=lambda change: change.state.alive)  # what is down already serves nobody
    names, most = [change.service for change in pending], one.max_unavailable
    first = 1 if one.canary else most
    batches = [names[:first], *(names[at : at + most] for at in range(first, len(names), most))]
    other = any(change.kind is Kind.UPDATE for change in pending) and not one.proved
    kept = [change.service for change in own if other and change.act is Act.NONE and change.state is State.RUNNING]
    begun = [change.service for change in own if one.canary and change.act.starts and change not in pending]
    if len(batches) == 1 and not kept and not begun:
        return None
    return _Batches(tuple(kept), tuple(map(tuple, batches)), tuple(begun))


def _down_before(
    one: ReplicaSet, desired: Deployment, changes: Mapping[str, Change], serving: set[str]
) -> set[str]:
    """What they come after that is stopped, and they before it, all of them."""
    before = {name for service in desired.services if service.name in one.services for name in service.after}
    return {name for name in before - serving if name in changes and changes[name].act.stops}


def _gated(steps: Sequence[Step], batches: _Batches) -> Iterator[Step]:
    number = {name: at for at, names in enumerate(batches.batches) for name in names}
    for step in steps:
        if step.phase not in (Phase.STOP, Phase.START):
            yield step
        elif step.service in number:
            at = number[step.service]
            yield step._replace(gates=(*step.gates, *batches.gates(at)), batch=2 * at + 1)
        elif step.service in batches.begun:
            yield step._replace(gates=(*step.gates, *map(check_of, batches.batches[0])), batch=3)
        else:
            yield step


def _checks(steps: Sequence[Step], batches: _Batches, changes: Mapping[str, Change]) -> Iterator[Step]:
    """A look at each batch but the last, which nothing waits for."""
    begins = {step.service: step for step in steps if step.phase is Phase.START and step.act.starts}
    for name in batches.kept:
        yield _check(changes[name], (), 0, 0)
    looked_at = batches.batches[:-1] if not batches.begun else batches.batches[: max(len(batches.batches) - 1, 1)]
    for at, names in enumerate(looked_at):
        for name in names:
            yield _check(changes[name], (begins[name].id,), begins[name].wave, 2 * at + 2)


def _check(change: Change, needs: tuple[str, ...], wave: int, batch: int) -> Step:
    step = Step(check_of(change.service), Action.CHECK, change.service, "healthy", Phase.START, wave=wave, needs=needs)
    return step._replace(unit=change.unit, launcher=change.unit.launcher, batch=batch)


def _followed(desired: Deployment, steps: Sequence[Step], found: Mapping[str, _Batches]) -> list[Step]:
    """What comes after replicas, directly or by way of others, and restarts too, is left as it is until all of them
    are through: it would be down for as long."""
    batched = {name for batches in found.values() for names in batches.batches for name in names}
    begins = {step.service: step.id for step in steps if step.service in batched and step.act.starts}
    after = {service.name: service.after for service in desired.services}
    return [
        step._replace(gates=(*step.gates, *(begins[name] for name in sorted(_before(step.service, after) & batched))))
        if step.act.starts and step.service in after
        else step
        for step in steps
    ]


def _before(service: str, after: Mapping[str, Sequence[str]]) -> set[str]:
    """All that a service comes after, also by way of others."""
    found: set[str] = set()
    left = [*after[service]]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += after.get(name, ())
    return found - {service}
