"""What is news: each thing is told once, however often it is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.approval import Gate, Waiting
from reconciler.core.change import Act, Change, Diff, Kind, UnitName
from reconciler.core.desired import Approval, Policy, without_services
from reconciler.core.observed import Observed, State
from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Action, Phase, Plan, Step
from reconciler.core.problem import Gap
from reconciler.core.report import DeploymentReport, Notice, PassReport
from reconciler.core.rollback import Rollout, Stage
from reconciler.core.telling import Happening, Standing, commit_state, news

WRONG = st.frozensets(st.sampled_from(["out of reach for 3 h", "rewound", "not valid"]))


def report(wrong: frozenset[str]) -> PassReport:
    notices = tuple(Notice(message, failed=True) for message in sorted(wrong))
    return PassReport("aws", "c0ffee", "", "", "", notices=notices)


@given(st.lists(WRONG, max_size=8))
def test_what_is_wrong_is_told_when_it_begins_and_when_all_is_well_again(found: list[frozenset[str]]) -> None:
    standing: Standing = {}
    before: frozenset[str] = frozenset()
    for wrong in found:
        standing, messages = news(standing, report(wrong))
        told = {happening for message in messages for happening in message.happenings}
        assert (Happening.FAILURE in told) == bool(wrong - before)
        assert (Happening.RECOVERY in told) == bool(before and not wrong)
        assert news(standing, report(wrong)) == (standing, ())
        before = wrong


def test_a_number_that_changes_is_nothing_new() -> None:
    standing, first = news({}, report(frozenset({"out of reach for 25 h"})))
    assert first[0].troubles == ("out of reach for 25 h",)
    assert news(standing, report(frozenset({"out of reach for 26 h"}))) == (standing, ())


def rolled(service: str, commit: str, runs: str = "1.0") -> PassReport:
    """A pass that has met what failed before; without `runs` nothing has taken its place."""
    stage = Stage.ROLLED_BACK if runs else Stage.FAILED
    found = Rollout(stage, "1.0", runs, commit, 5.0, "exec: exit status 1")
    desired = without_services("aws", "dev", commit, "/r", Policy())
    plan = Plan("aws", "dev", commit, Diff((), (), (), (), (), (), (), ()), ())
    observed = Observed(1.0, {}, {}, {}, {}, {}, {})
    one = DeploymentReport(plan, desired, observed, (), applied=True, rollouts={service: found})
    return PassReport("aws", commit, "", "", "", (one,))


def happened(standing: Standing, found: PassReport) -> tuple[Standing, list[Happening]]:
    now, messages = news(standing, found)
    assert news(now, found) == (now, ())
    return now, [happening for message in messages for happening in message.happenings]


def test_each_commit_that_is_taken_back_is_told_once() -> None:
    """Of a commit that changes no version, too; and where the way back had to wait, when it has come."""
    standing, told = happened({}, rolled("web", "a" * 40, runs=""))
    assert told == [Happening.FAILURE]
    standing, told = happened(standing, rolled("web", "a" * 40))
    assert told == [Happening.ROLLBACK]
    standing, told = happened(standing, rolled("web", "b" * 40))
    assert told == [Happening.ROLLBACK]


def test_why_something_is_blocked_is_told_once() -> None:
    """By the line of what cannot be seen."""
    why = "desired/x.yaml:2:57: the secret of env NOPE cannot be had: there is no variable NOPE (set it)"
    blind = "this account may not look"
    blocked = [
        Change(name, Kind.BLOCKED, Act.NONE, (reason,), UnitName("s", name), "", "", "1.0", "1.0", State.RUNNING)
        for name, reason in (("db", "pid 12 cannot be seen: " + blind), ("job", "is taken"), ("web", why))
    ]
    gaps = (Gap("file", "/r/env/web.env", why), Gap("launcher", "s", blind))
    found = rolled("web", "a" * 40)
    (one,) = found.deployments
    diff = one.plan.diff._replace(changes=tuple(blocked), gaps=gaps)
    found = found._replace(deployments=(one._replace(rollouts={}, plan=one.plan._replace(diff=diff)),))
    _, (message,) = news({}, found)
    assert message.troubles == (
        f"/r/env/web.env: {why}",
        f"s: {blind}",
        "db: blocked: pid 12 cannot be seen",
        "job: blocked: is taken",
        "web: blocked: the secret of env NOPE cannot be had",
    )


def waits(plan: str, *, wrong: str = "", approved: bool = False) -> PassReport:
    gate = Gate(Waiting(plan, "w", (), ("+ web 1.0",)), Approval(plan, "fine") if approved else None)
    found = rolled("web", "a" * 40)
    (one,) = found.deployments
    return found._replace(deployments=(one._replace(rollouts={}, gate=gate, error=wrong),))


def test_a_plan_that_waits_is_told_once_and_is_nothing_wrong() -> None:
    standing, told = happened({}, waits("a" * 64))
    assert told == [Happening.APPROVAL]
    standing, told = happened(standing, waits("b" * 64))
    assert told == [Happening.APPROVAL]
    standing, told = happened(standing, waits("b" * 64, wrong="no room"))
    assert told == [Happening.FAILURE]
    standing, told = happened(standing, waits("c" * 64, wrong="no room"))
    assert told == [Happening.APPROVAL]
    standing, told = happened(standing, waits("c" * 64))
    assert told == [Happening.RECOVERY]
    standing, told = happened(standing, waits("c" * 64, approved=True))
    assert (standing, told) == ({}, [])
    assert commit_state(waits("d" * 64)) == ("a" * 40, "success", "applied")


def test_a_way_back_that_fails_is_told() -> None:
    found = rolled("web", "a" * 40)
    (one,) = found.deployments
    failed = (StepResult("restart:web", Status.FAILED, message="did not start: FATAL\nand more"),)
    found = found._replace(deployments=(one._replace(rollback=one._replace(results=failed)),))
    _, (message,) = news({}, found)
    assert message.happenings == (Happening.FAILURE, Happening.ROLLBACK)
    assert "restart:web, to go back: did not start: FATAL" in message.troubles


def test_what_is_tried_anew_and_fails_changes_nothing() -> None:
    """A launcher that reads anew what was written has changed nothing by that, however often it does."""
    steps = [
        Step("check:web", Action.CHECK, "web", "web", Phase.CHECK),
        Step("reload:s", Action.RELOAD, "", "s", Phase.RELOAD),
        Step("restart:web", Action.RESTART, "web", "web", Phase.START),
    ]
    found = rolled("web", "a" * 40)
    (one,) = found.deployments
    results = tuple(StepResult(step.id, Status.DONE) for step in steps[:2])
    failed = (*results, StepResult("restart:web", Status.FAILED, message="FATAL"))
    plan = one.plan._replace(steps=tuple(steps))
    tried = found._replace(deployments=(one._replace(rollouts={}, plan=plan, results=failed),))
    _, told = happened({}, tried)
    assert told == [Happening.FAILURE]
    assert not tried.did
    done = tried._replace(deployments=(one._replace(plan=plan, results=(StepResult("restart:web", Status.DONE),)),))
    assert done.did
