"""Passes over a simulated host: whatever is pushed and whatever befalls the host, one pass mends it and a second does
nothing. What holds is read from the host itself, not from what the diff says of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from reconciler.agent.memory import inventory as book
from reconciler.core.change import DaemonAct, Kind
from reconciler.core.desired import Compiled, Deployment
from reconciler.core.digest import digest
from reconciler.core.observed import State
from reconciler.core.outcome import Status
from reconciler.core.plan import Phase, Plan
from tests.core.generate import (
    COMPONENTS,
    LAUNCHERS,
    NAMES,
    Commit,
    Drift,
    after_push,
    drifts,
    memories,
    pushes,
    remembered,
    worlds,
)
from tests.core.host import Agent, Fault, Host, Killed
from tests.core.managers import keeping
from tests.core.world import Svc, World, build

_ROUNDS = st.lists(st.tuples(pushes, drifts), min_size=1, max_size=3)


def examples(count: int) -> settings:
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


def waiting(plan: Plan) -> set[str]:
    """Services that rightly stay as they are: their name is somebody else's, or they wait for such a one."""
    return {change.service for change in plan.blocked}


def wrong(host: Host, compiled: Compiled, left: set[str]) -> Iterator[str]:
    """What is not as git wants it, apart from the services that may be left alone."""
    desired = compiled.deployment
    running = list(host.ours())
    for service in desired.services:
        if service.name in left:
            continue
        manager = host.manager(next(d for d in desired.managers if d.launcher == service.launcher))
        unit = manager.loaded.get(service.unit)
        if unit is None or unit.state is not State.RUNNING:
            yield f"{service.name} is {unit.state.value if unit else 'not loaded'}"
        elif (mark := host.processes[unit.pid].mark) is None or (mark.spec, mark.launch) != (
            service.spec,
            service.launch,
        ):
            yield f"{service.name} runs {mark}"
        if unit is not None:
            yield from (f"{service.name} {drift.message}" for drift in host.unit(manager, unit).drift)
            if unit.odd:
                yield f"{service.name} was begun with a drop-in"
            if service.install.startswith("image") and host.held[unit.pid] != (
                service.install,
                host.built[service.install],
            ):
                yield f"{service.name} runs from an image that was replaced"
        if len([p for p in running if p.mark and p.mark.service == service.name]) != 1:
            yield f"{service.name} does not run once"
    wanted = {service.name for service in desired.services} | {one.name for one in desired.unmanaged}
    yield from (f"{p.mark.service} still runs" for p in running if p.mark and p.mark.service not in wanted)
    for file in desired.files:
        content, mode, _ = host.files.get(file.path, (b"", 0, 0.0))
        if (digest(content), mode) != (file.digest, file.mode) and not left.issuperset(file.services or ("",)):
            yield f"{file.path} is not as it should be"


def leftovers(agent: Agent, desired: Deployment) -> Iterator[str]:
    """What git does not want: units that a launcher knows or will start again, and files.

    Whoever has forgotten everything cannot know of what is down under a launcher that nothing in git names,
    nor of every file.
    """
    host, wanted = agent.host, {(service.launcher, service.unit) for service in desired.services}
    launchers = {service.launcher for service in desired.services}
    for manager in host.managers.values():
        ours = {loaded.unit for loaded in manager.loaded.values() if not loaded.foreign} | manager.enabled
        ours = {unit for unit in ours if unit in manager.enabled or not edited(host.file_of(manager, unit))}
        if not (agent.forgot and manager.launcher not in launchers):
            yield from (
                f"{manager.launcher} knows {unit}" for unit in sorted(ours) if (manager.launcher, unit) not in wanted
            )
        if manager.pid and not manager.foreign and manager.launcher not in launchers and not agent.forgot:
            yield f"the daemon of {manager.launcher} below {manager.root} runs"
    files = {file.path for file in desired.files}
    for path, (content, _, _) in host.files.items():
        others = edited(content) or path.endswith("/orphan")  # no pass has written them
        if not agent.forgot and not others and path not in files:
            yield f"{path} is there"


def edited(content: bytes) -> bool:
    """By somebody, to whom it belongs when git no longer wants it."""
    return content.endswith(b"# by hand")


def strangers(host: Host, but: Collection[str] = ()) -> dict[str, tuple[State, int]]:
    """Somebody else's units, apart from those of some launchers."""
    return {
        unit.unit: (unit.state, unit.pid)
        for manager, unit in host.all_loaded()
        if unit.foreign and manager.launcher not in but
    }


def rightly_blocked(host: Host, compiled: Compiled, plan: Plan) -> None:
    """Only those whose name a stranger has, or a unit that nothing shows to be ours, and what comes after them."""
    desired = compiled.deployment
    blocked, others = waiting(plan), {one.name for one in desired.unmanaged}
    for service in desired.services:
        if service.name not in blocked:
            continue
        change = next(c for c in plan.diff.changes if c.service == service.name)
        if blocked.intersection(service.after) or others.intersection(service.after):
            continue
        manager = next(d for d in desired.managers if d.launcher == service.launcher)
        unit = host.manager(manager).loaded.get(service.unit)
        assert unit is not None, change
        assert unit.foreign or change.reasons[0].startswith("its name is taken"), change


def check_settled(agent: Agent, compiled: Compiled, first: Plan) -> None:
    second = agent.plan(compiled)
    assert second.steps == (), (first.steps, second.steps, [c for c in second.diff.changes if c.kind is not Kind.KEEP])
    noted = agent.inventory
    agent.run(compiled)
    assert agent.inventory == noted, "the second pass writes"
    left = waiting(second)
    assert {c.service for c in second.diff.changes if c.kind is not Kind.KEEP} == left
    assert left == waiting(first)
    rightly_blocked(agent.host, compiled, second)
    assert list(wrong(agent.host, compiled, left)) == []
    assert agent.host.twice == []
    shared = any(manager.pid and manager.foreign for manager in agent.host.managers.values())
    shared = shared or bool(compiled.deployment.unmanaged)
    if not left and not shared:  # a daemon that runs others' programs goes on, with its files
        assert book.is_current(agent.inventory, compiled.deployment, agent.host.main())
        assert list(leftovers(agent, compiled.deployment)) == []


def arrived(desired: World) -> tuple[Agent, Compiled]:
    """A host on which a deployment has been brought about."""
    agent, compiled = Agent(), build(desired)
    agent.run(compiled)
    return agent, compiled


# Launchers whose daemon may have to be restarted with all that others run in it: none, or those that have one.
_SHARED = ((), tuple(launcher for launcher in LAUNCHERS if keeping(launcher).own))


@examples(220)
@given(worlds(), _ROUNDS, memories)
def test_one_pass_mends_everything_and_the_next_does_nothing(
    desired: World, rounds: list[tuple[tuple[Commit, ...], tuple[Drift, ...]]], memory: str
) -> None:
    agent, compiled = arrived(desired)
    for push, drift in rounds:
        earlier = agent.inventory
        for one in drift:
            one.befall(agent.host, compiled)
            event(one.what)
        desired = after_push(desired, push)
        compiled = build(desired)
        moves = any(commit.what == "root" for commit in push)
        agent.inventory = agent.inventory if moves else remembered(memory, agent.inventory, earlier)
        agent.forgot |= memory != "right"
        before, were = {but: strangers(agent.host, but) for but in _SHARED}, set(agent.host.processes)
        first = agent.run(compiled)
        failed = [r for r in agent.results if r.status not in (Status.DONE, Status.SKIPPED)]
        assert failed == [], failed
        ending = {daemon.launcher for daemon in first.diff.daemons if daemon.act is not DaemonAct.NONE}
        but = _SHARED[1] if moves or ending else _SHARED[0]
        assert strangers(agent.host, but) == before[but]
        for change in first.diff.changes:
            if change.wanted and change.running and not change.act.stops and not change.restarts and not moves:
                assert not were.difference(agent.host.processes).intersection([change.running.pid]), change
        if memory == "lost" and any(one.what == "unmarked" for one in drift):
            first = agent.run(compiled)  # nothing said that it was ours, until its daemon was restarted
        if any(one.what == "old description" for one in drift):
            # Which description a unit that is down was loaded from, only its next start shows.
            first = agent.run(compiled)
        check_settled(agent, compiled, first)


@examples(200)
@given(worlds(), pushes, drifts, st.integers(1, 120))
def test_a_pass_killed_at_any_act_costs_nothing(
    desired: World, push: tuple[Commit, ...], drift: tuple[Drift, ...], kill_at: int
) -> None:
    agent, compiled = arrived(desired)
    for one in drift:
        one.befall(agent.host, compiled)
    compiled = build(after_push(desired, push))
    agent.host.acts, agent.host.kill_at = 0, kill_at
    killed = False
    try:
        agent.run(compiled)
    except Killed:
        killed = True
    event(f"killed: {killed}")
    agent.host.kill_at = 0
    agent.host.sleep(20.0)
    first = agent.run(compiled)
    if any(one.what == "old description" for one in drift):
        first = agent.run(compiled)
    check_settled(agent, compiled, first)


@examples(150)
@given(worlds(), pushes, st.lists(st.tuples(st.integers(0, 7), st.sampled_from(Fault)), min_size=1, max_size=2))
def test_what_fails_is_told_and_tried_again_and_all_else_goes_on(
    desired: World, push: tuple[Commit, ...], faults: list[tuple[int, Fault]]
) -> None:
    agent, compiled = arrived(desired)
    compiled = build(after_push(desired, push))
    services = compiled.deployment.services
    for which, fault in faults:
        if services:
            agent.host.faults[services[which % len(services)].unit] = fault
    first = agent.run(compiled)
    failed = {step.service for step in first.steps for r in agent.results if r.id == step.id and r.status in _BAD}
    faulty = {service.name for service in services if service.unit in agent.host.faults}
    event(f"failed: {bool(failed)}")
    allowed = faulty | {change.service for change in first.diff.changes if not change.managed}
    for service in services:  # sorted by name, and `after` names earlier ones
        if allowed.intersection(service.after):
            allowed.add(service.name)
    assert failed - {""} <= allowed | {c.service for c in first.diff.changes if not c.wanted}
    if not any(fault is Fault.HANGS for _, fault in faults):
        assert list(wrong(agent.host, compiled, allowed)) == []
    agent.host.faults.clear()
    for _, loaded in agent.host.all_loaded():
        if loaded.state is State.STOPPING:
            loaded.next = (0.0, State.STOPPED)  # what hung has ended at last
    agent.host.sleep(30.0)
    agent.host.sleep(30.0)
    check_settled(agent, compiled, agent.run(compiled))


_BAD = (Status.FAILED, Status.BLOCKED)


@examples(150)
@given(worlds(), st.sampled_from(COMPONENTS), drifts)
def test_a_bump_of_one_component_concerns_its_services_alone(
    desired: World, component: str, drift: tuple[Drift, ...]
) -> None:
    """Also after whatever befell the host, once that was mended."""
    agent, compiled = arrived(desired)
    for one in drift:
        one.befall(agent.host, compiled)
    agent.run(compiled)
    agent.run(compiled)
    before = agent.host.pids()
    blocked = waiting(agent.plan(compiled))
    bumped = build(Commit("version", COMPONENTS.index(component), "2").to(desired))
    plan = agent.run(bumped)
    its = {s.name for s in bumped.deployment.services if s.component == component} - blocked
    assert {step.service for step in plan.steps if step.phase is Phase.START} == its
    assert [step for step in plan.steps if step.phase in (Phase.STRAYS, Phase.STOP, Phase.DAEMON, Phase.RELOAD)] == []
    assert {name for name, pid in agent.host.pids().items() if before.get(name) != pid} == its


@examples(100)
@given(worlds(), pushes, drifts)
def test_no_program_of_others_is_in_any_step(
    desired: World, push: tuple[Commit, ...], drift: tuple[Drift, ...]
) -> None:
    """Nor ends for it, unless the manager itself must restart."""
    agent, compiled = arrived(desired)
    for one in (*drift, Drift("foreign", len(drift)), Drift("foreign", 1 + len(push))):
        one.befall(agent.host, compiled)
    compiled = build(after_push(desired, push))
    managers = {daemon.launcher: agent.host.manager(daemon) for daemon in compiled.deployment.managers}
    plan = agent.plan(compiled)
    theirs = {(name, unit) for name, manager in managers.items() for unit in manager.foreign}
    event(f"foreign: {bool(theirs)}")
    assert [step for step in plan.steps if step.unit in theirs] == []
    pids = {agent.host.processes[u.pid].pid for _, u in agent.host.all_loaded() if u.foreign}
    assert [step for step in plan.steps if step.running and step.running.pid in pids] == []


def test_a_stranger_does_not_become_ours_by_being_in_the_way() -> None:
    """Passes that do other things must not note the blocked service's unit as theirs."""
    agent, compiled = arrived(World((Svc("a"),)))
    Drift("foreign", NAMES.index("c")).befall(agent.host, compiled)
    before = strangers(agent.host)
    assert set(before) == {"c"}
    for version in ("1", "2", "3"):
        plan = agent.run(build(World((Svc("a"), Svc("c")), {"app": version})))
        assert [change.service for change in plan.blocked] == ["c"]
        assert strangers(agent.host) == before


@pytest.mark.parametrize("kill_at", range(1, 9))
def test_what_has_read_an_edited_file_is_restarted_though_the_pass_that_mended_it_was_killed(kill_at: int) -> None:
    compiled = build(World((Svc("a", files=("site.conf",)),), files={"site.conf": "0"}))
    agent = Agent()
    agent.run(compiled)
    conf = [file.path for file in compiled.deployment.files].index("/r/config/site.conf")
    Drift("edited", conf).befall(agent.host, compiled)
    Drift("restarted", 0).befall(agent.host, compiled)
    has_read = agent.host.pids()["a"]
    agent.host.acts, agent.host.kill_at = 0, kill_at
    with suppress(Killed):
        agent.run(compiled)
    agent.host.kill_at = 0
    agent.host.sleep(20.0)
    check_settled(agent, compiled, agent.run(compiled))
    assert agent.host.pids()["a"] != has_read
