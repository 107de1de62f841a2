"""Values as they were written: what YAML made of a text, and where each of them stands."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.core.problem import Origin

Plain = str | int | float | bool | None


class Node:
    """Something written in a layer. `secret` is set by the tag `!secret`."""

    __slots__ = ("column", "file", "line", "secret")
    kind = "value"

    def __init__(self, file: str, line: int, column: int, *, secret: bool = False) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.secret = secret

    @property
    def origin(self) -> Origin:
        return Origin(self.file, self.line, self.column)


class Scalar(Node):
    """One word, number or text. `text` is as written, `value` what YAML 1.2 makes of it."""

    __slots__ = ("style", "text", "value")

    def __init__(  # noqa: PLR0917 - one is made of every word of every layer
        self, file: str, line: int, column: int, text: str, value: Plain, style: str, secret: bool
    ) -> None:
        super().__init__(file, line, column, secret=secret)
        self.text = text
        self.value = value
        self.style = style  # one of `'`, `"`, `|`, `>`, or empty for a plain one

    @property
    def quoted(self) -> bool:
        return self.style != ""

    @property
    def kind(self) -> str:  # type: ignore[override]
        """How a person calls it."""
        return _SCALARS[type(self.value)]


_SCALARS: dict[type, str] = {
    str: "text",
    bool: "a truth value",
    int: "a number",
    float: "a number",
    type(None): "empty",
}


class Items(Node):
    """A list."""

    __slots__ = ("items",)
    kind = "a list"

    def __init__(self, file: str, line: int, column: int, *, secret: bool = False) -> None:
        super().__init__(file, line, column, secret=secret)
        self.items: list[Node] = []


class Entries(Node):
    """A mapping; `places` has line and column of every key."""

    __slots__ = ("entries", "places")
    kind = "a mapping"

    def __init__(self, file: str, line: int, column: int, *, secret: bool = False) -> None:
        super().__init__(file, line, column, secret=secret)
        self.entries: dict[str, Node] = {}
        self.places: dict[str, Origin] = {}

    def get(self, key: str) -> Node | None:
        return self.entries.get(key)

    def section(self, key: str) -> dict[str, Node]:
        """What stands below a key; nothing where it is missing or no mapping."""
        node = self.entries.get(key)
        return node.entries if isinstance(node, Entries) else {}


def empty(node: Node | None) -> bool:
    return isinstance(node, Scalar) and node.value is None


def merge(layers: Iterable[Entries]) -> Entries:
    """One mapping of several: key by key, a later one wins, `null` takes a key away."""
    merged = Entries("default", 0, 0)
    for layer in layers:
        merged = _over(merged, layer)
    return merged


def _over(lower: Entries, upper: Entries) -> Entries:
    merged = Entries(upper.file, upper.line, upper.column, secret=lower.secret or upper.secret)
    merged.entries.update(lower.entries)
    merged.places.update(lower.places)
    for key, node in upper.entries.items():
        merged.places[key] = upper.places[key]
        if empty(node):
            merged.entries.pop(key, None)
        else:
            merged.entries[key] = _override(merged.entries.get(key), node)
    return merged


def _override(old: Node | None, new: Node) -> Node:
    if isinstance(new, Entries):
        base = old if isinstance(old, Entries) else Entries(new.file, new.line, new.column)
        return _over(base, new)
    if old is not None and old.secret and not new.secret:
        return _as_secret(new)  # marked once, it stays one in every later layer
    return new


def _as_secret(node: Node) -> Node:
    if isinstance(node, Scalar):
        return Scalar(node.file, node.line, node.column, node.text, node.value, node.style, True)
    marked = Items(node.file, node.line, node.column, secret=True)
    marked.items = node.items if isinstance(node, Items) else []
    return marked
