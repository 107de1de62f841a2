"""What a change of files looks like, as a unified diff without any secret in it.

Who reads the repo may read them there. A diff goes further: into the log of a pipeline, or a window that is shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import unified_diff
from hmac import digest
from typing import NamedTuple

from reconciler.authoring.spots import Spot, spots
from reconciler.desired import Tree
from reconciler.desired.nodes import Entries, Node
from reconciler.desired.problems import Problems
from reconciler.desired.shape import is_secret_name
from reconciler.desired.text import parse

_CONTEXT = 3  # lines around a change
_Path = tuple[str, ...]


class FileDiff(NamedTuple):
    path: str
    lines: list[str]  # as `diff -u` has them


def file_diffs(before: Tree, content: Mapping[str, bytes | None], salt: str) -> Iterator[FileDiff]:
    """Each file that changes. `salt` hides what a secret is, and shows that it changes."""
    after = {path: text for path, text in content.items() if text is not None}
    marked = {path for tree in (before, after) for path in _marked(tree)}
    for path in sorted(content):
        old, new = before.get(path), content[path]
        if old != new:
            names = ["/dev/null" if text is None else f"{side}/{path}" for side, text in (("a", old), ("b", new))]
            texts = [_shown(path, text or b"", marked, salt) for text in (old, new)]
            lines = unified_diff(texts[0], texts[1], names[0], names[1], n=_CONTEXT, lineterm="")
            yield FileDiff(path, [line.rstrip("\r\n") for line in lines])


def _marked(tree: Tree) -> Iterator[_Path]:
    """The places that some layer marks with `!secret`: it holds for all layers."""
    for path, content in tree.items():
        if path.startswith("desired/") and b"!secret" in content:
            layer = parse(content, path, Problems())
            yield from _below(layer, ()) if layer else ()


def _below(node: Node, path: _Path) -> Iterator[_Path]:
    if node.secret:
        yield path
    elif isinstance(node, Entries):
        for key, value in node.entries.items():
            yield from _below(value, (*path, key))


def _shown(path: str, content: bytes, marked: set[_Path], salt: str) -> list[str]:
    text = content.decode(errors="replace").removeprefix("\ufeff")
    if path.endswith(".yaml"):
        text = _hidden(text, marked, salt)
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _hidden(text: str, marked: set[_Path], salt: str) -> str:
    """With the letters of each secret replaced; a text that cannot be taken apart is not shown at all."""
    if not text.strip():
        return text
    try:
        root = spots(text)
        secret = list(_secrets(root, (), marked, within=False)) if root else []
    except Exception:  # noqa: BLE001 - the parser has errors of many kinds, and none may let a secret through
        return "(not YAML)\n"
    anchors = {spot.text for spot in secret if spot.kind == "alias"}
    secret += _anchored(root, anchors) if root and anchors else []
    for spot in sorted(set(secret), key=lambda spot: -spot.start):
        if spot.kind == "scalar" and spot.end > spot.start:
            mark = digest(salt.encode(), spot.text.encode(), "sha256").hex()[:8]
            text = text[: spot.start] + f"*** ({mark})" + _tail(text[spot.start : spot.end]) + text[spot.end :]
    return text


def _tail(written: str) -> str:
    """A text in several lines takes its line end with it, and must leave it."""
    return "\n" if written.endswith("\n") else ""


def _secrets(spot: Spot, path: _Path, marked: set[_Path], *, within: bool) -> Iterator[Spot]:
    within = within or spot.secret or path in marked or bool(path and is_secret_name(path[-1]))
    for key, value in spot.entries:
        yield from _secrets(value, (*path, key.text), marked, within=within)
    for item in spot.items:
        yield from _secrets(item, (*path, "-"), marked, within=within)
    if within and spot.kind in ("scalar", "alias"):
        yield spot


def _anchored(spot: Spot, anchors: set[str]) -> list[Spot]:
    """What an alias in a secret place stands for."""
    if spot.anchor in anchors:
        return list(_secrets(spot, (), set(), within=True))
    parts = [value for _, value in spot.entries] + list(spot.items)
    return [found for part in parts for found in _anchored(part, anchors)]
