"""`guard` of a service: commands that must succeed before it is stopped or removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from reconciler.core.desired import Guard
from reconciler.desired.nodes import Entries
from reconciler.desired.read import Reader
from reconciler.desired.schema import LAYER
from reconciler.desired.scope import Got
from reconciler.desired.windows import span

_TIMEOUT = "30s"
_LONGEST = 600  # seconds: a pass waits for it


class Guarded(NamedTuple):
    """What one service says of its guards. Where something of it is wrong, that has been told."""

    guards: tuple[Guard, ...] = ()
    got: Mapping[str, Got] = {}  # all effective values, for people


def guarded(reader: Reader) -> Guarded:
    """In order of their names. Whether the service is given secrets, and in which file, is not known here."""
    each = LAYER.keys["services"].each
    known = each.keys["guard"].each if each else None
    found: list[Guard] = []
    got: dict[str, Got] = {}
    for name, node in sorted(reader.node.section("guard").items()):
        if known is None or not isinstance(node, Entries) or node.entries.keys() - known.keys.keys():
            continue
        inner = Reader(node, f"guard {name} of {reader.label}", reader.scope, *reader.tools)
        command, timeout = _command(inner), inner.text("timeout", _TIMEOUT)
        seconds = span(inner, "timeout", _TIMEOUT)
        if inner.sound and not 0 < seconds <= _LONGEST:
            inner.tell(timeout.origin, f"`timeout` of {inner.label} must be from 1s to {_LONGEST}s")
        found.append(Guard(name, command.text.strip(), float(seconds)))
        got |= {f"guard.{name}.command": command, f"guard.{name}.timeout": timeout}
        reader.sound = reader.sound and inner.sound
    return Guarded(tuple(found), got)


def _command(reader: Reader) -> Got:
    got = reader.text("command")
    if reader.sound and not got.text.strip():
        reader.tell(reader.place("command"), f"{reader.label} has no `command`", "lines for bash that must succeed")
    return got
