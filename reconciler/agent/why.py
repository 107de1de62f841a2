"""Why a pass would change something: what changed in git and by whom, or since when the host has drifted."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import NamedTuple

from reconciler.core.change import Diff, Kind
from reconciler.core.desired import Compiled, Deployment, Field
from reconciler.core.inventory import Inventory, Owned
from reconciler.core.observed import Observed
from reconciler.core.report import DeploymentReport
from reconciler.core.review import Cause, Delta, Intent, Texts, Why, below, drift_since, intent
from reconciler.core.why import differing
from reconciler.desired import Tree
from reconciler.desired.layers import Layers
from reconciler.desired.problems import Problems
from reconciler.desired.written import Concerns, changed, one_line
from reconciler.source.blame import Blame


def basics(
    diff: Diff, desired: Deployment, observed: Observed, inventory: Inventory, back: Container[str] = frozenset()
) -> Why:
    """A commit, drift and since when, or the way `back`: what needs no look into git."""
    acting = [change for change in diff.changes if change.kind is not Kind.KEEP]
    intents = {change.service: intent(change, desired, inventory, back) for change in acting}
    files = [(one.file, one.before.changed) for one in diff.files if one.by_hand]
    drifted = [change for change in acting if intents[change.service] is Intent.CORRECTIVE]
    since = {change.service: drift_since(change, observed, files) for change in drifted}
    return Why({}, intents, {service: when for service, when in since.items() if when})


class State(NamedTuple):
    """A commit, and one deployment of it; None where it has none, or is not valid."""

    tree: Tree
    compiled: Compiled | None


def explained(report: DeploymentReport, inventory: Inventory, states: tuple[State, State], blame: Blame) -> Why:
    """With what changed in git between what was accepted before and now, by whom, and in which lines of files."""
    before, after = states
    why = report.why or basics(report.plan.diff, report.desired, report.observed, inventory)
    causes = _causes(report, before, after, blame)
    layers = Layers(after.tree, Problems())
    concerns = Concerns(layers.merged(report.desired.site, report.desired.environment), after.tree)
    by_service: dict[str, tuple[Cause, ...]] = {"": causes}
    fields = after.compiled.fields if after.compiled else {}
    for service, wanted in why.intents.items():
        found = concerns.of(service, causes)
        if not found and wanted is Intent.INTENTIONAL:
            found = tuple(_of_fields(inventory.services.get(service), fields.get(service, {}), blame))
        by_service[service] = found
    return why._replace(causes=by_service, deltas=tuple(_deltas(report, before.compiled, after.compiled)))


def _causes(report: DeploymentReport, before: State, after: State, blame: Blame) -> tuple[Cause, ...]:
    if before.tree == after.tree or before.compiled is None or after.compiled is None:
        return ()
    sides = [(Layers(state.tree, Problems()), state.tree) for state in (before, after)]
    found = changed(sides[0], sides[1], report.desired.site, report.desired.environment)
    return tuple(named(cause, blame) for cause in found)


def named(cause: Cause, blame: Blame) -> Cause:
    """With who wrote it; of what is taken away, who touched its file last."""
    line = cause.origin.line if cause.new is not None else 0
    return cause._replace(who=blame.line(cause.origin.file, line))


def _of_fields(owned: Owned | None, fields: Mapping[str, Field], blame: Blame) -> Iterator[Cause]:
    """Of a commit that was accepted before and not carried out, the effective values that differ."""
    if owned is None or not owned.fields:
        return
    for key in differing(owned.fields, fields):
        field, old = fields.get(key), owned.fields.get(key)
        if field is None:
            continue
        texts = [None if value is None else one_line(str(value)) for value in (old, field.value)]
        yield named(Cause(key, texts[0], texts[1], field.origin, field.secret), blame)


def _deltas(report: DeploymentReport, before: Compiled | None, after: Compiled | None) -> Iterator[Delta]:
    """Of the files that the plan writes or removes. What somebody wrote on the host by hand may be no one's to read."""
    root = report.desired.root
    planned = {below(root, step.path) for step in report.plan.steps if step.path}
    told = set()
    if before is not None and after is not None:
        for delta in Texts().deltas(before, after):
            if delta.name in planned:
                told.add(delta.name)
                yield delta
    for one in report.plan.diff.files:
        name = below(root, one.file.path)
        if name in told or name not in planned:
            continue
        word = "changed" if one.before.digest else "new"
        hidden = "changed on this host: not shown" if one.by_hand and one.before.digest else ""
        modes = (one.before.mode, one.file.mode)
        hidden = "secret: not shown" if one.file.secret else hidden
        yield Delta(name, one.file.role, one.file.services, word, (), hidden, modes)
