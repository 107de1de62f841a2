"""Colours where a terminal is, and lines that fit it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_ESCAPE = r"\x1b\[[0-9;]*m"  # compiled where it is used: most passes print nothing


class Style(NamedTuple):
    colour: bool
    width: int  # columns; 0: lines are not folded

    def paint(self, text: str, how: str) -> str:
        if not self.colour or not how or not text:
            return text
        return f"\x1b[{_CODES[how]}m{text}\x1b[0m"

    def fold(self, text: str, indent: str) -> Iterator[str]:
        """The text in lines that fit; those after the first begin with `indent`. Colour takes no width."""
        first, *others = text.split("\n")
        yield from self._fold(first, indent)
        for line in others:
            yield from self._fold(indent + line.strip(), indent)

    def _fold(self, text: str, indent: str) -> Iterator[str]:
        if not self.width or _length(text) <= self.width:
            yield text
            return
        words = text.split(" ")
        line = words[0]
        for word in words[1:]:
            if word and line.strip() and _length(line) + 1 + _length(word) > self.width:
                yield line.rstrip()
                line = indent + word
            else:
                line += " " + word
        yield line


def _length(text: str) -> int:
    if "\x1b" not in text:
        return len(text)
    import re

    return len(re.sub(_ESCAPE, "", text))
