"""The pure diff: desired, observed and inventory in, one change per service out.

Each service is judged by `_RULES`, an ordered table: the first rule that matches decides. What a rule
cannot know it does not guess: a gap blocks, it never stops and never removes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from reconciler.core.adopted import forgotten, leaving, needed_daemon, needed_files, settled
from reconciler.core.change import (
    Act,
    Change,
    DaemonAct,
    DaemonChange,
    Diff,
    FileChange,
    Hold,
    Kind,
    OldUnit,
    Running,
    UnitName,
)
from reconciler.core.daemons import (
    ended_managers,
    hold_waiting,
    judge_daemon,
    kept_daemons,
    retire_daemons,
    stray_daemons,
    wait_for_known,
)
from reconciler.core.desired import Deployment, Manager, Role, Service
from reconciler.core.filediff import diff_files, files_by_service, stale_files, stands, writable
from reconciler.core.held import hold_changes, hold_copies, hold_daemon, hold_files, hold_prunes, only_needed, told
from reconciler.core.inventory import Inventory, Owned
from reconciler.core.observed import Mark, Observed, Process, State, Unit
from reconciler.core.order import block_dependents
from reconciler.core.orphans import find_orphans, hold_removals, join_renames, unseen, unwanted, wait_for_held
from reconciler.core.unmanaged import left_alone, left_running
from reconciler.core.view import Fields, View
from reconciler.core.why import down_reason, field_reasons, move_reason


class Verdict(NamedTuple):
    kind: Kind
    act: Act
    reasons: tuple[str, ...] = ()
    held: Hold = Hold.NONE


class _Case(NamedTuple):
    """One desired service and all that was observed of it."""

    view: View
    service: Service
    unit: Unit
    process: Process | None
    mark: Mark | None  # None: there is no process, or what it runs cannot be told
    daemon: DaemonChange | None
    drift: tuple[FileChange, ...]  # files of this service that are not as they should be
    replaces: tuple[OldUnit, ...]  # units of ours that give way to it


def diff(desired: Deployment, observed: Observed, inventory: Inventory, fields: Fields | None = None) -> Diff:
    """What differs. `fields` are the effective values, for reasons; without them the reasons are less exact."""
    view = View(desired, observed, inventory, fields or {})
    every = diff_files(view)
    differing = needed_files(view, every)
    files = hold_files(view, differing)
    daemons = tuple(_daemon(view, manager, files) for manager in sorted(desired.managers) if manager.is_daemon)
    orphans = find_orphans(view)
    found = (*_wanted(view, files, daemons, orphans), *unwanted(view, orphans), *left_alone(view))
    changes = sorted(found, key=_service)
    changes = join_renames(view, changes)
    changes = hold_prunes(view, changes)
    changes = hold_removals(view, changes)
    changes = hold_waiting(daemons, changes)
    changes = hold_changes(view, changes, daemons)
    changes = block_dependents(view, changes)
    strays = stray_daemons(view)
    if strays:
        changes = wait_for_held(changes)
    retired = retire_daemons(view, changes)
    stale = stale_files(view, changes, kept_daemons(view, retired))
    copies, shut = hold_copies(view), view.shut("")
    return Diff(
        changes=tuple(changes),
        files=writable(files, changes),
        stale_files=stale if shut is None else (),
        describing=_describing(view),
        installs=_missing_installs(view, changes),
        daemons=only_needed(view, (*daemons, *(retired if shut is None else ())), changes),
        stray_daemons=() if shut is not None or any(change.held for change in changes) else strays,
        ended_managers=ended_managers(view, changes),
        copies=copies,
        going={path: digest for path in (*copies, *stale) if (digest := stands(view, path))},
        gaps=tuple(sorted(observed.gaps)),
        warnings=(*observed.warnings, *left_running(view)),
        findings=tuple(sorted(observed.findings)),
        held_files=frozenset(change.file.path for change in every if change not in files),
        waiting=told(view, (*daemons, *retired), len(differing) - len(files), len(stale)),
        by_hand={name: unit.pid for name, unit in (*view.by_hand.kept.items(), *view.by_hand.waiting.items())},
        theirs={name: unit.pid for name, unit in observed.unmanaged.items() if unit.pid},
        forgotten=forgotten(view),
    )


def _daemon(view: View, manager: Manager, files: tuple[FileChange, ...]) -> DaemonChange:
    change = needed_daemon(view, manager, wait_for_known(view, judge_daemon(view, manager, files)))
    return hold_daemon(view, manager, change)


def _describing(view: View) -> frozenset[str]:
    """Launchers that read descriptions of their units from files."""
    launcher_of = {service.name: service.launcher for service in view.desired.services}
    wanted = {launcher_of[name] for file in view.desired.files if file.role is Role.UNIT for name in file.services}
    return frozenset(wanted | {launcher for launcher, _ in view.observed.claimed})


def _service(change: Change) -> str:
    return change.service


def _missing_installs(view: View, changes: list[Change]) -> tuple[str, ...]:
    idle = {change.service for change in changes if change.is_put_off} | view.by_hand.kept.keys()
    needed = {service.install for service in view.desired.services if service.name not in idle}
    return tuple(
        install.id
        for install in sorted(view.desired.installs)
        if install.id in needed and view.observed.installs.get(install.id) is False
    )


# ---------------------------------------------------------------- services that git wants


def _wanted(
    view: View,
    files: tuple[FileChange, ...],
    daemons: tuple[DaemonChange, ...],
    orphans: Mapping[str, tuple[OldUnit, ...]],
) -> Iterator[Change]:
    drift = files_by_service(files)
    by_launcher = {daemon.launcher: daemon for daemon in daemons}
    for service in view.desired.services:
        if (change := settled(view, service)) is not None:
            yield change
            continue
        unit = view.unit(UnitName(service.launcher, service.unit))
        case = _Case(
            view,
            service,
            unit,
            view.process(unit),
            view.mark(service, unit),
            by_launcher.get(service.launcher),
            drift.get(service.name, ()),
            orphans.get(service.name, ()),
        )
        yield _change(case, _judge(case))


def _judge(case: _Case) -> Verdict:
    for rule in _RULES:
        verdict = rule(case)
        if verdict is not None:
            return _only_if_known(case, _with_drift(case, verdict))
    return Verdict(Kind.KEEP, Act.NONE)


def _with_drift(case: _Case, verdict: Verdict) -> Verdict:
    """Whatever it restarts for, what somebody told its launcher is mended on the way: else it would begin that way
    again, or not at all. A daemon that starts anew has forgotten it."""
    told = tuple(drift.message for drift in case.unit.drift if drift.message not in verdict.reasons)
    forgotten = case.daemon is not None and case.daemon.act.begins
    if forgotten or not case.unit.drift or verdict.act not in (Act.START, Act.RESTART, Act.RECREATE):
        return verdict
    return Verdict(verdict.kind, Act.RECREATE, (*verdict.reasons, *told))


def _only_if_known(case: _Case, verdict: Verdict) -> Verdict:
    """What runs is not stopped, nor its description read anew, while it cannot be known that it would start again."""
    if verdict.act is Act.NONE:
        return verdict
    install = case.view.unreadable.get(case.service.install) if case.service.install else None
    why = install or case.view.closed.get(case.service.name)
    return Verdict(Kind.BLOCKED, Act.NONE, (*verdict.reasons, why)) if why else verdict


def _own(case: _Case) -> _Case:
    """Where its name is taken by somebody else: itself as it may still run under a name that it had before."""
    old = next((old for old in case.replaces if old.running), None)
    if old is None:
        unit = Unit(case.service.launcher, case.service.unit, State.ABSENT)
        return case._replace(unit=unit, process=None, mark=None)
    unit = case.view.unit(old.unit)
    process = case.view.process(unit)
    return case._replace(unit=unit, process=process, mark=process.mark if process else None)


def _change(case: _Case, verdict: Verdict) -> Change:
    taken = case.unit.state is not State.ABSENT and case.view.is_foreign(case.unit)
    case = _own(case) if taken else case
    service, view, replaces = case.service, case.view, case.replaces
    strays = view.strays.get(service.name, ())
    if verdict.kind is Kind.BLOCKED:
        strays, replaces = (), ()
    extra = [
        change.why
        for change in case.drift
        if change.foreign and change.file.role is Role.CONFIG and change.why not in verdict.reasons
    ]
    extra += [f"pid {stray.pid} of it runs outside of {service.launcher}{_keeper(view, stray)}" for stray in strays]
    told = any(reason.startswith(("moves from", "leaves ")) for reason in verdict.reasons)
    extra += [f"its old unit {old.name} ({old.launcher}) goes" for old in replaces if not told]
    kind = Kind.UPDATE if extra and verdict.kind is Kind.KEEP else verdict.kind
    return Change(
        service=service.name,
        kind=kind,
        act=verdict.act,
        reasons=(*verdict.reasons, *extra),
        unit=UnitName(service.launcher, service.unit),
        group=service.group,
        component=service.component,
        version=case.mark.version if case.mark else view.last_version(service.name),
        wanted=service.version,
        state=case.unit.state,
        running=Running(case.process.pid, case.process.started) if case.process else None,
        restarts=_restarts(case, verdict, strays, replaces),
        replaces=replaces,
        strays=strays,
        detail=case.unit.detail,
        taken=taken,
        held=verdict.held,
        guards=view.inventory.services[service.name].guards if service.name in view.inventory.services else (),
    )


def _keeper(view: View, stray: Running) -> str:
    """Who started it, where that one is still there: it may start it again."""
    parent = view.observed.processes[stray.pid].parent if stray.pid in view.observed.processes else 0
    return f", under pid {parent}" if parent > 1 else ""


def _restarts(
    case: _Case, verdict: Verdict, strays: tuple[Running, ...], replaces: tuple[OldUnit, ...]
) -> tuple[str, ...]:
    """The names of all processes that will be another one afterwards because of this change."""
    stopped = verdict.act.stops and case.process is not None
    gives_way = bool(strays) or any(old.running for old in replaces)
    own = (case.service.name,) if stopped or (verdict.act.starts and gives_way) else ()
    if case.daemon is not None and case.daemon.act is DaemonAct.RESTART:
        return tuple(sorted({*case.view.alive_names(case.service.launcher), *own}))
    return own


# ---------------------------------------------------------------- the rules, in the order in which they are asked


def _blind(case: _Case) -> Verdict | None:
    """The launcher did not answer: nothing is known, so nothing is done."""
    message = case.view.blind.get(case.service.launcher)
    return Verdict(Kind.BLOCKED, Act.NONE, (f"cannot be seen: {message}",)) if message else None


def _old_unseen(case: _Case) -> Verdict | None:
    """It has run under a launcher that did not answer, and may do so still: a second process must not start."""
    message = unseen(case.view, case.service.name, case.replaces)
    return Verdict(Kind.BLOCKED, Act.NONE, (f"what it has run under cannot be seen: {message}",)) if message else None


def _foreign(case: _Case) -> Verdict | None:
    """Its name is taken by something that is not ours."""
    if case.unit.state is State.ABSENT or not case.view.is_foreign(case.unit):
        return None
    whose = f"a {case.unit.launcher} unit that is not ours (set `name:` to another one): {case.unit.name}"
    reason = f"its name is taken by {whose}"
    return Verdict(Kind.BLOCKED, Act.NONE, (reason,))


def _daemon_waits(case: _Case) -> Verdict | None:
    """Its launcher's daemon is to come by itself, and will start it."""
    if case.daemon is None or not case.daemon.waits:
        return None
    return Verdict(Kind.BLOCKED, Act.NONE, (case.daemon.waits,), Hold.QUEUE)


def _install_unknown(case: _Case) -> Verdict | None:
    """Whether its version is in place could not be told, and it does not run yet."""
    message = case.view.unreadable.get(case.service.install) if case.service.install else None
    if message is None or (case.mark is not None and case.mark.spec == case.service.spec):
        return None
    return Verdict(Kind.BLOCKED, Act.NONE, (f"cannot tell whether {case.service.install} is in place: {message}",))


def _file_unknown(case: _Case) -> Verdict | None:
    """What it would be started from could not be read, so it cannot be known to be right. What runs goes on."""
    message = case.view.closed.get(case.service.name)
    if message is None or (case.mark is not None and case.mark.spec == case.service.spec):
        return None
    return Verdict(Kind.BLOCKED, Act.NONE, (message,))


def _leaves(case: _Case) -> Verdict | None:
    """It was adopted, and does not run that way any more, or is to be another one from now on."""
    why = leaving(case.view, case.service) if case.unit.state is State.ABSENT else ""
    if not why:
        return None
    begins = case.daemon is not None and case.daemon.act.begins
    one, act = case.view.by_hand.adopted[case.service.name], Act.START if begins else Act.CREATE
    if one.is_of(case.service):
        return Verdict(Kind.UPDATE if one.differs else Kind.RESTART, act, (*one.differs, why))
    return Verdict(Kind.UPDATE, act, (*field_reasons(case.view, case.service, None), *one.differs, why))


def _daemon_acts(case: _Case) -> Verdict | None:
    """Its launcher's daemon is started or restarted, and every service with it."""
    if case.daemon is None or not case.daemon.act.begins:
        return None
    return _again(case, Act.START, case.daemon.why)


def _absent(case: _Case) -> Verdict | None:
    """Its launcher does not know it."""
    if case.unit.state is not State.ABSENT:
        return None
    return _again(case, Act.CREATE, f"is gone from {case.service.launcher}")


def _unreadable(case: _Case) -> Verdict | None:
    """It runs, and what it was started from cannot be told: leave it."""
    if case.process is None or case.mark is not None or case.unit.state is not State.RUNNING:
        return None
    if case.process.mark is not None and case.view.is_young(case.process):
        return None  # its shim has not got as far as the mark
    if case.process.mark is not None:
        return Verdict(Kind.RESTART, Act.RECREATE, ("runs without our mark: it was not started by its shim",))
    why = case.view.unreadable.get(case.service.name, "its environment cannot be read")
    return Verdict(Kind.BLOCKED, Act.NONE, (f"cannot tell what pid {case.unit.pid} runs: {why}",))


def _other_spec(case: _Case) -> Verdict | None:
    """It runs something else than git wants: the bump, or a pass that was ended before it restarted."""
    if case.mark is None or case.mark.spec == case.service.spec:
        return None
    act = Act.RECREATE if case.mark.launch != case.service.launch else Act.RESTART
    return Verdict(Kind.UPDATE, act, field_reasons(case.view, case.service, case.mark))


def _other_launch(case: _Case) -> Verdict | None:
    """Only how its launcher keeps it differs: that is loaded by taking the unit up anew."""
    if case.mark is None or case.mark.launch == case.service.launch:
        return None
    return Verdict(Kind.UPDATE, Act.RECREATE, field_reasons(case.view, case.service, case.mark))


def _decided_before(case: _Case) -> Verdict | None:
    """An earlier pass mended its files and was ended before the restart: nothing else shows that any more."""
    if case.process is None or not case.view.must_restart_still(case.service.name, case.process):
        return None
    return Verdict(Kind.RESTART, Act.RECREATE, ("an earlier pass was ended before it restarted this",))


def _read_drift(case: _Case) -> Verdict | None:
    """A file was changed by hand, and the process has read it that way."""
    process = case.process
    if process is None:
        return None
    read = [change for change in case.drift if change.content_differs and case.view.was_read(change.before, process)]
    if not read:
        return None
    act = Act.RECREATE if any(change.file.role is Role.UNIT for change in read) else Act.RESTART
    return Verdict(Kind.RESTART, act, _drift_reasons(case))


def _outdated(case: _Case) -> Verdict | None:
    """What it runs from was replaced: an image that changed under the same name."""
    why = case.view.observed.outdated.get(case.process.pid) if case.process else None
    return Verdict(Kind.RESTART, Act.RESTART, (why,)) if why else None


def _kept_otherwise(case: _Case) -> Verdict | None:
    """Somebody told its launcher something else than git says, in a way that its process may have been started by."""
    if case.process is None or not any(drift.restarts for drift in case.unit.drift):
        return None
    return Verdict(Kind.RESTART, Act.RECREATE, tuple(drift.message for drift in case.unit.drift))


def _stopping(case: _Case) -> Verdict | None:
    """Somebody else stops it at this moment."""
    if case.unit.state is not State.STOPPING:
        return None
    return Verdict(Kind.RESTART, Act.RESTART, ("is being stopped by hand",))


def _down(case: _Case) -> Verdict | None:
    """It does not run, and its launcher will not start it, or would start what is no longer wanted."""
    if not case.unit.state.down and not (case.unit.state is State.BACKOFF and case.drift):
        return None
    owned = case.view.inventory.services.get(case.service.name)
    loaded_anew = owned is None or owned.launch != case.service.launch or bool(case.unit.drift)
    if loaded_anew or any(change.file.role is Role.UNIT for change in case.drift):
        return _again(case, Act.RECREATE, down_reason(case.unit))
    return _again(case, Act.RESTART if case.unit.state is State.BACKOFF else Act.START, down_reason(case.unit))


def _beside(case: _Case) -> Verdict | None:
    """It goes on, while what lies beside it is mended: files that it has not read, an install that is gone, what
    somebody told its launcher."""
    reasons = (*_drift_reasons(case), *(drift.message for drift in case.unit.drift))
    if case.service.install and case.view.observed.installs.get(case.service.install) is False:
        reasons += (f"{case.service.install} is gone: it is built again",)
    return Verdict(Kind.UPDATE, Act.LOAD if case.unit.drift else Act.NONE, reasons) if reasons else None


_RULES: tuple[Callable[[_Case], Verdict | None], ...] = (
    _blind,
    _old_unseen,
    _foreign,
    _daemon_waits,
    _install_unknown,
    _file_unknown,
    _leaves,
    _daemon_acts,
    _absent,
    _unreadable,
    _other_spec,
    _other_launch,
    _decided_before,
    _read_drift,
    _outdated,
    _kept_otherwise,
    _stopping,
    _down,
    _beside,
)


def _again(case: _Case, act: Act, reason: str) -> Verdict:
    """It is to be started: for the first time, with a new specification, or just again."""
    owned = case.view.inventory.services.get(case.service.name)
    never = owned is None or not owned.spec  # an entry without a specification was only ever begun
    if never and case.unit.state is State.ABSENT and not case.view.strays.get(case.service.name):
        return Verdict(Kind.CREATE, act, ("new",))
    moved = move_reason(case.view, case.service)
    if moved:
        more = field_reasons(case.view, case.service, None) if owned and _differs(owned, case.service) else ()
        return Verdict(Kind.UPDATE, act, (moved, *(why for why in more if not why.startswith(("launcher ", "name ")))))
    if owned is not None and owned.spec and _differs(owned, case.service):
        return Verdict(Kind.UPDATE, act, (reason, *field_reasons(case.view, case.service, None)))
    return Verdict(Kind.RESTART, act, (reason,))


def _differs(owned: Owned, service: Service) -> bool:
    return (owned.spec, owned.launch) != (service.spec, service.launch)


def _drift_reasons(case: _Case) -> tuple[str, ...]:
    return tuple(change.why for change in case.drift)
