"""The text of a layer with services that were found: what stands there already keeps every letter. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_STEP = 2  # blanks


class CannotAdd(Exception):  # noqa: N818 - it says what is so
    """The layer has what would be added, or is written in a way that nothing can be added to."""


class Entry(NamedTuple):
    """One service for the layer."""

    name: str
    values: Mapping[str, object]  # texts, numbers, truth values, null, mappings of these
    comments: tuple[str, ...] = ()


class Parts(NamedTuple):
    """All that is added, by the key at the top level."""

    versions: Mapping[str, str]
    components: Mapping[str, object]
    services: tuple[Entry, ...]
    paths: Mapping[str, str] = {}


def added(text: str, parts: Parts) -> str:
    """The layer with these parts. Raises `CannotAdd`; what it gives was read again, and is what was meant."""
    before = _load(text)
    clash = sorted(
        f"{key}.{name}"
        for key, names in _names(parts).items()
        for name in names
        if isinstance(before.get(key), dict) and name in before[key]
    )
    if clash:
        raise CannotAdd(f"it has {', '.join(clash)} already")
    if "\r" in text:
        raise CannotAdd("its lines end as on Windows")
    lines = text.removesuffix("\n").split("\n") if text else []
    for key, block in _blocks(parts).items():
        lines = _insert(lines, key, block)
    new = "\n".join(lines).lstrip("\n") + "\n"
    after = _load(new)
    wanted = dict(before)
    for key, values in _values(parts).items():
        wanted[key] = {**(before.get(key) or {}), **values}
    if after != wanted:
        raise CannotAdd("it is written in a way that nothing can be added to")
    return new


def _names(parts: Parts) -> dict[str, list[str]]:
    return {key: list(values) for key, values in _values(parts).items()}


def _values(parts: Parts) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {
        "paths": dict(parts.paths),
        "versions": dict(parts.versions),
        "components": dict(parts.components),
        "services": {entry.name: dict(entry.values) for entry in parts.services},
    }
    return {key: values for key, values in found.items() if values}


def _blocks(parts: Parts) -> dict[str, list[str]]:
    """The lines below each key, from the first column on."""
    found = {
        "paths": list(_mapping(parts.paths, 0)),
        "versions": [f"{_key(name)}: {quoted(version)}" for name, version in parts.versions.items()],
        "components": list(_mapping(parts.components, 0)),
        "services": [line for entry in parts.services for line in _service(entry)],
    }
    return {key: lines for key, lines in found.items() if lines}


def _service(entry: Entry) -> Iterator[str]:
    yield from (f"# {comment}" for comment in entry.comments)
    yield from _mapping({entry.name: entry.values}, 0)


def _mapping(values: Mapping[str, object], depth: int) -> Iterator[str]:
    blank = " " * depth
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield f"{blank}{_key(key)}:" + ("" if value else " {}")
            yield from _mapping(value, depth + _STEP)
        else:
            yield f"{blank}{_key(key)}: {_scalar(value)}"


def _key(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else quoted(text)


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return str(value) if isinstance(value, int) else _key(str(value))


def quoted(text: str) -> str:
    """In double quotes, on one line, whatever it contains."""
    return '"' + "".join(map(_character, text)) + '"'


def _character(one: str) -> str:
    if one in _ESCAPES:
        return _ESCAPES[one]
    if one.isprintable():
        return one
    number = ord(one)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


# ---------------------------------------------------------------- what is there already


def names(text: str) -> dict[str, set[str]]:
    """By key at the top level, the names that a layer has. Raises `CannotAdd`."""
    return {str(key): set(map(str, value)) for key, value in _load(text).items() if isinstance(value, dict)}


def service_at(text: str, line: int) -> str:
    """The service that a line, counted from 1, is part of; empty where it is none's."""
    from ruamel.yaml import YAML

    root = YAML(typ="safe", pure=True).compose(_untagged(text))
    for key, value in root.value if root is not None else ():
        if key.value == "services" and isinstance(value.value, list):
            begun = [name.value for name, _ in value.value if name.start_mark.line < line]
            if begun and line <= value.end_mark.line + 1:
                return str(begun[-1])
    return ""


def _load(text: str) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        found = YAML(typ="safe", pure=True).load(_untagged(text))
    except YAMLError as error:
        raise CannotAdd(f"it is no YAML: {str(error).partition(chr(10))[0]}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise CannotAdd("it is no mapping")
    return found


def _untagged(text: str) -> str:
    """`!secret` means nothing to whoever only compares."""
    return re.sub(r"(?<=[:\s])!secret(?=\s)", "       ", text)


def _insert(lines: Sequence[str], key: str, block: Sequence[str]) -> list[str]:
    """Below the last line of what this key has; a key that is not there comes last."""
    from ruamel.yaml import YAML

    root = YAML(typ="safe", pure=True).compose(_untagged("\n".join(lines) + "\n"))
    for name, value in getattr(root, "value", ()) if root is not None else ():
        if name.value == key:
            children = value.value if isinstance(value.value, list) else []
            if not children or getattr(value, "flow_style", False):
                raise CannotAdd(f"its `{key}` is not written as a block, one entry to a line")
            at, end = children[0][0].start_mark.column, value.end_mark.line
            while end and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
                end -= 1
            return [*lines[:end], *_indented(block, at), *lines[end:]]
    gap = [""] if any(line.strip() for line in lines) else []
    return [*lines, *gap, f"{key}:", *_indented(block, _STEP)]


def _indented(block: Sequence[str], blanks: int) -> list[str]:
    return [" " * blanks + line for line in block]
