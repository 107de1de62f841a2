"""Lets through what a person has approved: on this host, in git, or by a signed tag. See `core.approval`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from reconciler.agent.holding.plans import Plans, Record, last_done
from reconciler.agent.memory.store import Store
from reconciler.agent.workspace import Workspace
from reconciler.core import approval
from reconciler.core.approval import SHORT, Aside, Gate, Waiting
from reconciler.core.desired import Approval, Deployment
from reconciler.core.diff import diff
from reconciler.core.inventory import Inventory
from reconciler.core.observed import Observed
from reconciler.core.outcome import StepResult
from reconciler.core.planner import make_plan
from reconciler.core.report import DeploymentReport
from reconciler.core.view import Fields
from reconciler.source import SourceError

if TYPE_CHECKING:
    from reconciler.core.rollback import Held


class Approving:
    """The gates of one deployment in one pass."""

    def __init__(self, store: Store, workspace: Workspace, environment: str, *, asks_remote: bool) -> None:
        """Without `asks_remote` tags are not looked for."""
        self.workspace = workspace
        self.plans = Plans(store, environment)
        self.asks_remote = asks_remote

    def judge(
        self, held: Held, observed: Observed, inventory: Inventory, fields: Fields, git: Deployment
    ) -> tuple[Observed, Gate | None]:
        """The same host with the gates as they are now, and what waits behind them, be it approved or not.
        `held`: what is wanted; `git`: what git wants, with nothing held back.

        Windows and pauses count for nothing here: what they hold can be approved meanwhile.
        """
        desired = held.deployment
        daemons = frozenset[str]().union(*(unit.daemons for unit in held.overlays))
        aside = Aside(held.names, daemons, approval.undecided(desired, observed, inventory))
        free = observed._replace(shut={})
        shut = approval.closed(desired, inventory, approval.CLOSED, aside)
        opened = make_plan(desired, diff(desired, free, inventory, fields))
        gated = make_plan(desired, diff(desired, free._replace(gates=shut), inventory, fields))
        records = self.plans.all()
        waiting = approval.waiting(git, gated, opened, last_done(records))
        if waiting is None:
            return observed, None
        gate = self._gate(desired, waiting, records)
        if gate.approval is not None:
            return observed, gate
        why = f"{approval.CLOSED}: reconcile approve {waiting.id[:SHORT]}"
        return observed._replace(gates=approval.closed(desired, inventory, why, aside)), gate

    def _gate(self, desired: Deployment, waiting: Waiting, records: list[Record]) -> Gate:
        known = next((record for record in records if record.id == waiting.id), None)
        begun = next((record for record in reversed(records) if record.is_open), None)
        if known is not None and known.approval is not None and self._leads_here(known.commit, desired.commit):
            return Gate(waiting, known.approval)
        if begun is not None and self._is_rest(begun, waiting, desired):
            return Gate(waiting, begun.approval, rest_of=begun.id)
        told = tuple(self._stale(records, waiting, desired.commit))
        in_git = next((one for one in desired.approvals if one.plan == waiting.id), None)
        if in_git is not None:
            return Gate(waiting, in_git)
        tagged, refused = self._tagged(desired, waiting)
        return Gate(waiting, tagged, told=(*told, *refused) if tagged is None else ())

    def _is_rest(self, begun: Record, waiting: Waiting, desired: Deployment) -> bool:
        same = begun.wants == waiting.wants and approval.is_rest(begun.items, waiting.items)
        return same and self._leads_here(begun.commit, desired.commit)

    def _leads_here(self, old: str, new: str) -> bool:
        """A commit that was followed before is part of the history of this one, unless somebody accepted a rewind."""
        if old == new or not new:
            return True
        with suppress(SourceError):
            return self.workspace.mirror.is_ancestor(old, new)
        return False

    def _stale(self, records: list[Record], waiting: Waiting, commit: str) -> Iterator[str]:
        """The latest approval that nothing came of, because what it was given for is not so any more."""
        last = next((one for one in reversed(records) if one.approval and not one.done), None)
        if last is None or last.approval is None or last.id == waiting.id:
            return
        whose = f"the approval of {last.id[:SHORT]}" + (f" by {last.approval.account}" if last.approval.account else "")
        yield f"{whose} does not count any more: {'; '.join(since(last, waiting, commit))}"

    def _tagged(self, desired: Deployment, waiting: Waiting) -> tuple[Approval | None, tuple[str, ...]]:
        trust = self.workspace.agent.verify
        if not trust or not self.asks_remote or not desired.commit:
            return None, ()
        name = f"approve/{desired.site}/{desired.environment}/{waiting.id}"
        home = self.workspace.store.keys_folder()
        try:
            wrong = self.workspace.mirror.verify_named_tag(trust, home, name, desired.commit)
        except (SourceError, OSError) as error:
            return None, (f"whether a tag approves it cannot be told: {error}",)
        if wrong is None:
            return None, ()
        if wrong:
            return None, (f"tag {name} does not count: {wrong}",)
        return Approval(waiting.id, "", place=f"tag {name}"), ()

    # ------------------------------------------------------------ what becomes of it

    def begin(self, report: DeploymentReport, run: str) -> None:
        """Before the steps of a pass: remember what waits, or that what was approved begins. Raises `OSError`, `Busy`.

        What a window or a pause holds entirely has not begun.
        """
        gate = report.gate
        if gate is None:
            return
        if gate.approval is None:
            self.plans.note(gate.waiting, report.plan.commit)
        elif not gate.rest_of and (_theirs(report) or not report.plan.waits):
            for record in self.plans.all():
                if record.is_open and record.id != gate.id:
                    self.plans.end(record.id, run)  # of what came before, nothing is finished any more
            self.plans.begin(gate.waiting, report.plan.commit, gate.approval, run)

    def end(self, report: DeploymentReport, results: tuple[StepResult, ...], run: str) -> None:
        """After them: what was carried out to its end is used up, and so is what nothing is left of."""
        gate = report.gate
        if gate is None:
            unclear = report.plan.diff.gaps or report.plan.blocked
            for record in () if unclear else self.plans.all():
                if record.is_open:
                    self.plans.end(record.id, run)
        elif gate.approval is not None:
            so = {result.id for result in results if result.is_so}
            if all(item.step in so for item in gate.waiting.items):
                self.plans.end(gate.rest_of or gate.id, run)


def _theirs(report: DeploymentReport) -> bool:
    """Something of what was approved is done in this pass."""
    steps = {step.id for step in report.plan.steps}
    return report.gate is not None and any(item.step in steps for item in report.gate.waiting.items)


def since(record: Record, waiting: Waiting | None, commit: str) -> tuple[str, ...]:
    """What has changed since a plan was made, in words. `commit`: that is held to now."""
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.at))
    if record.done:
        ended = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.ended))
        return (f"it was carried out at {ended}",)
    if waiting is None:
        return (f"nothing of the deployment waits any more; it was made at {made}",)
    if record.wants != waiting.wants and record.commit == commit:
        return ("a secret of it, or this host, is another one since",)
    if record.wants != waiting.wants:
        return (f"git wants something else of it than commit {record.commit[:8]} did",)
    return approval.changed(record.items, waiting.items) or ("another plan was carried out since",)
