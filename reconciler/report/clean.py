"""Texts of others made harmless: what a terminal, a page or a comment would take for more than text."""

from __future__ import annotations

import re

# Control characters (of both sets), and those that turn the direction of a text around or hide in it.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def clean(text: str) -> str:
    """With an escape in place of each; tabs and line ends stay."""
    return _CONTROL.sub(_escaped, text)


def one_line(text: str) -> str:
    return clean(" ".join(text.split()))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
