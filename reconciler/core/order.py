"""The order of services: `after` gives waves, and a service whose dependency cannot be had waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.core.change import Act, Change, Hold, Kind
from reconciler.core.desired import Service
from reconciler.core.observed import State
from reconciler.core.unmanaged import is_down
from reconciler.core.view import View


def waves(services: Sequence[Service]) -> Mapping[str, int]:
    """How many others must be started one after another before each service: 0 for those that wait for none.

    A name in `after` that is not among the services counts for nothing; a cycle, which validation
    refuses, ends the counting instead of the program.
    """
    after = {service.name: service.after for service in services}
    found: dict[str, int] = {}
    for name in after:
        stack = [name]
        entered: set[str] = set()
        while stack:
            current = stack[-1]
            entered.add(current)
            open_ones = [
                other for other in after[current] if other in after and other not in found and other not in entered
            ]
            if open_ones:
                stack.extend(open_ones)
                continue
            stack.pop()
            found.setdefault(current, 1 + max((found.get(other, -1) for other in after[current]), default=-1))
    return found


def block_dependents(view: View, changes: Sequence[Change]) -> list[Change]:
    """A service that would start is blocked while one that it comes after is neither up nor coming up.

    It is held where all of those are: that is no failure either.
    """
    by_name = {change.service: change for change in changes}
    order = waves(view.desired.services)
    for service in sorted(view.desired.services, key=lambda service: (order[service.name], service.name)):
        change = by_name[service.name]
        lacking = [name for name in service.after if name in view.services and not _will_be_up(view, by_name[name])]
        theirs = [name for name in service.after if is_down(view, name)]
        if (lacking or theirs) and change.act.starts:
            held = not theirs and all(by_name[name].held for name in lacking)
            by_name[service.name] = _blocked(change, lacking, theirs)._replace(held=Hold.AFTER if held else Hold.NONE)
    return [by_name[change.service] for change in changes]


def _will_be_up(view: View, change: Change) -> bool:
    up = change.state in (State.RUNNING, State.STARTING) and not view.is_foreign(view.unit(change.unit))
    return up or change.act.starts


def _blocked(change: Change, lacking: Sequence[str], theirs: Sequence[str]) -> Change:
    """`theirs`: services that others have to start."""
    why = [f"waits for {', '.join(lacking)}, which is not up"] if lacking else []
    why += [f"waits for {', '.join(theirs)}, which is not up and not managed: others start it"] if theirs else []
    return change._replace(
        kind=Kind.BLOCKED,
        act=Act.NONE,
        reasons=(*change.reasons, *why),
        restarts=(),
        replaces=(),
        strays=(),
    )
