"""Reads the keys of one mapping of the merged layers, each evaluated and of the right type."""

from __future__ import annotations

import re
from collections.abc import Iterator

from reconciler.core.problem import Origin
from reconciler.desired.nodes import Entries, Items, Node, Scalar
from reconciler.desired.problems import ORIGIN_DEFAULT, Failed, Problems
from reconciler.desired.schema import VARIABLE, Key
from reconciler.desired.scope import Evaluator, Got, Scope
from reconciler.desired.shape import choice, is_secret_name, is_template
from reconciler.desired.text import forbidden

MAX_PORT = 65535
_INTEGER = re.compile(r"\s*-?[0-9]{1,18}\s*")
_FLAGS = {"true": True, "false": False}


class Reader:
    """One mapping, such as a service. What cannot be had counts as missing, and `sound` turns false.

    The shape of every layer has been checked before: a node of the wrong kind has been told of.
    """

    def __init__(self, node: Entries, label: str, scope: Scope, evaluator: Evaluator, problems: Problems) -> None:
        self.node = node
        self.label = label
        self.scope = scope
        self.sound = True
        self._evaluator = evaluator
        self._problems = problems

    @property
    def tools(self) -> tuple[Evaluator, Problems]:
        """What a reader of an inner mapping needs."""
        return self._evaluator, self._problems

    def tell(self, origin: Origin, message: str, hint: str = "", *, rule: str = "") -> None:
        """Tell a problem of this mapping; it is no longer sound."""
        self.sound = False
        self._problems.add(origin, message, hint, rule=rule)

    def is_text(self, key: str) -> bool:
        """Whether it is written as text, or as nothing; that a number is none has been told of its layer."""
        node = self.node.entries.get(key)
        return isinstance(node, Scalar) and isinstance(node.value, str | None)

    def text(self, key: str, default: str = "", *, private: bool = False) -> Got:
        """A string. `private`: it goes where a secret may be."""
        node = self.node.entries.get(key)
        if node is None:
            return Got(default, ORIGIN_DEFAULT)
        return self.string(node, key, private=private) or Got(default, node.origin)

    def string(self, node: Node, key: str, *, private: bool = False, secret: bool = False) -> Got | None:
        """What a node says, as text; None where that cannot be had."""
        if not isinstance(node, Scalar):
            self.sound = False
            return None
        try:
            got = self._evaluator.text(node, self.scope, f"{self.label}.{key}", secret=secret)
        except Failed:
            self.sound = False
            return None
        if got.secret and not private:
            message = f"`{key}` of {self.label} holds a secret, which would show in the process list and in reports"
            self.tell(got.origin, message, "put the secret into `env` or into a file")
            return None
        if found := forbidden(got.text):
            self.tell(got.origin, f"`{key}` of {self.label} holds the control character U+{ord(found[0]):04X}")
            return None
        return got

    def word(self, key: str, known: Key, default: str) -> Got:
        """One of a closed set of words; empty where it is none of them."""
        got = self.text(key, default)
        if got.value and not choice(self._problems, got.origin, key, got.text, known):
            self.sound = False
            return Got("", got.origin)
        return got

    def name(self, key: str, pattern: str, default: str) -> Got:
        """A word that can be a name; empty where it cannot."""
        got = self.text(key, default)
        if got.origin == ORIGIN_DEFAULT or (got.value and re.match(pattern, got.text) and not got.text.endswith("\n")):
            return got
        if self.sound:
            self.tell(
                got.origin, f"`{key}` of {self.label} is no usable name", "letters, digits, and . _ - after the first"
            )
        return Got("", got.origin)

    def number(self, key: str, default: int, minimum: int = 0) -> Got:
        """A whole number; `default` where it is missing or none."""
        node = self.node.entries.get(key)
        if node is None:
            return Got(default, ORIGIN_DEFAULT)
        got = self.integer(node, key, minimum)
        return got or Got(default, node.origin)

    def integer(self, node: Node, key: str, minimum: int, *, private: bool = False) -> Got | None:
        """What a node says, as a number, also where it is a template that gives one."""
        if isinstance(node, Scalar) and isinstance(node.value, int) and not isinstance(node.value, bool):
            self.sound = self.sound and node.value >= minimum
            return Got(node.value, node.origin, node.secret) if node.value >= minimum else None
        if not isinstance(node, Scalar) or not is_template(node.text):
            self.sound = False
            return None
        got = self.string(node, key, private=private)
        if got is None:
            return None
        if not _INTEGER.fullmatch(got.text) or int(got.text) < minimum:
            shown = "" if got.secret else f": it gives `{got.text[:80]}`"
            message = f"`{key}` of {self.label} must be a whole number, {minimum} or more{shown}"
            self.tell(got.origin, message, "look at the vars that it uses", rule=f"number {key}")
            return None
        return got._replace(value=int(got.text))

    def flag(self, key: str, *, default: bool) -> Got:
        """true or false, also where it is a template that gives one."""
        node = self.node.entries.get(key)
        if node is None:
            return Got(default, ORIGIN_DEFAULT)
        return self.truth(node, key) or Got(default, node.origin)

    def truth(self, node: Node, key: str) -> Got | None:
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return Got(node.value, node.origin, node.secret)
        if not isinstance(node, Scalar) or not is_template(node.text):
            self.sound = False
            return None
        got = self.string(node, key)
        if got is None:
            return None
        value = _FLAGS.get(got.text.strip().lower())
        if value is None:
            message = f"`{key}` of {self.label} must be true or false: it gives `{got.text[:80]}`"
            self.tell(got.origin, message, "look at the vars that it uses", rule=f"flag {key}")
            return None
        return got._replace(value=value)

    def names(self, key: str) -> list[Got]:
        """The words of a list, in order and each once."""
        node = self.node.entries.get(key)
        found: dict[str, Got] = {}
        for item in node.items if isinstance(node, Items) else ():
            if got := self.string(item, key):
                found.setdefault(got.text, got)
        return list(found.values())

    def words(self, key: str) -> list[Got]:
        """One text, or those of a list."""
        node = self.node.entries.get(key)
        if not isinstance(node, Scalar):
            return self.names(key)
        got = self.string(node, key)
        return [got] if got else []

    def ports(self, key: str) -> dict[str, Got]:
        """Ports by name; those of a plain list by their place in it."""
        node = self.node.entries.get(key)
        found = {}
        for name, item in parts(node):
            got = self.integer(item, key, 1)
            if got and isinstance(got.value, int) and got.value > MAX_PORT:
                self.tell(
                    got.origin, f"`{key}` of {self.label}: there is no port {got.value}", f"{MAX_PORT} is the last one"
                )
            elif got:
                found[name] = got
        return found

    def texts(self, key: str) -> dict[str, Got]:
        """Strings by names that the author chose."""
        node = self.node.entries.get(key)
        named = node.entries.items() if isinstance(node, Entries) else ()
        found = {name: self.string(item, f"{key}.{name}") for name, item in named}
        return {name: got for name, got in found.items() if got is not None}

    def env(self, key: str) -> dict[str, Got]:
        """Variables by name. Secrets may be among them."""
        node = self.node.entries.get(key)
        found = {}
        for name, item in node.entries.items() if isinstance(node, Entries) else ():
            got = self.string(item, f"{key}.{name}", private=True, secret=is_secret_name(name))
            if got and re.fullmatch(VARIABLE, name):
                found[name] = got
            else:
                self.sound = False
        return found

    def origin(self, key: str) -> Origin:
        """Where a key stands; of a missing one, that it is a default."""
        node = self.node.entries.get(key)
        return node.origin if node is not None else ORIGIN_DEFAULT

    def place(self, key: str) -> Origin:
        """The best place to point at where a key is missing: the mapping itself."""
        return self.node.places.get(key, self.node.origin)


def parts(node: Node | None) -> Iterator[tuple[str, Node]]:
    """The items of a list by their place in it, or of a mapping by their names."""
    if isinstance(node, Items):
        yield from ((str(index), item) for index, item in enumerate(node.items))
    elif isinstance(node, Entries):
        yield from node.entries.items()
