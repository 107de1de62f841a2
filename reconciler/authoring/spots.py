"""Where each part of a YAML text stands, to the character: what an edit of one value needs, and a parser hides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


class Spot(NamedTuple):
    """A value as it is written: characters `start` to `end` of the text, without its anchor and its tag."""

    kind: str  # "scalar", "mapping", "list" or "alias"
    start: int
    end: int
    style: str = ""  # of a scalar: one of `'`, `"`, `|`, `>`, or empty for a plain one
    text: str = ""  # of a scalar: what it says; of an alias: the anchor that it names
    anchor: str = ""
    secret: bool = False  # tagged `!secret`
    flow: bool = False  # written with braces or brackets
    entries: tuple[tuple[Spot, Spot], ...] = ()  # of a mapping: keys and values as they are written
    items: tuple[Spot, ...] = ()  # of a list

    def get(self, key: str) -> Spot | None:
        """The value that is written below a key; what `<<` brings is written elsewhere."""
        return next((value for name, value in self.entries if name.kind == "scalar" and name.text == key), None)


def spots(text: str) -> Spot | None:
    """The document of a text that is known to parse; None for an empty one."""
    from ruamel.yaml import YAML

    tokens = YAML(typ="safe", pure=True).scan(text)
    begins = {t.end_mark.index: t.start_mark.index for t in tokens if type(t).__name__ == "ScalarToken"}
    events = iter(YAML(typ="safe", pure=True).parse(text))
    for event in events:
        if type(event).__name__ == "DocumentStartEvent":
            return _spot(next(events), events, begins)
    return None


def aliases(text: str) -> frozenset[str]:
    """The anchors that something in the text refers to."""
    from ruamel.yaml import YAML

    events = YAML(typ="safe", pure=True).parse(text)
    return frozenset(event.anchor for event in events if type(event).__name__ == "AliasEvent")


def _spot(event: Any, events: Iterator[Any], begins: dict[int, int]) -> Spot:
    """Recursive: a text that parses is not nested deeper than 50 levels."""
    kind, start, end = type(event).__name__, event.start_mark.index, event.end_mark.index
    if kind == "AliasEvent":
        return Spot("alias", start, end, text=event.anchor)
    secret = str(event.ctag or "") == "!secret"
    if kind == "ScalarEvent":
        return Spot("scalar", begins.get(end, end), end, event.style or "", event.value, event.anchor or "", secret)
    anchor, parts = event.anchor or "", []
    while not type(event := next(events)).__name__.endswith("EndEvent"):
        parts.append(_spot(event, events, begins))
    flow = type(event).__name__ == "MappingEndEvent" and event.end_mark.index > event.start_mark.index
    if kind == "SequenceStartEvent":
        return Spot("list", start, event.end_mark.index, anchor=anchor, secret=secret, items=tuple(parts))
    pairs = tuple(zip(parts[::2], parts[1::2], strict=True))
    end = event.end_mark.index
    return Spot("mapping", start, end, anchor=anchor, secret=secret, flow=flow, entries=pairs)
