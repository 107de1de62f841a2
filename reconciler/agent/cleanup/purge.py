"""Scratch folders at the end of a pass, or of a plan: nobody waits for that.

The lock of the pass has been given back by then, and other passes look after services while a folder is emptied.
Clean-up has a lock of its own; while that is taken, by hand or by an earlier pass, what is due waits for it without a
word.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from reconciler.agent.alone import Busy, alone
from reconciler.agent.cleanup.scratch import Ended, Scratches, entry
from reconciler.core.outcome import ASKED_TO_STOP, Status, StepResult
from reconciler.core.plan import Plan, Step
from reconciler.core.report import DeploymentReport, Notice
from reconciler.source import SourceError

if TYPE_CHECKING:
    from reconciler.agent.enforce import Enforcer
    from reconciler.agent.secrets.masked import Masked


class Purge:
    """The rules of all deployments of a pass."""

    def __init__(
        self, enforcer: Enforcer, reports: Iterable[DeploymentReport], is_awaited: Callable[[], bool] = lambda: False
    ) -> None:
        """`is_awaited`: somebody waits for the end of it; what is left then is for the next pass."""
        self._enforcer, self._is_awaited = enforcer, is_awaited
        cleaned = (report for report in reports if report.desired.cleanups and not report.busy)
        self._scratches = {report.plan.environment: self._of(report) for report in cleaned}

    def _of(self, report: DeploymentReport) -> Scratches:
        space = self._enforcer.workspace
        return Scratches(
            report.desired,
            space.agent,
            self._enforcer.store,
            space.host.name,
            run=self._enforcer.run,
            is_awaited=self._is_awaited,
        )

    def notices(self) -> tuple[Notice, ...]:
        """What is told once for each time of a schedule."""
        return tuple(Notice(text, failed=False) for one in self._scratches.values() for text in one.notices)

    def look(self, report: DeploymentReport, *, figures: bool = True) -> DeploymentReport:
        """With what a pass would remove."""
        scratches = self._scratches.get(report.plan.environment)
        if scratches is None:
            return report
        due = scratches.begin(report.observed.shut)
        report = report._replace(plan=scratches.told(report.plan))
        if not due or self._is_taken():
            return report
        plan = scratches.into(report.plan)
        return report._replace(plan=plan, scratches=scratches.figures(plan) if figures else ())

    def _is_taken(self) -> bool:
        try:
            with alone(self._enforcer.store.cleanup_lock_path()):
                return False
        except Busy:
            return True
        except OSError:
            return False

    def carry_out(self, report: DeploymentReport) -> DeploymentReport:
        """With what was removed. It never raises for what a host can do to it."""
        scratches = self._scratches.get(report.plan.environment)
        if scratches is None:
            return report
        due = scratches.begin(report.observed.shut)
        report = report._replace(plan=scratches.told(report.plan))
        if not due:
            return report
        try:
            with alone(self._enforcer.store.cleanup_lock_path()):
                done = self._carried_out(report, scratches)
                scratches.remember()
        except Busy:
            return report
        except OSError as failed:
            message = f"cleanup: {failed.filename or self._enforcer.store.folder}: {failed.strerror or failed}"
            return report._replace(error=report.error or message)
        except SourceError as failed:  # what is secret, and must not be told, is not known
            return report._replace(error=report.error or str(failed))
        return done

    def _carried_out(self, report: DeploymentReport, scratches: Scratches) -> DeploymentReport:
        plan = scratches.into(report.plan)
        steps = plan.steps[len(report.plan.steps) :]
        if not steps:
            return report._replace(plan=plan)
        began = time.monotonic()
        results = self._results(plan._replace(steps=steps), report, scratches)
        done = report._replace(
            plan=plan,
            results=(*report.results, *results),
            scratches=scratches.results(),
            seconds=report.seconds + time.monotonic() - began,
        )
        self._enforcer.record(self._line(done, results, time.monotonic() - began), plan.environment)
        return done

    def _results(self, plan: Plan, report: DeploymentReport, scratches: Scratches) -> tuple[StepResult, ...]:
        from reconciler.agent.secrets.masked import Masked

        observer = self._enforcer.observer
        observer.deployment(plan, self._enforcer.run)
        watcher = Masked(observer, self._enforcer.hidden(report.desired))
        return watcher.mask_all(_each(plan.steps, scratches, watcher, self._enforcer.asked_to_stop))

    def _line(self, done: DeploymentReport, results: tuple[StepResult, ...], seconds: float) -> dict[str, object]:
        """Of the journal: a second one of a pass that had something else to do too."""
        from reconciler.agent.entry import removals_of

        host = self._enforcer.workspace.host
        by = f"{host.account} on {host.name}"
        return {**removals_of(self._enforcer.run, by, done, results, seconds), **entry(done.scratches)}


def _each(
    steps: Iterable[Step], scratches: Scratches, watcher: Masked, asked_to_stop: Callable[[], bool]
) -> Iterator[StepResult]:
    for step in steps:
        watcher.begins(step)
        began = time.monotonic()
        if asked_to_stop():
            ending = Ended(Status.SKIPPED, ASKED_TO_STOP)
        else:
            ending = scratches.carry_out(step, partial(watcher.progress, step), asked_to_stop)
        result = StepResult(step.id, ending.status, round(time.monotonic() - began, 3), *ending[1:])
        watcher.ended(step, result)
        yield result
