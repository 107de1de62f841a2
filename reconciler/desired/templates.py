"""Templates: the plain ones are filled in here, Jinja2 is asked for all others.

Most strings of a layer only name a value: `{{ paths.config }}/site.conf`. Those need neither the
import of Jinja2 nor a compiled form each, which is most of the time that a thousand services take.
What is filled in here comes out as Jinja2 would have it; whatever looks different is left to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from reconciler.desired.rendering import FOLDER, MAX_RENDERED, Broken, Names

if TYPE_CHECKING:
    from reconciler.desired.jinja import Engine

_NAMED = re.compile(
    r"""\{\{[ ]*([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*|\['[^'\\{}\n]*'\]|\["[^"\\{}\n]*"\])*)[ ]*\}\}"""
)
_STEP = re.compile(r"""[A-Za-z_][A-Za-z0-9_]*|'[^']*'|"[^"]*\"""")
_WORDS = frozenset(
    [
        "true",
        "false",
        "none",
        "True",
        "False",
        "None",
        "not",
        "and",
        "or",
        "in",
        "is",
        "if",
        "else",
        "loop",
        "self",
        "super",
        "caller",
        "varargs",
        "kwargs",
    ]
)


class _Plain(NamedTuple):
    """A template without anything but names: literal texts with a path of names between each two."""

    texts: tuple[str, ...]
    paths: tuple[tuple[str, ...], ...]


class Templates:
    """The templates of one repo and the strings of its layers, each compiled once."""

    def __init__(self, tree: Mapping[str, bytes]) -> None:
        self._tree = tree
        self._plain: dict[str, _Plain | None] = {}
        self._jinja: Engine | None = None

    def string(self, source: str, names: Names) -> str:
        """A string of a layer, rendered. Raises `Broken` and `problems.Failed`."""
        filled = self._fill(source, names)
        return self._engine().string(source, names) if filled is None else filled

    def file(self, name: str, names: Names) -> str:
        """The file template of this name, rendered. Raises `Broken` and `problems.Failed`."""
        filled = self._fill(self.source(name), names)
        return self._engine().file(name, names) if filled is None else filled

    def check(self, name: str) -> None:
        """Raises `Broken` where a file template does not parse."""
        source = self.source(name)
        if self._split(source) is None:
            self._engine().check(source, name)

    @property
    def tree(self) -> Mapping[str, bytes]:
        """All files of the repo that are read."""
        return self._tree

    def __contains__(self, path: object) -> bool:
        return path in self._tree

    def known(self) -> list[str]:
        return [path.removeprefix(FOLDER) for path in self._tree if path.startswith(FOLDER)]

    def source(self, name: str) -> str:
        """The text of a file template. Raises `Broken`, and `KeyError` where there is none."""
        content = self._tree[FOLDER + name]
        if len(content) > MAX_RENDERED:
            raise Broken("the template is too large", "", FOLDER + name)
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise Broken("this line is not UTF-8", "save the file as UTF-8", FOLDER + name, line) from None

    def _engine(self) -> Engine:
        if self._jinja is None:
            from reconciler.desired.jinja import Engine

            self._jinja = Engine(self)
        return self._jinja

    def _split(self, source: str) -> _Plain | None:
        if source not in self._plain:
            self._plain[source] = _split(source)
        return self._plain[source]

    def _fill(self, source: str, names: Names) -> str | None:
        """The text, or None where it takes more than to put values in."""
        parts = self._split(source)
        if parts is None:
            return None
        done = [parts.texts[0]]
        for path, text in zip(parts.paths, parts.texts[1:], strict=True):
            found, value = _follow(path, names)
            if not found:
                return None
            done += (str(value), text)
        return "".join(done) if sum(map(len, done)) <= MAX_RENDERED else None


def _split(source: str) -> _Plain | None:
    """The parts of a template that has names only, and none of what Jinja2 treats in its own way."""
    if "\r" in source or "{%" in source or "{#" in source:
        return None
    parts = _NAMED.split(source)
    texts, expressions = tuple(parts[::2]), parts[1::2]
    # a brace before the opening ones would be read together with them
    if any("{{" in text for text in texts) or any(text.endswith("{") for text in texts[:-1]):
        return None
    paths = tuple(tuple(step.strip("'\"") for step in _STEP.findall(expression)) for expression in expressions)
    return None if any(path[0] in _WORDS for path in paths) else _Plain(texts, paths)


_MISSING = object()


def _follow(path: tuple[str, ...], names: Names) -> tuple[bool, object]:
    value = names.find(path[0], _MISSING)
    for step in path[1:]:
        if not isinstance(value, Mapping) or step not in value:
            return False, None
        value = value[step]
    return value is not _MISSING, value
