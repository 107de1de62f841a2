"""Each step is held against what is there just before it is done."""

from __future__ import annotations

import pytest

from reconciler.apply.ground import Ground, check_ground
from reconciler.core.change import Act, Running, UnitName
from reconciler.core.observed import Mark, Process, State, Unit
from reconciler.core.plan import Action, Phase, Step
from tests.core.world import build, world

SERVICE = build(world("a")).deployment.services[0]
SAW = Running(5, 100.0)


def process(pid: int = 5, started: float = 100.0, spec: str = "old", deployment: str = "site/dev") -> Process:
    return Process(pid, started, Mark(deployment, "/r", "a", spec, "l", "1", "app", pid))


@pytest.mark.parametrize(
    ("act", "saw", "now", "ground"),
    [
        (Act.RESTART, SAW, process(), Ground.FIRM),
        (Act.RESTART, SAW, process(started=100.3), Ground.FIRM),  # two readings of one start
        (Act.RESTART, SAW, None, Ground.FIRM),
        (Act.RESTART, SAW, process(6, 120.0, SERVICE.spec), Ground.ALREADY),
        (Act.RESTART, SAW, process(6, 120.0), Ground.FIRM),  # another one, but not what is wanted either
        (Act.RESTART, SAW, process(5, 100.0, SERVICE.spec), Ground.FIRM),  # the very one that is to be restarted
        (Act.RESTART, SAW, process(deployment="site/prod"), Ground.GONE),
        (Act.START, None, None, Ground.FIRM),
        (Act.START, None, process(6, 120.0, SERVICE.spec), Ground.ALREADY),
        (Act.START, None, process(6, 120.0), Ground.GONE),
        (Act.REMOVE, SAW, process(), Ground.FIRM),
        (Act.REMOVE, SAW, None, Ground.FIRM),
        (Act.REMOVE, SAW, process(6), Ground.GONE),
        (Act.REMOVE, SAW, process(5, 300.0), Ground.GONE),  # the pid is another's by now
        (Act.REMOVE, None, process(), Ground.GONE),
        (Act.REMOVE, SAW, process(deployment="site/prod"), Ground.GONE),
        (Act.LOAD, SAW, process(), Ground.FIRM),
        (Act.LOAD, SAW, process(6, 120.0), Ground.FIRM),  # no process is touched
        (Act.LOAD, SAW, None, Ground.FIRM),
        (Act.LOAD, SAW, process(deployment="site/prod"), Ground.GONE),
    ],
)
def test_ground(act: Act, saw: Running | None, now: Process | None, ground: Ground) -> None:
    step = Step("x:a", Action.RESTART, "a", "a", Phase.START, act=act, unit=UnitName("supervisor", "a"), running=saw)
    unit = Unit("supervisor", "a", State.RUNNING if now else State.STOPPED, now.pid if now else 0)
    service = None if act is Act.REMOVE else SERVICE
    found = check_ground(step, service, unit, now, "site/dev")
    assert found.ground is ground
    assert bool(found.message) is (ground is not Ground.FIRM)


def test_a_unit_that_is_gone_need_not_be_removed() -> None:
    step = Step("remove:supervisor/a", Action.REMOVE, "a", "a", Phase.STOP, act=Act.REMOVE, running=SAW)
    found = check_ground(step, None, Unit("supervisor", "a", State.ABSENT), None, "site/dev")
    assert found.ground is Ground.ALREADY
