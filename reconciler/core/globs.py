"""Patterns of names and paths with the meaning that `find -name` and `-path` give them: fnmatch(3), without flags.

Those of Python's `fnmatch` have neither `[^a]` nor `\\[` nor `[[:digit:]]`. A pattern that protects something and means
something else protects nothing, so what has no certain meaning is refused.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ASCII = {
    "alnum": "A-Za-z0-9", "alpha": "A-Za-z", "blank": r"\t ", "cntrl": r"\x00-\x1f\x7f", "digit": "0-9",
    "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~", "space": r"\t-\r ", "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_BEYOND = frozenset(("alnum", "alpha", "graph", "lower", "print", "punct", "upper"))  # depend on the locale there
_OPEN = r"has a `[` without a `]`: for the character itself write `\[`"


class GlobError(ValueError):
    """A pattern has no certain meaning; the text says why."""


def is_of_paths(text: str) -> bool:
    """With a slash it is a pattern of paths, from the root on; else of names."""
    return "/" in text


def path_of(text: str) -> str:
    """A pattern of paths as the paths are that it is for: `./shared/` is `shared`."""
    return text.removeprefix("./").strip("/")


def compiled(text: str) -> re.Pattern[str]:
    """For `fullmatch`. Raises `GlobError`."""
    found, at = [], 0
    while at < len(text):
        char, at = text[at], at + 1
        if char == "\\":
            if at == len(text):
                raise GlobError("ends in a backslash")
            char, at = re.escape(text[at]), at + 1
        elif char == "*":
            char = ".*"
        elif char == "?":
            char = "."
        elif char == "[":
            char, at = _set(text, at)
        else:
            char = re.escape(char)
        found.append(char)
    return re.compile("".join(found), re.DOTALL)


def check(text: str) -> None:
    """Raises `GlobError`."""
    if "**" in text:
        raise GlobError("has `**`, and one star stands for slashes too")
    if is_of_paths(text) and ("//" in text or "/./" in text):
        raise GlobError("has a part that no path has")
    compiled(text)


class _Item(NamedTuple):
    """One character of a set, or a class of them, for a regular expression."""

    text: str
    end: int  # behind it
    char: str = ""  # empty: a class


def _set(text: str, at: int) -> tuple[str, int]:
    """A set whose first character, after its bracket, is at `at`, and what is behind its end."""
    negated = text[at : at + 1] in ("!", "^")
    first = at = at + negated
    found = []
    while at == first or text[at : at + 1] != "]":
        one = _item(text, at, negated=negated)
        at = one.end
        if one.char and text[at : at + 1] == "-" and text[at + 1 : at + 2] not in ("]", ""):
            last = _item(text, at + 1, negated=negated)
            if not last.char or last.char < one.char:
                raise GlobError(f"has a range that holds nothing, `{text[first:last.end]}`")
            found.append(f"{one.text}-{last.text}")
            at = last.end
        else:
            found.append(one.text)
    return f"[{'^' * negated}{''.join(found)}]", at + 1


def _item(text: str, at: int, *, negated: bool) -> _Item:
    char = text[at : at + 1]
    kind = text[at + 1 : at + 2]
    if char == "[" and kind in (":", ".", "="):
        end = text.find(f"{kind}]", at + 2)
        if end < 0:
            raise GlobError(_OPEN)
        return _Item(_class(text[at : end + 2], negated=negated), end + 2)
    if char == "\\":
        at, char = at + 1, kind
    if not char:
        raise GlobError(_OPEN)
    return _Item(re.escape(char), at + 1, char)


def _class(text: str, *, negated: bool) -> str:
    """What it has beyond ASCII depends on the locale: more stays rather than less."""
    name = text[2:-2]
    if not text.startswith("[:") or name not in _ASCII:
        raise GlobError(f"has `{text}`, which is no class of characters")
    return _ASCII[name] + (r"\x80-\U0010ffff" if name in _BEYOND and not negated else "")
