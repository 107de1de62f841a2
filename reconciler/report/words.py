"""Short sentences that several forms of a report share."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.review import Cause, Delta, Who
from reconciler.report.clean import one_line


def cause_words(cause: Cause) -> str:
    """`vars.log_level DEBUG -> INFO`, without where it is written."""
    key = one_line(cause.key)
    if cause.secret:
        return f"{key} changed (secret)"
    old, new = (None if text is None else one_line(text) for text in (cause.old, cause.new))
    if cause.key.startswith("templates/"):
        return f"{key} is new" if old is None else f"{key} is taken away" if new is None else f"{key} changes"
    if new is None:
        return f"{key} {old} is taken away"
    return f"{key} {new} is new" if old is None else f"{key} {old} -> {new}"


def who_words(who: Who) -> str:
    """`9fa0eb5f Bump site (Ann)`."""
    author = f" ({one_line(who.author)})" if who.author else ""
    return f"{who.commit[:8]} {one_line(who.subject)}{author}".strip()


def file_words(delta: Delta) -> str:
    """What becomes of a file, where its lines do not tell it."""
    told = delta.word
    if delta.word == "changed" and delta.modes[0] != delta.modes[1]:
        told += f", mode {delta.modes[0]:04o} -> {delta.modes[1]:04o}"
    return f"{told} ({delta.hidden})" if delta.hidden else told


def place_words(places: Sequence[str], most: int = 12) -> str:
    """`aws, dori (dev); tahoma (dev, prod)`: sites that have the same environments in it together."""
    environments: dict[str, list[str]] = {}
    for place in places:
        site, _, environment = one_line(place).partition("/")
        environments.setdefault(site, []).append(environment)
    if len(places) == 1:
        return one_line(places[0]).replace("/", " ", 1)
    sites: dict[tuple[str, ...], list[str]] = {}
    for site, names in environments.items():
        sites.setdefault(tuple(names), []).append(site)
    told = (f"{_shortened(names, most)} ({', '.join(found)})" for found, names in sites.items())
    return "; ".join(told)


def _shortened(names: Sequence[str], most: int) -> str:
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
