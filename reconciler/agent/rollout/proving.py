"""Looks at replicas that were changed, for the steps that the next batch waits for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reconciler.core.health import of_state
from reconciler.core.observed import Verdict, Word
from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Step
from reconciler.core.report import DeploymentReport
from reconciler.launchers.base import Backend, BackendError

if TYPE_CHECKING:
    from reconciler.agent.rollout.health import Health

_HINT = "the other replicas are left as they are"


class Prover:
    """By step, those that are decided. What is on its way is asked again, for as long as git gives it."""

    def __init__(self, planned: DeploymentReport, backends: Mapping[str, Backend], health: Health | None) -> None:
        """`health`: None where no service of the deployment is watched."""
        self.planned = planned
        self.backends = backends
        self.health = health
        self.watches = {watch.service: watch for watch in planned.desired.watches}
        self.began: dict[str, float] = {}

    def __call__(self, steps: Sequence[Step]) -> dict[str, StepResult]:
        names = frozenset(step.service for step in steps)
        verdicts = self.health.now(self.planned, names & self.watches.keys()) if self.health else {}
        found = {}
        for step in steps:
            verdict = self._in_time(step, verdicts.get(step.service) or self._of_launcher(step))
            if not verdict.word.is_on_its_way:
                found[step.id] = self._result(step, verdict)
        return found

    def _in_time(self, step: Step, verdict: Verdict) -> Verdict:
        over = time.monotonic() - self.began.setdefault(step.id, time.monotonic())
        if step.service not in self.watches:
            return verdict
        from reconciler.agent.rollout.health import in_time

        return in_time(self.watches[step.service], verdict, over)

    def _of_launcher(self, step: Step) -> Verdict:
        """As far as its launcher can tell. It was up when its start was over, so what is starting now has ended."""
        name = step.unit.name if step.unit else step.service
        try:
            verdict = of_state(self.backends[step.launcher].units([name]).get(name))
        except BackendError as error:
            return Verdict(Word.UNKNOWN, str(error))
        return verdict._replace(word=Word.DEGRADED) if verdict.word.is_on_its_way else verdict

    def _result(self, step: Step, verdict: Verdict) -> StepResult:
        seconds = round(time.monotonic() - self.began[step.id], 3)
        if verdict.word is Word.HEALTHY:
            return StepResult(step.id, Status.DONE, seconds)
        return StepResult(step.id, Status.FAILED, seconds, f"{verdict.word.value}: {verdict.message}", _HINT)
