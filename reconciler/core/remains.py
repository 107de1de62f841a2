"""What launchers have left on a host of what is over, and what of it may go. Pure: names in, names out.

Of a log that is still written, rotated copies beyond the limit of its launcher go: those that an earlier, larger limit
has left, which nobody rotates any more. Of a log that is not written any more, because git has no such service, all
copies stay for so many days after the last word in it; then all go but the log itself and its newest copy, which stay
for good: they may be all that tells why the service went.

While a daemon is there that was adopted from, all copies of what is written stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.core.desired import Deployment, Trace
from reconciler.core.inventory import Inventory
from reconciler.core.observed import Observed

DAYS = 30  # that the log of what is gone is left whole, counted from the last word in it
_DAY = 86400.0  # seconds
_DIGITS = 10  # of a pid at most
_COPIES = 999  # larger numbers are dates, of somebody else's

Numbered = Mapping[int, str]  # names by the number that they end with


def numbered(names: Iterable[str]) -> dict[str, dict[int, str]]:
    """Names of a folder that end in a number, by what stands before it: rotated copies of a log, of which 1 is the
    newest, and what a socket is called before it has its name."""
    found: dict[str, dict[int, str]] = {}
    for name in names:
        base, _, number = name.rpartition(".")
        if base and number.isdigit() and number.isascii() and number[0] != "0" and len(number) <= _DIGITS:
            found.setdefault(base, {})[int(number)] = name
    return found


def copies(rotated: Numbered) -> dict[int, str]:
    """Those of a log's names that a launcher has given it."""
    return {number: name for number, name in rotated.items() if number <= _COPIES}


def surplus(rotated: Numbered, keep: int) -> list[str]:
    """Copies of a log that is written, beyond its limit; the oldest first."""
    return [rotated[number] for number in sorted(rotated, reverse=True) if number > keep]


def old_copies(rotated: Numbered, spoke: float, now: float) -> list[str]:
    """Copies of a log that is not written any more, but for the newest, if its last word was long ago.

    `spoke`: when that was, in seconds since the epoch. One that is still to come tells nothing.
    """
    if now - spoke < DAYS * _DAY:
        return []
    return [rotated[number] for number in sorted(rotated, reverse=True)[:-1]]


def others_rotate(inventory: Inventory) -> bool:
    """There is still something of a daemon that was adopted from. It may have logs where ours would, by limits of its
    own."""
    return bool(inventory.by_hand)


def former(desired: Deployment, inventory: Inventory, others: Iterable[Trace]) -> list[Trace]:
    """What was left by what git no longer has here. `others`: that other deployments leave in this account."""
    if inventory.traces == desired.traces:
        return []
    wanted = {trace.key for trace in (*desired.traces, *others)}
    rendered = {file.path for file in desired.files} | inventory.files.keys()
    theirs = {one.name for one in desired.others}  # what was ours, and is run by others now, is theirs
    left = (one for one in inventory.traces if one.key not in wanted and one.path not in rendered)
    return [one for one in left if one.service not in theirs]


def may_speak(trace: Trace, desired: Deployment, inventory: Inventory, observed: Observed) -> bool:
    """Whether what leaves it may still run here, or is meant to run again, and then leaves it in this very place."""
    if any(_is_moved(trace, one) for one in desired.traces):
        return False
    daemon = observed.daemons.get(trace.launcher)
    if not trace.service:
        mains = (process.mark for process in observed.processes.values())
        lives = any(mark is None or (not mark.service and mark.daemon in ("", trace.launcher)) for mark in mains)
        return lives or (daemon is not None and (daemon.exists or bool(daemon.place)))
    owned = inventory.services.get(trace.service)
    keeps = owned is not None and (owned.launcher, owned.unit) == (trace.launcher, trace.name)
    return keeps or trace.service in desired.disabled or (trace.launcher, trace.name) in observed.units


def _is_moved(trace: Trace, wanted: Trace) -> bool:
    """It is left elsewhere by now."""
    whose = (trace.leaves, trace.launcher, trace.service)
    return whose == (wanted.leaves, wanted.launcher, wanted.service) and trace.key != wanted.key


def union(*several: Iterable[Trace]) -> tuple[Trace, ...]:
    """In the order in which traces are kept; of those of one key the first counts."""
    found: dict[tuple[str, str, str], Trace] = {}
    for traces in several:
        for trace in traces:
            found.setdefault(trace.key, trace)
    return tuple(found[key] for key in sorted(found))
