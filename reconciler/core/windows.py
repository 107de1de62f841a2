"""Maintenance windows: whether it is the time to do what git says anew, and if not, until when. Pure.

As with Argo CD's sync windows: an open deny window holds; where there are allow windows, one of them must be open. A
maintenance of Slurm's nodes is a deny window that its reservation opens, some time before it begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reconciler.core.calendar import Offset, face
from reconciler.core.cron import Cron, last_until, next_after, parse
from reconciler.core.desired import Opens, Window
from reconciler.core.observed import Shut
from reconciler.core.reservations import Maintenance

_MOST_STEPS = 400  # openings and closings that are looked through for the end of a hold


class Sky(NamedTuple):
    """All that windows depend on besides what git says."""

    now: float
    offsets: Mapping[str, Offset]  # by zone
    maintenance: Mapping[str, Maintenance | None] = {}  # by window, what comes next; one that is missing is unknown
    unknown: str = ""  # why nothing is known of maintenance


class _Timed(NamedTuple):
    window: Window
    cron: Cron | None
    offset: Offset | None


def shut(windows: Sequence[Window], sky: Sky) -> dict[str, Shut | None]:
    """By service that a window names, and "" for all others: what holds them now."""
    if not windows:
        return {}
    timed = [_timed(window, sky) for window in windows]
    named = {name for window in windows for name in window.services}
    return {
        name: _shut([one for one in timed if not one.window.services or name in one.window.services], sky)
        for name in sorted({"", *named})
    }


def _timed(window: Window, sky: Sky) -> _Timed:
    if window.opens is Opens.MAINTENANCE:
        return _Timed(window, None, None)
    return _Timed(window, parse(window.cron), sky.offsets[window.zone])


def _shut(windows: Sequence[_Timed], sky: Sky) -> Shut | None:
    holding = _holding(windows, sky, sky.now)
    if not holding:
        return None
    names = ", ".join(f"policy.windows.{one.window.name}" for one in holding)
    holds_all = any(one.window.holds_all for one in holding)
    unknown = [one.window.name for one in holding if _is_unknown(one.window, sky)]
    if unknown:
        return Shut(f"held, as it cannot be told whether a maintenance is near ({names})", holds_all)
    until = _until(windows, sky)
    if until is None:
        return Shut(f"held, with no end in sight ({names})", holds_all)
    zone = next((one.window.zone for one in holding if one.window.zone), "")
    offset = sky.offsets[zone]
    when = face(until, sky.now, offset) + (f" {zone}" if zone else "")
    return Shut(f"held until {when} ({names}{_maintenance(holding, sky)})", holds_all, until)


def _maintenance(holding: Sequence[_Timed], sky: Sky) -> str:
    """Which maintenance it is that holds."""
    ahead = (sky.maintenance.get(one.window.name) for one in holding)
    names = sorted({found.name for found in ahead if found is not None})
    return f": maintenance {', '.join(names)}" if names else ""


def _holding(windows: Sequence[_Timed], sky: Sky, now: float) -> list[_Timed]:
    """Those that hold at an instant: open ones that deny, and all that allow where none of them is open."""
    denying = [one for one in windows if one.window.opens is not Opens.ALLOW and _is_open(one, sky, now)]
    allowing = [one for one in windows if one.window.opens is Opens.ALLOW]
    if any(_is_open(one, sky, now) for one in allowing):
        return denying
    return [*denying, *allowing]


def _is_unknown(window: Window, sky: Sky) -> bool:
    return window.opens is Opens.MAINTENANCE and window.name not in sky.maintenance


def _is_open(one: _Timed, sky: Sky, now: float) -> bool:
    if one.cron is not None and one.offset is not None:
        return last_until(one.cron, now, one.offset, one.window.seconds) is not None
    if _is_unknown(one.window, sky):
        return True
    ahead = sky.maintenance[one.window.name]
    return ahead is not None and ahead.start - one.window.seconds <= now < ahead.end


def _until(windows: Sequence[_Timed], sky: Sky) -> float | None:
    """When nothing holds any more; None where that is not to be seen."""
    now = sky.now
    for _ in range(_MOST_STEPS):
        moves = [move for one in windows if (move := _next_move(one, sky, now)) is not None]
        if not moves:
            return None
        now = min(moves)
        if not _holding(windows, sky, now):
            return now
    return None


def _next_move(one: _Timed, sky: Sky, now: float) -> float | None:
    """When a window opens or closes next."""
    if one.cron is not None and one.offset is not None:
        opened = last_until(one.cron, now, one.offset, one.window.seconds)
        return next_after(one.cron, now, one.offset) if opened is None else opened + one.window.seconds
    ahead = sky.maintenance.get(one.window.name)
    if ahead is None or now >= ahead.end:
        return None
    begins = ahead.start - one.window.seconds
    return begins if now < begins else ahead.end
