"""What rendering is made of, whoever renders: the names, the sources, the limits, and what can go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

FOLDER = "templates/"
MAX_RENDERED = 4 << 20  # characters


class Names(Protocol):
    """What a template may use, see `scope.Scope`."""

    def find(self, name: str, default: object = None) -> object: ...

    def names(self) -> set[str]: ...


class Broken(Exception):  # noqa: N818 - it says what became of the template
    """A template that does not parse or cannot be rendered. `file` is empty for a string of a layer.

    `quotes`: the message may repeat values that the template used.
    """

    def __init__(self, message: str, hint: str = "", file: str = "", line: int = 0, *, quotes: bool = True) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.file = file
        self.line = line
        self.quotes = quotes


class Sources(Protocol):
    """Where file templates come from, see `templates.Templates`."""

    def source(self, name: str) -> str: ...

    def known(self) -> list[str]: ...


def plain(value: object) -> object:
    """A value without anything lazy left in it."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value
