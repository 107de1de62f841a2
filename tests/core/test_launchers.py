"""Passes over launchers of every kind: who restarts and who does not, moves between them, the host's own restart."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import permutations

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from reconciler.core.change import Kind
from reconciler.core.desired import Compiled
from reconciler.core.plan import Action, Phase
from tests.core.generate import LAUNCHERS, Drift, worlds
from tests.core.host import Agent, Host, Killed
from tests.core.managers import Keeping, keeping
from tests.core.test_convergence import arrived, check_settled, examples
from tests.core.world import Svc, World, build, world

_TOLD = st.sampled_from(("masked", "disabled", "not reloaded", "drop-in", "replaced"))
_hands = st.lists(st.builds(Drift, _TOLD, st.integers(0, 30)), min_size=1, max_size=4)
_PAIRS = list(permutations(LAUNCHERS, 2))


def begun_otherwise(host: Host, compiled: Compiled) -> set[str]:
    """Services whose process may not be what its launcher's description and its install give now."""
    observed = host.observe(compiled.deployment, Agent().inventory)
    found = set()
    for service in compiled.deployment.services:
        unit = observed.units.get((service.launcher, service.unit))
        if unit is None:
            continue  # it waits for what others run, and was never started
        if unit.pid in observed.outdated or any(drift.restarts for drift in unit.drift):
            found.add(service.name)
    return found


@examples(150)
@given(worlds(), _hands)
def test_only_what_may_have_been_begun_otherwise_restarts(desired: World, hands: Sequence[Drift]) -> None:
    """A mask, an older unit file, a unit that is not enabled: all of that is mended around a process that goes on."""
    agent, compiled = arrived(desired)
    for hand in hands:
        hand.befall(agent.host, compiled)
    needed, before = begun_otherwise(agent.host, compiled), agent.host.pids()
    event(f"restarts: {bool(needed)}")
    plan = agent.run(compiled)
    assert {name for name, pid in agent.host.pids().items() if before[name] != pid} == needed
    assert {name for change in plan.diff.changes for name in change.restarts} == needed
    check_settled(agent, compiled, plan)


# ---------------------------------------------------------------- moves


def beside(old: str, new: str) -> World:
    """`a` is to move; the others stay, one in each of the launchers."""
    return world(Svc("a", launcher=old), Svc("b", launcher=old), Svc("c", launcher=new, after=("a",)))


@pytest.mark.parametrize(("old", "new"), _PAIRS)
def test_a_move_concerns_one_service(old: str, new: str) -> None:
    desired = beside(old, new)
    agent, _ = arrived(desired)
    before = agent.host.pids()
    compiled = build(desired.with_service("a", launcher=new))
    check_settled(agent, compiled, agent.run(compiled))
    after = agent.host.pids()
    assert {name for name in "abc" if before[name] != after[name]} == {"a"}


@pytest.mark.parametrize(("old", "new"), _PAIRS)
def test_a_launcher_that_keeps_nothing_any_more_is_forgotten(old: str, new: str) -> None:
    agent, _ = arrived(world(Svc("a", launcher=old)))
    compiled = build(world(Svc("a", launcher=new)))
    check_settled(agent, compiled, agent.run(compiled))
    assert [manager.launcher for manager in agent.inventory.managers] == [new]
    compiled = build(world())
    check_settled(agent, compiled, agent.run(compiled))
    assert agent.inventory.managers == ()


@pytest.mark.parametrize(("old", "new"), _PAIRS)
def test_a_move_that_is_killed_at_any_act_is_finished_by_the_next_pass(old: str, new: str) -> None:
    for kill_at in range(1, 40):
        agent, _ = arrived(world(Svc("a", launcher=old)))
        compiled = build(world(Svc("a", launcher=new)))
        agent.host.acts, agent.host.kill_at = 0, kill_at
        with suppress(Killed):
            agent.run(compiled)
            break
        agent.host.kill_at = 0
        agent.host.sleep(20.0)
        check_settled(agent, compiled, agent.run(compiled))
    assert kill_at > 10


@pytest.mark.parametrize(("old", "new"), _PAIRS)
def test_a_move_back_before_the_old_has_gone(old: str, new: str) -> None:
    desired = world(Svc("a", launcher=old))
    for kill_at in (8, 12, 16):
        agent, compiled = arrived(desired)
        agent.host.acts, agent.host.kill_at = 0, kill_at
        with suppress(Killed):
            agent.run(build(world(Svc("a", launcher=new))))
        agent.host.kill_at = 0
        agent.host.sleep(20.0)
        agent.forgot = True  # of files that it has only begun to write
        check_settled(agent, compiled, agent.run(compiled))


@pytest.mark.parametrize(("old", "new"), _PAIRS)
def test_a_service_that_moves_and_gets_another_name_runs_once(old: str, new: str) -> None:
    agent, _ = arrived(world(Svc("a", launcher=old)))
    compiled = build(world(Svc("z", launcher=new)))
    check_settled(agent, compiled, agent.run(compiled))
    assert set(agent.host.pids()) == {"z"}


@pytest.mark.parametrize(("old", "new"), _PAIRS)
def test_a_move_together_with_the_root(old: str, new: str) -> None:
    agent, _ = arrived(world(Svc("a", launcher=old), Svc("b", launcher=old)))
    compiled = build(world(Svc("a", launcher=new), Svc("b", launcher=old), root="/new"))
    check_settled(agent, compiled, agent.run(compiled))


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_root_that_moves(launcher: str) -> None:
    """Names of units are one space for an account, and stay."""
    agent, _ = arrived(world(Svc("a", launcher=launcher)))
    compiled = build(world(Svc("a", launcher=launcher), root="/new"))
    check_settled(agent, compiled, agent.run(compiled))


# ---------------------------------------------------------------- what nobody remembers


@pytest.mark.parametrize("old", ["systemd", "apptainer"])
@pytest.mark.parametrize("wanted", [world(), world(Svc("a")), world(Svc("b"))], ids=["gone", "moved", "others"])
def test_what_runs_under_a_launcher_that_nothing_names_any_more_is_found(old: str, wanted: World) -> None:
    """Its process is ended by its launcher, which would start it again otherwise."""
    agent, _ = arrived(world(Svc("a", launcher=old)))
    agent = Agent(agent.host)
    agent.forgot = True
    compiled = build(wanted)
    plan = agent.run(compiled)
    assert f"remove:{old}/a" in {step.id for step in plan.steps}
    assert [step for step in plan.steps if step.phase is Phase.STRAYS] == []
    check_settled(agent, compiled, plan)


# ---------------------------------------------------------------- the host starts again


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_after_the_host_has_started_again(launcher: str) -> None:
    """What its launcher starts by itself is left alone."""
    desired = world(Svc("a", launcher=launcher), Svc("b", launcher=launcher))
    agent, compiled = arrived(desired)
    agent.host.reboot()
    agent.host.sleep(10.0)
    pids = agent.host.pids()
    plan = agent.run(compiled)
    check_settled(agent, compiled, plan)
    if keeping(launcher) is Keeping.ACCOUNT:
        assert (plan.steps, agent.host.pids()) == ((), pids)
    else:
        assert {change.kind for change in plan.diff.changes} == {Kind.RESTART}
        assert {step.service for step in plan.steps if step.action is Action.START} - {""} == {"a", "b"}


def test_what_was_masked_before_the_host_started_again_comes_back() -> None:
    agent, compiled = arrived(world(Svc("a", launcher="systemd"), Svc("b", launcher="systemd")))
    Drift("masked", 0).befall(agent.host, compiled)
    Drift("reboot", 0).befall(agent.host, compiled)
    assert set(agent.host.pids()) == {"b"}
    check_settled(agent, compiled, agent.run(compiled))
