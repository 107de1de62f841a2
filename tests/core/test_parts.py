"""Orphans, renames, the budget, files, order, reasons, reports and the ground of a step, each by itself."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.core.change import Act, Change, Diff, FileChange, Kind, Running, UnitName
from reconciler.core.desired import Field, File, Policy, Role
from reconciler.core.diff import diff
from reconciler.core.filediff import diff_files
from reconciler.core.inventory import Inventory, Owned
from reconciler.core.observed import Drift, FileState, Mark, Observed, Process, State, Unit
from reconciler.core.order import waves
from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Action, Phase, Plan, Step
from reconciler.core.planner import make_plan
from reconciler.core.problem import Gap, Origin, Problem
from reconciler.core.report import Comparison, DeploymentReport, Notice, PassReport
from reconciler.core.simulated import as_applied
from reconciler.core.view import View
from tests.core.world import Svc, World, build, world


def pushed(before: World, after: World, **seen: Any) -> Diff:
    """What a commit does to a host that is at another."""
    compiled = build(after)
    observed, inventory = as_applied(build(before))
    return diff(compiled.deployment, observed._replace(**seen), inventory, compiled.fields)


def by_name(found: Diff) -> dict[str, Change]:
    return {change.service: change for change in found.changes}


# ---------------------------------------------------------------- orphans and renames


def test_what_git_no_longer_has_goes_with_its_files() -> None:
    found = pushed(world("a", "b"), world("a"))
    gone = by_name(found)["b"]
    assert (gone.kind, gone.act, gone.reasons, gone.wanted) == (Kind.REMOVE, Act.REMOVE, ("git no longer has it",), "")
    assert found.stale_files == ("/r/bin/b", "/r/config/supervisor/b", "/r/env/b")


def test_what_is_disabled_says_where() -> None:
    gone = by_name(pushed(world("a", "b"), world("a", Svc("b", enabled=False))))["b"]
    assert gone.reasons == ("disabled in desired/sites/site.yaml:7",)


def test_what_ran_twice_under_an_unwanted_name_goes_entirely() -> None:
    observed, _ = as_applied(build(world("b")))
    stray = {**observed.processes, 50: observed.processes[2]._replace(pid=50)}
    gone = by_name(pushed(world("b"), world(), processes=stray))["b"]
    assert gone.strays == (Running(50, 1.0),)


@pytest.mark.parametrize(
    ("old", "new", "renamed"),
    [
        (Svc("web"), Svc("site"), True),
        (Svc("web", command="serve --name web"), Svc("site", command="serve --name site"), True),
        (Svc("web"), Svc("site", unit="other"), True),
        (Svc("web"), Svc("site", env="fast"), False),
        (Svc("web"), Svc("site", command="serve"), False),
        (Svc("web"), Svc("site", component="db"), False),
        (Svc("web"), Svc("site", launcher="second"), False),
    ],
)
def test_a_rename_differs_in_nothing_but_the_name(old: Svc, new: Svc, renamed: bool) -> None:
    changes = by_name(pushed(world(old), world(new)))
    if renamed:
        assert set(changes) == {"site"}
        change = changes["site"]
        assert (change.kind, change.reasons, change.renamed_from) == (Kind.UPDATE, ("renamed from web",), "web")
        assert [(unit.unit, unit.running) for unit in change.replaces] == [
            (UnitName("supervisor", "web"), Running(2, 1.0))
        ]
    else:
        assert {name: change.kind for name, change in changes.items()} == {"site": Kind.CREATE, "web": Kind.REMOVE}


def test_a_rename_with_a_bump_is_still_one() -> None:
    changes = by_name(pushed(world("web"), world("site", versions={"app": "2"})))
    assert (changes["site"].renamed_from, changes["site"].version, changes["site"].wanted) == ("web", "1", "2")


def test_of_two_that_look_alike_neither_is_taken_for_the_new_one() -> None:
    changes = by_name(pushed(world("web", "old"), world("site")))
    assert {name: change.kind for name, change in changes.items()} == {
        "old": Kind.REMOVE,
        "site": Kind.CREATE,
        "web": Kind.REMOVE,
    }


def test_a_rename_stops_the_old_before_it_starts_the_new() -> None:
    after = build(world("site"))
    observed, inventory = as_applied(build(world("web")))
    plan = make_plan(after.deployment, diff(after.deployment, observed, inventory, after.fields))
    (start,) = (step for step in plan.steps if step.act.starts)
    (remove,) = (step for step in plan.steps if step.act is Act.REMOVE)
    assert remove.id in start.needs
    assert (remove.unit, remove.running) == (UnitName("supervisor", "web"), Running(2, 1.0))


# ---------------------------------------------------------------- the budget


@pytest.mark.parametrize(
    ("ours", "gone", "policy", "held"),
    [
        (4, 3, Policy(), False),
        (4, 4, Policy(), True),
        (10, 3, Policy(), False),
        (10, 4, Policy(), True),
        (20, 6, Policy(), False),  # 30 % of 20
        (20, 7, Policy(), True),
        (4, 1, Policy(0, 0), True),
        (4, 4, Policy(9, 0), False),
        (10, 5, Policy(0, 50), False),
        (10, 6, Policy(0, 50), True),
    ],
)
def test_the_budget(ours: int, gone: int, policy: Policy, held: bool) -> None:
    # They differ in their commands, so that no removal is ever half of a rename.
    before = world(*(Svc(f"s{n:02}", command=f"run {n}") for n in range(ours)), policy=policy)
    found = pushed(before, before._replace(services=before.services[gone:]))
    removals = [change for change in found.changes if not change.wanted]
    assert len(removals) == gone
    assert {bool(change.held) for change in removals} == {held}
    assert {change.kind for change in removals} == {Kind.BLOCKED if held else Kind.REMOVE}
    limit = max(policy.max_removals, ours * policy.max_removal_percent // 100)
    why = f"{gone} removals at once, and policy.max_removals allows {limit}: held"
    assert all((why in change.reasons) is held for change in removals)
    assert bool(found.stale_files) is not held


def test_disabling_and_renaming_are_within_any_budget() -> None:
    names = [f"s{n}" for n in range(6)]
    before = world(*(Svc(name, env=f"{n}") for n, name in enumerate(names)), policy=Policy(0, 0))
    disabled = before._replace(services=tuple(s._replace(enabled=False) for s in before.services))
    assert not any(c.held for c in pushed(before, disabled).changes)
    renamed = world(*(Svc(f"n{name}", env=f"{n}") for n, name in enumerate(names)), policy=Policy(0, 0))
    assert [c.renamed_from for c in pushed(before, renamed).changes] == names


# ---------------------------------------------------------------- files

_FILE = File("/r/config/x.conf", 0o640, "new", Role.CONFIG, ("a",), "x.conf", secret=False)


@pytest.mark.parametrize(
    ("seen", "written", "why", "by_hand"),
    [
        (FileState("new", 0o640), "new", "", False),
        (FileState("new", 0o600), "new", "x.conf has mode 0600, not 0640", True),
        (FileState(""), "", "x.conf is new", False),
        (FileState(""), "new", "x.conf was deleted", True),
        (FileState("old", 0o640), "old", "x.conf changes", False),
        (FileState("edited", 0o640), "new", "x.conf was edited by hand", True),
        (FileState("edited", 0o640), "old", "x.conf was edited by hand", True),
        (
            FileState("found", 0o640),
            "",
            "x.conf takes the place of a file that is not ours, which is kept as x.conf.orig",
            False,
        ),
        (None, "new", "", False),
    ],
)
def test_a_file(seen: FileState | None, written: str, why: str, by_hand: bool) -> None:
    desired = build(world()).deployment._replace(files=(_FILE,))
    observed = Observed(1.0, {}, {}, {_FILE.path: seen} if seen else {}, {}, {}, {})
    inventory = Inventory(files={_FILE.path: written} if written else {})
    changes = diff_files(View(desired, observed, inventory, {}))
    foreign = "not ours" in why
    assert changes == ((FileChange(_FILE, seen, why, by_hand, foreign),) if why and seen else ())


def test_files_of_a_blocked_service_stay_as_they_are() -> None:
    """If it dies meanwhile, it must come back as what it was."""
    found = pushed(world("a", "b"), world("a", "b", versions={"app": "2"}), gaps=(Gap("install", "app-2", "slow"),))
    assert found.files == ()
    assert {change.kind for change in found.changes} == {Kind.BLOCKED}


# ---------------------------------------------------------------- order


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({"a": (), "b": ("a",), "c": ("b",)}, {"a": 0, "b": 1, "c": 2}),
        ({"a": (), "b": ("a",), "c": ("a", "b"), "d": ("a",)}, {"a": 0, "b": 1, "c": 2, "d": 1}),
        ({"a": ("nobody",)}, {"a": 0}),
        ({"c": (), "a": ("b",), "b": ("c",)}, {"c": 0, "b": 1, "a": 2}),
    ],
)
def test_waves(after: dict[str, tuple[str, ...]], expected: dict[str, int]) -> None:
    made = build(world(*(Svc(name, after=names) for name, names in after.items()))).deployment.services
    assert waves(made) == expected
    assert waves(made[::-1]) == expected


def test_waves_end_even_in_a_cycle() -> None:
    made = build(world(Svc("a", after=("b",)), Svc("b", after=("a",)), Svc("c", after=("c",)))).deployment.services
    assert set(waves(made)) == {"a", "b", "c"}


def test_what_comes_after_a_blocked_service_waits_and_says_for_what() -> None:
    services = (Svc("a"), Svc("b", after=("a",)), Svc("c", after=("b",)))
    observed, _ = as_applied(build(world(*services)))
    units = {("supervisor", "a"): Unit("supervisor", "a", State.RUNNING, 9, 1.0)}
    processes = {9: Process(9, 1.0, Mark("site/prod", "/p", "a", "s", "l", "1", "app", 9))}
    assert observed.units.keys() > units.keys()
    changes = by_name(pushed(world(*services), world(*services), units=units, processes=processes))
    assert {name: change.kind for name, change in changes.items()} == dict.fromkeys("abc", Kind.BLOCKED)
    assert changes["b"].reasons[-1] == "waits for a, which is not up"
    assert changes["c"].reasons[-1] == "waits for b, which is not up"


def test_after_what_is_disabled_waits_for_nothing() -> None:
    after = world(Svc("a", enabled=False), Svc("b", after=("a",)), versions={"app": "2"})
    assert by_name(pushed(world("a", Svc("b", after=("a",))), after))["b"].act is Act.RESTART


# ---------------------------------------------------------------- reasons


def test_a_secret_is_told_as_changed() -> None:
    compiled = build(world("a"))
    observed, inventory = as_applied(compiled)
    owned = inventory.services["a"]
    inventory = Inventory({"a": owned._replace(fields={**owned.fields, "env.TOKEN": "(secret 1111)"}, spec="s")})
    unit = observed.processes[2]
    assert unit.mark
    observed = observed._replace(processes={2: unit._replace(mark=unit.mark._replace(spec="s"))})
    secret = Field("(secret 2222)", Origin("desired/defaults.yaml", 9, 3), secret=True)
    fields = {"a": {**compiled.fields["a"], "env.TOKEN": secret}}
    (change,) = diff(compiled.deployment, observed, inventory, fields).changes
    assert change.reasons == ("env.TOKEN changed (secret) (desired/defaults.yaml:9)",)


def test_a_shared_file_is_told_by_its_name() -> None:
    before = world(Svc("a", files=("site.conf",)), files={"site.conf": "1"})
    changes = by_name(pushed(before, before._replace(files={"site.conf": "2"})))
    assert changes["a"].reasons == ("site.conf changes (desired/defaults.yaml:3)",)


def test_what_is_taken_away_and_what_is_new() -> None:
    before = world(Svc("a", files=("one",)), files={"one": "1", "two": "2"})
    reasons = by_name(pushed(before, before.with_service("a", launcher="second")))["a"].reasons
    assert reasons == ("moves from supervisor to second",)


# ---------------------------------------------------------------- reports


def reported(
    after: World, results: tuple[StepResult, ...] = (), *, applied: bool = True, error: str = "", **seen: Any
) -> DeploymentReport:
    before = world("a", "b", "c", "d", "e")
    compiled = build(after)
    observed, inventory = as_applied(build(before))
    observed = observed._replace(**seen)
    plan = make_plan(compiled.deployment, diff(compiled.deployment, observed, inventory, compiled.fields))
    return DeploymentReport(plan, compiled.deployment, observed, results, applied, error)


SAME = world("a", "b", "c", "d", "e")
BUMPED = SAME._replace(versions={"app": "2"})
DONE, FAILED = StepResult("restart:a", Status.DONE), StepResult("restart:a", Status.FAILED)
STOPPED = StepResult("restart:a", Status.SKIPPED, 0.0, "the pass was asked to stop before this step")
ALREADY = StepResult("restart:a", Status.SKIPPED, 0.0, "runs 2 since the plan was made")


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (reported(SAME), 0),
        (reported(SAME, applied=False), 0),
        (reported(BUMPED, applied=False), 2),
        (reported(BUMPED, (DONE,)), 0),
        (reported(BUMPED, (ALREADY,)), 0),
        (reported(BUMPED, (FAILED,)), 1),
        (reported(BUMPED, (STOPPED,)), 2),
        (reported(BUMPED, (FAILED, STOPPED)), 1),
        (reported(SAME, error="disk full"), 1),
        (reported(world("e")), 2),  # four of five removals: held
        (reported(SAME, gaps=(Gap("launcher", "supervisor", "no answer"),)), 1),
    ],
    ids=[
        "agrees",
        "plan without steps",
        "plan with steps",
        "done",
        "done by itself",
        "failed",
        "asked to stop",
        "failed and asked to stop",
        "error",
        "held",
        "blocked",
    ],
)
def test_exit_code_of_a_pass(report: DeploymentReport, code: int) -> None:
    assert PassReport("site", "c", "", "", "", (report,)).exit_code == code
    assert report.converged is (code == 0)


def test_a_service_whose_name_is_taken_fails_the_pass() -> None:
    observed, _ = as_applied(build(SAME))
    stranger = Process(2, 1.0, Mark("site/prod", "/p", "a", "s", "l", "1", "app", 2))
    report = reported(SAME, processes={**observed.processes, 2: stranger})
    assert [change.service for change in report.plan.blocked] == ["a"]
    assert PassReport("site", "c", "", "", "", (report,)).exit_code == 1


def test_a_unit_in_backoff_is_not_healthy() -> None:
    observed, _ = as_applied(build(SAME))
    units = {**observed.units, ("supervisor", "a"): Unit("supervisor", "a", State.BACKOFF)}
    processes = {pid: process for pid, process in observed.processes.items() if pid != 2}
    report = reported(SAME, units=units, processes=processes)
    assert [change.service for change in report.unhealthy] == ["a"]
    assert PassReport("site", "c", "", "", "", (report,)).exit_code == 1


def test_taking_up_its_description_does_not_make_it_healthy() -> None:
    observed, _ = as_applied(build(SAME))
    unit = Unit("supervisor", "a", State.BACKOFF, drift=(Drift("is masked"),))
    processes = {pid: process for pid, process in observed.processes.items() if pid != 2}
    report = reported(SAME, units={**observed.units, ("supervisor", "a"): unit}, processes=processes)
    assert [change.act for change in report.unhealthy] == [Act.LOAD]


def test_exit_code_of_invalid_input_comes_first() -> None:
    problem = Problem(Origin("desired/defaults.yaml", 1, 1), "unknown key")
    report = PassReport("site", "c", "", "", "", (reported(BUMPED, (FAILED,)),), (problem,))
    assert report.exit_code == 3
    assert PassReport("site", "c", "", "", "", notices=(Notice("stale", failed=True),)).exit_code == 1
    assert PassReport("site", "c", "", "", "", notices=(Notice("told", failed=False),)).exit_code == 0
    assert PassReport("site", "c", "", "", "", stale=True).exit_code == 2


@pytest.mark.parametrize(("differs", "problems", "code"), [(False, (), 0), (True, (), 2), (True, ("x",), 3)])
def test_exit_code_of_a_comparison(differs: bool, problems: tuple[str, ...], code: int) -> None:
    reports = (PassReport("site", "c", "", "", ""),) if differs else ()
    told = tuple(Problem(Origin("f", 1, 1), message) for message in problems)
    assert Comparison("a", "b", reports, 1, told).exit_code == code


def test_a_pass_with_nothing_to_do_is_idle() -> None:
    assert PassReport("site", "c", "", "", "", (reported(SAME),)).idle
    assert not PassReport("site", "c", "", "", "", (reported(BUMPED, (DONE,)),)).idle
    assert not PassReport("site", "c", "", "", "", notices=(Notice("told", failed=False),)).idle


# ---------------------------------------------------------------- plans


def test_install_check_and_render_come_before_every_stop() -> None:
    after = world("a", Svc("b", after=("a",)), Svc("c", option="x"), versions={"app": "2"})
    compiled = build(after)
    observed, inventory = as_applied(build(world("a", Svc("b", after=("a",)), "c", "gone")))
    observed = observed._replace(installs={"app-2": False})
    plan: Plan = make_plan(compiled.deployment, diff(compiled.deployment, observed, inventory, compiled.fields))
    kinds = [step.action for step in plan.steps]
    first = next(n for n, step in enumerate(plan.steps) if step.act.stops)
    assert {Action.INSTALL, Action.CHECK, Action.RENDER, Action.RELOAD}.isdisjoint(kinds[first:])
    assert [step.id for step in plan.steps if step.phase in (Phase.STOP, Phase.START, Phase.RELOAD)] == [
        "reload:supervisor",
        "remove:supervisor/gone",
        "restart:a",
        "restart:c",
        "restart:b",
    ]
    restart: Step = next(step for step in plan.steps if step.id == "restart:c")
    assert set(restart.needs) == {
        "check:c",
        "install:app-2",
        "reload:supervisor",
        "render:/r/bin/c",
        "render:/r/config/supervisor/c",
    }


def test_owned_without_an_effect_is_forgotten_silently() -> None:
    """An entry of which nothing is left on the host makes no step."""
    compiled = build(world("a"))
    observed, inventory = as_applied(compiled)
    inventory = inventory._replace(services={**inventory.services, "old": Owned("old", "supervisor", "s", "l", "1")})
    plan = make_plan(compiled.deployment, diff(compiled.deployment, observed, inventory))
    assert plan.steps == ()
    assert {c.service: c.kind for c in plan.diff.changes} == {"a": Kind.KEEP, "old": Kind.REMOVE}
