"""What was adopted is kept as it runs, and leaves with the first change of what git wants."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.core.approval import Aside, closed, is_gated, undecided
from reconciler.core.change import Change, DaemonAct, Diff, Hold, Kind
from reconciler.core.desired import Compiled, Manager
from reconciler.core.diff import diff
from reconciler.core.inventory import Adopted, Inventory, Stage
from reconciler.core.observed import DaemonState, Drift, FileState, Observed, Process, State, Unit
from reconciler.core.planner import make_plan
from reconciler.core.problem import Gap
from reconciler.core.simulated import nothing
from tests.core.host import FOREIGN
from tests.core.world import Svc, build, world

BY_HAND = "adopted-supervisor"
UNIT = Unit(BY_HAND, "grp:web", State.RUNNING, 7, 1.0)


class Scene(NamedTuple):
    """`web` was adopted; `job` is whatever a test makes of it."""

    compiled: Compiled
    observed: Observed
    inventory: Inventory

    def diff(self) -> Diff:
        return diff(self.compiled.deployment, self.observed, self.inventory, self.compiled.fields)

    def web(self) -> Change:
        return next(change for change in self.diff().changes if change.service == "web")

    def steps(self) -> list[str]:
        return [step.id for step in make_plan(self.compiled.deployment, self.diff()).steps]

    def unit(self, unit: Unit | None, *gaps: Gap) -> Scene:
        units = {(BY_HAND, UNIT.name): unit} if unit else {}
        return self._replace(observed=self.observed._replace(units=units, gaps=gaps))

    def at(self, stage: Stage) -> Scene:
        adopted = {name: one._replace(stage=stage) for name, one in self.inventory.adopted.items()}
        return self._replace(inventory=self.inventory._replace(adopted=adopted))

    def wanting(self, *services: Svc | str) -> Scene:
        compiled = build(world(*services))
        files = {file.path: FileState("") for file in compiled.deployment.files}
        return self._replace(compiled=compiled, observed=self.observed._replace(files=files))


def scene() -> Scene:
    compiled = build(world("web"))
    (web,) = compiled.deployment.services
    observed = nothing(100.0).observed._replace(
        units={(BY_HAND, UNIT.name): UNIT},
        processes={7: Process(7, 1.0, FOREIGN)},
        daemons={"supervisor": DaemonState(running=False), BY_HAND: DaemonState(running=False)},
    )
    adopted = {"web": Adopted(BY_HAND, UNIT.name, "x", web.spec, web.launch, web.version, 7, 1.0)}
    observed = observed._replace(
        files={file.path: FileState("") for file in compiled.deployment.files},
        installs={install.id: True for install in compiled.deployment.installs},
    )
    return Scene(compiled, observed, Inventory(adopted=adopted, by_hand=(Manager(BY_HAND, "", ()),)))


def test_is_kept_and_nothing_is_made_ready() -> None:
    for stage in (Stage.OFFERED, Stage.TAKEN):
        here = scene().at(stage)
        assert (here.web().kind, here.web().unit, here.steps()) == (Kind.KEEP, (BY_HAND, UNIT.name), [])
        assert all(daemon.act is DaemonAct.NONE for daemon in here.diff().daemons)


def test_leaves_with_its_first_change() -> None:
    here = scene().wanting(Svc("web", command="other"))
    assert here.web().kind is Kind.UPDATE
    steps = here.steps()
    assert steps.index(f"remove:{BY_HAND}/{UNIT.name}") < steps.index("start:web")
    assert "start:daemon:supervisor" in steps


def test_others_do_not_disturb_it() -> None:
    here = scene().wanting("web", "job")
    assert here.web().kind is Kind.KEEP
    assert not [step for step in here.steps() if "web" in step]
    assert "start:job" in here.steps()


def test_nobody_can_be_asked() -> None:
    gap = Gap("launcher", BY_HAND, "no answer")
    here = scene().unit(None, gap)
    assert (here.web().kind, here.steps()) == (Kind.BLOCKED, [])
    assert here.wanting(Svc("web", command="other")).web().kind is Kind.BLOCKED


def test_it_has_ended() -> None:
    here = scene().unit(UNIT._replace(state=State.EXITED, pid=0))
    assert here.web().kind is Kind.RESTART
    assert not [step for step in here.steps() if step.startswith("remove:")]
    # one that its daemon tries to start is ended there first
    assert f"remove:{BY_HAND}/{UNIT.name}" in scene().unit(UNIT._replace(state=State.BACKOFF, pid=0)).steps()


def test_it_was_started_otherwise() -> None:
    here = scene().unit(UNIT._replace(drift=(Drift("was restarted by hand"),)))
    assert (here.web().kind, here.web().reasons[0]) == (Kind.RESTART, "was restarted by hand")
    assert f"remove:{BY_HAND}/{UNIT.name}" in here.steps()


def test_is_ours_only_once_git_has_had_it() -> None:
    here = scene().wanting("job")
    assert [change.service for change in here.diff().changes] == ["job"]
    gone = here.at(Stage.TAKEN).web()
    assert (gone.kind, gone.gone[0].name) == (Kind.REMOVE, UNIT.name)


def test_what_has_left_and_comes_back_goes_again() -> None:
    here = scene().at(Stage.LEFT)
    assert here.web().kind is not Kind.KEEP
    assert f"remove:{BY_HAND}/{UNIT.name}" in here.steps()
    assert here.diff().forgotten == frozenset()
    assert here.unit(UNIT._replace(state=State.STOPPED, pid=0)).diff().forgotten == frozenset()
    assert here.unit(None).diff().forgotten == {"web"}
    assert here.unit(None, Gap("launcher", BY_HAND, "no answer")).diff().forgotten == frozenset()


# ---------------------------------------------------------------- what runs otherwise than git says


def waiting(stage: Stage = Stage.TAKEN) -> Scene:
    here = scene().at(stage)
    differs = ("runs with another LANG",)
    adopted = {name: one._replace(differs=differs, waits=True) for name, one in here.inventory.adopted.items()}
    return here._replace(inventory=here.inventory._replace(adopted=adopted))


def gated(here: Scene) -> Scene:
    """As a pass has it while nobody has approved anything."""
    aside = Aside(undecided=undecided(here.compiled.deployment, here.observed, here.inventory))
    gates = closed(here.compiled.deployment, here.inventory, "waits", aside)
    return here._replace(observed=here.observed._replace(gates=gates))


def test_it_waits_for_a_person() -> None:
    for stage in (Stage.OFFERED, Stage.TAKEN):
        here = gated(waiting(stage))
        assert is_gated(here.compiled.deployment, here.inventory)
        web = here.web()
        assert (web.kind, web.held, web.state, web.unit.launcher) == (
            Kind.BLOCKED,
            Hold.APPROVAL,
            State.RUNNING,
            BY_HAND,
        )
        assert web.reasons == ("runs with another LANG", "waits")
        assert here.steps() == []
        assert here.diff().files == ()
        assert all(daemon.act is DaemonAct.NONE for daemon in here.diff().daemons)
        assert here.diff().by_hand == {"web": 7}


def test_what_was_approved_is_done() -> None:
    here = waiting()
    assert here.web().kind is Kind.UPDATE
    assert here.web().reasons[0] == "runs with another LANG"
    steps = here.steps()
    assert steps.index(f"remove:{BY_HAND}/{UNIT.name}") < steps.index("start:web")


def test_who_says_something_new_has_asked() -> None:
    """Once git was seen to have what it was adopted for; before that it may just not be there yet."""
    assert gated(waiting().wanting(Svc("web", command="other"))).web().kind is Kind.UPDATE
    for here in (waiting(Stage.OFFERED), scene().at(Stage.OFFERED)):
        held = gated(here.wanting(Svc("web", command="other")))
        assert (held.web().kind, held.steps()) == (Kind.BLOCKED, [])


def test_what_waits_and_has_ended_is_started() -> None:
    here = waiting().unit(UNIT._replace(state=State.EXITED, pid=0))
    assert undecided(here.compiled.deployment, here.observed, here.inventory) == frozenset()
    assert "start:web" in gated(here).steps()
    blind = waiting().unit(None, Gap("launcher", BY_HAND, "no answer"))
    assert (gated(blind).web().kind, gated(blind).steps()) == (Kind.BLOCKED, [])


def test_what_has_left_waits_for_nobody() -> None:
    here = gated(waiting(Stage.LEFT))
    assert f"remove:{BY_HAND}/{UNIT.name}" in here.steps()
    assert not is_gated(here.compiled.deployment, here.inventory)


def test_a_file_of_both_stays_while_one_waits_and_one_is_kept() -> None:
    """Whoever is started again by the old daemon reads it as it was."""
    services = (Svc("web", files=("app.conf",)), Svc("job", files=("app.conf",)))
    compiled = build(world(*services, files={"app.conf": "x"}))
    here = waiting().wanting()._replace(compiled=compiled)
    unit = UNIT._replace(name="grp:job", pid=8)
    named = {service.name: service for service in compiled.deployment.services}
    noted = here.inventory.adopted["web"]
    web, job = (noted._replace(spec=named[name].spec, launch=named[name].launch) for name in ("web", "job"))
    job = job._replace(unit=unit.name, pid=8, waits=False, differs=())
    here = here._replace(
        inventory=here.inventory._replace(adopted={"web": web, "job": job}),
        observed=here.observed._replace(
            units={(BY_HAND, one.name): one for one in (UNIT, unit)},
            processes={pid: Process(pid, 1.0, FOREIGN) for pid in (7, 8)},
            files={file.path: FileState("other", 0o644, 0.5) for file in compiled.deployment.files},
            installs={install.id: False for install in compiled.deployment.installs},
        ),
    )
    found = gated(here)
    assert {change.service: change.kind for change in found.diff().changes} == {"web": Kind.BLOCKED, "job": Kind.KEEP}
    assert (found.diff().files, found.steps()) == ((), [])
    assert [step for step in here.steps() if step.endswith("app.conf")] == ["render:/r/config/app.conf"]
