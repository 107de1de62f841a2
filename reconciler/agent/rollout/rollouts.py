"""Follows a deployment's new specifications until they are healthy, and holds those back that fail.

What is known of them is noted before anything is done, and again when it is more: a pass that is killed leaves the
next one able to tell what was being tried. Each commit at which something was healthy is kept in the mirror.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from reconciler.core import rollback
from reconciler.core.change import Act, Change, Kind
from reconciler.core.desired import Compiled, Deployment
from reconciler.core.digest import digest
from reconciler.core.health import of_state
from reconciler.core.observed import Unit, Verdict, Word
from reconciler.core.outcome import Status, StepResult
from reconciler.core.overlay import overlay_compiled
from reconciler.core.report import DeploymentReport
from reconciler.core.rollback import Record, Spec, Stage, State
from reconciler.launchers.base import BackendError
from reconciler.report.data import unit_of
from reconciler.source import SourceError

if TYPE_CHECKING:
    from reconciler.agent.memory.store import Store
    from reconciler.agent.observe import Observation
    from reconciler.agent.workspace import Workspace

_DID_NOT_START = "did not start: "  # how a step ends whose service came to nothing
_STILL_STARTING = f"{_DID_NOT_START}STARTING"

Again = Callable[[Deployment, "Observation"], DeploymentReport]  # carries out another deployment in the same pass


class Rollouts:
    """The rollouts of one deployment in one pass."""

    def __init__(self, wanted: Deployment, store: Store, workspace: Workspace) -> None:
        """`wanted`: as git says it."""
        self.wanted = wanted
        self.store = store
        self.workspace = workspace
        self.specs = rollback.specs(wanted, time.time())
        self.state, self.damage = self._recall()
        self.held = self._hold_back()

    def full(self, compiled: Compiled) -> Compiled:
        """What git wants with its contents, with that laid over it which is held back."""
        for unit in self.held.overlays:
            before = self.workspace.reveal(unit.commit).compiled[self.wanted.environment]
            compiled = overlay_compiled(compiled, before, unit.names, unit.daemons)
        return compiled

    def told(self, report: DeploymentReport) -> DeploymentReport:
        """With where each service stands."""
        found = rollback.told(self.wanted, self.specs, self.held, self.state)
        if not self.damage:
            return report._replace(rollouts=found)
        why = f"{self.damage}: what failed before is tried once more, and nothing older than that is gone back to"
        diff = report.plan.diff
        diff = diff._replace(warnings=(*diff.warnings, why))
        return report._replace(rollouts=found, plan=report.plan._replace(diff=diff))

    def begin(self, report: DeploymentReport) -> None:
        """Note what is about to be tried. Raises `OSError`."""
        names = {change.service for change in report.plan.diff.changes if change.kind is not Kind.BLOCKED}
        self._become(rollback.begun(self.state, self.specs, names - self.held.names))

    def follow(self, done: DeploymentReport, observation: Observation, again: Again, *, stop: bool) -> DeploymentReport:
        """What became of the specifications that were tried; those that failed go back now. Raises `OSError`.

        `stop`: nothing more is to be begun; then the next pass goes back.
        """
        followed = self._followed(done, observation, again, stop=stop)
        if self.held.overlays:
            with suppress(OSError):  # each pass makes them anew then
                self.workspace.keep_formers(self.wanted.environment)
        return followed

    def _followed(
        self, done: DeploymentReport, observation: Observation, again: Again, *, stop: bool
    ) -> DeploymentReport:
        self._judge(done, observation)
        if stop or self.held.names >= rollback.failing(self.state, self.specs).keys():
            return self.told(done)
        before, self.held = self.held, self._hold_back()
        if self.held.overlays == before.overlays:
            return self.told(done)
        back = again(self.held.deployment, observation)
        if back.applied and not back.error:
            self._judge(back, observation)
        health = {**done.health, **back.health}
        return self.told(done._replace(rollback=back, health=health, error=done.error or back.error))

    def entry(self) -> dict[str, Any]:
        """For the journal: what is held back."""
        stages = rollback.told(self.wanted, self.specs, self.held, self.state)
        held = {name: one for name, one in stages.items() if one.stage is Stage.ROLLED_BACK}
        told = {name: [one.wanted, one.runs, one.why, one.beside] for name, one in sorted(held.items())}
        return {"rolled_back": told} if told else {}

    # ------------------------------------------------------------ deciding

    def _hold_back(self) -> rollback.Held:
        return rollback.hold_back(self.wanted, self.specs, self.state, self.former)

    def former(self, commit: str) -> Deployment | None:
        """What git wanted at a commit; None where that cannot be had any more."""
        with suppress(SourceError):
            return self.workspace.former(commit, self.wanted.environment)
        return None

    def _judge(self, report: DeploymentReport, observation: Observation) -> None:
        verdicts = dict(self._verdicts(report, observation))
        together = rollback.sharing(self.wanted)
        held = self.held.names
        together = {name: others - held for name, others in together.items()}
        unknown = rollback.unknown(self.wanted)
        self._become(rollback.judged(self.state, self.specs, verdicts, together, time.time(), unknown=unknown))

    def _verdicts(self, report: DeploymentReport, observation: Observation) -> Iterator[tuple[str, Verdict]]:
        """Of those that run what git wants, or could not be started with it."""
        results = {result.id: result for result in report.results}
        changes = {change.service: change for change in report.plan.diff.changes}
        for name in self.specs.keys() - self.held.names:
            change = changes.get(name)
            if change is None or change.kind is Kind.BLOCKED or change.held or _is_paused(name, report):
                continue
            if _runs_in_another(self.specs[name].daemon, change.unit.launcher, report):
                continue
            verdict = _verdict(change, report, results, observation)
            if verdict is not None:
                yield name, verdict

    # ------------------------------------------------------------ remembering

    def _recall(self) -> tuple[State, str]:
        data, damage = self.store.rollouts(self.wanted.environment, self.wanted.root)
        try:
            return {name: _record(row) for name, row in data.items()}, damage
        except (TypeError, AttributeError):
            path, _ = self.store.rollouts_paths(self.wanted.environment, self.wanted.root)
            return {}, f"{path} is damaged"

    def _become(self, state: State) -> None:
        """Note it where it is another one. What was healthy is kept in the mirror first."""
        state = {name: record for name, record in state.items() if record != Record()}
        if state == self.state:
            return
        for name, record in state.items():
            before = self.state.get(name, Record()).proved
            if record.proved is not None and (before is None or before.commit != record.proved.commit):
                with suppress(SourceError):  # it is in the mirror, and mostly stays there anyway
                    self.workspace.mirror.pin(self._pin(name), record.proved.commit)
        plain = {name: _plain(record) for name, record in sorted(state.items())}
        self.store.save_rollouts(self.wanted.environment, self.wanted.root, plain)
        self.state, self.damage = state, ""
        if not any(record.failed for record in state.values()):
            with suppress(OSError):  # nobody asks for them any more
                self.store.forget_formers(self.wanted.environment)

    def _pin(self, service: str) -> str:
        """One for each service, in letters that git takes in the name of a ref."""
        name = f"{self.wanted.id}/{service}".encode("utf-8", "surrogateescape")
        return f"healthy-{self.wanted.site}-{digest(name)[:16]}"


def _verdict(
    change: Change, report: DeploymentReport, results: Mapping[str, StepResult], observation: Observation
) -> Verdict | None:
    """How the specification does that git wants of a service; None where it was not come to, or cannot be told."""
    told = report.health.get(change.service)
    if not change.act.starts:
        return told or of_state(unit_of(change, report)) if change.act in (Act.NONE, Act.LOAD) else None
    result = results.get(f"start:{change.service}") or results.get(f"restart:{change.service}")
    if result is not None and result.status is Status.BLOCKED:
        return _of_daemon(results, change.unit.launcher)
    if result is None or not (result.is_so or result.status is Status.FAILED):
        return None
    if result.is_so:
        return told or of_state(_now(change, observation))
    if told is not None and told.word is Word.DEGRADED:
        return told
    if result.message.startswith(_DID_NOT_START) and not result.message.startswith(_STILL_STARTING):
        return Verdict(Word.DEGRADED, result.message.partition("\n")[0])
    return None


def _of_daemon(results: Mapping[str, StepResult], launcher: str) -> Verdict | None:
    """A service that was not come to, as its launcher's daemon came to nothing."""
    for verb in ("start", "restart"):
        result = results.get(f"{verb}:daemon:{launcher}")
        if result is not None and result.status is Status.FAILED and result.message.startswith(_DID_NOT_START):
            return Verdict(Word.DEGRADED, result.message.partition("\n")[0].rstrip(":"))
    return None


def _runs_in_another(wanted: str, launcher: str, report: DeploymentReport) -> bool:
    """The daemon that git wants by now has not begun: how its services do is no proof of it, nor against it."""
    daemon = report.observed.daemons.get(launcher)
    begins = any(change.launcher == launcher and change.act.begins for change in report.plan.diff.daemons)
    if not wanted or daemon is None or not daemon.running or begins:
        return False
    return daemon.spec not in ("", wanted)


def _is_paused(service: str, report: DeploymentReport) -> bool:
    """Somebody works on it, or nothing may be done about it: what it does meanwhile is nobody's proof."""
    shut = report.observed.shut
    holding = shut.get(service, shut.get(""))
    return holding is not None and holding.holds_all


def _now(change: Change, observation: Observation) -> Unit | None:
    try:
        return observation.backends[change.unit.launcher].units([change.unit.name]).get(change.unit.name)
    except (BackendError, KeyError):
        return None


def _plain(record: Record) -> dict[str, Any]:
    return {key: spec._asdict() for key, spec in record._asdict().items() if spec is not None}


def _record(row: Mapping[str, Any]) -> Record:
    """Raises `TypeError` or `AttributeError` for anything but what `_plain` gave."""
    return Record(**{key: Spec(**spec) for key, spec in row.items()})
