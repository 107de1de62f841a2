"""Services that others run (`managed: false`): seen and told, and kept out of everything else that is decided."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.change import Act, Change, Kind, UnitName
from reconciler.core.model import State, Unit, Unmanaged
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


def seen(view: View, one: Unmanaged) -> Unit:
    """What is known of it; that nobody could look is not that it is absent."""
    return view.observed.unmanaged.get(one.name) or Unit(one.launcher, one.unit, State.UNKNOWN)


def is_down(view: View, name: str) -> bool:
    """It is known not to run. Nothing here will start it."""
    one = view.unmanaged.get(name)
    return one is not None and seen(view, one).state not in (State.RUNNING, State.STARTING, State.UNKNOWN)
