"""What waits for a window of `policy.windows`, and what is done all the same. Pure.

While a deployment is shut, what a commit brings waits: nothing of it is installed, written, started, stopped or
removed. Drift is mended, unless the window holds that too: what was applied last comes back, from the files that
stand. So a service whose new version waits is started as it was when it is down.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.change import Act, Change, DaemonAct, DaemonChange, FileChange, Hold, Kind
from reconciler.core.model import Manager, Shut, State
from reconciler.core.view import View


def hold_changes(view: View, changes: Sequence[Change], daemons: Sequence[DaemonChange]) -> list[Change]:
    """The changes of which those are held that it is not the time for."""
    if not any(view.observed.shut.values()):
        return list(changes)
    beginning = {daemon.launcher for daemon in daemons if daemon.act in (DaemonAct.START, DaemonAct.RESTART)}
    return [_held(view, change, beginning) for change in changes]


def _held(view: View, change: Change, beginning: set[str]) -> Change:
    """What waits for its launcher only would be made ready, and started by that: it waits for the window too."""
    shut = view.shut(change.service)
    if shut is None or change.kind is Kind.KEEP or (change.kind is Kind.BLOCKED and change.held is not Hold.QUEUE):
        return change
    if not shut.holds_all and not _is_brought(view, change):
        return change
    held = change.hold(Hold.WINDOW, shut.why)._replace(restarts=())
    if shut.holds_all or not _stands(view, change, beginning):
        return held
    return held._replace(act=Act.START, reasons=(*held.reasons, "it is down, and is started as it was"))


def _is_brought(view: View, change: Change) -> bool:
    """Git says something else of it than what was applied last; all other differences are drift."""
    service = view.services.get(change.service)
    if service is None or (view.inventory.roots and view.desired.root not in view.inventory.roots):
        return True  # it goes, or all of it moves
    mark, owned = view.mark(service, view.unit(change.unit)), view.inventory.services.get(service.name)
    if mark is not None and (mark.spec, mark.launch) == (service.spec, service.launch) and not change.replaces:
        return False
    applied = (owned.spec, owned.launch, owned.launcher, owned.unit) if owned is not None else ()
    return applied != (service.spec, service.launch, service.launcher, service.unit)


def _stands(view: View, change: Change, beginning: set[str]) -> bool:
    """It is down, its launcher knows it as it was applied last, and what it is started from is as it was written.

    One of which a process runs that no launcher keeps is left with that.
    """
    owned, shim = view.inventory.services.get(change.service), view.shims.get(change.service)
    if owned is None or shim is None or not owned.spec or (owned.launcher, owned.unit) != change.unit:
        return False
    written, found = view.inventory.files.get(shim.path), view.observed.files.get(shim.path)
    down = change.unit.launcher in beginning or (change.state.down and change.state is not State.ABSENT)
    return (
        down
        and not change.strays
        and not change.taken
        and found is not None
        and bool(found.digest)
        and found.digest == written
    )


# ---------------------------------------------------------------- what belongs to no service


def hold_files(view: View, files: Sequence[FileChange]) -> tuple[FileChange, ...]:
    """Without those that wait: the files of no service, and all of them where drift waits too."""
    return tuple(change for change in files if not _file_waits(view, change))


def _file_waits(view: View, change: FileChange) -> bool:
    if not change.file.services:
        return _waits(view.shut(""), drift=change.by_hand)
    shuts = [view.shut(name) for name in change.file.services]
    return all(shut is not None and shut.holds_all for shut in shuts)


def hold_daemon(view: View, daemon: Manager, change: DaemonChange) -> DaemonChange:
    """A daemon does not restart for a new configuration, nor does it start or restart where drift waits too."""
    state = view.observed.daemons.get(daemon.launcher)
    drift = change.act is DaemonAct.START or (state is not None and state.spec == daemon.spec)
    return change._replace(act=DaemonAct.NONE) if _waits(view.shut(""), drift=drift) else change


def only_needed(view: View, daemons: Sequence[DaemonChange], changes: Sequence[Change]) -> tuple[DaemonChange, ...]:
    """While the deployment is shut, a daemon with nothing to start is not started: it would be the commit's first."""
    if view.shut("") is None:
        return tuple(daemons)
    needed = {change.unit.launcher for change in changes if change.act.starts}
    return tuple(
        daemon._replace(act=DaemonAct.NONE)
        if daemon.act is DaemonAct.START and daemon.launcher not in needed
        else daemon
        for daemon in daemons
    )


def told(view: View, daemons: Sequence[DaemonChange], files: int, stale: int) -> tuple[str, ...]:
    """What waits besides services, in words: daemons, and how many files are to be written and to go."""
    shut = view.shut("")
    if shut is None:
        return ()
    waiting = [daemon.why for daemon in daemons if daemon.why and daemon.act is DaemonAct.NONE]
    waiting += [f"to be written: {_files(files)} of no service's own"] if files else []
    waiting += [f"to go: {_files(stale)} that git no longer wants"] if stale else []
    return tuple(f"{what}: {shut.why}" for what in waiting)


def _files(count: int) -> str:
    return f"{count} file{'s' * (count != 1)}"


def _waits(shut: Shut | None, *, drift: bool) -> bool:
    return shut is not None and (shut.holds_all or not drift)
