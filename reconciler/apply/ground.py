"""Whether a step still stands on the ground that it was planned on. Pure; the executor looks again just before."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from reconciler.core.change import Act
from reconciler.core.desired import Service
from reconciler.core.observed import Process, State, Unit
from reconciler.core.plan import Step
from reconciler.core.view import same_process


class Ground(Enum):
    FIRM = "firm"
    ALREADY = "already"  # somebody or something has brought it about meanwhile
    GONE = "gone"  # it is not as the plan found it, and what it is now was not decided on


class Finding(NamedTuple):
    ground: Ground
    message: str = ""


FIRM = Finding(Ground.FIRM)


def check_ground(step: Step, service: Service | None, unit: Unit, process: Process | None, deployment: str) -> Finding:
    """Compare what a step was planned from with what is there now."""
    if unit.state.alive and process is not None and _is_foreign(process, deployment):
        return Finding(Ground.GONE, f"{unit.name} is now a process that is not ours (pid {process.pid})")
    if step.act is Act.LOAD:
        return FIRM  # no process is touched
    if step.act is Act.REMOVE and unit.state is State.ABSENT:
        return Finding(Ground.ALREADY, f"{unit.name} is gone already")
    if step.act is Act.REMOVE:
        return FIRM if _same(step, process) else _appeared(unit, process)
    if service is not None and _runs(process, service) and not _same(step, process):
        return Finding(Ground.ALREADY, f"runs {service.version} since the plan was made (pid {unit.pid})")
    if not step.act.stops and unit.state.alive and process is not None:
        return _appeared(unit, process)
    return FIRM


def _same(step: Step, process: Process | None) -> bool:
    """The process is the one that the plan saw; a process that is gone stands in nobody's way."""
    if process is None:
        return True
    return step.running is not None and same_process(process, step.running.pid, step.running.started)


def _appeared(unit: Unit, process: Process | None) -> Finding:
    pid = process.pid if process else unit.pid
    return Finding(
        Ground.GONE, f"{unit.name} was started since the plan was made (pid {pid}); the next pass looks again"
    )


def _runs(process: Process | None, service: Service) -> bool:
    return process is not None and process.mark is not None and process.mark.spec == service.spec


def _is_foreign(process: Process, deployment: str) -> bool:
    return process.mark is not None and process.mark.deployment not in ("", deployment)


def absent(step: Step) -> Unit:
    name = step.unit.name if step.unit else step.target
    return Unit(step.launcher, name, State.ABSENT)
