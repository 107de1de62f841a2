"""Looks at services that others run: by their name under a launcher, or by their command line, whoever runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from reconciler.core.desired import Deployment, Unmanaged
from reconciler.core.observed import State, Unit
from reconciler.host import proc
from reconciler.launchers import launcher
from reconciler.launchers.base import Backend, BackendError, Look


def look(desired: Deployment, backends: Mapping[str, Backend], answers: Mapping[str, Look]) -> dict[str, Unit]:
    """What is seen of each, by service; those that cannot be seen are left out. It never raises for what it meets."""
    found = dict(_by_process([one for one in desired.unmanaged if one.process]))
    for name in sorted({one.launcher for one in desired.unmanaged if not one.process}):
        mine = [one for one in desired.unmanaged if not one.process and one.launcher == name]
        units = _by_launcher(name, [one.unit for one in mine], desired, backends, answers)
        found |= {one.name: units[one.unit] for one in mine if one.unit in units}
    return found


def _by_launcher(
    name: str, units: Sequence[str], desired: Deployment, backends: Mapping[str, Backend], answers: Mapping[str, Look]
) -> Mapping[str, Unit]:
    """The answer that has come already is enough for a launcher that tells of all its units; others are asked."""
    answer = answers.get(name, Look())
    known = {unit: answer.units[name, unit] for unit in units if (name, unit) in answer.units}
    missing = [unit for unit in units if unit not in known]
    if not missing or any(gap.scope == "launcher" for gap in answer.gaps):
        return known
    backend = backends.get(name)
    if backend is not None and backend.daemon is not None:  # it has told of all, or does not run
        return known | {unit: Unit(name, unit, State.ABSENT) for unit in missing}
    return {**known, **_asked(name, missing, desired, backend)}


def _asked(name: str, units: Sequence[str], desired: Deployment, backend: Backend | None) -> Mapping[str, Unit]:
    spare = next((manager for manager in desired.spare_managers if manager.launcher == name), None)
    asked = backend or (launcher(name).backend(spare) if spare else None)
    if asked is None:
        return {}
    try:
        return asked.units(units)
    except BackendError:
        return {}
    finally:
        if backend is None:
            asked.close()


def _by_process(wanted: Sequence[Unmanaged]) -> Iterator[tuple[str, Unit]]:
    """Of several processes the oldest is told, and how many there are."""
    uids = {one.user: _uid(one.user) for one in wanted}
    patterns = [(one.process, uids[one.user]) for one in wanted if uids[one.user] != _NOBODY]
    every = iter(proc.search(patterns) if patterns else ())
    for one in wanted:
        if uids[one.user] == _NOBODY:
            yield one.name, Unit(one.launcher, "", State.ABSENT, detail=f"there is no account {one.user} here")
            continue
        processes = next(every)
        if processes:
            first, more = processes[0], len(processes) - 1
            detail = f"and {more} more process{'es' * (more > 1)}" if more else ""
            yield one.name, Unit(one.launcher, "", State.RUNNING, first.pid, first.started, detail)
        elif uids[one.user] != os.geteuid() and proc.others_are_hidden():
            hidden = "processes of other accounts are hidden from this one"
            yield one.name, Unit(one.launcher, "", State.UNKNOWN, detail=hidden)
        else:
            yield one.name, Unit(one.launcher, "", State.ABSENT)


_NOBODY = -1


def _uid(user: str) -> int | None:
    """None: anybody's processes count."""
    import pwd

    if not user:
        return None
    try:
        return int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    except KeyError:
        return _NOBODY
