"""Whether one layer file is shaped as the table in `schema` says: knows no other file, and evaluates nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping

from reconciler.core.problem import Origin
from reconciler.desired.nodes import Entries, Items, Node, Scalar, empty
from reconciler.desired.problems import Problems, suggest
from reconciler.desired.schema import (
    LAYER,
    MODE,
    PERCENT,
    SPAN,
    Key,
    Kind,
    launcher_options,
)
from reconciler.launchers.base import Option

# In scope everywhere, or a word of the template language: a var of this name could never be reached.
RESERVED = frozenset(
    [
        "site",
        "environment",
        "host",
        "account",
        "paths",
        "versions",
        "files",
        "service",
        "component",
        "version",
        "range",
        "dict",
        "cycler",
        "joiner",
        "namespace",
        "true",
        "false",
        "none",
        "not",
        "and",
        "or",
        "in",
        "is",
        "if",
        "else",
        "loop",
        "self",
    ]
)


def is_template(text: str) -> bool:
    """Whether a text must be evaluated; all others are what they say."""
    return "{" in text and ("{{" in text or "{%" in text or "{#" in text)


_SECRET = re.compile(r"(password|secret|token|key)$", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether what is called so is never shown."""
    return _SECRET.search(name) is not None


def check(layer: Entries, problems: Problems, *, of_site: bool) -> None:
    """Tell everything that is wrong with the shape of a layer. `of_site`: it is `sites/SITE.yaml`."""
    _Checker(problems).mapping(layer, LAYER, "")
    if not of_site and (place := layer.places.get("environments")):
        problems.add(place, "`environments` belongs into desired/sites/SITE.yaml", "move it there")
    if variables := layer.get("vars"):
        _reserved(variables, problems)


def _reserved(variables: Node, problems: Problems) -> None:
    if isinstance(variables, Entries):
        for name in variables.entries.keys() & RESERVED:
            message = f"a var cannot be called `{name}`: that name already means something"
            problems.add(variables.places[name], message, f"call it `my_{name}`")
_REFERENCE = "a reference to a secret has one of `file`, `env`, `command`, `age` or `sops`"


class _Checker:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def mapping(self, node: Node, key: Key, name: str) -> None:
        if not isinstance(node, Entries):
            if not empty(node):  # null takes the key away
                self._wrong(node, name, "a mapping", "write `key: value` lines below it")
        elif key.kind is Kind.OPEN:
            self._open(node, key)
        elif key.kind is Kind.OPTIONS:
            self._options(node, launcher_options(name, key.options), name)
        else:
            self._closed(node, key)

    def _closed(self, node: Entries, key: Key) -> None:
        for name, value in node.entries.items():
            known = key.keys.get(name)
            if known is None:
                self._unknown(node.places[name], name, key.keys)
            else:
                self._value(value, known, name)

    def _unknown(self, place: Origin, name: str, known: Mapping[str, Key]) -> None:
        below = [f"`{section}`" for section, key in known.items() if key.kind is Kind.CLOSED and name in key.keys]
        hint = f"it belongs below {' or '.join(below)}" if below else suggest(name, known)
        self._problems.add(place, f"unknown key `{name[:80]}`", hint)

    def _open(self, node: Entries, key: Key) -> None:
        if key.each is None:
            return
        for name, value in node.entries.items():
            if not re.search(key.names, name, re.DOTALL) or name.endswith("\n"):
                hint = (
                    "letters, digits and _" if "._" not in key.names else "letters, digits, and . _ - after the first"
                )
                self._problems.add(node.places[name], f"`{name[:80]}` is no usable name", hint)
            self._value(value, key.each, name)

    def _value(self, node: Node, key: Key, name: str) -> None:
        if key.kind in (Kind.CLOSED, Kind.OPEN, Kind.OPTIONS):
            self.mapping(node, key, name)
        elif key.kind is not Kind.ANYTHING and not empty(node):
            getattr(self, "_" + key.kind.value)(node, key, name)

    def _wrong(self, node: Node, name: str, wanted: str, hint: str) -> None:
        self._problems.add(node.origin, f"`{name}` must be {wanted}, this is {node.kind}", hint)

    def _text(self, node: Node, key: Key, name: str) -> None:
        if not isinstance(node, Scalar):
            self._wrong(node, name, "text", "write it in one string")
        elif not isinstance(node.value, str) and node.text not in key.choices:
            hint = f"write it with a unit: {key.example}" if key.example else _quote(node, name)
            self._wrong(node, name, "text", hint)
        elif key.choices and not is_template(node.text):
            choice(self._problems, node.origin, name, node.text, key)

    def _version(self, node: Node, _key: Key, name: str) -> None:
        if not isinstance(node, Scalar):
            self._wrong(node, name, "a quoted string", 'such as "1.10"')
        elif not node.quoted and not empty(node):
            message = f"the version of `{name}` is not quoted"
            if not isinstance(node.value, str):
                message += f": as {node.kind} it reads {node.value!r}"
            self._problems.add(node.origin, message, _quote(node, name))

    def _mode(self, node: Node, _key: Key, name: str) -> None:
        if not isinstance(node, Scalar):
            self._wrong(node, name, "a quoted octal number", 'such as "0640"')
        elif not node.quoted:
            self._problems.add(node.origin, f"`{name}` must be quoted, or it is not read as octal", _quote(node, name))
        elif not is_template(node.text) and not re.fullmatch(MODE, node.text):
            self._problems.add(node.origin, f"`{name}` is no octal number of three digits", 'such as "0640"')

    def _scalar(self, node: Node, _key: Key, name: str) -> None:
        if not isinstance(node, Scalar):
            self._wrong(node, name, "one value", _REFERENCE if node.secret else "write it in one string")

    def _number(self, node: Node, key: Key, name: str) -> None:
        if not isinstance(node, Scalar) or not (_is_number(node) or _templated(node)):
            self._wrong(node, name, "a whole number", _unquote(node))
        elif isinstance(node.value, int) and node.value < key.minimum:
            self._problems.add(node.origin, f"`{name}` cannot be below {key.minimum}", "")

    def _flag(self, node: Node, _key: Key, name: str) -> None:
        if not isinstance(node, Scalar) or not (isinstance(node.value, bool) or _templated(node)):
            self._wrong(node, name, "true or false", "write `true` or `false`, without quotes")

    def _limit(self, node: Node, _key: Key, name: str) -> None:
        good = isinstance(node, Scalar) and ((_is_number(node) and not node.text.startswith("-")) or _templated(node))
        if not good and not (isinstance(node, Scalar) and re.fullmatch(PERCENT, node.text)):
            self._wrong(node, name, "a number or a percentage", 'such as 3 or "30%"')

    def _span(self, node: Node, _key: Key, name: str) -> None:
        good = isinstance(node, Scalar) and (_templated(node) or re.fullmatch(SPAN, node.text))
        if not good:
            self._wrong(node, name, "a length of time", "write 90s, 30m, 8h or 2d")

    def _names(self, node: Node, _key: Key, name: str) -> None:
        if not isinstance(node, Items):
            self._wrong(node, name, "a list of names", f"write `{name}: [one, two]`")
            return
        for item in node.items:
            if not isinstance(item, Scalar) or not isinstance(item.value, str):
                self._wrong(item, name, "a list of names", "each of them is text")

    def _words(self, node: Node, key: Key, name: str) -> None:
        if isinstance(node, Items):
            self._names(node, key, name)
        elif not isinstance(node, Scalar) or not isinstance(node.value, str):
            self._wrong(node, name, "text, or a list of texts", f"write `{name}: one` or `{name}: [one, two]`")

    def _ports(self, node: Node, key: Key, name: str) -> None:
        if isinstance(node, (Items, Entries)):
            for port in node.items if isinstance(node, Items) else node.entries.values():
                self._number(port, key, name)
        else:
            self._wrong(node, name, "a list of ports", f"write `{name}: [5672]`")

    def _options(self, node: Entries, known: object, launcher: str) -> None:
        options: dict[str, Option] = dict(known) if isinstance(known, dict) else {}
        for name, value in node.entries.items():
            option = options.get(name)
            if option is None:
                hint = suggest(name, options, otherwise="" if options else f"{launcher} takes none here")
                self._problems.add(node.places[name], f"unknown key `{name[:80]}` of {launcher}", hint)
            elif not empty(value):
                self._option(value, option, name)

    def _option(self, node: Node, option: Option, name: str) -> None:
        if option.type is bool:
            self._flag(node, Key(Kind.FLAG, ""), name)
        elif option.type is int:
            self._number(node, Key(Kind.NUMBER, "", minimum=option.minimum or 0), name)
        else:
            self._text(node, Key(Kind.TEXT, "", choices=option.choices), name)


def choice(problems: Problems, origin: Origin, name: str, word: str, key: Key) -> bool:
    """Whether a word is one of a closed set; tells where it is not."""
    if word in key.choices:
        return True
    problems.add(origin, f"unknown {name} `{word[:80]}`", suggest(word, key.choices))
    return False


def _is_number(node: Scalar) -> bool:
    return isinstance(node.value, int) and not isinstance(node.value, bool)


def _templated(node: Scalar) -> bool:
    return isinstance(node.value, str) and is_template(node.text)


def _quote(node: Scalar, name: str) -> str:
    if node.secret or is_secret_name(name):
        return "put it in quotes"
    return f'put it in quotes: "{node.text[:80]}"'


def _unquote(node: Node) -> str:
    if isinstance(node, Scalar) and node.quoted and node.text.lstrip("-").isdigit():
        return "write it without quotes"
    return "write digits only"
