"""Rules for launchers without a daemon of the deployment's own, and for what moves between launchers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from reconciler.agent.memory import inventory as book
from reconciler.core.change import Act, Change, DaemonAct, Diff, Kind, Running, UnitName
from reconciler.core.desired import Compiled
from reconciler.core.diff import diff
from reconciler.core.inventory import Inventory, Owned
from reconciler.core.observed import Drift, FileState, Mark, Observed, Process, State, Unit
from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Phase, Plan
from reconciler.core.planner import make_plan
from reconciler.core.problem import Gap
from reconciler.core.simulated import as_applied
from tests.core.host import FOREIGN
from tests.core.test_convergence import arrived
from tests.core.world import Svc, World, build, world

KEY = ("systemd", "web")
UNIT_FILE, SHIM = "/home/units/web", "/r/bin/web"
DESIRED = world(Svc("web", launcher="systemd"))
MASKED, DROPIN = Drift("is masked"), Drift("has a drop-in web.d/x.conf", restarts=True)
REPLACED = "its image web.sif was replaced since it started"
BUMP = "version 1 -> 2 (desired/environments/dev.yaml:2)"
TAKEN = "its name is taken by a systemd unit that is not ours (set `name:` to another one): web"


class Scene(NamedTuple):
    """What was applied of a world, and what then became of it. The process of the first service is 2."""

    compiled: Compiled
    observed: Observed
    inventory: Inventory

    def diff(self) -> Diff:
        return diff(self.compiled.deployment, self.observed, self.inventory, self.compiled.fields)

    def change(self, service: str = "web") -> Change:
        return next(change for change in self.diff().changes if change.service == service)

    def plan(self) -> Plan:
        return make_plan(self.compiled.deployment, self.diff())

    def ids(self, *phases: Phase) -> list[str]:
        return [step.id for step in self.plan().steps if step.phase in phases]

    def see(self, **parts: Any) -> Scene:
        return self._replace(observed=self.observed._replace(**parts))

    def unit(self, **parts: Any) -> Scene:
        unit = self.observed.units[KEY]._replace(**parts)
        return self.see(units={**self.observed.units, KEY: unit})

    def told(self, *drift: Drift) -> Scene:
        return self.unit(drift=drift)

    def down(self, state: State = State.STOPPED) -> Scene:
        return self.unit(state=state, pid=0).see(processes={})

    def replaced(self) -> Scene:
        return self.see(outdated={2: REPLACED})

    def gap(self, scope: str, subject: str) -> Scene:
        return self.see(gaps=(*self.observed.gaps, Gap(scope, subject, "no answer")))

    def pushed(self, desired: World) -> Scene:
        return self._replace(compiled=build(desired))

    def option(self) -> Scene:
        return self.pushed(DESIRED.with_service("web", option="slow"))

    def bumped(self) -> Scene:
        return self.pushed(DESIRED._replace(versions={"app": "2"}))

    def file(self, path: str, digest: str, changed: float) -> Scene:
        state = self.observed.files[path]._replace(digest=digest, changed=changed)
        return self.see(files={**self.observed.files, path: state})

    def mark(self, **parts: Any) -> Scene:
        process = self.observed.processes[2]
        assert process.mark
        return self.see(processes={**self.observed.processes, 2: process._replace(mark=process.mark._replace(**parts))})


def applied(desired: World = DESIRED) -> Scene:
    compiled = build(desired)
    return Scene(compiled, *as_applied(compiled))


CASES: Mapping[str, tuple[Callable[[Scene], Scene], Kind, Act, tuple[str, ...]]] = {
    "nothing differs": (lambda s: s, Kind.KEEP, Act.NONE, ()),
    # what runs from an image that was replaced
    "outdated": (lambda s: s.replaced(), Kind.RESTART, Act.RESTART, (REPLACED,)),
    "outdated, and a bump": (lambda s: s.replaced().bumped(), Kind.UPDATE, Act.RESTART, (BUMP,)),
    "outdated, and down by now": (lambda s: s.replaced().down(), Kind.RESTART, Act.START, ("was stopped by hand",)),
    "another process is outdated": (lambda s: s.see(outdated={3: REPLACED}), Kind.KEEP, Act.NONE, ()),
    "outdated, and its install is not in place": (
        lambda s: s.replaced().see(installs={"app-1": False}),
        Kind.RESTART,
        Act.RESTART,
        (REPLACED,),
    ),
    "outdated, and its install cannot be seen": (
        lambda s: s.replaced().gap("install", "app-1"),
        Kind.BLOCKED,
        Act.NONE,
        (REPLACED, "no answer"),
    ),
    "outdated, and its launcher cannot be seen": (
        lambda s: s.replaced().gap("launcher", "systemd"),
        Kind.BLOCKED,
        Act.NONE,
        ("cannot be seen: no answer",),
    ),
    "outdated, and masked": (
        lambda s: s.replaced().told(MASKED),
        Kind.RESTART,
        Act.RECREATE,
        (REPLACED, "is masked"),
    ),
    # what somebody told its launcher
    "masked": (lambda s: s.told(MASKED), Kind.UPDATE, Act.LOAD, ("is masked",)),
    "a drop-in": (lambda s: s.told(DROPIN), Kind.RESTART, Act.RECREATE, (DROPIN.message,)),
    "masked, with a drop-in": (
        lambda s: s.told(MASKED, DROPIN),
        Kind.RESTART,
        Act.RECREATE,
        ("is masked", DROPIN.message),
    ),
    "masked and down": (
        lambda s: s.told(MASKED).down(),
        Kind.RESTART,
        Act.RECREATE,
        ("was stopped by hand", "is masked"),
    ),
    "a drop-in, and FATAL": (
        lambda s: s.told(DROPIN).down(State.FATAL),
        Kind.RESTART,
        Act.RECREATE,
        ("is FATAL, its launcher gave up", DROPIN.message),
    ),
    "masked, and a bump": (lambda s: s.told(MASKED).bumped(), Kind.UPDATE, Act.RECREATE, (BUMP, "is masked")),
    "a drop-in, and a bump": (
        lambda s: s.told(DROPIN).bumped(),
        Kind.UPDATE,
        Act.RECREATE,
        (BUMP, DROPIN.message),
    ),
    "masked, and another description": (
        lambda s: s.told(MASKED).option(),
        Kind.UPDATE,
        Act.RECREATE,
        ("systemd.option '' -> 'slow' (desired/defaults.yaml:3)", "is masked"),
    ),
    "masked while it is being stopped": (
        lambda s: s.told(MASKED).unit(state=State.STOPPING),
        Kind.RESTART,
        Act.RECREATE,
        ("is being stopped by hand", "is masked"),
    ),
    "masked and gone": (
        lambda s: s.told(MASKED).down(State.ABSENT),
        Kind.RESTART,
        Act.CREATE,
        ("is gone from systemd",),
    ),
    "masked, and in backoff": (lambda s: s.told(MASKED).down(State.BACKOFF), Kind.UPDATE, Act.LOAD, ("is masked",)),
    "masked, and a file of it edited since": (
        lambda s: s.told(MASKED).file(UNIT_FILE, "edited", 9.0),
        Kind.UPDATE,
        Act.LOAD,
        ("web was edited by hand", "is masked"),
    ),
    "a drop-in, and its shim cannot be read": (
        lambda s: s.told(DROPIN).gap("file", SHIM),
        Kind.BLOCKED,
        Act.NONE,
        (DROPIN.message, "no answer"),
    ),
    "masked, and its unit file cannot be read": (
        lambda s: s.told(MASKED).gap("file", UNIT_FILE),
        Kind.BLOCKED,
        Act.NONE,
        ("is masked", "no answer"),
    ),
    "a drop-in, and its launcher cannot be seen": (
        lambda s: s.told(DROPIN).gap("launcher", "systemd"),
        Kind.BLOCKED,
        Act.NONE,
        ("cannot be seen: no answer",),
    ),
    "a stranger with a drop-in": (
        lambda s: s.told(DROPIN, MASKED).mark(deployment="site/prod"),
        Kind.BLOCKED,
        Act.NONE,
        (TAKEN,),
    ),
    "below a root that nobody remembers": (lambda s: s.mark(root="/elsewhere"), Kind.BLOCKED, Act.NONE, (TAKEN,)),
}


@pytest.mark.parametrize(("happens", "kind", "act", "reasons"), list(CASES.values()), ids=list(CASES))
def test_rule(happens: Callable[[Scene], Scene], kind: Kind, act: Act, reasons: tuple[str, ...]) -> None:
    change = happens(applied()).change()
    assert (change.kind, change.act, change.reasons) == (kind, act, reasons)
    assert change.restarts == (("web",) if act.stops and change.running else ())


def test_below_an_earlier_root_it_is_ours() -> None:
    scene = applied().mark(root="/old")
    assert scene._replace(inventory=scene.inventory._replace(roots=("/old", "/r"))).change().kind is Kind.KEEP


@pytest.mark.parametrize("forgotten", [False, True])
def test_somebody_elses_instance_under_a_name_of_ours_is_not_ours(forgotten: bool) -> None:
    """Ours has ended; nothing on disk names an instance, and what an earlier pass has noted is not this process."""
    scene = applied(world(Svc("web", launcher="apptainer")))
    unit = scene.observed.units["apptainer", "web"]._replace(pid=9)
    scene = scene.see(units={("apptainer", "web"): unit}, processes={9: Process(9, 50.0, FOREIGN)})
    scene = scene._replace(inventory=Inventory()) if forgotten else scene
    assert (scene.change().kind, scene.change().act) == (Kind.BLOCKED, Act.NONE)
    assert scene.pushed(world()).ids(Phase.STOP, Phase.STRAYS) == []


# ---------------------------------------------------------------- steps


def test_taking_it_up_anew_is_one_reading_and_one_step_without_a_stop() -> None:
    plan = applied().told(MASKED).plan()
    assert [(step.id, step.needs) for step in plan.steps] == [
        ("reload:systemd", ()),
        ("reload:systemd/web", ("reload:systemd",)),
    ]


def test_what_has_no_descriptions_needs_no_reading() -> None:
    scene = applied(world(Svc("web", launcher="apptainer"), Svc("log", launcher="apptainer")))
    gone = UnitName("apptainer", "web")
    units = {key: unit for key, unit in scene.observed.units.items() if key != gone}
    ids = scene.see(units=units).ids(Phase.RELOAD, Phase.START)
    assert ids == ["start:web"]


def test_nothing_is_started_or_stopped_for_a_launcher_without_a_daemon() -> None:
    assert applied().see(daemons={}).diff().daemons == ()
    assert applied().pushed(world()).ids(Phase.DAEMON, Phase.RETIRE, Phase.STRAYS) == []


# ---------------------------------------------------------------- from one launcher to another


def moved(to: str = "supervisor", *others: Svc | str) -> Scene:
    """`web` goes from systemd to another launcher, which keeps other services already."""
    scene = applied(world(Svc("web", launcher="systemd"), *others))
    claimed = {KEY: UNIT_FILE}
    return scene.pushed(world(Svc("web", launcher=to), *others)).see(claimed=claimed)


@pytest.mark.parametrize("to", ["supervisor", "apptainer"])
def test_the_old_unit_goes_before_the_new_one_starts(to: str) -> None:
    scene = moved(to)
    change = scene.change()
    assert [(old.unit, old.running) for old in change.replaces] == [(UnitName(*KEY), Running(2, 1.0))]
    assert change.restarts == ("web",)
    steps = {step.id: step for step in scene.plan().steps}
    assert "remove:systemd/web" in steps["start:web"].needs
    assert "check:web" in steps["remove:systemd/web"].needs
    assert UNIT_FILE in scene.diff().stale_files
    assert scene.diff().ended_managers == ("systemd",)


@pytest.mark.parametrize("drift", [MASKED, DROPIN])
def test_what_the_old_launcher_was_told_does_not_matter_to_what_moves_away(drift: Drift) -> None:
    assert moved().told(drift).plan().steps == moved().plan().steps


def test_it_waits_while_the_launcher_that_it_leaves_cannot_be_seen() -> None:
    """Its process seems to be kept by nobody: it is not ended, and no second one starts beside it."""
    scene = moved("supervisor", "log")
    seen = {name: unit for name, unit in scene.observed.units.items() if name[0] != "systemd"}
    scene = scene.see(units=seen).gap("launcher", "systemd")
    change = scene.change()
    assert (change.kind, change.act, change.strays, change.replaces) == (Kind.BLOCKED, Act.NONE, (), ())
    assert change.reasons == ("what it has run under cannot be seen: no answer",)
    assert scene.ids(Phase.STRAYS, Phase.STOP, Phase.START) == []


@pytest.mark.parametrize("inventory", [Inventory(), None], ids=["lost", "kept"])
def test_it_waits_also_where_no_process_shows(inventory: Inventory | None) -> None:
    """It may hide its marks. Without the inventory its unit file says that it was there."""
    scene = moved().see(units={}, processes={}).gap("launcher", "systemd")
    scene = scene if inventory is None else scene._replace(inventory=inventory)
    assert (scene.change().kind, scene.ids(Phase.STOP, Phase.START, Phase.STRAYS)) == (Kind.BLOCKED, [])


def test_what_git_no_longer_has_is_not_ended_while_a_launcher_that_may_keep_it_cannot_be_seen() -> None:
    scene = applied().pushed(world("log")).see(units={}).gap("launcher", "systemd")
    for seen in (scene, scene._replace(inventory=Inventory())):
        assert (seen.change().kind, seen.change().strays) == (Kind.BLOCKED, ())
        assert seen.ids(Phase.STRAYS, Phase.STOP, Phase.CLEAN) == []


def test_what_a_pass_has_noted_of_a_launcher_that_is_seen_is_left_over() -> None:
    """Another launcher that does not answer is no reason to leave two of it running."""
    scene = applied(world("web", Svc("log", launcher="systemd")))
    twice = {**scene.observed.processes, 9: scene.observed.processes[3]._replace(pid=9)}
    assert scene.observed.units["supervisor", "web"].pid == 3
    assert scene.see(processes=twice).gap("launcher", "systemd").change().strays == (Running(9, 1.0),)


# ---------------------------------------------------------------- daemons, and what a gap means for them


@pytest.mark.parametrize(("scope", "subject"), [("install", "app-1"), ("file", "/r/env/web")])
def test_a_daemon_does_not_restart_while_its_services_may_not_come_up_again(scope: str, subject: str) -> None:
    desired = world("web")
    scene = applied(desired).pushed(desired._replace(daemon="other"))
    assert [daemon.act for daemon in scene.diff().daemons] == [DaemonAct.RESTART]
    waits = scene.gap(scope, subject)
    assert [daemon.act for daemon in waits.diff().daemons] == [DaemonAct.NONE]
    assert waits.ids(Phase.DAEMON, Phase.START) == []


def test_the_daemon_of_an_earlier_root_that_git_no_longer_uses_is_emptied_and_retired_there() -> None:
    scene = applied(world("web")).pushed(world(Svc("web", launcher="systemd"), root="/new"))
    daemon = Process(1, 0.0, Mark("site/dev", "/r", "", "d", "", "", "", 1))
    ids = scene.see(processes={**scene.observed.processes, 1: daemon}).ids(
        Phase.STRAYS, Phase.STOP, Phase.START, Phase.RETIRE
    )
    assert ids == ["remove:supervisor/web", "start:web", "stop:daemon:supervisor"]


# ---------------------------------------------------------------- launchers that nothing names


def lost(launcher: str) -> Scene:
    """The inventory is gone, git has moved on, and what still runs has made the spare launchers be asked."""
    scene = applied(world(Svc("web", launcher=launcher)))
    (manager,) = scene.compiled.deployment.managers
    compiled = build(world())
    spare = compiled.deployment._replace(spare_managers=(manager,))
    unit = scene.observed.units[launcher, "web"]
    return Scene(
        compiled._replace(deployment=spare),
        Observed(
            now=2.0,
            units={(launcher, "web"): unit},
            processes=scene.observed.processes,
            files={},
            installs={},
            daemons=scene.observed.daemons,
            claimed={},
        ),
        Inventory(),
    )


@pytest.mark.parametrize("launcher", ["systemd", "apptainer", "supervisor"])
def test_it_is_stopped_by_its_launcher_and_nothing_is_left(launcher: str) -> None:
    scene = lost(launcher)
    plan = scene.plan()
    retire = ["stop:daemon:supervisor"] if launcher == "supervisor" else []
    assert [s.id for s in plan.steps if s.phase not in (Phase.RELOAD, Phase.RENDER)] == [
        f"remove:{launcher}/web",
        *retire,
    ]
    before = book.before_apply(scene.inventory, scene.compiled.deployment, plan)
    assert [manager.launcher for manager in before.managers] == [launcher]  # a pass that is killed now is no loss
    results = tuple(StepResult(step.id, Status.DONE) for step in plan.steps)
    after = book.after_apply(before, scene.compiled, plan, results, {})
    assert book.is_current(after, scene.compiled.deployment, {})


def test_it_stays_noted_while_something_is_left_there() -> None:
    scene = lost("systemd")
    plan = scene.plan()
    before = book.before_apply(scene.inventory, scene.compiled.deployment, plan)
    results = tuple(StepResult(step.id, Status.FAILED) for step in plan.steps)
    after = book.after_apply(before, scene.compiled, plan, results, {})
    assert [manager.launcher for manager in after.managers] == ["systemd"]


# ---------------------------------------------------------------- what goes while something else is blocked


@pytest.mark.parametrize("launcher", ["supervisor", "systemd"])
def test_what_is_removed_while_another_is_blocked_is_not_removed_again_in_every_pass(launcher: str) -> None:
    agent, _ = arrived(world(Svc("a", launcher=launcher), Svc("b", launcher=launcher), Svc("f", launcher="apptainer")))
    agent.host.hidden.add("f")
    agent.inventory = agent.inventory._replace(
        services={name: owned._replace(pid=0) for name, owned in agent.inventory.services.items()}
    )
    agent.host.files["/r/bin/f"] = (b"{}", 0o700, agent.host.clock)
    compiled = build(world(Svc("b", launcher=launcher), Svc("f", launcher="apptainer")))
    first = agent.run(compiled)
    assert [change.service for change in first.blocked] == ["f"]
    assert f"remove:{launcher}/a" in {step.id for step in first.steps}
    noted = agent.inventory
    assert agent.run(compiled).steps == ()
    assert agent.inventory == noted
    assert "/r/bin/a" in noted.files  # it goes when nothing is blocked any more


def test_what_a_launcher_that_is_not_seen_has_described_is_kept() -> None:
    scene = applied(world(Svc("web", launcher="systemd"), "log")).see(claimed={KEY: UNIT_FILE})
    assert scene.pushed(world("log")).gap("launcher", "systemd").diff().stale_files == ()


# ---------------------------------------------------------------- the inventory


def test_what_is_only_taken_up_anew_is_noted_though_that_failed() -> None:
    """Its process runs what git wants all the same."""
    scene = applied().told(MASKED)._replace(inventory=Inventory())
    scene = scene.see(claimed={KEY: UNIT_FILE})
    plan = scene.plan()
    assert [step.id for step in plan.steps if step.phase is Phase.START] == ["reload:systemd/web"]
    before = book.before_apply(Inventory(), scene.compiled.deployment, plan)
    results = tuple(StepResult(step.id, Status.FAILED) for step in plan.steps)
    after = book.after_apply(before, scene.compiled, plan, results, {"web": scene.observed.processes[2]})
    assert book.is_current(after, scene.compiled.deployment, {})


def test_a_start_ends_what_an_earlier_pass_had_decided() -> None:
    scene = applied().down(State.ABSENT)
    noted = scene.inventory._replace(pending={"web": (2, 1.0)})
    scene = scene._replace(inventory=noted)
    plan = scene.plan()
    results = tuple(StepResult(step.id, Status.DONE) for step in plan.steps)
    after = book.after_apply(noted, scene.compiled, plan, results, {})
    assert after.pending == {}


def test_a_launcher_that_was_not_asked_is_not_noted() -> None:
    scene = applied()
    assert scene.compiled.deployment.spare_managers
    before = book.before_apply(scene.inventory, scene.compiled.deployment, scene.told(MASKED).plan())
    assert [manager.launcher for manager in before.managers] == ["systemd"]


def test_units_of_two_environments_are_one_anothers_strangers() -> None:
    """Prod has taken over a name that dev gave up, in the same commit."""
    scene = applied().pushed(DESIRED.with_service("web", unit="web-dev"))
    theirs = scene.mark(deployment="site/prod")
    assert [old.name for old in scene.change().replaces] == ["web"]
    assert theirs.change().replaces == ()
    assert "remove:systemd/web" not in theirs.ids(Phase.STOP)


def test_a_unit_that_is_named_by_the_inventory_alone_goes() -> None:
    """Killed after the removal of the file, before that of the unit: it runs on in an account's manager."""
    scene = applied().pushed(world(Svc("log", launcher="systemd")))
    files = {**scene.observed.files, UNIT_FILE: FileState("")}
    owned = {"web": Owned("web", "systemd", "s", "l", "1")}
    scene = scene.see(files=files, units={KEY: Unit(*KEY, State.RUNNING, 2, 1.0)})
    scene = scene._replace(inventory=scene.inventory._replace(services=owned))
    assert "remove:systemd/web" in scene.ids(Phase.STOP)
