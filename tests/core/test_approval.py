"""Gates over a simulated host: what waits for a person, which plan that is, and what of it may be finished."""

from __future__ import annotations

from hypothesis import given

from reconciler.core import approval
from reconciler.core.approval import Item, Waiting
from reconciler.core.change import Hold
from reconciler.core.desired import Ask, Compiled, Leaves, Policy, Probe, Prune, Role, Trace, Watch
from reconciler.core.diff import diff
from reconciler.core.digest import digest_of
from reconciler.core.planner import make_plan
from reconciler.core.problem import Gap
from reconciler.core.secret import Reference, Secret, Source, Use
from tests.core.generate import Commit, Drift, after_push, drifts, pushes, worlds
from tests.core.host import Agent
from tests.core.test_convergence import arrived, check_settled, examples
from tests.core.test_held import TWO, bumped, specs, stop
from tests.core.world import World, build

MANUAL, DRIFT, CONFIRM = Policy(99, manual=True), Policy(99, self_heal=False), Policy(99, prune=Prune.CONFIRM)


def shut(agent: Agent, compiled: Compiled) -> None:
    agent.host.gates = approval.closed(compiled.deployment, agent.inventory, "waits")


def waiting(agent: Agent, compiled: Compiled, after: str = "") -> Waiting | None:
    """What the gates of its policy hold now."""
    desired, inventory = compiled.deployment, agent.inventory
    gates = approval.closed(desired, inventory, "waits")
    observed = agent.host.observe(desired, inventory)
    gated = make_plan(desired, diff(desired, observed._replace(gates=gates), inventory, compiled.fields))
    opened = make_plan(desired, diff(desired, observed._replace(gates={}), inventory, compiled.fields))
    return approval.waiting(desired, gated, opened, after)


@examples(40)
@given(worlds(), pushes)
def test_nothing_that_a_commit_brings_is_done_before_it_is_approved(desired: World, push: tuple[Commit, ...]) -> None:
    agent, _ = arrived(desired)
    before, files, installs = specs(agent), dict(agent.host.files), dict(agent.host.installs)
    pushed = build(after_push(desired, push)._replace(policy=MANUAL))
    shut(agent, pushed)
    plan = agent.run(pushed)
    assert plan.steps == ()
    assert (specs(agent), agent.host.files, agent.host.installs) == (before, files, installs)
    assert all(change.held is Hold.APPROVAL for change in plan.held)
    found = waiting(agent, pushed)
    assert found is None or plan.waits
    assert found == waiting(agent, pushed)
    agent.host.gates = {}
    opened = agent.run(pushed)
    assert bool(opened.steps) <= (found is not None)
    check_settled(agent, pushed, opened)
    assert waiting(agent, pushed) is None


@examples(40)
@given(worlds(), drifts)
def test_drift_of_what_git_wants_is_not_mended_before_it_is_approved(desired: World, drift: tuple[Drift, ...]) -> None:
    agent, compiled = arrived(desired._replace(policy=DRIFT))
    for one in drift:
        one.befall(agent.host, compiled)
    wanted = {service.name for service in compiled.deployment.services}
    befallen = {name: pid for name, pid in agent.host.pids().items() if name in wanted}
    shut(agent, compiled)
    plan = agent.run(compiled)
    assert {step.service for step in plan.steps} & wanted == set()
    assert {name: pid for name, pid in agent.host.pids().items() if name in wanted} == befallen
    agent.host.gates = {}
    check_settled(agent, compiled, agent.run(compiled))


def test_a_removal_alone_waits_for_confirmation() -> None:
    agent, _ = arrived(TWO)
    pushed = build(bumped(TWO).without("job")._replace(policy=CONFIRM))
    shut(agent, pushed)
    plan = agent.run(pushed)
    assert [change.service for change in plan.held] == ["job"]
    assert agent.host.main().keys() == {"job", "web"}
    assert agent.host.main()["web"].mark is not None
    agent.host.gates = {}
    check_settled(agent, pushed, agent.run(pushed))


def test_the_id_is_of_the_state_and_not_of_the_commit() -> None:
    agent, _ = arrived(TWO)
    pushed = build(bumped(TWO)._replace(policy=MANUAL))
    first = waiting(agent, pushed)
    assert first is not None
    assert len(first.id) == 32
    later = pushed._replace(deployment=pushed.deployment._replace(commit="later"))
    assert waiting(agent, later) == first
    again = waiting(agent, pushed, after=first.id)
    assert again is not None
    assert again.id != first.id
    other = waiting(agent, build(bumped(TWO)._replace(policy=MANUAL, daemon="x")))
    assert other is not None
    assert other.id != first.id
    stop(agent, "web")
    stopped = waiting(agent, pushed)
    assert stopped is not None
    assert stopped.id != first.id
    assert any("web does not run, and was pid" in told for told in approval.changed(first.items, stopped.items))


def test_a_gate_of_a_service_outlives_it() -> None:
    agent, compiled = arrived(TWO)
    owned = {name: one._replace(manual=name == "job") for name, one in agent.inventory.services.items()}
    agent.inventory = agent.inventory._replace(services=owned)
    pushed = build(TWO.without("job"))
    assert approval.is_gated(pushed.deployment, agent.inventory)
    assert not approval.is_gated(compiled.deployment._replace(services=()), agent.inventory._replace(services={}))
    found = waiting(agent, pushed)
    assert found is not None
    assert [item.service for item in found.items if item.service] == ["job"]


def item(step: str, pid: int = 0, before: str = "") -> Item:
    return Item(step, step.partition(":")[2], pid, before)


def test_what_is_the_rest() -> None:
    plan = (item("render:/x", before="a"), item("restart:web", 7), item("remove:supervisor/job", 8))
    assert approval.is_rest(plan, plan)
    assert approval.is_rest(plan, ())
    assert approval.is_rest(plan, (item("start:web"),))  # it was stopped, and not started yet
    assert approval.is_rest(plan, (item("remove:supervisor/job"),))
    assert not approval.is_rest(plan, (item("restart:web", 9),))  # somebody has started it
    assert not approval.is_rest(plan, (item("render:/x", before="b"),))
    assert not approval.is_rest(plan, (item("start:other"),))



def test_the_id_is_not_of_the_line_that_a_secret_is_written_on() -> None:
    """Nor of the words in which it is told that it cannot be had."""
    agent, _ = arrived(TWO)
    pushed = build(bumped(TWO)._replace(policy=MANUAL))

    def written(line: int, target: str = "/etc/key") -> Waiting | None:
        place = f"desired/defaults.yaml:{line}:3"
        use = Use(Secret(Reference(Source.FILE, target), place), ("/r/env/web.env",), ())
        gap = Gap("file", "/r/other", f"{place}: the secret cannot be had")
        return waiting(agent, pushed._replace(deployment=pushed.deployment._replace(secrets=(use,), gaps=(gap,))))

    first = written(3)
    assert first is not None
    assert written(4) == first
    assert written(3, "/etc/other") != first


def test_nobody_is_asked_for_the_way_back() -> None:
    """But for drift of what has gone back."""
    agent, compiled = arrived(TWO)
    desired = compiled.deployment._replace(policy=Policy(99, manual=True, self_heal=False), syncs={"web": True})
    shut = approval.closed(desired, agent.inventory, "waits", approval.Aside(back=frozenset({"web"})))
    assert shut["web"] is not None
    assert (shut["web"].holds_all, shut["web"].holds_changes) == (True, False)
    shims = {file.path: "tried" for file in desired.files if file.services == ("web",) and file.role is Role.SHIM}
    tried = agent.inventory._replace(files={**agent.inventory.files, **shims})
    assert approval.closed(desired, tried, "waits", approval.Aside(back=frozenset({"web"})))["web"] is None
    assert approval.closed(desired, tried, "waits")["web"] == approval.closed(desired, tried, "waits")[""]


def test_the_id_is_not_of_what_a_release_has_added() -> None:
    """A plan that was approved stays approved through an upgrade."""
    deployment = build(TWO).deployment
    probe = Probe(Ask.HTTP, 5.0, "http://localhost/")
    watch = Watch("a", (probe,), 1.0, 1.0, 1, 0.0, private=False, env_file="")
    wants = approval.wanted(deployment._replace(watches=(watch,)))
    trace = Trace(Leaves.LOG, "/a.log", "supervisor", "a", "a", 3)
    assert approval.wanted(deployment._replace(watches=(watch,), traces=(trace,))) == wants
    other = watch._replace(probes=(probe._replace(ca="/ca.pem"),))
    assert approval.wanted(deployment._replace(watches=(other,))) != wants
    before = watch._replace(probes=(tuple(probe)[:-1],))  # type: ignore[arg-type]
    data = deployment._asdict() | {"commit": "", "policy": "", "approvals": "", "syncs": "", "guards": ""}
    data |= {"disabled": [], "installs": [(one.id, one.digest) for one in deployment.installs], "secrets": []}
    assert digest_of({key: value for key, value in (data | {"watches": [before]}).items() if key != "traces"}) == wants
