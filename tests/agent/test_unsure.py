"""Nothing of what is old or over goes while anything of the deployment is unsure: one case for each way to be so."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.agent.cleanup.remains import Remains
from reconciler.agent.cleanup.versions import Around, Versions
from reconciler.agent.memory.store import Store
from reconciler.core.change import Act, Change, Diff, Hold, Kind, UnitName
from reconciler.core.desired import Deployment, Elsewhere, Leaves, Policy, Retention, Trace
from reconciler.core.inventory import Inventory
from reconciler.core.observed import Observed, Shut, State
from reconciler.core.plan import Phase, Plan
from reconciler.core.problem import Gap

GAP = Gap("launcher", "supervisor", "it does not answer")
BLOCKED = Change("web", Kind.BLOCKED, Act.NONE, (), UnitName("systemd", "web"), "", "", "", "", State.ABSENT)


class Case(NamedTuple):
    desired: Deployment
    plan: Plan
    observed: Observed

    def differing(self, **changes: object) -> Case:
        return self._replace(plan=self.plan._replace(diff=self.plan.diff._replace(**changes)))  # type: ignore[arg-type]

    def seeing(self, **changes: object) -> Case:
        return self._replace(observed=self.observed._replace(**changes))  # type: ignore[arg-type]


UNSURE: dict[str, Callable[[Case], Case]] = {
    "a gap of the plan": lambda case: case.differing(gaps=(GAP,)),
    "a gap of the look": lambda case: case.seeing(gaps=(GAP,)),
    "something is blocked": lambda case: case.differing(changes=(BLOCKED,)),
    "something is held": lambda case: case.differing(changes=(BLOCKED._replace(held=Hold.BUDGET),)),
    "something waits": lambda case: case.differing(waiting=("a daemon",)),
    "it is shut": lambda case: case.seeing(shut={"": Shut("paused", paused=True)}),
    "one service is shut": lambda case: case.seeing(shut={"": None, "web": Shut("held until 06:00")}),
    "others run a part of it": lambda case: case._replace(
        desired=case.desired._replace(elsewhere=(Elsewhere("web", "on login[12]", (), ()),))
    ),
}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """An unfinished build, and the pid file of a process that has ended."""
    place = tmp_path / "venvs/.store/hello-1.0-12345678"
    (place / ".building").mkdir(parents=True)
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/supervisord.pid").write_text(f"{ended.pid}\n")
    desired = Deployment("here", "dev", "c", str(tmp_path), (), (), (), (), (), {}, Policy())
    rule = Retention("hello", "venv", f"{place.parent}/hello-2.0-87654321", 0)
    diff = Diff((), (), (), (), (), (), (), ())
    observed = Observed(0.0, {}, {}, {}, {}, {}, {})
    return Case(desired._replace(retentions=(rule,)), Plan("here", "dev", "c", diff, ()), observed)


def of_versions(case: Case) -> Plan:
    store = Store(os.path.join(case.desired.root, "state"), "here")
    return Versions(case.desired, Around(store, {}, Inventory(), None)).into(case.plan, case.observed)


def of_remains(case: Case, *, held: bool = False) -> Plan:
    trace = Trace(Leaves.PID, f"{case.desired.root}/run/supervisord.pid", "supervisor", "")
    return Remains(case.desired, Inventory(traces=(trace,)), (), held=held).into(case.plan, case.observed)


BOTH = pytest.mark.parametrize(
    ("into", "phase"), [(of_versions, Phase.RETAIN), (of_remains, Phase.REMAINS)], ids=["versions", "remains"]
)


@BOTH
def test_all_of_it_goes_when_all_is_sure(case: Case, into: Callable[[Case], Plan], phase: Phase) -> None:
    plan = into(case.seeing(shut={"": None, "web": None}))
    assert [step.phase for step in plan.steps] == [phase]


@BOTH
@pytest.mark.parametrize("unsure", UNSURE.values(), ids=UNSURE)
def test_nothing_goes_while_anything_is_unsure(
    case: Case, into: Callable[[Case], Plan], phase: Phase, unsure: Callable[[Case], Case]
) -> None:
    assert not [step for step in into(unsure(case)).steps if step.phase is phase]


def test_nothing_that_is_over_goes_while_something_is_held_back(case: Case) -> None:
    """What runs is not as git wants it then, nor perhaps what is left by it."""
    assert of_remains(case, held=True).steps == ()
