"""What layers say, value by value: what a commit changes in them, for whom that matters, and who wins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from reconciler.core.problem import Origin
from reconciler.core.review import Cause
from reconciler.desired.folder import Tree
from reconciler.desired.layers import Layers
from reconciler.desired.nodes import Entries, Items, Node, Scalar, empty
from reconciler.desired.rendering import FOLDER
from reconciler.desired.shape import is_secret_name

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHOWN = 200  # characters of a value
_OF_NO_SERVICE = ("policy", "environments")


class Leaf(NamedTuple):
    """A value as it was written."""

    text: str
    origin: Origin
    secret: bool


class Said(NamedTuple):
    """What one layer says on one key."""

    text: str | None  # None: it takes the key away
    origin: Origin
    secret: bool
    wins: bool


def leaves(node: Node, path: str = "", *, secret: bool = False) -> Iterator[tuple[str, Leaf]]:
    """Every value below a node by its path; a list is one value."""
    secret = secret or node.secret
    if isinstance(node, Entries) and node.entries:
        for key, inner in node.entries.items():
            yield from leaves(inner, f"{path}.{key}" if path else key, secret=secret or is_secret_name(key))
        return
    yield path, Leaf(plain_text(node), node.origin, secret or _holds_secret(node))


def _holds_secret(node: Node) -> bool:
    """A list, and what stands in it, is shown as a whole or not at all. An address may have a password in it."""
    if isinstance(node, Entries):
        return node.secret or any(is_secret_name(key) or _holds_secret(one) for key, one in node.entries.items())
    if isinstance(node, Items):
        return node.secret or any(map(_holds_secret, node.items))
    return node.secret or (isinstance(node, Scalar) and _has_login(node.text))


def _has_login(text: str) -> bool:
    if "://" not in text:
        return False
    from reconciler.install.requirement import redact

    return redact(text) != text


def plain_text(node: Node) -> str:
    """A value on one line, as it was written."""
    if isinstance(node, Scalar):
        text = " ".join(node.text.split())
    elif isinstance(node, Items):
        text = f"[{', '.join(map(plain_text, node.items))}]"
    else:
        assert isinstance(node, Entries)  # noqa: S101 - there are three kinds
        text = "{" + ", ".join(f"{key}: {plain_text(one)}" for key, one in node.entries.items()) + "}"
    return one_line(text)


def one_line(text: str) -> str:
    """As much as a report tells of a value."""
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


# ---------------------------------------------------------------- what a commit changes


def changed(before: tuple[Layers, Tree], after: tuple[Layers, Tree], site: str, environment: str) -> list[Cause]:
    """Every value of one deployment, and every template, that is not the same in two states of the repo."""
    old, new = (dict(leaves(layers.merged(site, environment))) for layers, _ in (before, after))
    causes = [_cause(key, old.get(key), new.get(key)) for key in sorted({*old, *new}) if _other(old, new, key)]
    return causes + changed_templates(before[1], after[1])


def _other(old: Mapping[str, Leaf], new: Mapping[str, Leaf], key: str) -> bool:
    one, other = old.get(key), new.get(key)
    return one is None or other is None or (one.text, one.secret) != (other.text, other.secret)


def _cause(key: str, old: Leaf | None, new: Leaf | None) -> Cause:
    leaf = new or old
    assert leaf is not None  # noqa: S101 - one of the two has it
    secret = any(side and side.secret for side in (old, new))
    texts = [None if side is None else "(secret)" if secret else side.text for side in (old, new)]
    return Cause(key, texts[0], texts[1], leaf.origin, secret)


def changed_templates(before: Tree, after: Tree) -> list[Cause]:
    """Placed at the first line that is another one. What is in them is told file by file, as rendered."""
    paths = {path for path in (*before, *after) if path.startswith(FOLDER)}
    found = []
    for path in sorted(path for path in paths if before.get(path) != after.get(path)):
        old, new = before.get(path), after.get(path)
        line = _first_difference(old or b"", new or b"") if new is not None else 0
        found.append(Cause(path, None if old is None else "", None if new is None else "", Origin(path, line, 1)))
    return found


def _first_difference(old: bytes, new: bytes) -> int:
    ours, theirs = old.split(b"\n"), new.split(b"\n")
    same = next((at for at, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), len(theirs) - 1)
    return min(same + 1, max(new.count(b"\n"), 1))


# ---------------------------------------------------------------- for whom it matters


class Concerns:
    """Which values a service can depend on: those below its own names, and those whose names its texts use."""

    def __init__(self, merged: Entries, tree: Tree) -> None:
        self._merged = merged
        self._tree = tree
        self._vars = merged.section("vars")
        self._words = {name: _words(node) for name, node in self._vars.items()}
        self._templates: dict[str, frozenset[str]] = {}

    def of(self, service: str, causes: Iterable[Cause]) -> tuple[Cause, ...]:
        node = self._merged.section("services").get(service)
        component = component_of(self._merged, service)
        files = _list(node, "files")
        words = self._reachable(service, component, files)
        return tuple(one for one in causes if self._matters(one.key, service, component, files, words))

    def _matters(self, key: str, service: str, component: str, files: set[str], words: set[str]) -> bool:
        if key.startswith(FOLDER):
            return key in words
        top, _, rest = key.partition(".")
        if top in _OF_NO_SERVICE:
            return False
        if top == "services":
            return rest == service or rest.startswith(f"{service}.")
        if top in ("components", "versions"):
            return rest == component or rest.startswith(f"{component}.") or (top == "versions" and "versions" in words)
        if top == "files":
            return any(rest == name or rest.startswith(f"{name}.") for name in files)
        return rest.partition(".")[0] in words if top == "vars" else True

    def _reachable(self, service: str, component: str, files: set[str]) -> set[str]:
        """Words in all that the service is made of, and in the vars that those name, and so on."""
        sections = (("services", service), ("components", component), *(("files", name) for name in sorted(files)))
        nodes = [self._merged.section(section).get(name) for section, name in sections]
        nodes += [node for top, node in self._merged.entries.items() if top in ("paths", "supervisor", "systemd")]
        words = {word for node in nodes if node is not None for word in _words(node)}
        for name in files:
            template = _text(self._merged.section("files").get(name), "template")
            for path in self._tree if template and "{" in template else [f"{FOLDER}{template}"]:
                words |= self._of_template(path)
        pending = [word for word in words if word in self._words]
        while pending:
            more = self._words[pending.pop()] - words
            words |= more
            pending += [word for word in more if word in self._words]
        return words

    def _of_template(self, path: str) -> frozenset[str]:
        """Its own path among them, and those of the templates that it names."""
        if path not in self._templates:
            self._templates[path] = frozenset()  # one that includes itself comes to an end
            source = self._tree.get(path, b"").decode("utf-8", "replace")
            named = [one for one in self._tree if one.startswith(FOLDER) and one.removeprefix(FOLDER) in source]
            inner = [self._of_template(one) for one in named if one != path]
            self._templates[path] = frozenset(_WORD.findall(source)).union({path}, *inner)
        return self._templates[path]


def _words(node: Node) -> frozenset[str]:
    return frozenset(word for text in _texts(node) for word in _WORD.findall(text))


def _texts(node: Node) -> Iterator[str]:
    if isinstance(node, Scalar):
        yield node.text
    inner = node.items if isinstance(node, Items) else node.entries.values() if isinstance(node, Entries) else ()
    for one in inner:
        yield from _texts(one)


def _text(node: Node | None, key: str) -> str:
    part = node.get(key) if isinstance(node, Entries) else None
    return part.text if isinstance(part, Scalar) else ""


def _list(node: Node | None, key: str) -> set[str]:
    part = node.get(key) if isinstance(node, Entries) else None
    return {one.text for one in part.items if isinstance(one, Scalar)} if isinstance(part, Items) else set()


# ---------------------------------------------------------------- what each layer says


def component_of(merged: Entries, service: str) -> str:
    """As it was written: a component has no template in its name."""
    return _text(merged.section("services").get(service), "component") or service


def said(layers: Iterable[Entries], service: str, component: str, key: str) -> list[Said]:
    """What each layer says on an effective value, the weakest first; nothing where it is a default of the tool's."""
    paths = _paths(service, component, key)
    nodes = [next((at for path in paths if (at := _at(layer, path))[0] is not None), (None, False)) for layer in layers]
    secret = any(hidden for _, hidden in nodes)  # marked in one layer, it is one in all
    found = [
        Said(None if empty(node) else "(secret)" if secret else plain_text(node), node.origin, secret, wins=False)
        for node, _ in nodes
        if node is not None
    ]
    return [*found[:-1], *(one._replace(wins=True) for one in found[-1:])]


def _paths(service: str, component: str, key: str) -> list[list[str]]:
    """Where in a layer an effective value may stand."""
    if key == "version":
        return [["versions", component]]
    if key.startswith("file."):
        return [["files", key.removeprefix("file.")]]
    parts = key.split(".")
    return [["services", service, *parts], ["components", component, *parts], parts]


def _at(layer: Entries, path: list[str]) -> tuple[Node | None, bool]:
    """What stands at a path, and whether it is secret."""
    node: Node = layer
    secret = layer.secret
    for name in path:
        part = node.get(name) if isinstance(node, Entries) else None
        if part is None:
            return None, False
        node, secret = part, secret or part.secret or is_secret_name(name)
    return node, secret or _holds_secret(node)
