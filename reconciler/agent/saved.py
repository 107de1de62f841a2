"""Saved plans: what was read is what is applied, or nothing.

A saved plan is bound to its commit and to what the host looked like. It is not carried out from the file:
the plan is made again from both, and when that is not the very same plan, the saved one is stale.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from reconciler.agent.config import Agent, InvalidInput
from reconciler.core.change import Running
from reconciler.core.digest import digest_of
from reconciler.core.plan import Plan
from reconciler.core.problem import Origin, Problem
from reconciler.core.report import DeploymentReport, PassReport
from reconciler.host import files

_FORMAT = 1


class SavedPlan(NamedTuple):
    path: str
    commit: str
    fingerprints: dict[str, str]  # by environment

    def matches(self, commit: str, planned: Iterable[DeploymentReport]) -> bool:
        """Whether these are the very plans that were saved."""
        found = {report.plan.environment: fingerprint(report.plan) for report in planned}
        return commit == self.commit and found == self.fingerprints


def fingerprint(plan: Plan) -> str:
    """Identity of a plan and of all that it was made from: commit, steps, processes, files."""
    steps = [[s.id, (*s.needs, *s.gates), s.before, _pid(s.running), s.act.value] for s in plan.steps]
    changes = [[c.service, c.kind.value, c.reasons, c.state.value, _pid(c.running)] for c in plan.diff.changes]
    return digest_of([plan.site, plan.environment, plan.commit, steps, changes, plan.diff.gaps, plan.diff.waiting])


def _pid(running: Running | None) -> int:
    """The start time, in seconds of a clock that may be set, is no part of an identity that lasts."""
    return running.pid if running else 0


def save(path: str, report: PassReport, agent: Agent) -> None:
    """Write a plan to a file. Raises `OSError`."""
    data = {
        "reconcile": "plan",
        "format": _FORMAT,
        "site": agent.site,
        "commit": report.commit,
        "fingerprints": {d.plan.environment: fingerprint(d.plan) for d in report.deployments},
        "steps": {d.plan.environment: [step.id for step in d.plan.steps] for d in report.deployments},
    }
    files.write(path, json.dumps(data, indent=1).encode() + b"\n", 0o600)


_MAKE = "make one with `reconcile plan --out FILE`"


def load(path: str, agent: Agent) -> SavedPlan:
    """Read a saved plan. Raises `InvalidInput` for anything else."""
    try:
        data = json.loads(files.read(path))
        saved = SavedPlan(path, data["commit"], dict(data["fingerprints"]))
        wrong = "" if data["reconcile"] == "plan" and data["format"] == _FORMAT else "of another version"
        wrong = wrong or (f"of site {data['site']}, and this is {agent.site}" if data["site"] != agent.site else "")
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
        raise InvalidInput([Problem(Origin(path, 0, 0), why, _MAKE)]) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput([Problem(Origin(path, 0, 0), "is not a saved plan", _MAKE)]) from error
    if wrong:
        raise InvalidInput([Problem(Origin(path, 0, 0), f"is a plan {wrong}", "make it anew")])
    return saved
