"""Tells the story: 80 columns, colours where a terminal is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from textwrap import fill

from reconciler.report.style import Style

_WIDTH = 79


class Narrator:
    """Writes to standard output. Everything is flushed: what a command prints comes after what announced it."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._chapter = 0

    def chapter(self, title: str) -> None:
        self._chapter += 1
        self._line("\n")
        self._line(self._style.paint(f"{self._chapter}. {title}", "bold"))
        self._line(self._style.paint("-" * _WIDTH, "dim"))

    def say(self, text: str) -> None:
        """A paragraph, set off from what a command has printed."""
        self._line()
        self._line(fill(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False))

    def command(self, line: str) -> None:
        self._line()
        self._line(self._style.paint("$ ", "green") + self._style.paint(line, "bold"))

    def ended(self, code: int, meaning: str, seconds: float) -> None:
        words = f"exit status {code}" + (f": {meaning}" if meaning else "")
        self._line(self._style.paint(f"[{words}; {seconds:.1f} s]", "dim"))

    def lines(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._line(f"  {line}")

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """The first row is the heading."""
        self._line()
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for number, row in enumerate(rows):
            line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            self._line("  " + self._style.paint(line, "" if number else "dim"))

    def _line(self, text: str = "") -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
