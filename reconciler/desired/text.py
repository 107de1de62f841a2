"""YAML text to nodes, safely: one document, no surprises, and every value with its place.

The parser's events are read, not its nodes: its own composer recurses as deep as the text says,
resolves values by YAML 1.1, and takes three times as long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from reconciler.core.problem import Origin
from reconciler.desired.nodes import Entries, Items, Node, Plain, Scalar
from reconciler.desired.problems import Failed, Problems

MAX_BYTES = 1 << 20
MAX_DEPTH = 50
MAX_ALIASED = 100_000  # nodes that aliases stand for, all taken together
_WEIGHT = 64  # characters of a text that count as much as a node

_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WORDS: dict[str, Plain] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_STANDARD = "tag:yaml.org,2002:"
_TAGS = {"!secret", "!"} | {_STANDARD + name for name in ("str", "int", "float", "bool", "null", "map", "seq")}


def decode(content: bytes, file: str, problems: Problems) -> str | None:
    """The text of a file, or None where it is none."""
    if len(content) > MAX_BYTES:
        problems.add(Origin(file, 0, 0), f"the file has {len(content)} bytes; {MAX_BYTES} are the limit", "split it")
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.add(Origin(file, line, 1), "this line is not UTF-8", "save the file as UTF-8")
        return None
    if found := forbidden(text):
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        problems.add(Origin(file, line, column), f"control character U+{ord(found[0]):04X}", "take it out")
        return None
    return text


def forbidden(text: str) -> re.Match[str] | None:
    """The first character that has no place in a text, such as NUL."""
    return None if text.isprintable() else _FORBIDDEN.search(text)


def parse(content: bytes, file: str, problems: Problems) -> Entries | None:
    """The mapping that a file holds; empty for an empty one, None where it cannot be read."""
    text = decode(content, file, problems)
    if text is None:
        return None
    try:
        node = _Builder(file, problems).build(text)
    except Failed:
        return None
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return Entries(file, 1, 1)
    if isinstance(node, Entries):
        return node
    problems.add(node.origin, f"a layer is a mapping, this is {node.kind}", "write `key: value` lines")
    return None


def _events(text: str, file: str, problems: Problems) -> Iterator[Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        yield from YAML(typ="safe", pure=not _compiled()).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        origin = Origin(file, mark.line + 1, mark.column + 1) if mark else Origin(file, 0, 0)
        problems.add(origin, f"not YAML: {error.problem or error.context}", _advice(error.problem or ""))
        raise Failed from error
    except (YAMLError, ValueError, AttributeError, NotImplementedError) as error:
        # the pure parser stumbles over some broken texts with errors of Python's own
        problems.add(Origin(file, 0, 0), "not YAML")
        raise Failed from error


def _compiled() -> bool:
    """Whether the parser in C is there; the other one is slower and says the same."""
    from importlib.util import find_spec

    return find_spec("_ruamel_yaml") is not None


def _advice(problem: str) -> str:
    if "another document" in problem:
        return "keep one document in the file; take the second `---` out"
    if "start any token" in problem:
        return "YAML indents with spaces, never with tabs; a value that begins with a special character needs quotes"
    if "mapping values" in problem:
        return "look at the indentation; a value with `: ` in it needs quotes"
    return "look at the indentation, the colons and the quotes of this line and the one before"


class _Builder:
    """Makes nodes of events, with a stack of its own instead of recursion."""

    def __init__(self, file: str, problems: Problems) -> None:
        self._file = file
        self._problems = problems
        self._anchors: dict[str, Node] = {}
        self._sizes: dict[int, int] = {}  # of finished anchored nodes, by id; long texts count for more than one
        self._open: list[tuple[Node, str, list[Node]]] = []  # container, its anchor, what is in it so far
        self._aliased = 0
        self._count = 0
        self._starts: list[int] = []
        self._root: Node | None = None

    def build(self, text: str) -> Node | None:
        for event in _events(text, self._file, self._problems):
            kind = type(event).__name__
            if kind == "ScalarEvent":
                self._take(self._scalar(event), event.anchor)
            elif kind in ("MappingStartEvent", "SequenceStartEvent"):
                self._enter(event, Entries if kind == "MappingStartEvent" else Items)
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                self._leave()
            elif kind == "AliasEvent":
                self._alias(event)
            elif kind == "DocumentStartEvent" and self._root is not None:
                self._fail(event, "a second document begins here", _advice("another document"))
        return self._root

    def _fail(self, event: Any, message: str, hint: str = "") -> None:
        self._problems.add(self._place(event), message, hint)
        raise Failed

    def _place(self, event: Any) -> Origin:
        return Origin(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _tag(self, event: Any) -> str:
        tag = str(event.ctag or "")
        if tag and tag not in _TAGS:
            self._problems.add(self._place(event), f"unknown tag `{tag[:60]}`", "the only tag is `!secret`")
        return tag

    def _scalar(self, event: Any) -> Scalar:
        mark, text, style = event.start_mark, event.value, event.style or ""
        tag = self._tag(event) if event.ctag else ""
        if style and forbidden(text):
            message = "an escape in this text stands for a control character"
            self._problems.add(self._place(event), message, "take it out")
            text = _FORBIDDEN.sub("?", text)
        plain = not style and tag != _STANDARD + "str"
        value = resolve(text) if plain else text
        if not plain and not style:
            style = "'"  # tagged as text, which says as much as quotes do
        return Scalar(self._file, mark.line + 1, mark.column + 1, text, value, style, tag == "!secret")

    def _enter(self, event: Any, make: type[Entries | Items]) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._fail(event, f"nested deeper than {MAX_DEPTH} levels", "make it flatter")
        mark = event.start_mark
        secret = bool(event.ctag) and self._tag(event) == "!secret"
        node = make(self._file, mark.line + 1, mark.column + 1, secret=secret)
        self._open.append((node, event.anchor or "", []))
        self._starts.append(self._count + self._aliased)

    def _leave(self) -> None:
        node, anchor, parts = self._open.pop()
        size = self._count + self._aliased - self._starts.pop() + 1
        if isinstance(node, Items):
            node.items = parts
        elif isinstance(node, Entries):
            self._fill(node, parts)
            node = self._referred(node) if node.secret else node
        if anchor:
            self._sizes[id(node)] = size
        self._take(node, anchor)

    def _referred(self, node: Entries) -> Node:
        from reconciler.desired.reference import referred

        return referred(node, self._problems)

    def _take(self, node: Node, anchor: str | None) -> None:
        weight = 1 + len(node.text) // _WEIGHT if isinstance(node, Scalar) else 1
        self._count += weight
        if anchor:
            self._anchors[anchor] = node
            self._sizes.setdefault(id(node), weight)
        self._put(node)

    def _put(self, node: Node) -> None:
        if self._open:
            self._open[-1][2].append(node)
        else:
            self._root = node

    def _alias(self, event: Any) -> None:
        name = event.anchor
        if any(anchor == name for _, anchor, _ in self._open):
            self._fail(event, f"`*{name}` stands inside of what it stands for", "an alias cannot contain itself")
        node = self._anchors.get(name)
        if node is None:
            self._fail(event, f"unknown alias `*{name}`", f"mark a value before it with `&{name}`")
            return
        self._aliased += self._sizes.get(id(node), 1)
        if self._aliased > MAX_ALIASED:
            message = f"the aliases stand for more than {MAX_ALIASED} values"
            self._fail(event, message, "write it without aliases of aliases")
        self._put(node)

    def _fill(self, target: Entries, parts: list[Node]) -> None:
        """Keys and values in turn into a mapping; `<<` gives what the mapping itself does not have."""
        inherited: list[Entries] = []
        for key, value in zip(parts[::2], parts[1::2], strict=True):
            if not isinstance(key, Scalar) or not isinstance(key.value, str):
                self._no_text_key(key)
            elif key.text == "<<" and not key.quoted:
                inherited += self._inherited(value)
            elif key.value in target.entries:
                first = target.places[key.value].line
                message = f"`{key.text[:60]}` is written twice; first in line {first}"
                self._problems.add(key.origin, message, "keep one of them")
            else:
                target.entries[key.value] = value
                target.places[key.value] = key.origin
        for source in inherited:
            for name, value in source.entries.items():
                if name not in target.entries:
                    target.entries[name] = value
                    target.places[name] = source.places[name]

    def _no_text_key(self, key: Node) -> None:
        hint = f'write it as "{key.text}"' if isinstance(key, Scalar) else "a key is one word"
        self._problems.add(key.origin, f"a key must be text, this is {key.kind}", hint)

    def _inherited(self, value: Node) -> list[Entries]:
        sources = value.items if isinstance(value, Items) else [value]
        found = [source for source in sources if isinstance(source, Entries)]
        if len(found) < len(sources):
            self._problems.add(value.origin, "`<<` takes a mapping or a list of mappings", "write `<<: *name`")
        return found


def resolve(text: str) -> Plain:
    """What a plain scalar means by the core schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".", "") if "n" in text.lower() else text)
    return text
