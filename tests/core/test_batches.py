"""Replicas in batches: which steps of a plan wait for which, and that nothing else of a plan changes."""

from __future__ import annotations

import pytest

from reconciler.core.batches import Together, told_together
from reconciler.core.change import Act
from reconciler.core.desired import Compiled, ReplicaSet
from reconciler.core.diff import diff
from reconciler.core.plan import Action, Plan, Step
from reconciler.core.planner import make_plan
from reconciler.core.simulated import as_applied
from tests.core.world import Svc, build, world

FOUR = tuple(f"a-{n}" for n in range(1, 5))


def planned(*others: Svc, canary: bool = False, at_once: int = 1, done: tuple[str, ...] = ()) -> Plan:
    """What a bump of four replicas does; of some it was done before."""
    services = (*(Svc(name) for name in FOUR), *others)
    before, after = (build(world(*services, versions={"app": version})) for version in ("1", "2"))
    observed, inventory = as_applied(before)
    newer = as_applied(after)[0]
    processes = {
        pid: newer.processes[pid] if process.mark and process.mark.service in done else process
        for pid, process in observed.processes.items()
    }
    written = {file.path for file in after.deployment.files if set(file.services) & set(done)}
    files = {**observed.files, **{path: newer.files[path] for path in written}}
    observed = observed._replace(processes=processes, files=files)
    desired = after.deployment._replace(sets=(ReplicaSet("a", FOUR, canary, at_once),))
    return make_plan(desired, diff(desired, observed, inventory))


def gates(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {step.id: tuple(gate.split(":")[1] for gate in step.gates) for step in plan.steps if step.gates}


def looks(plan: Plan) -> list[str]:
    return [step.service for step in plan.steps if step.id.endswith(":healthy")]


def test_one_after_the_other() -> None:
    plan = planned()
    assert gates(plan) == {"restart:a-2": ("a-1",), "restart:a-3": ("a-2",), "restart:a-4": ("a-3",)}
    assert looks(plan) == ["a-1", "a-2", "a-3"]
    order = [step.id for step in plan.steps if step.act is Act.RESTART or step.id.endswith(":healthy")]
    assert order[:4] == ["restart:a-1", "check:a-1:healthy", "restart:a-2", "check:a-2:healthy"]
    check = next(step for step in plan.steps if step.id == "check:a-2:healthy")
    assert (check.action, check.needs, check.act) == (Action.CHECK, ("restart:a-2",), Act.NONE)


def test_a_canary_and_then_several() -> None:
    plan = planned(canary=True, at_once=3)
    assert gates(plan) == {f"restart:a-{n}": ("a-1",) for n in (2, 3, 4)}
    assert looks(plan) == ["a-1"]


def test_all_at_once() -> None:
    plan = planned(at_once=4)
    assert (gates(plan), looks(plan)) == ({}, [])


def test_halfway_through_those_that_are_done_must_be_healthy() -> None:
    plan = planned(at_once=2, done=("a-1",))
    assert gates(plan)["restart:a-2"] == gates(plan)["restart:a-3"] == ("a-1",)
    assert gates(plan)["restart:a-4"] == ("a-2", "a-3")
    assert next(step for step in plan.steps if step.id == "check:a-1:healthy").needs == ()


def test_what_comes_after_them_waits_for_all_and_what_does_not_is_left_alone() -> None:
    plan = planned(Svc("later", after=FOUR), Svc("last", after=("later",)), Svc("apart"), at_once=2)
    assert gates(plan)["restart:later"] == gates(plan)["restart:last"] == FOUR
    assert "restart:apart" not in gates(plan)


def test_where_what_they_come_after_restarts_all_of_them_go_down_anyway() -> None:
    services = (Svc("first"), *(Svc(name, after=("first",)) for name in FOUR))
    before, after = (build(world(*services, versions={"app": version})) for version in ("1", "2"))
    observed, inventory = as_applied(before)
    desired = after.deployment._replace(sets=(ReplicaSet("a", FOUR, canary=True, max_unavailable=1),))
    assert gates(make_plan(desired, diff(desired, observed, inventory))) == {}


def test_of_two_sets_the_one_that_comes_after_the_other_follows_in_batches() -> None:
    services = (Svc("a-1"), Svc("a-2"), *(Svc(name, after=("a-1", "a-2")) for name in ("b-1", "b-2")))
    before, after = (build(world(*services, versions={"app": version})) for version in ("1", "2"))
    observed, inventory = as_applied(before)
    sets = tuple(ReplicaSet(name, (f"{name}-1", f"{name}-2"), canary=False, max_unavailable=1) for name in "ba")
    desired = after.deployment._replace(sets=sets)
    found = gates(make_plan(desired, diff(desired, observed, inventory)))
    assert found == {
        "restart:a-2": ("a-1",),
        "restart:b-1": ("a-1", "a-2"),
        "restart:b-2": ("b-1", "a-1", "a-2"),
    }


@pytest.mark.parametrize("versions", [{"app": "1"}, {"app": "2"}])
def test_without_a_set_nothing_of_a_plan_changes(versions: dict[str, str]) -> None:
    observed, inventory = as_applied(build(world(*FOUR)))
    wanted: Compiled = build(world(*FOUR, versions=versions))
    one = diff(wanted.deployment, observed, inventory)
    with_empty = wanted.deployment._replace(sets=(ReplicaSet("b", (), canary=True, max_unavailable=1),))
    steps: tuple[Step, ...] = make_plan(wanted.deployment, one).steps
    assert make_plan(with_empty, one).steps == steps
    assert all(not step.gates and not step.batch for step in steps)


def together(after: tuple[str, ...], component: str, *files: str, canary: bool = True) -> tuple[Together, ...]:
    """Four replicas that come after a queue, with what they share."""
    services = (*(Svc(name, after=after, files=("shared.conf",)) for name in FOUR), Svc("q", component, files=files))
    desired = build(world(*services, files={"shared.conf": "x"})).deployment
    return told_together(desired._replace(sets=(ReplicaSet("a", FOUR, canary, max_unavailable=1),)))


def test_a_canary_beside_what_it_comes_after_counts_for_nothing() -> None:
    assert together(("q",), "app") == (Together("a", ("q",), "component app"),)
    assert together(("q",), "tool", "shared.conf") == (Together("a", ("q",), "file shared.conf"),)
    assert together(("q",), "tool") == ()
    assert together((), "app") == ()
    assert together(("q",), "app", canary=False) == ()


def test_replicas_that_come_after_replicas_are_changed_in_batches_too() -> None:
    """Unless those go down at once, for what they come after themselves."""
    pair = ("b-1", "b-2")
    for queue, expected in (("tool", []), ("app", ["a", "b"])):
        services = (
            *(Svc(name, after=pair) for name in FOUR), *(Svc(name, after=("q",)) for name in pair), Svc("q", queue)
        )  # fmt: skip
        sets = tuple(ReplicaSet(name, of, canary=True, max_unavailable=1) for name, of in (("a", FOUR), ("b", pair)))
        desired = build(world(*services)).deployment._replace(sets=sets)
        assert [one.name for one in told_together(desired)] == expected


def test_a_plan_warns_of_a_canary_that_counts_for_nothing() -> None:
    services = (*(Svc(name, after=("q",)) for name in FOUR), Svc("q"))
    before, after = (build(world(*services, versions={"app": version})) for version in ("1", "2"))
    desired = after.deployment._replace(sets=(ReplicaSet("a", FOUR, canary=True, max_unavailable=1),))
    (warning,) = make_plan(desired, diff(desired, *as_applied(before))).diff.warnings
    assert warning.startswith("the canary of a counts for nothing here: q, which they come after, restarts too, so all")
    assert make_plan(desired, diff(desired, *as_applied(after))).diff.warnings == ()
    assert planned(canary=True).diff.warnings == ()
