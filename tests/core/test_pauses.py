"""Pauses laid over windows, and passes over a simulated host while something is paused."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core import pauses
from reconciler.core.change import Hold, Kind
from reconciler.core.diff import diff
from reconciler.core.observed import Pause, Shut
from reconciler.core.report import DeploymentReport, PassReport
from tests.core.generate import Commit, Drift, after_push, drifts, pushes, worlds
from tests.core.host import Agent
from tests.core.test_convergence import arrived, check_settled, examples
from tests.core.test_held import ALL, CHANGES, specs, stop
from tests.core.world import Svc, World, build, world

NOW = 1_000_000.0
PAUSED = Shut("paused until 06:00 Mon by ann on h: a test", holds_all=True, until=NOW + 60, paused=True)
TWO = world(Svc("web"), Svc("job", component="tool"), versions={"app": "1", "tool": "1"})


def utc(_instant: float) -> int:
    return 0


def one(service: str = "", until: float = NOW + 60, environment: str = "dev") -> Pause:
    return Pause(environment, service, NOW - 60, until, "ann", "h", "a test")


def why(service: str, *found: Pause, shut: dict[str, Shut | None] | None = None) -> str:
    laid = pauses.over(shut or {}, found, NOW, utc)
    held = laid.get(service, laid.get(""))
    return held.why if held else ""


def test_who_until_when_and_why_is_told() -> None:
    assert why("web", one("web")) == "paused until 13:47 Mon by ann on h: a test"
    assert why("job", one("web")) == ""


def test_a_pause_of_all_holds_what_a_window_names_too() -> None:
    assert why("web", one(), shut={"web": CHANGES, "": None}).startswith("paused")
    assert why("web", one("job"), shut={"": CHANGES}) == CHANGES.why
    assert why("other", one("job"), shut={"job": CHANGES, "": None}) == ""


def test_of_two_pauses_the_later_end_counts() -> None:
    assert pauses.over({}, [one("web", NOW + 9), one(until=NOW + 7)], NOW, utc)["web"] == Shut(
        "paused until 13:46 Mon by ann on h: a test", True, NOW + 9, True
    )


def test_a_pause_holds_in_its_environment_until_it_ends() -> None:
    assert [one().holds(name, NOW) for name in ("dev", "prod")] == [True, False]
    assert one(environment="").holds("prod", NOW)
    assert not one(until=NOW).holds("dev", NOW)
    assert pauses.ended([one(until=NOW), one("web")], NOW) == (one(until=NOW),)


def test_one_that_was_opened_anew_is_not_taken_off_with_the_old_one() -> None:
    old, new = one("web"), one("web", NOW + 600)
    assert pauses.opened([old, one()], [new]) == (one(), new)
    assert pauses.without([one(), new], [old]) == (one(), new)


# ---------------------------------------------------------------- passes


def held(agent: Agent, desired: World) -> set[str]:
    plan = agent.plan(build(desired))
    return {change.service for change in plan.diff.changes if change.held is Hold.PAUSE}


@examples(100)
@given(worlds(), pushes, drifts)
def test_of_a_paused_deployment_nothing_is_changed(
    desired: World, push: tuple[Commit, ...], drift: tuple[Drift, ...]
) -> None:
    agent, compiled = arrived(desired)
    for befallen in drift:
        befallen.befall(agent.host, compiled)
    pushed = build(after_push(desired, push))
    agent.host.shut = {"": PAUSED}
    plan = agent.plan(pushed)
    assert plan.steps == ()
    assert not [change for change in plan.held if change.held is Hold.WINDOW]
    agent.host.shut = {}
    check_settled(agent, pushed, agent.run(pushed))


@examples(150)
@given(worlds(), pushes, drifts, st.data())
def test_of_a_paused_service_nothing_is_changed(
    desired: World, push: tuple[Commit, ...], drift: tuple[Drift, ...], data: st.DataObject
) -> None:
    agent, compiled = arrived(desired)
    names = [service.name for service in compiled.deployment.services]
    if not names:
        return
    name = data.draw(st.sampled_from(names))
    own = {file.path for file in compiled.deployment.files if file.services == (name,)}
    for befallen in drift:
        befallen.befall(agent.host, compiled)
    before, files = specs(agent).get(name), {p: f for p, f in agent.host.files.items() if p in own}
    pushed = build(after_push(desired, push))
    agent.host.shut = {"": None, name: PAUSED}
    agent.run(pushed)
    assert specs(agent).get(name) == before
    assert {p: f for p, f in agent.host.files.items() if p in own} == files
    agent.host.shut = {}
    check_settled(agent, pushed, agent.run(pushed))


def test_a_paused_service_is_not_started_again_and_that_is_no_failure() -> None:
    agent, compiled = arrived(TWO)
    stop(agent, "web")
    agent.host.shut = {"": None, "web": PAUSED}
    plan = agent.plan(compiled)
    assert plan.steps == ()
    (change,) = plan.held
    assert (change.held, change.kind, change.reasons[-1]) == (Hold.PAUSE, Kind.BLOCKED, PAUSED.why)
    observed = agent.host.observe(compiled.deployment, agent.inventory)
    report = DeploymentReport(plan, compiled.deployment, observed, (), True)
    assert PassReport("s", "c", "", "", "", (report,)).exit_code == 2


def test_nothing_differs_so_nothing_is_held() -> None:
    agent, compiled = arrived(TWO)
    agent.host.shut = {"": PAUSED}
    plan = agent.plan(compiled)
    assert (plan.steps, plan.waits) == ((), False)


def test_a_daemon_does_not_restart_under_a_paused_service_and_says_so() -> None:
    agent, _ = arrived(TWO)
    changed = TWO._replace(daemon="other")
    agent.host.shut = {"": None, "web": PAUSED}
    plan = agent.run(build(changed))
    assert [step.id for step in plan.steps if "daemon" in step.id] == []
    assert [what.endswith(PAUSED.why) for what in plan.diff.waiting] == [True]
    agent.host.shut = {}
    assert [step.id for step in agent.run(build(changed)).steps if "daemon" in step.id] == ["restart:daemon:supervisor"]


def test_a_window_for_one_service_keeps_the_daemon_too() -> None:
    agent, _ = arrived(TWO)
    agent.host.shut = {"": None, "web": ALL}
    assert [s.id for s in agent.run(build(TWO._replace(daemon="other"))).steps if "daemon" in s.id] == []


def test_a_service_with_a_new_name_is_held_by_its_old_one() -> None:
    agent, _ = arrived(TWO)
    before = specs(agent)["web"]
    renamed = TWO.without("web")._replace(services=(Svc("site"), Svc("job", component="tool")))
    agent.host.shut = {"": None, "web": PAUSED}
    agent.run(build(renamed))
    assert specs(agent) == {"web": before, "job": specs(agent)["job"]}


def test_a_removal_waits_and_the_other_service_is_bumped() -> None:
    agent, _ = arrived(TWO)
    agent.host.shut = {"": None, "web": PAUSED}
    pushed = TWO.without("web")._replace(versions={"app": "1", "tool": "2"})
    assert held(agent, pushed) == {"web"}
    before = specs(agent)
    agent.run(build(pushed))
    assert specs(agent)["web"] == before["web"]
    assert specs(agent)["job"] != before["job"]


def test_neither_a_second_daemon_nor_a_second_description_goes_under_a_paused_service() -> None:
    agent, compiled = arrived(TWO)
    observed = agent.host.observe(compiled.deployment, agent.inventory)
    daemons = {name: one._replace(surplus=(77,)) for name, one in observed.daemons.items()}
    observed = observed._replace(daemons=daemons, copies={"/r/x.conf": "supervisor"})

    def found(shut: Mapping[str, Shut | None]) -> tuple[int, int]:
        one = diff(compiled.deployment, observed._replace(shut=shut), agent.inventory)
        return len(one.copies), sum(len(daemon.surplus) for daemon in one.daemons)

    assert found({}) == (1, 1)
    assert found({"": None, "web": PAUSED}) == (0, 0)
