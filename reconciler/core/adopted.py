"""What was started by hand and is git's by now (`reconcile adopt`): it counts as the service until that changes.

Such a process has no mark, and its launcher is not ours. While what git wants is what was adopted, it is kept, and
nothing is written, started or installed for it. With the first change it leaves: the service starts under the
launcher that git names, and the old unit gives way like that of any launcher before.

What runs otherwise than git says, and nobody has decided on, is held behind a gate until a person approves it.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.change import Act, Change, DaemonAct, DaemonChange, FileChange, Hold, Kind, Running, UnitName
from reconciler.core.desired import Manager, Role, Service
from reconciler.core.held import hold_of
from reconciler.core.inventory import Stage
from reconciler.core.observed import Shut, State, Unit
from reconciler.core.view import View

# ---------------------------------------------------------------- changes


def settled(view: View, service: Service) -> Change | None:
    """The change of a service that runs as it was adopted, or of which that cannot be told; None for all others."""
    shut = _held(view, service.name)
    if shut is None and not view.by_hand.settles(service.name):
        return None
    one = view.by_hand.adopted[service.name]
    by_hand = view.by_hand.kept.get(service.name) or view.by_hand.waiting.get(service.name)
    unit = by_hand or Unit(one.launcher, one.unit, State.UNKNOWN)
    process = view.process(unit)
    unseen = view.by_hand.unseen.get(service.name, "")
    told = (f"what it has run under cannot be seen: {unseen}",) if unseen else ()
    return Change(
        service=service.name,
        kind=Kind.BLOCKED if unseen or shut else Kind.KEEP,
        act=Act.NONE,
        reasons=(*_otherwise(view, service), shut.why) if shut else told,
        unit=UnitName(one.launcher, one.unit),
        group=service.group,
        component=service.component,
        version=one.version,
        wanted=service.version,
        state=unit.state,
        running=Running(process.pid, process.started) if process else None,
        detail=unit.detail,
        held=hold_of(shut) if shut else Hold.NONE,
    )


def _held(view: View, service: str) -> Shut | None:
    """What keeps a service that waits for a person as it is; None where nothing does, be it that one has approved."""
    return view.shut(service, drift=True) if service in view.by_hand.waiting else None


def _otherwise(view: View, service: Service) -> tuple[str, ...]:
    """In what it runs otherwise than git says."""
    one = view.by_hand.adopted[service.name]
    if one.is_of(service):
        return one.differs
    return (*one.differs, "what `reconcile adopt` has written of it is not in git, or was changed there")


def leaving(view: View, service: Service) -> str:
    """Why a service that was adopted starts under our own launcher now; empty where it was not, or has left before."""
    one = view.by_hand.adopted.get(service.name)
    if one is None or one.stage is Stage.LEFT:
        return ""
    unit = view.unit(UnitName(one.launcher, one.unit))
    if unit.drift:
        return unit.drift[0].message
    if unit.state.alive:
        return f"leaves {one.launcher}, where it was started by hand"
    return f"has ended under {one.launcher}" + (f" ({unit.detail})" if unit.detail else "")


# ---------------------------------------------------------------- what is made ready


def needed_daemon(view: View, manager: Manager, change: DaemonChange) -> DaemonChange:
    """A daemon is not started while all of its services run elsewhere, as they were adopted."""
    if change.act is not DaemonAct.START or not _idles(view, manager):
        return change
    return change._replace(act=DaemonAct.NONE, why="")


def needed_files(view: View, files: Sequence[FileChange]) -> tuple[FileChange, ...]:
    """Without those that only what still runs by hand would be started from."""
    if not (view.by_hand.kept or view.by_hand.unseen or view.by_hand.waiting):
        return tuple(files)
    unread = {dict(one.address).get("conf") for one in view.desired.managers if one.is_daemon and _idles(view, one)}
    return tuple(change for change in files if not _rests(view, change, unread))


def _rests(view: View, change: FileChange, unread: set[str | None]) -> bool:
    if change.file.services:
        return all(_stays(view, name) for name in change.file.services)
    return change.file.role is Role.DAEMON and change.file.path in unread


def _idles(view: View, manager: Manager) -> bool:
    mine = [service.name for service in view.desired.services if service.launcher == manager.launcher]
    return bool(mine) and all(_stays(view, name) for name in mine)


def _stays(view: View, service: str) -> bool:
    """It goes on by hand in this pass."""
    return view.by_hand.settles(service) or _held(view, service) is not None


# ---------------------------------------------------------------- what is remembered


def forgotten(view: View) -> frozenset[str]:
    """Services of ours by now whose old unit its launcher no longer knows: nothing can start it there again."""
    gone = (
        name
        for name, one in view.by_hand.adopted.items()
        if one.stage is Stage.LEFT
        and one.launcher not in view.blind
        and (one.launcher, one.unit) not in view.observed.units
    )
    return frozenset(gone)
