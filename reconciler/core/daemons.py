"""The rules for a launcher's own daemon: is it there, and was it started from what git wants?"""

from __future__ import annotations

from reconciler.core.change import DaemonAct, DaemonChange, FileChange, Running
from reconciler.core.model import Daemon, DaemonState, Role
from reconciler.core.view import READ_MARGIN, View


def judge_daemon(view: View, daemon: Daemon, files: tuple[FileChange, ...]) -> DaemonChange:
    """What must happen to one daemon, and why. A daemon that cannot be seen is left alone."""
    state = view.observed.daemons.get(daemon.launcher, DaemonState(running=False))
    running = Running(state.pid, state.started) if state.running else None
    act, why = DaemonAct.NONE, ""
    if daemon.launcher in view.blind:
        pass
    elif not state.running:
        act, why = DaemonAct.START, f"{daemon.launcher} was not running"
    elif state.spec and state.spec != daemon.spec:
        act, why = (
            DaemonAct.RESTART,
            f"the configuration of {daemon.launcher} itself changes, so it restarts with all it runs",
        )
    elif _conf_was_read(daemon, state, files):
        act, why = DaemonAct.RESTART, f"{daemon.launcher} was started from a configuration edited by hand"
    return DaemonChange(daemon.launcher, act, why, running)


def _conf_was_read(daemon: Daemon, state: DaemonState, files: tuple[FileChange, ...]) -> bool:
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
    """Daemons of ours below another root than today's: what they run is started below the new one.

    A process that a launcher keeps is a unit, and one without our mark is somebody else's.
    """
    if view.blind:
        return ()
    return tuple(
        Running(process.pid, process.started)
        for _, process in sorted(view.observed.processes.items())
        if process.mark is not None
        and process.mark.deployment == view.desired.id
        and not process.mark.service
        and process.mark.root != view.desired.root
        and process.pid not in view.kept
    )
