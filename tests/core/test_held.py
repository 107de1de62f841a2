"""Passes over a simulated host while a window is shut: what a commit brings waits, drift is mended, and afterwards all
of it is made up for."""

from __future__ import annotations

from hypothesis import given

from reconciler.core.change import Hold, Kind
from reconciler.core.desired import Policy, Role
from reconciler.core.observed import Shut
from reconciler.core.outcome import Status
from reconciler.core.plan import Action, Plan
from reconciler.core.report import DeploymentReport, PassReport
from tests.core.generate import Commit, Drift, after_push, drifts, pushes, worlds
from tests.core.host import Agent
from tests.core.test_convergence import arrived, check_settled, examples, wrong
from tests.core.world import Svc, World, build, world

CHANGES, ALL = Shut("held until 06:00 Mon (policy.windows.nights)"), Shut("held until 06:00 Mon", holds_all=True)


def specs(agent: Agent) -> dict[str, tuple[int, str]]:
    """By service, the process and what it was started from."""
    return {p.mark.service: (p.pid, p.mark.spec) for p in agent.host.ours() if p.mark and p.mark.service}


def held(plan: Plan) -> set[str]:
    assert all(change.held is Hold.WINDOW for change in plan.held)
    return {change.service for change in plan.held}


@examples(120)
@given(worlds(), pushes)
def test_nothing_that_a_commit_brings_is_done(desired: World, push: tuple[Commit, ...]) -> None:
    agent, _ = arrived(desired)
    before, files, installs = specs(agent), dict(agent.host.files), dict(agent.host.installs)
    pushed = build(after_push(desired, push))
    agent.host.shut = {"": CHANGES}
    plan = agent.run(pushed)
    assert plan.steps == ()
    assert (specs(agent), agent.host.files, agent.host.installs) == (before, files, installs)
    agent.host.shut = {}
    opened = agent.run(pushed)
    assert bool(opened.steps) <= plan.waits
    check_settled(agent, pushed, opened)


@examples(120)
@given(worlds(), pushes, drifts)
def test_drift_is_mended_and_nothing_new_is_run(
    desired: World, push: tuple[Commit, ...], drift: tuple[Drift, ...]
) -> None:
    agent, compiled = arrived(desired)
    old = {service.name: service.spec for service in compiled.deployment.services}
    pushed = build(after_push(desired, push))
    new = {service.name: service for service in pushed.deployment.services}
    for one in drift:
        one.befall(agent.host, compiled)
    were = set(agent.host.processes)
    agent.host.shut = {"": CHANGES}
    plan = agent.run(pushed)
    assert [r for r in agent.results if r.status not in (Status.DONE, Status.SKIPPED)] == []
    waiting = held(plan) | {change.service for change in plan.blocked}
    begun = {name: spec for name, (pid, spec) in specs(agent).items() if pid not in were}
    for name, spec in begun.items():
        assert spec in (old.get(name), *((new[name].spec,) if name in new and name not in waiting else ())), name
    if any(one.what == "old description" for one in drift):
        plan = agent.run(pushed)  # what runs shows that only when its launcher has started it again
    left = [what for what in wrong(agent.host, pushed, waiting | {""}) if not what.endswith("still runs")]
    assert left == []
    agent.host.shut = {}
    check_settled(agent, pushed, agent.run(pushed))


@examples(60)
@given(worlds(), pushes, drifts)
def test_a_window_that_holds_all_holds_all(desired: World, push: tuple[Commit, ...], drift: tuple[Drift, ...]) -> None:
    agent, compiled = arrived(desired)
    for one in drift:
        one.befall(agent.host, compiled)
    pushed = build(after_push(desired, push))
    agent.host.shut = {"": ALL}
    assert agent.plan(pushed).steps == ()
    agent.host.shut = {}
    check_settled(agent, pushed, agent.run(pushed))


# ---------------------------------------------------------------- examples

TWO = world(Svc("web"), Svc("job", component="tool"), versions={"app": "1", "tool": "1"})


def bumped(desired: World = TWO) -> World:
    return desired._replace(versions={"app": "2", "tool": "1"})


def stop(agent: Agent, unit: str) -> None:
    manager, loaded = next((m, one) for m, one in agent.host.all_loaded() if one.unit == unit)
    assert manager
    agent.host.halt(loaded)
    agent.host.sleep(60.0)


def test_a_bump_is_told_with_all_its_reasons_and_waits() -> None:
    agent, _ = arrived(TWO)
    compiled = build(bumped())
    agent.host.shut = {"": CHANGES}
    plan = agent.plan(compiled)
    (change,) = plan.held
    assert (change.service, change.kind, change.version, change.wanted) == ("web", Kind.BLOCKED, "1", "2")
    assert change.reasons[0].startswith("version 1 -> 2")
    assert change.reasons[-1] == CHANGES.why
    report = DeploymentReport(
        plan, compiled.deployment, agent.host.observe(compiled.deployment, agent.inventory), (), True
    )
    assert (report.converged, PassReport("s", "c", "", "", "", (report,)).exit_code) == (False, 2)


def test_a_stopped_service_is_mended_beside_a_bump_that_waits() -> None:
    agent, _ = arrived(TWO)
    stop(agent, "job")
    agent.host.shut = {"": CHANGES}
    plan = agent.run(build(bumped()))
    assert {step.service for step in plan.steps if step.act.starts} == {"job"}
    assert held(plan) == {"web"}


def test_what_waits_is_started_as_it_was_when_it_is_down() -> None:
    agent, _ = arrived(TWO)
    spec = specs(agent)["web"][1]
    stop(agent, "web")
    agent.host.shut = {"": CHANGES}
    plan = agent.run(build(bumped()))
    assert [step.action for step in plan.steps] == [Action.START]
    assert specs(agent)["web"][1] == spec
    assert agent.plan(build(bumped())).steps == ()
    assert agent.inventory.services["web"].version == "1"


def test_everything_comes_back_as_it_was_after_a_reboot() -> None:
    agent, _ = arrived(TWO)
    before = {name: spec for name, (_, spec) in specs(agent).items()}
    agent.host.reboot()
    agent.host.shut = {"": CHANGES}
    agent.run(build(bumped()._replace(daemon="other")))
    assert {name: spec for name, (_, spec) in specs(agent).items()} == before


def test_a_daemon_whose_configuration_changes_waits_and_says_so() -> None:
    agent, _ = arrived(TWO)
    pushed = build(TWO._replace(daemon="other"))
    agent.host.shut = {"": CHANGES}
    plan = agent.plan(pushed)
    assert plan.steps == ()
    assert plan.diff.waiting[0] == (
        "the configuration of supervisor itself changes, so it restarts with all it runs: " + CHANGES.why
    )


def test_a_first_pass_starts_nothing() -> None:
    agent, compiled = Agent(), build(TWO)
    agent.host.shut = {"": CHANGES}
    assert agent.plan(compiled).steps == ()
    assert held(agent.plan(compiled)) == {"web", "job"}


def test_only_the_named_services_wait() -> None:
    agent, _ = arrived(TWO)
    pushed = build(TWO._replace(versions={"app": "2", "tool": "2"}))
    agent.host.shut = {"": None, "web": CHANGES}
    plan = agent.run(pushed)
    assert held(plan) == {"web"}
    assert [specs(agent)[name][1] for name in ("job",)] == [
        s.spec for s in pushed.deployment.services if s.name == "job"
    ]


def test_removals_over_the_budget_say_so_and_not_the_window() -> None:
    many = world(*(Svc(f"s{n}") for n in range(6)), policy=Policy(1, 0))
    agent, _ = arrived(many)
    pushed = build(many.without("s0", "s1", "s2"))
    agent.host.shut = {"": CHANGES}
    assert {change.held for change in agent.plan(pushed).held} == {Hold.BUDGET}


def test_a_removal_waits() -> None:
    agent, _ = arrived(TWO)
    agent.host.shut = {"": CHANGES}
    plan = agent.run(build(TWO.without("web")))
    assert (held(plan), plan.steps) == ({"web"}, ())
    assert "web" in specs(agent)


def test_what_waits_and_cannot_be_started_as_it_was_is_not_healthy() -> None:
    agent, _ = arrived(TWO)
    stop(agent, "web")
    agent.host.files = {path: found for path, found in agent.host.files.items() if not path.endswith("bin/web")}
    agent.host.shut = {"": CHANGES}
    pushed = build(bumped())
    plan = agent.plan(pushed)
    assert plan.steps == ()
    report = DeploymentReport(plan, pushed.deployment, agent.host.observe(pushed.deployment, agent.inventory), (), True)
    assert [change.service for change in report.unhealthy] == ["web"]


def test_what_waits_is_not_started_by_the_name_of_what_was() -> None:
    """It was written before it had to wait, and did not start: nothing on the host is as it was any more."""
    agent, _ = arrived(TWO)
    pushed = build(bumped())
    shim = next(f for f in pushed.deployment.files if f.role is Role.SHIM and f.services == ("web",))
    agent.host.files[shim.path] = (pushed.contents[shim.path], shim.mode, agent.host.now())
    agent.inventory = agent.inventory._replace(files={**agent.inventory.files, shim.path: shim.digest})
    stop(agent, "web")
    agent.host.shut = {"": CHANGES}
    assert "web" not in {step.service for step in agent.plan(pushed).steps}
    agent.host.shut = {}
    check_settled(agent, pushed, agent.run(pushed))
