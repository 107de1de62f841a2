"""What holds of every plan, over generated desired and observed states with gaps."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from random import Random
from types import FrameType
from typing import NamedTuple, TypeVar

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from reconciler.agent.saved import fingerprint
from reconciler.core.change import Act, Diff, Kind, Running, UnitName
from reconciler.core.desired import Compiled, Deployment, Policy, Service
from reconciler.core.diff import diff
from reconciler.core.inventory import Inventory
from reconciler.core.observed import DaemonState, FileState, Observed, Unit
from reconciler.core.plan import Action, Phase, Plan, Step
from reconciler.core.planner import make_plan
from reconciler.core.simulated import as_applied, nothing
from tests.core.generate import WIDE, after_push, drifts, gaps, memories, pushes, remembered, worlds
from tests.core.host import DEPLOYMENT
from tests.core.test_convergence import arrived, examples
from tests.core.world import Svc, World, build, world

_T = TypeVar("_T")


class Situation(NamedTuple):
    compiled: Compiled
    observed: Observed
    inventory: Inventory

    @property
    def desired(self) -> Deployment:
        return self.compiled.deployment

    def diff(self) -> Diff:
        return diff(self.desired, self.observed, self.inventory, self.compiled.fields)

    def plan(self) -> Plan:
        return make_plan(self.desired, self.diff())

    def ours(self, unit: UnitName) -> bool:
        """In the inventory, described by a file of ours, or run with our mark."""
        seen = self.observed.units.get(unit)
        process = self.observed.processes.get(seen.pid) if seen else None
        owned = {(entry.launcher, entry.unit) for entry in self.inventory.services.values()}
        marked = process is not None and process.mark is not None and process.mark.service != ""
        return unit in owned or unit in self.observed.claimed or marked

    def theirs(self, unit: UnitName) -> bool:
        """Its process names another owner."""
        seen = self.observed.units.get(unit)
        process = self.observed.processes.get(seen.pid) if seen else None
        return process is not None and process.mark is not None and process.mark.deployment not in ("", DEPLOYMENT)


@st.composite
def situations(draw: st.DrawFn, policy: Policy = WIDE) -> Situation:
    desired = draw(worlds(policy))
    agent, compiled = arrived(desired)
    earlier = agent.inventory
    if draw(st.booleans()):
        agent, earlier = arrived(desired)[0], Inventory()
    for drift in draw(drifts):
        drift.befall(agent.host, compiled)
    compiled = build(after_push(desired, draw(pushes)))
    inventory = remembered(draw(memories), agent.inventory, earlier)
    return Situation(
        compiled, agent.host.observe(compiled.deployment, inventory, draw(gaps())(compiled.deployment)), inventory
    )


def shuffled(random: Random, things: Mapping[str, _T]) -> dict[str, _T]:
    keys = list(things)
    random.shuffle(keys)
    return {key: things[key] for key in keys}


def mixed(random: Random, things: tuple[_T, ...]) -> tuple[_T, ...]:
    return tuple(random.sample(things, len(things)))


def units_of(step: Step) -> list[UnitName]:
    return [step.unit] if step.unit else []


# ---------------------------------------------------------------- the diff


def does_not_depend_on_the_order_of_what_goes_in(situation: Situation, random: Random) -> None:
    desired, observed, inventory = situation.desired, situation.observed, situation.inventory
    other = Situation(
        situation.compiled._replace(
            deployment=desired._replace(
                services=mixed(random, desired.services),
                files=mixed(random, desired.files),
                installs=mixed(random, desired.installs),
                managers=mixed(random, desired.managers),
            ),
            fields=shuffled(random, situation.compiled.fields),
        ),
        observed._replace(
            units=dict(mixed(random, tuple(observed.units.items()))),
            processes=dict(mixed(random, tuple(observed.processes.items()))),
            files=shuffled(random, observed.files),
            claimed=dict(mixed(random, tuple(observed.claimed.items()))),
            gaps=mixed(random, observed.gaps),
        ),
        inventory._replace(services=shuffled(random, inventory.services), files=shuffled(random, inventory.files)),
    )
    assert other.plan().steps == situation.plan().steps
    assert other.diff().changes == situation.diff().changes
    assert fingerprint(other.plan()) == fingerprint(situation.plan())


def has_every_service_exactly_once(situation: Situation) -> None:
    changes = situation.diff().changes
    told = [change.service for change in changes] + [change.renamed_from for change in changes if change.renamed_from]
    assert len(told) == len(set(told))
    others = {one.name for one in situation.desired.unmanaged}
    expected = {service.name for service in situation.desired.services} | set(situation.inventory.services) | others
    roots = {situation.desired.root, *situation.inventory.roots}
    marks = [process.mark for process in situation.observed.processes.values() if process.mark]
    seen = {mark.service for mark in marks if mark.deployment == DEPLOYMENT and mark.root in roots} - {""}
    assert expected | seen <= set(told)
    wanted = {service.name for service in situation.desired.services}
    assert {change.service for change in changes if change.wanted} == wanted
    assert {change.service for change in changes if not change.managed} == others


def leaves_alone_what_others_run(situation: Situation) -> None:
    plan, others = situation.plan(), {one.name: one for one in situation.desired.unmanaged}
    event(f"others: {len(others)}")
    ours = {(service.launcher, service.unit) for service in situation.desired.services}
    units = {name for one in others.values() for name in one.names} - ours
    files = {path for one in others.values() for path in one.files} - {f.path for f in situation.desired.files}
    kept = {pid: p for pid, p in situation.observed.processes.items() if p.mark and p.mark.service in others}
    assert all(change.kind is Kind.KEEP and not change.acts for change in plan.diff.changes if change.service in others)
    for step in plan.steps:
        assert step.service not in others, step
        assert step.unit not in units, step
        assert step.path not in files, step
        if step.phase is Phase.STRAYS and step.service and step.running:
            assert step.running.pid not in kept, step


def removes_or_stops_only_what_is_ours(situation: Situation) -> None:
    for step in situation.plan().steps:
        for unit in units_of(step):
            if step.act.stops and unit in situation.observed.units:
                assert situation.ours(unit), step
            if unit in situation.observed.units:
                assert not situation.theirs(unit), step
        if step.phase is Phase.STRAYS and step.running:
            process = situation.observed.processes[step.running.pid]
            assert process.mark is not None, step
            assert process.mark.deployment == DEPLOYMENT, step
        if step.action is Action.CLEAN:
            assert step.path in {*situation.inventory.files, *situation.observed.claimed.values()}, step


# ---------------------------------------------------------------- gaps


def stops_removes_and_writes_nothing_in_a_gap(situation: Situation) -> None:
    plan = situation.plan()
    gaps_by = {scope: {gap.subject for gap in plan.diff.gaps if gap.scope == scope} for scope in _SCOPES}
    event(f"gaps: {sorted(scope for scope, found in gaps_by.items() if found)}")
    services = {service.name: service for service in situation.desired.services}
    for step in plan.steps:
        launcher = step.unit.launcher if step.unit else step.launcher
        if step.phase in (Phase.DAEMON, Phase.STRAYS, Phase.RELOAD, Phase.STOP, Phase.START):
            assert launcher not in gaps_by["launcher"] or step.phase is Phase.RELOAD, step
        assert step.path not in gaps_by["file"], step
        service = services.get(step.service)
        if service and service.install in gaps_by["install"]:
            assert not step.act.starts, step
            assert step.phase is not Phase.STRAYS or runs_as_wanted(situation, service), step
        if step.phase is Phase.STRAYS and step.service and gaps_by["launcher"]:
            noted = situation.inventory.services[step.service]  # else a launcher that is not seen may keep it
            assert noted.launcher not in gaps_by["launcher"], step
        if service and service.unit in gaps_by["process"] and step.phase is Phase.START:
            # It cannot be told what it runs; only where the file or the inventory says so it may be acted on.
            unit = situation.observed.units.get(step.unit) if step.unit else None
            known = {p.pid for p in situation.observed.processes.values() if p.mark is not None}
            assert unit is None or not unit.pid or unit.pid in known or _is_known(situation, service, unit), step
    if gaps_by["launcher"]:
        assert {step.path for step in plan.steps if step.action is Action.CLEAN} <= described(situation)
    assert not gaps_by["install"].intersection(plan.diff.installs)


def described(situation: Situation) -> set[str]:
    """Descriptions of the units that the plan removes: they go in any case."""
    removed = {step.unit for step in situation.plan().steps if step.action is Action.REMOVE}
    return {path for unit, path in situation.observed.claimed.items() if UnitName(*unit) in removed}


def runs_as_wanted(situation: Situation, service: Service) -> bool:
    unit = situation.observed.units.get((service.launcher, service.unit))
    process = situation.observed.processes.get(unit.pid) if unit else None
    return process is not None and (process.mark is None or process.mark.spec == service.spec)


_SCOPES = ("launcher", "file", "install", "process")


def _is_known(situation: Situation, service: Service, unit: Unit) -> bool:
    process = situation.observed.processes[unit.pid]
    owned = situation.inventory.services.get(service.name)
    path = next(f for f in situation.desired.files if f.services == (service.name,) and "/bin/" in f.path)
    state = situation.observed.files.get(path.path)
    began_with_shim = state is not None and state.digest == path.digest and process.started > state.changed
    noted = owned is not None and owned.pid == process.pid
    daemons_act = any(d.act.value != "none" for d in situation.diff().daemons if d.launcher == service.launcher)
    return began_with_shim or noted or daemons_act


# ---------------------------------------------------------------- the budget


@examples(200)
@given(situations(Policy(1, 30)))
def test_no_plan_removes_more_than_the_budget(situation: Situation) -> None:
    plan = situation.plan()
    before = [change for change in plan.diff.changes if change.kind is not Kind.CREATE]
    limit = max(1, len(before) * 30 // 100)
    removed = {
        change.service
        for change in plan.diff.changes
        if change.kind is Kind.REMOVE
        and change.service not in situation.desired.disabled
        and any(step.service == change.service for step in plan.steps)
    }
    event(f"removed: {len(removed)}, held: {len(plan.held)}")
    assert len(removed) <= limit
    assert not (removed and plan.held)
    held = {change.service for change in plan.held}
    assert not held.intersection(situation.desired.disabled)
    assert [step for step in plan.steps if step.service in held] == []
    assert not plan.held or {step.path for step in plan.steps if step.action is Action.CLEAN} <= described(situation)


# ---------------------------------------------------------------- the plan


def has_its_steps_in_order_each_after_what_it_needs(situation: Situation) -> None:
    steps = situation.plan().steps
    place = {step.id: number for number, step in enumerate(steps)}
    assert len(place) == len(steps)
    assert [step.phase.value for step in steps] == sorted(step.phase.value for step in steps)
    for step in steps:
        for need in step.needs:
            assert place[need] < place[step.id] or step.phase is Phase.CLEAN, (step, need)
        if step.act.starts:
            assert f"check:{step.service}" in step.needs
            service = next(s for s in situation.desired.services if s.name == step.service)
            assert f"install:{service.install}" in step.needs or f"install:{service.install}" not in place


def starts_a_service_after_what_it_comes_after(situation: Situation) -> None:
    starts = [step.service for step in situation.plan().steps if step.phase is Phase.START]
    for service in situation.desired.services:
        for name in service.after:
            if {service.name, name} <= set(starts):
                assert starts.index(name) < starts.index(service.name)


def is_the_same_every_time(situation: Situation) -> None:
    one, other = situation.plan(), situation.plan()
    assert one == other
    assert fingerprint(one) == fingerprint(other)


_EACH = (
    has_every_service_exactly_once,
    leaves_alone_what_others_run,
    removes_or_stops_only_what_is_ours,
    stops_removes_and_writes_nothing_in_a_gap,
    has_its_steps_in_order_each_after_what_it_needs,
    starts_a_service_after_what_it_comes_after,
    is_the_same_every_time,
)


@examples(300)
@given(situations(), st.randoms(use_true_random=False))
def test_every_plan(situation: Situation, random: Random) -> None:
    """All of it of one situation: to make one takes longer than to look at it."""
    for holds in _EACH:
        holds(situation)
    does_not_depend_on_the_order_of_what_goes_in(situation, random)


def test_another_process_or_file_is_another_plan() -> None:
    compiled = build(world("a", "b"))
    observed, inventory = as_applied(compiled)
    bumped = build(world("a", "b", versions={"app": "2"}))
    plan = Situation(bumped, observed, inventory).plan()
    shim = next(step for step in plan.steps if step.path.endswith("/bin/a"))
    unit = observed.units["supervisor", "a"]
    restarted = observed._replace(
        units={**observed.units, ("supervisor", "a"): unit._replace(pid=99)},
        processes={**observed.processes, 99: observed.processes[unit.pid]._replace(pid=99)},
    )
    edited = observed._replace(files={**observed.files, shim.path: FileState("edited", 0o700)})
    plans = [plan, *(Situation(bumped, other, inventory).plan() for other in (restarted, edited))]
    assert len({fingerprint(each) for each in plans}) == 3


# ---------------------------------------------------------------- applied, and the figures of a large deployment


@examples(60)
@given(worlds())
def test_what_is_applied_differs_in_nothing(desired: World) -> None:
    compiled = build(desired)
    observed, inventory = as_applied(compiled)
    plan = Situation(compiled, observed, inventory).plan()
    assert plan.steps == ()
    assert {change.kind for change in plan.diff.changes} <= {Kind.KEEP}


def large(count: int) -> World:
    """Chains of `after` eight long, five components, two shared files."""
    made = [
        Svc(
            f"s{n:05}",
            component=f"c{n % 5}",
            files=("site.conf",) if n % 2 else (),
            after=(f"s{n - 1:05}",) if n % 8 else (),
        )
        for n in range(count)
    ]
    return world(*made, files={"site.conf": "x"}, policy=WIDE)


def calls_of(situation: Situation) -> int:
    """How many calls, of Python and of C, it takes to plan."""
    counted = 0

    def count(frame: FrameType, what: str, argument: object) -> None:
        nonlocal counted
        counted += what in ("call", "c_call")

    previous = sys.getprofile()
    sys.setprofile(count)
    try:
        situation.plan()
    finally:
        sys.setprofile(previous)
    return counted


def bumped(count: int) -> Situation:
    observed, inventory = as_applied(build(large(count)))
    return Situation(build(large(count)._replace(versions={f"c{n}": "2" for n in range(5)})), observed, inventory)


def emptied(count: int) -> Situation:
    observed, inventory = as_applied(build(large(count)))
    return Situation(build(world(policy=WIDE)), observed, inventory)


def fresh(count: int) -> Situation:
    return Situation(build(large(count)), *nothing())


def renamed(count: int) -> Situation:
    before = large(count)
    observed, inventory = as_applied(build(before))
    services = tuple(s._replace(name=f"n{s.name}", after=()) for s in before.services)
    return Situation(build(before._replace(services=services)), observed, inventory)


def strayed(count: int) -> Situation:
    """The daemon was killed: every process goes on without it."""
    compiled = build(large(count))
    observed, inventory = as_applied(compiled)
    down = {"supervisor": DaemonState(running=False)}
    return Situation(compiled, observed._replace(units={}, daemons=down), inventory)


@pytest.mark.parametrize("made", [bumped, emptied, fresh, renamed, strayed])
def test_planning_grows_with_the_number_of_services_and_no_faster(made: object) -> None:
    assert callable(made)
    assert calls_of(made(1000)) / calls_of(made(500)) < 2.3


def test_two_thousand_services_are_planned() -> None:
    plan = bumped(2000).plan()
    assert sum(step.action is Action.RESTART for step in plan.steps) == 2000
    assert len(plan.diff.changes) == 2000
    assert {step.act for step in plan.steps if step.phase is Phase.START} == {Act.RESTART}


def test_a_process_by_its_identity() -> None:
    """A pid that belongs to another process by now is another process."""
    compiled = build(world("a"))
    observed, inventory = as_applied(compiled)
    pending = inventory._replace(pending={"a": (2, 500.0)})
    assert Situation(compiled, observed, pending).plan().steps == ()
    pending = inventory._replace(pending={"a": (2, 1.0)})
    change = Situation(compiled, observed, pending).diff().changes[0]
    assert (change.kind, change.running) == (Kind.RESTART, Running(2, 1.0))
