"""One report of what changes, which all forms but the terminal's tell: every change once, with where it is.

It is made of what a pass, a look or a comparison found. Nothing in it needs a host any more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from reconciler.core.change import Change, Kind
from reconciler.core.desired import Role
from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Action
from reconciler.core.problem import Problem
from reconciler.core.report import Comparison, DeploymentReport, PassReport
from reconciler.core.review import Cause, Delta, Intent, Why
from reconciler.report.data import is_healthy, running_version, unit_of, verdict
from reconciler.report.style import Style
from reconciler.report.text.remarks import by_whom
from reconciler.report.text.summary import summary

PLAIN = Style(colour=False, width=0)
_NONE: Mapping[str, StepResult] = {}
_ROLES = {Role.CONFIG: 0, Role.ENV: 1, Role.UNIT: 2, Role.DAEMON: 3, Role.SHIM: 4}


class Remark(NamedTuple):
    """What a person should read beside the changes."""

    level: str  # "error", "warning", "info"
    text: str


class FileTold(NamedTuple):
    """A rendered file that changes, in all deployments in which it changes alike."""

    id: str
    delta: Delta
    places: tuple[str, ...]


class Told(NamedTuple):
    """What happens to one service, or how it is, in all deployments in which that is the same."""

    id: str
    service: str
    kind: Kind
    before: str  # versions
    after: str
    reasons: tuple[str, ...]
    restarts: tuple[str, ...]  # other services that restart with it
    intent: Intent
    since: float  # of drift; seconds since the epoch, 0: not known
    causes: tuple[Cause, ...]
    files: tuple[str, ...]  # ids
    places: tuple[str, ...]
    health: str = ""  # of what runs, in a word, where that was looked at
    state: str = ""
    failures: tuple[str, ...] = ()  # what went wrong, with what was printed

    @property
    def versions(self) -> str:
        if self.before and self.after and self.before != self.after:
            return f"{self.before} -> {self.after}"
        return self.after or self.before

    @property
    def brief(self) -> tuple[str, ...]:
        """The reasons where the versions stand beside them: of that reason only the place is told again."""
        prefix = f"version {self.before} -> {self.after}"
        return tuple(
            reason.removeprefix(prefix).strip().strip("()") if reason.startswith(prefix) else reason
            for reason in self.reasons
        )

    @property
    def is_change(self) -> bool:
        return self.kind is not Kind.KEEP


def alike(told: Sequence[Told]) -> list[list[Told]]:
    """Services of which the same is to be told, in groups."""
    groups: dict[Told, list[Told]] = {}
    for one in told:
        groups.setdefault(one._replace(id="", service="", files=()), []).append(one)
    return list(groups.values())


class Place(NamedTuple):
    """One deployment."""

    name: str  # "dori/dev"
    site: str
    environment: str
    summary: str
    is_well: bool
    cells: Mapping[str, str]  # by service: the id of what is told of it
    remarks: tuple[Remark, ...]
    steps: tuple[str, ...]


class Review(NamedTuple):
    command: str  # "diff", "plan", "apply", "status"
    title: str
    subject: str  # of the commit, with its author
    verdict: str  # in a sentence
    exit_code: int
    places: tuple[Place, ...]
    told: tuple[Told, ...]
    files: tuple[FileTold, ...]
    causes: tuple[Cause, ...]  # everything that changed in git, each once
    problems: tuple[Problem, ...]
    remarks: tuple[Remark, ...]

    @property
    def changes(self) -> tuple[Told, ...]:
        return tuple(told for told in self.told if told.is_change)

    @property
    def services(self) -> list[str]:
        return sorted({told.service for told in self.told})


# ---------------------------------------------------------------- made of what was found


def of_comparison(comparison: Comparison) -> Review:
    changed = sum(len(report.deployments) for report in comparison.reports)
    verdict_ = f"{changed} of {comparison.compared} deployments differ." if changed else _nothing(comparison)
    verdict_ = "The desired state is not valid." if comparison.problems else verdict_
    made = _review("diff", comparison.reports)
    return made._replace(
        title=comparison.range, verdict=verdict_, exit_code=comparison.exit_code, problems=comparison.problems
    )


def _nothing(comparison: Comparison) -> str:
    return f"Nothing changes in any of {comparison.compared} deployments."


def of_pass(report: PassReport, command: str, exit_code: int | None = None) -> Review:
    """Of a plan, a pass or a look; a look has its own exit status."""
    code = report.exit_code if exit_code is None else exit_code
    subject = report.subject + (f" ({report.author})" if report.author else "")
    title = f"{report.site} at {report.commit[:8]}" if report.commit else report.site
    said = _verdict(report, command, code)
    return _review(command, [report])._replace(
        title=title, subject=subject, verdict=said, exit_code=code, problems=report.problems
    )


def _verdict(report: PassReport, command: str, code: int) -> str:
    count = sum(change.kind is not Kind.KEEP for one in report.deployments for change in one.plan.diff.changes)
    if report.problems:
        asked = all(problem.asked for problem in report.problems)
        return "The desired state has no such site or environment." if asked else "The desired state is not valid."
    if command == "status":
        return {0: "All runs as git wants it.", 2: "Something differs from what git wants."}.get(
            code, "Something is down, wrong, or cannot be told."
        )
    if code == 0:
        return "Nothing to do." if command == "plan" or not count else f"{_services(count)} changed; all is well."
    if code == 1:
        return "Something failed, is not healthy, or could not be seen."
    return f"{_services(count)} would change." if command == "plan" else "Differences remain."


def _services(count: int) -> str:
    return f"{count} service{'s' * (count != 1)}"


def _review(command: str, reports: Sequence[PassReport]) -> Review:
    """Without its title and verdict."""
    gathered = _Gathering(everything=command == "status")
    places = [gathered.place(report, one) for report in reports for one in report.deployments]
    remarks = [Remark("error" if n.failed else "warning", n.message) for report in reports for n in report.notices]
    remarks += [
        Remark("error" if report.is_misplaced else "info", f"{report.site} {environment} runs {where}: not here")
        for report in reports
        for environment, where in report.elsewhere
    ]
    return Review(
        command,
        "",
        "",
        "",
        0,
        tuple(places),
        tuple(gathered.told_once()),
        tuple(gathered.files_once()),
        tuple(dict.fromkeys(gathered.causes)),
        (),
        tuple(dict.fromkeys(remarks)),
    )


class _Gathering:
    """Equal changes of several deployments put together."""

    def __init__(self, *, everything: bool) -> None:
        self.everything = everything  # what is kept as well
        self.causes: list[Cause] = []
        self._told: dict[object, tuple[Told, list[str]]] = {}
        self._files: dict[object, tuple[FileTold, list[str]]] = {}

    def place(self, report: PassReport, one: DeploymentReport) -> Place:
        name = f"{report.site}/{one.plan.environment}"
        why = one.why or Why()
        self.causes += why.causes.get("", ())
        files = [(delta, self._file(delta, name)) for delta in why.deltas]
        cells = {}
        for change in one.plan.diff.changes:
            if self.everything or change.kind is not Kind.KEEP:
                own = tuple(id_ for delta, id_ in files if change.service in delta.services)
                cells[change.service] = self._change(change, one, own, name)
            else:
                cells[change.service] = ""
        well = one.converged if one.results or self.everything else not one.plan.steps and one.converged
        steps = tuple(f"{step.action.value} {step.service or step.target}" for step in one.plan.steps)
        told = "" if self.everything else summary(one, PLAIN)
        return Place(name, report.site, one.plan.environment, told, well, cells, tuple(_remarks(one)), steps)

    def _file(self, delta: Delta, place: str) -> str:
        fresh = FileTold(f"f{len(self._files) + 1}", delta, ())
        kept, places = self._files.setdefault(delta.told, (fresh, []))
        places.append(place)
        return kept.id

    def _change(self, change: Change, one: DeploymentReport, files: tuple[str, ...], place: str) -> str:
        why = one.why or Why()
        told = Told(
            "",
            change.service,
            change.kind,
            (running_version(change) or "") if self.everything else change.version,
            change.wanted,
            change.reasons,
            tuple(name for name in change.restarts if name != change.service),
            why.intents.get(change.service, Intent.NONE),
            why.since.get(change.service, 0.0),
            why.causes.get(change.service, ()),
            files,
            (),
            verdict(change, one).word.value if self.everything or one.results else "",
            _state(change, one) if self.everything else "",
            tuple(_failures(change.service, one)),
        )
        kept, places = self._told.setdefault(told, (told._replace(id=f"c{len(self._told) + 1}"), []))
        places.append(place)
        return kept.id

    def told_once(self) -> Iterator[Told]:
        for told, places in self._told.values():
            yield told._replace(places=tuple(places))

    def files_once(self) -> Iterator[FileTold]:
        """Those that git declares first."""
        for file, places in sorted(self._files.values(), key=lambda one: _ROLES[one[0].delta.role]):
            yield file._replace(places=tuple(places))


def _state(change: Change, one: DeploymentReport) -> str:
    unit = unit_of(change, one)
    up = is_healthy(change, one.health)
    since = f" since {stamp(unit.since)}" if unit and unit.since else ""
    return f"{change.state.value}{since}" + (f" ({change.detail})" if change.detail and not up else "")


def _failures(service: str, one: DeploymentReport) -> Iterator[str]:
    results = {result.id: result for result in one.results}
    for step in one.plan.steps:
        result = results.get(step.id)
        if result and step.service == service and result.status in (Status.FAILED, Status.BLOCKED) and result.message:
            yield _failed(step.action, result)


def _failed(action: Action, result: StepResult) -> str:
    hint = f"\n-> {result.hint}" if result.hint else ""
    return f"{action.value} {result.status.value}: {result.message}{hint}"


def _remarks(one: DeploymentReport) -> Iterator[Remark]:
    results = {result.id: result for result in one.results}
    for step in one.plan.steps:
        result = results.get(step.id)
        if result and not step.service and result.status is Status.FAILED:
            yield Remark("error", f"{step.target}: {_failed(step.action, result)}")
    if one.error:
        yield Remark("error", one.error)
    yield from (Remark("error", gap.message) for gap in one.plan.diff.gaps)
    yield from (Remark("error", f"{finding.name}: {finding.message}") for finding in one.plan.diff.findings)
    if one.rolled_back:
        from reconciler.report.text.rollouts import rollouts_told

        yield from (Remark("error", f"{name} is {word}: {why}") for name, word, why in rollouts_told(one))
    for result in one.rollback.failed if one.rollback is not None else ():
        yield Remark("error", f"{result.id}, to go back: {result.message}")
    ill = {**one.ailing, **one.progressing}
    for name, told in sorted(ill.items()):
        message = f": {told.message}" if told.message else ""
        yield Remark("error" if told.word.is_failure else "warning", f"{name} is {told.word.value}{message}")
    yield from (Remark("warning" if rule.is_risky else "info", str(rule)) for rule in one.rules)
    yield from (Remark("warning", waiting) for waiting in one.plan.diff.waiting)
    yield from (Remark("warning", warning) for warning in one.plan.diff.warnings)
    yield from (
        Remark("warning", f"paused: {pause.service or 'all of it'}, {by_whom(pause)}") for pause in one.observed.pauses
    )


def stamp(when: float) -> str:
    """In this host's time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
