"""One value of a document with several: YAML or JSON, by a key with dots."""

from __future__ import annotations

from reconciler.desired.nodes import Entries, Items, Node, Scalar
from reconciler.desired.problems import Problems
from reconciler.desired.text import parse


class NotThereError(Exception):
    """The document has no such value. The text quotes nothing of it."""


def pick(content: bytes, key: str) -> str:
    """The text at a key: numbers and truth values as they are written. Raises `NotThereError`."""
    problems = Problems()
    top = parse(content, "", problems)
    if top is None or len(problems):
        raise NotThereError("its content is not a mapping in YAML or JSON")
    node = _follow(top, key)
    if not isinstance(node, Scalar) or node.value is None:
        what = "nothing" if node is None or isinstance(node, Scalar) else node.kind
        raise NotThereError(f"at `{key[:80]}` it has {what}, where a text is wanted")
    return node.text


def _follow(node: Node | None, key: str) -> Node | None:
    """Keys may have dots themselves: the longest that there is comes first."""
    if not key:
        return node
    parts = key.split(".")
    for size in range(len(parts), 0, -1):
        head, rest = ".".join(parts[:size]), ".".join(parts[size:])
        inner = node.get(head) if isinstance(node, Entries) else _item(node, head)
        if inner is not None:
            return _follow(inner, rest)
    return None


def _item(node: Node | None, number: str) -> Node | None:
    known = isinstance(node, Items) and number.isascii() and number.isdigit() and len(number) < 6
    return node.items[int(number)] if known and isinstance(node, Items) and int(number) < len(node.items) else None
