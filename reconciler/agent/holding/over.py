"""Pauses that end by themselves: said once by the pass that goes on, so that none is forgotten without a word."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

from reconciler.agent.memory.store import DamagedError, Store
from reconciler.core.observed import Pause
from reconciler.core.report import Notice


def ended(store: Store, *, forget: bool) -> tuple[Notice, ...]:
    """A notice for each pause that is over. With `forget` they are taken off the list, and not told again."""
    if not os.path.exists(store.pauses_path()):
        return ()
    from reconciler.core import pauses

    try:
        gone = pauses.ended(store.pauses(), time.time())
    except DamagedError:
        return ()  # a gap of each deployment tells
    if gone and forget:
        from reconciler.agent.holding.pausing import change

        with suppress(OSError, DamagedError):  # then it is told again
            change(store, lambda found: pauses.without(found, gone))
    return tuple(_notices(store.folder, gone))


def _notices(folder: str, gone: tuple[Pause, ...]) -> Iterator[Notice]:
    for pause in gone:
        what = f"the pause of {pause.service or 'all of it'} in {pause.environment or os.path.basename(folder)}"
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(pause.since))
        yield Notice(f"{what} is over, by {pause.account} on {pause.host} since {since}: {pause.reason}", failed=False)
