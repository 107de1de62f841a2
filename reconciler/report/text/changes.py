"""A line for each change: its mark, from which version to which, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.core.change import Act, Change, Kind
from reconciler.core.observed import State
from reconciler.report.style import Style

SHOWN_ALIKE = 12  # services with one and the same reason that get a line each; more are told together
WIDEST_NAME = 28  # characters
WIDEST_VERSIONS = 24
_SHOWN_VERSIONS = 3
_SHOWN_KEPT = 12  # unchanged services that get a line each; more are counted

_COLOURS = {
    Kind.CREATE: "green",
    Kind.UPDATE: "yellow",
    Kind.RESTART: "yellow",
    Kind.REMOVE: "red",
    Kind.BLOCKED: "red",
    Kind.KEEP: "dim",
}


def change_lines(change: Change, width: int, versions: int, style: Style, since: str = "") -> Iterator[str]:
    """`since`: when it began to differ, in words that follow the first reason."""
    sign = style.paint(change.kind.sign, _COLOURS[change.kind])
    first, *more = [*_shortened(change), ""] if change.reasons else [""]
    if change.kind is Kind.UPDATE and not change.restarts and change.act in (Act.NONE, Act.LOAD) and not change.gone:
        first += " (mended; no restart)"
    first += since
    head = f"  {sign} {change.service:<{width}}  {versions_of(change):<{versions}}"
    indent = " " * (width + 6)
    yield from style.fold(f"{head}  {first}".rstrip(), indent=indent)
    for reason in filter(None, more):
        yield from style.fold(f"{indent}{reason}", indent=indent)
    others = [name for name in change.restarts if name != change.service]
    if others:
        yield from style.fold(f"{indent}restarts with it: {', '.join(others)}", indent=indent)


def alike_changes(changes: Sequence[Change], talkative: set[str]) -> Iterator[list[Change]]:
    """Neighbours that would be told in the same words, unless steps of theirs have more to say."""
    group: list[Change] = []
    for change in changes:
        if group and (_told(change) != _told(group[0]) or {change.service, group[0].service} & talkative):
            yield group
            group = []
        group.append(change)
    if group:
        yield group


def _told(change: Change) -> object:
    others = tuple(name for name in change.restarts if name != change.service)
    return change.kind, change.reasons, others, change.renamed_from


def together(changes: Sequence[Change], style: Style) -> Iterator[str]:
    first = changes[0]
    sign = style.paint(first.kind.sign, _COLOURS[first.kind])
    versions = sorted({versions_of(change) for change in changes})
    shown = f"  {', '.join(versions)}" if len(versions) <= _SHOWN_VERSIONS else ""
    yield from style.fold(f"  {sign} {len(changes)} services{shown}: {'; '.join(_shortened(first))}", indent="      ")
    yield from style.fold("      " + ", ".join(change.service for change in changes), indent="      ")


def versions_of(change: Change) -> str:
    if change.version and change.wanted and change.version != change.wanted:
        return f"{change.version} -> {change.wanted}"
    return change.wanted or change.version or "-"


def _shortened(change: Change) -> list[str]:
    """The versions stand in a column of their own; of that reason only the place is told again."""
    prefix = f"version {change.version} -> {change.wanted}"
    return [
        reason.removeprefix(prefix).strip().removeprefix("(").removesuffix(")") if reason.startswith(prefix) else reason
        for reason in change.reasons
    ]


def kept_lines(kept: Sequence[Change], width: int, style: Style) -> Iterator[str]:
    if len(kept) > _SHOWN_KEPT:
        yield style.paint(f"  = {len(kept)} services unchanged", "dim")
        return
    for change in kept:
        if not change.managed:
            yield from style.fold(style.paint(f"  = {change.service:<{width}}  {_unmanaged(change)}", "dim"), " " * 6)
            continue
        down = "" if change.state is State.RUNNING else f"  {change.state.value.upper()} {change.detail}".rstrip()
        yield style.paint(f"  = {change.service:<{width}}  {versions_of(change)}", "dim") + style.paint(down, "red")


def _unmanaged(change: Change) -> str:
    """What there is to say of a service that others run."""
    state = "" if change.state is State.RUNNING else f", {change.state.value}"
    return f"not managed{state}" + "".join(f"; {reason}" for reason in change.reasons)
