"""How the inventory grows before a pass acts and shrinks after it did. Pure.

The union of old and new is noted before anything is done, so that what a killed pass has begun is found
again; an entry leaves only when its removal was carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.core.change import Change, Kind
from reconciler.core.desired import Compiled, Deployment, Field, Manager, Service, Trace
from reconciler.core.inventory import Adopted, Inventory, Owned, Stage
from reconciler.core.observed import Process
from reconciler.core.outcome import StepResult
from reconciler.core.plan import Action, Phase, Plan
from reconciler.core.remains import union
from reconciler.core.view import same_process
from reconciler.launchers.on_start import paths


def before_apply(old: Inventory, desired: Deployment, plan: Plan) -> Inventory:
    """Old and new together, and which processes are to be restarted for what the files will not show any more."""
    services = dict(old.services)
    untouched = _untouched(plan)
    for service in desired.services:
        if service.name not in services and service.name not in untouched:
            owned = Owned(service.unit, service.launcher, "", "", "")
            services[service.name] = owned._replace(**_gates(desired, service.name))
    files = {step.path: "" for step in plan.steps if step.action is Action.RENDER}
    pending = dict(old.pending)
    for change in plan.diff.changes:
        if change.kind is Kind.RESTART and change.act.stops and change.running:
            pending[change.service] = (change.running.pid, change.running.started)
    return Inventory(
        services=services,
        files={**files, **old.files},
        managers=_managers(old, desired, _spare(desired, plan), plan.diff.former_daemons),
        roots=_roots(old, desired.root),
        pending=pending,
        notes=tuple(sorted({*old.notes, *_notes(desired)})),
        adopted=_taken(old, desired),
        by_hand=old.by_hand,
        traces=union(desired.traces, old.traces),
    )


def after_apply(
    before: Inventory,
    compiled: Compiled,
    plan: Plan,
    results: tuple[StepResult, ...],
    processes: Mapping[str, Process],
    *,
    by_hand: Mapping[str, Process] | None = None,
    left: Iterable[Trace] | None = None,
) -> Inventory:
    """What is ours now. `processes` are the main processes by service, as seen after the steps; `by_hand` those of
    services that run as they were adopted. `left`: traces that are still on disk; None: that was not looked at."""
    desired = compiled.deployment
    done = {result.id for result in results if result.is_so}
    changes = {change.service: change for change in plan.diff.changes}
    services: dict[str, Owned] = {}
    untouched = _untouched(plan)
    for service in desired.services:
        if service.name in untouched and service.name not in before.services:
            continue
        fresh = _applied(service, changes[service.name], done)
        old = before.services.get(service.name)
        services[service.name] = (
            _owned(desired, service, compiled.fields.get(service.name, {}), processes.get(service.name))
            if fresh or old is None
            else _as_it_was(old, changes[service.name], processes.get(service.name), done)
        )
    services |= {name: owned for name, owned in before.services.items() if _still_ours(name, changes, done, services)}
    adopted, managers = _adopted(before, desired, plan, done, by_hand or {})
    known = _managers(before, desired, (), plan.diff.former_daemons)
    running = tuple(one for one in known if _may_run(one, desired, plan, done))
    return Inventory(
        services=services,
        files=_files(before, desired, plan, done),
        managers=running,
        roots=(desired.root,) if _ended(plan, done) and not services.keys() - changes.keys() else before.roots,
        pending={name: entry for name, entry in before.pending.items() if not _restarted(changes.get(name), done)},
        notes=tuple(sorted({*_notes(desired), *_left_notes(before, desired, plan, done)})),
        adopted=adopted,
        by_hand=managers,
        traces=_traces(before, desired, services, running, left),
    )


def _taken(old: Inventory, desired: Deployment) -> Mapping[str, Adopted]:
    """What git has by now is ours, so that it is an orphan when git has it no more."""
    if not old.adopted:
        return old.adopted
    wanted = {service.name: service for service in desired.services}
    return {
        name: one._replace(stage=Stage.TAKEN)
        if one.stage is Stage.OFFERED and name in wanted and one.is_of(wanted[name])
        else one
        for name, one in old.adopted.items()
    }


def _adopted(
    before: Inventory, desired: Deployment, plan: Plan, done: set[str], by_hand: Mapping[str, Process]
) -> tuple[Mapping[str, Adopted], tuple[Manager, ...]]:
    """What runs by hand still, as which process, and what has left and could be started there again."""
    adopted = {}
    for name, one in _taken(before, desired).items():
        process = by_hand.get(name)
        if name in plan.diff.forgotten:
            continue
        if _started(name, done) or f"remove:{one.launcher}/{one.unit}" in done:
            adopted[name] = one._replace(stage=Stage.LEFT)
        elif process is not None:
            adopted[name] = one._replace(pid=process.pid, started=process.started)
        else:
            adopted[name] = one
    launchers = {one.launcher for one in adopted.values()}
    return adopted, tuple(one for one in before.by_hand if one.launcher in launchers)


def _traces(
    before: Inventory,
    desired: Deployment,
    services: Mapping[str, Owned],
    managers: Iterable[Manager],
    left: Iterable[Trace] | None,
) -> tuple[Trace, ...]:
    """What git's launchers leave, and of what others have left, that which is there, or may come as they still run."""
    if before.traces == desired.traces:
        return desired.traces
    keepers = {("", one.launcher) for one in managers} | {(name, one.launcher) for name, one in services.items()}
    there = before.traces if left is None else left
    return union(desired.traces, there, (one for one in before.traces if (one.service, one.launcher) in keepers))


def _notes(desired: Deployment) -> list[str]:
    return [note.path for note in desired.notes]


def _left_notes(before: Inventory, desired: Deployment, plan: Plan, done: set[str]) -> set[str]:
    """Notes that git no longer wants, and whose end nobody has seen."""
    old = {*before.notes}.difference(_notes(desired))
    if _files_are_held(plan):
        return old
    return {note for note in old if not {f"clean:{path}" for path in paths(note)}.isdisjoint(_undone(plan, done))}


def _undone(plan: Plan, done: set[str]) -> set[str]:
    return {step.id for step in plan.steps} - done


def _may_run(manager: Manager, desired: Deployment, plan: Plan, done: set[str]) -> bool:
    """It is wanted, or nobody has seen its end yet: that of the daemon, or of the last unit of ours there."""
    if manager in desired.managers:
        return True
    if f"stop:daemon:{manager.launcher}" in done:
        return False
    removals = {step.id for step in plan.steps if step.id.startswith(f"remove:{manager.launcher}/")}
    return manager.launcher not in plan.diff.ended_managers or not removals <= done


def _untouched(plan: Plan) -> set[str]:
    """Nothing was done for them: a unit of that name, if there is one, did not become ours by being in its way."""
    return {change.service for change in plan.diff.changes if change.kind is Kind.BLOCKED}


def is_current(
    inventory: Inventory,
    desired: Deployment,
    processes: Mapping[str, Process],
    by_hand: Mapping[str, Process] | None = None,
    unwritten: frozenset[str] = frozenset(),
    *,
    former: frozenset[str] = frozenset(),
    left: Iterable[Trace] | None = None,
) -> bool:
    """Whether the inventory says what is the case, so that nothing need be written. `unwritten`: files that wait;
    `former`: launchers whose daemon is held to what was applied last.

    A process that hides its mark is known by its pid alone, so that has to be noted whenever it is another.
    """
    hidden = {name: process for name, process in processes.items() if process.mark is None}
    return (
        all(name in inventory.services and inventory.services[name].pid == p.pid for name, p in hidden.items())
        and inventory.services.keys() == {service.name for service in desired.services}
        and all(
            (owned := inventory.services[s.name]).spec == s.spec and owned.launch == s.launch for s in desired.services
        )
        and all(_has_gates(inventory.services[s.name], desired, s.name) for s in desired.services)
        and inventory.files == {file.path: file.digest for file in desired.files if file.path not in unwritten}
        and inventory.managers == (_managers(inventory, desired, (), former) if former else desired.managers)
        and inventory.roots == (desired.root,)
        and not inventory.pending
        and list(inventory.notes) == sorted(_notes(desired))
        and _is_adopted(inventory, desired, by_hand or {})
        and inventory.traces == _traces(inventory, desired, inventory.services, inventory.managers, left)
    )


def _is_adopted(inventory: Inventory, desired: Deployment, by_hand: Mapping[str, Process]) -> bool:
    """Every process that was adopted is noted as the one that it is now."""
    return _taken(inventory, desired) == inventory.adopted and all(
        (one := inventory.adopted.get(name)) is not None and same_process(process, one.pid, one.started)
        for name, process in by_hand.items()
    )


def _has_gates(owned: Owned, desired: Deployment, service: str) -> bool:
    gates = _gates(desired, service)
    return (owned.guards, owned.manual) == (gates["guards"], gates["manual"])


def _applied(service: Service, change: Change, done: set[str]) -> bool:
    """The service runs as git wants it: it did so before, or its step went well."""
    if change.kind is Kind.BLOCKED:
        return False
    return not change.act.starts or _started(service.name, done)


def _as_it_was(old: Owned, change: Change, process: Process | None, done: set[str]) -> Owned:
    """Of what is held and was started as it was, the process is another one now."""
    if not change.held or process is None or not _started(change.service, done):
        return old
    return old._replace(pid=process.pid, started=process.started)


def _gates(desired: Deployment, service: str) -> dict[str, Any]:
    """What stands before its removal, also when git has it no more."""
    return {"guards": desired.guards.get(service, ()), "manual": desired.syncs.get(service, False)}


def _owned(desired: Deployment, service: Service, fields: Mapping[str, Field], process: Process | None) -> Owned:
    return Owned(
        unit=service.unit,
        launcher=service.launcher,
        spec=service.spec,
        launch=service.launch,
        version=service.version,
        pid=process.pid if process else 0,
        started=process.started if process else 0.0,
        fields={key: field.value for key, field in fields.items()},
        **_gates(desired, service.name),
    )


def _still_ours(name: str, changes: Mapping[str, Change], done: set[str], kept: Mapping[str, Owned]) -> bool:
    """An entry that git no longer has leaves when all of it was seen to be gone."""
    if name in kept:
        return False
    change = changes.get(name) or next((c for c in changes.values() if c.renamed_from == name), None)
    if change is None or change.kind is Kind.BLOCKED:
        return change is not None
    steps = {f"remove:{unit.launcher}/{unit.name}" for unit in change.gone}
    steps |= {f"stop:pid-{stray.pid}" for stray in change.strays}
    return not steps <= done


def _files(before: Inventory, desired: Deployment, plan: Plan, done: set[str]) -> Mapping[str, str]:
    """Digests of what was written, by path; a stale one leaves when it was removed."""
    failed = {step.path for step in plan.steps if step.action is Action.RENDER and step.id not in done}
    blocked = _untouched(plan)
    files = {}
    for file in desired.files:
        waits = file.path in failed or file.path in plan.diff.held_files
        unwritten = waits or (file.services and blocked.issuperset(file.services))
        if not unwritten:
            files[file.path] = file.digest
        elif file.path in before.files:  # what was never written may be somebody else's
            files[file.path] = before.files[file.path]
    cleaned = {step.path for step in plan.steps if step.action is Action.CLEAN and step.id in done}
    held = _files_are_held(plan)
    stale = set(plan.diff.stale_files)
    for path, digest in before.files.items():
        if path not in files and (held or path in stale) and path not in cleaned:
            files[path] = digest
    return files


def _files_are_held(plan: Plan) -> bool:
    """While something is blocked, waits or is unseen, no file was judged: whose it still is shows later."""
    return bool(_untouched(plan)) or plan.waits or any(gap.scope in ("launcher", "inventory") for gap in plan.diff.gaps)


def _ended(plan: Plan, done: set[str]) -> bool:
    """Nothing of ours was left running outside of today's launchers."""
    return not plan.waits and all(step.id in done for step in plan.steps if step.phase is Phase.STRAYS)


def _restarted(change: Change | None, done: set[str]) -> bool:
    return change is None or _started(change.service, done) or change.kind is Kind.KEEP


def _started(service: str, done: set[str]) -> bool:
    return not done.isdisjoint((f"start:{service}", f"restart:{service}"))


def _spare(desired: Deployment, plan: Plan) -> tuple[Manager, ...]:
    """Those that nothing named, and that keep something of ours after all."""
    acting = {step.launcher for step in plan.steps}
    return tuple(manager for manager in desired.spare_managers if manager.launcher in acting)


def _managers(
    old: Inventory, desired: Deployment, spare: tuple[Manager, ...], former: frozenset[str]
) -> tuple[Manager, ...]:
    """`former`: launchers whose daemon is held to what was applied last."""
    kept = (manager for manager in old.managers if manager.launcher in former)
    known = {manager.launcher: manager for manager in (*spare, *old.managers, *desired.managers, *kept)}
    return tuple(known[name] for name in sorted(known))


def _roots(old: Inventory, root: str) -> tuple[str, ...]:
    return (*(other for other in old.roots if other != root), root)
