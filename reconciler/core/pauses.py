"""Pauses: windows that a person has opened on this host. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reconciler.core.calendar import Offset, face
from reconciler.core.observed import Pause, Shut

LONGEST = 7 * 86400  # seconds; what is to last longer belongs into git, where it is read by others


def over(
    shut: Mapping[str, Shut | None], pauses: Sequence[Pause], now: float, offset: Offset
) -> dict[str, Shut | None]:
    """What holds now, with pauses laid over windows: of two for the same, the one that ends last.

    By service that a window or a pause names, and "" for all others.
    """
    names = {"", *shut, *(pause.service for pause in pauses)}
    return {name: _paused(name, pauses, now, offset) or shut.get(name, shut.get("")) for name in sorted(names)}


def _paused(name: str, pauses: Iterable[Pause], now: float, offset: Offset) -> Shut | None:
    found = [pause for pause in pauses if pause.service in ("", name)]
    if not found:
        return None
    last = max(found, key=_until)
    why = f"paused until {face(last.until, now, offset)} by {last.account} on {last.host}: {last.reason}"
    return Shut(why, holds_all=True, until=last.until, paused=True)


def _until(pause: Pause) -> float:
    return pause.until


# ---------------------------------------------------------------- opening and ending them


def opened(pauses: Iterable[Pause], new: Iterable[Pause]) -> tuple[Pause, ...]:
    """With further ones; each takes the place of the one for the same."""
    found = {(pause.environment, pause.service): pause for pause in (*pauses, *new)}
    return tuple(found[key] for key in sorted(found))


def without(pauses: Iterable[Pause], gone: Iterable[Pause]) -> tuple[Pause, ...]:
    """Those that are left. One that was opened anew since `gone` was read is another one."""
    taken = set(gone)
    return tuple(pause for pause in pauses if pause not in taken)


def ended(pauses: Iterable[Pause], now: float) -> tuple[Pause, ...]:
    """Those that have ended by themselves."""
    return tuple(pause for pause in pauses if now >= pause.until)
