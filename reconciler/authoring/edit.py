"""Sets one version in the text of a layer, and leaves every other byte as it is: comments, quotes, order, line ends.

A YAML library that writes the whole file anew would reflow it. So it is asked only where the value stands, that token
alone is replaced, and what came out is read again: it must say what the text said before, but for that version.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from reconciler.authoring.refused import Refused, refused
from reconciler.authoring.spots import Spot, aliases, spots
from reconciler.core.problem import Origin
from reconciler.desired.nodes import Entries, Items, Node, Scalar
from reconciler.desired.problems import Problems
from reconciler.desired.schema import VERSION
from reconciler.desired.shape import is_template
from reconciler.desired.text import parse, resolve

_BOM = "\ufeff"
_STRANGE = "its versions are written in a way that cannot be edited here"


class _Text(NamedTuple):
    """A layer file, and what is to be set in it."""

    file: str
    text: str
    component: str
    version: str

    def origin(self, at: int) -> Origin:
        begin = self.text.rfind("\n", 0, at) + 1
        return Origin(self.file, self.text.count("\n", 0, at) + 1, at - begin + 1)

    def cannot(self, at: int, message: str) -> Refused:
        return refused(self.origin(at), message, f'by hand, below `versions`: `{self.component}: "{self.version}"`')

    @property
    def newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"


def set_version(content: bytes, file: str, component: str, version: str) -> bytes:
    """The layer with this version of a component. Raises `Refused` where that takes more than one edit.

    `content` is a layer as it stands in the repo, empty for a file that is not there yet.
    """
    if not re.match(VERSION, version) or version.endswith("\n"):
        hint = "letters, digits, and . _ + ! - after the first"
        raise refused("VERSION", f"`{version[:80]}` cannot be a version", hint)
    before = _parsed(content, file)
    text = content.decode()
    mark, text = (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)
    layer = _Text(file, text, component, version)
    after = (mark + _edited(layer, _document(layer))).encode()
    if said(parse(after, file, Problems())) != _expected(before, component, version):
        raise layer.cannot(0, _STRANGE)
    return after


def _document(layer: _Text) -> Spot | None:
    from ruamel.yaml.error import YAMLError

    try:
        return spots(layer.text)
    except (YAMLError, ValueError, AttributeError, NotImplementedError) as error:  # as `desired.text` has it
        raise layer.cannot(0, _STRANGE) from error


def _parsed(content: bytes, file: str) -> Entries:
    problems = Problems()
    layer = parse(content, file, problems)
    if layer is None:
        raise Refused(problems.told(1))
    return layer


def _edited(layer: _Text, root: Spot | None) -> str:
    if root is None or (root.kind == "scalar" and not root.text):
        return _appended(layer, layer.text)
    versions = root.get("versions")
    if versions is None:
        return _with_section(layer, root)
    if versions.kind == "mapping":
        value = versions.get(layer.component)
        return _added(layer, versions) if value is None else _replaced(layer, versions, value)
    if versions.kind == "scalar" and versions.start == versions.end:
        return _below(layer, next(key for key, value in root.entries if value is versions))
    raise layer.cannot(versions.start, "`versions` is not written as a mapping here")


# ---------------------------------------------------------------- a value that is there


def _replaced(layer: _Text, versions: Spot, value: Spot) -> str:
    if value.kind == "alias":
        return _spliced(layer, value.start, value.end, f'"{layer.version}"')
    if value.kind != "scalar":
        raise layer.cannot(value.start, f"the version of `{layer.component}` is no text")
    if value.anchor and value.anchor in aliases(layer.text):
        raise layer.cannot(value.start, f"`&{value.anchor}` is used elsewhere in this file, which would change with it")
    if is_template(value.text):
        message = f"the version of `{layer.component}` is worked out: {value.text.strip()[:80]}"
        raise refused(layer.origin(value.start), message, "change what that stands for")
    if value.style in ("|", ">") or "\n" in layer.text[value.start : value.end]:
        raise layer.cannot(value.start, "this version takes more than one line")
    if value.start == value.end:
        return _filled(layer, versions, value)
    return _spliced(layer, value.start, value.end, _quoted(layer.version, value.style))


def _filled(layer: _Text, versions: Spot, value: Spot) -> str:
    """A key with nothing behind it."""
    key = next(key for key, found in versions.entries if found is value)
    at = layer.text.find(":", key.end) + 1
    return _spliced(layer, at, at, f' "{layer.version}"')


def _quoted(version: str, style: str) -> str:
    """In the quotes that were there. One without any gets them: `1.10` would be read as a number."""
    quote = style or '"'
    return f"{quote}{version}{quote}"


def _spliced(layer: _Text, start: int, end: int, new: str) -> str:
    return layer.text[:start] + new + layer.text[end:]


# ---------------------------------------------------------------- a line that is not there yet


def _added(layer: _Text, versions: Spot) -> str:
    """Below the last version, written as that one is."""
    if not versions.entries:
        at = versions.start + 1
        return _spliced(layer, at, at, f'"{layer.component}": "{layer.version}"')
    key, value = versions.entries[-1]
    style = value.style if value.kind == "scalar" and value.style in ("'", '"') else '"'
    entry = f"{_key(layer.component, key.style)}: {style}{layer.version}{style}"
    if versions.flow:
        return _spliced(layer, value.end, value.end, "," + _gap(layer.text, key.start) + entry)
    if value.style in ("|", ">") or value.kind in ("mapping", "list") or value.start == value.end:
        key = versions.entries[0][0]
        at = layer.text.rfind("\n", 0, key.start) + 1
        return _spliced(layer, at, at, layer.text[at : key.start] + entry + layer.newline)
    indent = layer.text[layer.text.rfind("\n", 0, key.start) + 1 : key.start]
    return _after_line(layer, value.end, indent + entry)


def _key(name: str, style: str) -> str:
    style = style or ("" if isinstance(resolve(name), str) else '"')
    return f"{style}{name}{style}"


def _gap(text: str, at: int) -> str:
    """What stands between a key within braces and the line's begin; a blank where more than that does."""
    before = text[text.rfind("\n", 0, at) + 1 : at]
    line = "\r\n" if "\r\n" in text else "\n"
    return " " if before.strip() or "\n" not in text[:at] else line + before


def _after_line(layer: _Text, at: int, line: str) -> str:
    """A line of its own below the one that `at` is in."""
    end = layer.text.find("\n", at)
    if end < 0:
        return layer.text + layer.newline + line + layer.newline
    return _spliced(layer, end + 1, end + 1, line + layer.newline)


def _below(layer: _Text, key: Spot) -> str:
    """The first line of a section that has none."""
    indent = layer.text[layer.text.rfind("\n", 0, key.start) + 1 : key.start]
    return _after_line(layer, key.end, f'{indent}  {_key(layer.component, "")}: "{layer.version}"')


def _with_section(layer: _Text, root: Spot) -> str:
    if root.kind != "mapping" or not root.flow:
        return _appended(layer, layer.text)
    key, value = root.entries[-1] if root.entries else (root, root)
    at = value.end if root.entries else root.start + 1
    style = key.style or '"'
    entry = f'{style}versions{style}: {{{style}{layer.component}{style}: "{layer.version}"}}'
    return _spliced(layer, at, at, ("," + _gap(layer.text, key.start) if root.entries else "") + entry)


def _appended(layer: _Text, text: str) -> str:
    end = "" if not text or text.endswith("\n") else layer.newline
    line = f'  {_key(layer.component, "")}: "{layer.version}"'
    return text + end + "versions:" + layer.newline + line + layer.newline


# ---------------------------------------------------------------- what it says


Said = dict[str, "Said"] | list["Said"] | tuple[object, bool] | None


def said(node: Node | None) -> Said:
    """What a value says, and whether it is a secret; not how it is written."""
    if isinstance(node, Entries):
        return {key: said(value) for key, value in node.entries.items()}
    if isinstance(node, Items):
        return [said(item) for item in node.items]
    return (node.value, node.secret) if isinstance(node, Scalar) else None


def _expected(before: Entries, component: str, version: str) -> Said:
    layer = said(before)
    assert isinstance(layer, dict)  # noqa: S101 - a layer is a mapping
    versions = layer.get("versions")
    old = before.section("versions").get(component)
    layer["versions"] = {**(versions if isinstance(versions, dict) else {}), component: (version, _is_secret(old))}
    return layer


def _is_secret(node: Node | None) -> bool:
    return node is not None and node.secret
