"""Services that are not for here (`managed: false`, another account, another host): told, and left alone."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.change import Act, Change, Kind, UnitName
from reconciler.core.desired import Unmanaged
from reconciler.core.observed import State, Unit
from reconciler.core.view import View


def left_alone(view: View) -> Iterator[Change]:
    """One change for each, which never acts."""
    for one in view.desired.unmanaged:
        unit = seen(view, one)
        yield Change(
            service=one.name,
            kind=Kind.KEEP,
            act=Act.NONE,
            reasons=("is not managed any more: it goes on as it runs",) if one.name in view.inventory.services else (),
            unit=UnitName(one.launcher, one.unit),
            group=one.group,
            component="",
            version="",
            wanted="",
            state=unit.state,
            detail=unit.detail,
            managed=False,
        )


def left_running(view: View) -> tuple[str, ...]:
    """A warning for each service that is to run elsewhere, and that runs here still: no step ends it."""
    where = {one.name: one.where for one in view.desired.elsewhere}
    found = (
        (process.mark.service, process.pid)
        for process in view.observed.processes.values()
        if process.mark is not None and process.mark.service in where
    )
    return tuple(
        f"{name} runs here as pid {pid}, and git wants it {where[name]}: it is left alone. To move a service, "
        "have a pass end it with `enabled: false` before its `account` or `host` changes"
        for name, pid in sorted(found)
    )


def seen(view: View, one: Unmanaged) -> Unit:
    """What is known of it; that nobody could look is not that it is absent."""
    return view.observed.unmanaged.get(one.name) or Unit(one.launcher, one.unit, State.UNKNOWN)


def is_down(view: View, name: str) -> bool:
    """It is known not to run. Nothing here will start it."""
    one = view.unmanaged.get(name)
    return one is not None and seen(view, one).state not in (State.RUNNING, State.STARTING, State.UNKNOWN)
