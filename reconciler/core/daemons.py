"""The rules for a launcher's own daemon: is it there, and was it started from what git wants?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from reconciler.core.change import Act, Change, DaemonAct, DaemonChange, FileChange, Hold, Running, UnitName
from reconciler.core.desired import Manager, Role
from reconciler.core.observed import DaemonState
from reconciler.core.view import READ_MARGIN, View


def judge_daemon(view: View, daemon: Manager, files: tuple[FileChange, ...]) -> DaemonChange:
    """What must happen to one daemon, and why. A daemon that cannot be seen is left alone."""
    state = view.observed.daemons.get(daemon.launcher, DaemonState(running=False))
    running = Running(state.pid, state.started) if state.running else None
    act, why = DaemonAct.NONE, ""
    if daemon.launcher in view.blind:
        pass
    elif state.waits:
        act, why = (DaemonAct.ADJUST, state.adjust) if state.adjust else (act, why)
    elif not state.running:
        act, why = DaemonAct.START, f"{daemon.launcher} was not running"
    elif state.spec and state.spec != daemon.spec:
        act, why = (
            DaemonAct.RESTART,
            f"the configuration of {daemon.launcher} itself changes, so it restarts with all it runs",
        )
    elif _conf_was_read(daemon, state, files):
        act, why = DaemonAct.RESTART, f"{daemon.launcher} was started from a configuration edited by hand"
    elif state.renew:
        act, why = DaemonAct.RENEW, state.renew
    elif state.adjust:
        act, why = DaemonAct.ADJUST, state.adjust
    waits = state.waits if daemon.launcher not in view.blind else ""
    surplus = () if daemon.launcher in view.blind else tuple(Running(pid, 0.0) for pid in state.surplus)
    return DaemonChange(daemon.launcher, act, why, running, waits, bool(waits) and state.queued, surplus)


def hold_waiting(daemons: Sequence[DaemonChange], changes: Sequence[Change]) -> list[Change]:
    """What would act on units of a daemon that is not there yet waits with it. What leaves one of which nothing is
    there need not: its launcher only has to forget it."""
    waits = {daemon.launcher: daemon.waits for daemon in daemons if daemon.waits}
    queued = {daemon.launcher for daemon in daemons if daemon.queued}
    return [_hold(waits, queued, change) for change in changes]


def _hold(waits: Mapping[str, str], queued: AbstractSet[str], change: Change) -> Change:
    touched = {old.launcher for old in change.gone} - queued
    touched |= set() if change.act is Act.REMOVE else {change.unit.launcher}
    touched &= waits.keys()
    if not touched or not change.acts:
        return change
    return change.hold(Hold.QUEUE, waits[min(touched)])


def wait_for_known(view: View, change: DaemonChange) -> DaemonChange:
    """A daemon is not restarted while it cannot be known that all it runs for us would start again."""
    if change.act is not DaemonAct.RESTART:
        return change
    unknown = any(
        service.launcher == change.launcher
        and (service.name in view.closed or service.install in view.unreadable)
        and view.unit(UnitName(service.launcher, service.unit)).state.alive
        for service in view.desired.services
    )
    return change._replace(act=DaemonAct.NONE, why="") if unknown else change


def retire_daemons(view: View, changes: Sequence[Change]) -> tuple[DaemonChange, ...]:
    """Daemons of ours that git no longer needs, once nothing is left for them to run: neither ours nor anybody's."""
    return tuple(
        DaemonChange(
            daemon.launcher, DaemonAct.STOP, "nothing is left for it to run", Running(state.pid, state.started)
        )
        for daemon, state in _unwanted_daemons(view)
        if state.exists and not _still_needed(view, daemon.launcher, changes)
    )


def kept_daemons(view: View, retired: Sequence[DaemonChange]) -> tuple[Manager, ...]:
    """Daemons of ours that go on without being wanted."""
    going = {change.launcher for change in retired}
    return tuple(daemon for daemon, state in _unwanted_daemons(view) if state.exists and daemon.launcher not in going)


def ended_managers(view: View, changes: Sequence[Change]) -> tuple[str, ...]:
    """Launchers that git no longer needs: their daemon is gone, or, of one without, the last of our units goes.

    What is held there may be no more than a memory of the launcher's, which is still to be taken from it.
    """
    needed = view.blind.keys() | {change.unit.launcher for change in changes if change.held}
    return tuple(
        manager.launcher
        for manager in view.unwanted_managers()
        if not _runs_on(view, manager, changes) and manager.launcher not in needed
    )


def _runs_on(view: View, manager: Manager, changes: Sequence[Change]) -> bool:
    if not manager.is_daemon:
        return any(not view.is_foreign(view.unit(name)) for name in _staying(view, manager.launcher, changes))
    state = view.observed.daemons.get(manager.launcher)
    return state is None or state.exists


def _unwanted_daemons(view: View) -> Iterator[tuple[Manager, DaemonState]]:
    for manager in view.unwanted_managers():
        state = view.observed.daemons.get(manager.launcher)
        if manager.is_daemon and manager.launcher not in view.blind and state is not None:
            yield manager, state


def _still_needed(view: View, launcher: str, changes: Sequence[Change]) -> bool:
    return any(True for _ in _staying(view, launcher, changes))


def _staying(view: View, launcher: str, changes: Sequence[Change]) -> Iterator[UnitName]:
    """The units of a launcher that no change takes away from it."""
    going = {change.unit for change in changes if change.act is Act.REMOVE}
    going |= {replaced.unit for change in changes for replaced in change.replaces}
    names = (UnitName(*name) for name in view.observed.units)
    yield from (name for name in names if name.launcher == launcher and name not in going)


def _conf_was_read(daemon: Manager, state: DaemonState, files: tuple[FileChange, ...]) -> bool:
    conf = dict(daemon.address).get("conf", "")
    return any(
        change.file.role is Role.DAEMON
        and change.file.path == conf
        and change.content_differs
        and change.before.digest
        and state.started > change.before.changed + READ_MARGIN
        for change in files
    )


def stray_daemons(view: View) -> tuple[Running, ...]:
    """Daemons of ours that nobody asked: below another root than today's, or of a launcher that git no longer uses
    and no inventory remembers. What they run is started anew.

    A process that a launcher keeps is a unit, and one without our mark is somebody else's. The daemon of a
    launcher that git no longer uses answers where it is: it is emptied and retired like any other.
    """
    if view.blind:
        return ()
    retiring = {state.pid for _, state in _unwanted_daemons(view) if state.exists}
    leaving = {daemon.launcher for daemon, state in _unwanted_daemons(view) if state.exists}
    asked = any(manager.is_daemon for manager in (*view.desired.managers, *view.inventory.managers))
    return tuple(
        Running(process.pid, process.started)
        for _, process in sorted(view.observed.processes.items())
        if process.mark is not None
        and process.mark.deployment == view.desired.id
        and not process.mark.service
        and (process.mark.root != view.desired.root or not asked)
        and process.pid not in view.kept
        and process.pid not in retiring
        and process.mark.daemon not in leaving
    )
