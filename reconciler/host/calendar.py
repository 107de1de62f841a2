"""What the clocks of a time zone show: for the core, which reckons and has no clock of its own."""

from __future__ import annotations

import time
from functools import cache

from reconciler.core.calendar import Offset


def _here(instant: float) -> int:
    return time.localtime(int(instant)).tm_gmtoff


@cache
def offset_of(zone: str) -> Offset:
    """How far a zone (`Europe/Berlin`) is ahead of UTC at an instant; empty: this host's own.

    Raises ValueError for a zone that this host does not know.
    """
    if not zone:
        return _here
    from datetime import UTC, datetime, timedelta  # 18 ms with zoneinfo: only where somebody names a zone
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        known = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise ValueError(f"this host knows no time zone {zone!r}") from error
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    def offset(instant: float) -> int:
        ahead = (epoch + timedelta(seconds=int(instant))).astimezone(known).utcoffset()
        return int(ahead.total_seconds()) if ahead is not None else 0

    return offset
