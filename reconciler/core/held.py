"""What waits for a window of `policy.windows` or the end of a pause, and what is done all the same. Pure.

While a deployment is shut, what a commit brings waits: nothing of it is installed, written, started, stopped or
removed. Drift is mended, unless the window holds that too: what was applied last comes back, from the files that
stand. So a service whose new version waits is started as it was when it is down.

A pause is a window that a person has opened, and that holds all: of what is paused nothing is done, nor by way of
what it shares with others. Its launcher's daemon does not restart under it.

A gate holds until a person approves it (`approval.py`): what git says anew, drift, or removals, each by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.core.change import Act, Change, DaemonAct, DaemonChange, FileChange, Hold, Kind
from reconciler.core.desired import Manager, Prune, Role
from reconciler.core.inventory import Stage
from reconciler.core.observed import Shut, State, daemon_key
from reconciler.core.view import View


def hold_changes(view: View, changes: Sequence[Change], daemons: Sequence[DaemonChange]) -> list[Change]:
    """The changes of which those are held that it is not the time for."""
    if not (any(view.observed.shut.values()) or any(view.observed.gates.values())):
        return list(changes)
    beginning = {daemon.launcher for daemon in daemons if daemon.act in (DaemonAct.START, DaemonAct.RESTART)}
    down = {one.launcher for one in daemons if one.why and one.act is DaemonAct.NONE and one.running is None}
    return [_held(view, change, beginning, down) for change in changes]


def _held(view: View, change: Change, beginning: set[str], down: set[str]) -> Change:
    """What waits for its launcher only would be made ready, and started by that: it waits for the window too. So does
    what would start under a daemon that is `down` and may not be started."""
    if change.kind is Kind.KEEP or (change.kind is Kind.BLOCKED and change.held is not Hold.QUEUE):
        return change
    drift = change.unit.launcher in down or not _is_brought(view, change)
    shut, *more = _shuts(view, change, drift=drift) or (None,)
    if shut is None:
        return change
    held = change.hold(hold_of(shut), shut.why)._replace(restarts=())
    held = held._replace(reasons=(*held.reasons, *(other.why for other in more if other and other.gate)))
    stays = drift or any(_shuts(view, change, drift=True))
    if stays or not _stands(view, change, beginning):
        return held
    return held._replace(act=Act.START, reasons=(*held.reasons, "it is down, and is started as it was"))


def hold_of(shut: Shut) -> Hold:
    return Hold.PAUSE if shut.paused else Hold.APPROVAL if shut.gate else Hold.WINDOW


def _shuts(view: View, change: Change, *, drift: bool) -> tuple[Shut, ...]:
    """A service of another name is held by its old name too: that one is still what runs."""
    removal = change.service not in view.services and change.service not in view.desired.disabled
    shuts = view.shuts(change.service, drift=drift, removal=removal)
    old = view.shuts(change.renamed_from, drift=drift) if change.renamed_from else ()
    return (*old, *shuts) if old and (not shuts or old[0].holds_all) else (*shuts, *old)


def hold_prunes(view: View, changes: Sequence[Change]) -> list[Change]:
    """With `policy.prune: false`, what git no longer has is told and stays. A memory of it alone may go."""
    if view.desired.policy.prune is not Prune.FALSE:
        return list(changes)
    why = "policy.prune is false, so it stays"
    return [
        change.hold(Hold.PRUNE, why)
        if change.kind is Kind.REMOVE
        and change.service not in view.desired.disabled
        and (change.acts or change.state is not State.ABSENT)
        else change
        for change in changes
    ]


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
    if owned.spec != view.services[change.service].spec and view.inventory.files.get(shim.path) == shim.digest:
        return False  # what waits was written already, and not started
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
        drift = change.by_hand and view.inventory.files.get(change.file.path) in ("", change.file.digest)
        return view.shut(_of_daemon(view, change), drift=drift) is not None
    return all(_holds_all(view, name) is not None for name in change.file.services)


def _of_daemon(view: View, change: FileChange) -> str:
    """The daemon that is started from a file of no service's, if any is."""
    named = (one for one in view.desired.managers if change.file.path in dict(one.address).values())
    manager = next(named, None) if change.file.role is Role.DAEMON else None
    return daemon_key(manager.launcher) if manager else ""


def _holds_all(view: View, service: str) -> Shut | None:
    """What holds drift of it and what a commit brings. A gate for drift alone leaves its files to the change that it
    holds: they may be part of one that is not held."""
    return view.shut(service, drift=True) if view.shut(service) is not None else None


def hold_daemon(view: View, daemon: Manager, change: DaemonChange) -> DaemonChange:
    """A daemon does not restart for a new configuration, nor does it start or restart where drift waits too.

    Nor does it restart while one of its services is to be left as it is: that one would end with it. While what git
    says anew of it waits, it starts as it was applied last. A successor in time is no drift, nor are the limits of one
    that waits for its turn.
    """
    change = _as_it_was(view, daemon, change)
    state = view.observed.daemons.get(daemon.launcher)
    drift = change.act in (DaemonAct.START, DaemonAct.ADJUST) or (state is not None and state.spec == daemon.spec)
    shuts = view.shuts(daemon_key(daemon.launcher), drift=drift)
    unasked = change.act in (DaemonAct.RENEW, DaemonAct.ADJUST)
    if unasked or (change.act is DaemonAct.START and not _has_run(view, daemon.launcher)):
        shuts = tuple(shut for shut in shuts if not shut.gate)  # it is no drift, and comes with what it is needed for
    if shuts:
        change = change._replace(act=DaemonAct.NONE)
    still = _still(view, daemon.launcher)
    if still is None:
        return change
    act = DaemonAct.NONE if change.act is DaemonAct.RESTART else change.act
    return change._replace(act=act, surplus=())


def _as_it_was(view: View, daemon: Manager, change: DaemonChange) -> DaemonChange:
    """One that waits for its turn as it was applied last, such as a job in a queue, is not another one's surplus."""
    noted = next((one for one in view.inventory.managers if one.launcher == daemon.launcher), daemon)
    shut = view.shut(daemon_key(daemon.launcher))
    if noted.spec == daemon.spec or shut is None or not _has_run(view, daemon.launcher):
        return change
    if change.act is DaemonAct.START and change.surplus:
        waits = f"{change.launcher} {change.surplus[0].pid} waits, as it was applied last"
        change = change._replace(act=DaemonAct.NONE, why="", waits=waits)
    return change._replace(surplus=(), as_it_was=True)


def _has_run(view: View, launcher: str) -> bool:
    """A pass has started something under its daemon; what still runs as it was adopted it has not."""
    by_hand = {name for name, one in view.inventory.adopted.items() if one.stage is not Stage.LEFT}
    owned = view.inventory.services.items()
    return any(one.launcher == launcher and one.spec for name, one in owned if name not in by_hand)


def _still(view: View, launcher: str) -> Shut | None:
    """What holds all of a service of this launcher, or of the whole deployment: drift, and what a commit brings."""
    names = {service.name for service in view.desired.services if service.launcher == launcher}
    names |= {name for name, owned in view.inventory.services.items() if owned.launcher == launcher}
    shuts = (_holds_all(view, name) for name in ("", *sorted(names)))
    return next((shut for shut in shuts if shut is not None), None)


def hold_copies(view: View) -> Mapping[str, str]:
    """Further descriptions of units that may go: whose they are is not known, but which launcher reads them."""
    copies = view.observed.copies if view.shut("", drift=True) is None else {}
    return {path: copies[path] for path in sorted(copies) if _still(view, copies[path]) is None}


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
    put_off = (DaemonAct.NONE, DaemonAct.STOP) if shut is not None else (DaemonAct.NONE,)
    shut = shut or view.shut("", drift=True)
    idle = [daemon for daemon in daemons if daemon.why and daemon.act in put_off]
    holding = [(daemon.why, _still(view, daemon.launcher) or shut) for daemon in idle]
    waiting = [(f"to be written: {_files(files)} of no service's own", shut)] if files else []
    waiting += [(f"to go: {_files(stale)} that git no longer wants", shut)] if stale else []
    return tuple(f"{what}: {by.why}" for what, by in (*holding, *waiting) if by is not None)


def _files(count: int) -> str:
    return f"{count} file{'s' * (count != 1)}"
