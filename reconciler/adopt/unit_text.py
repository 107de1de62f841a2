"""Unit files as systemd reads them, as far as a program, its words and its variables go. Pure.

systemd.syntax(7), systemd.service(5): what is not understood here raises `Odd`, and nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", '"': '"', "'": "'", "s": " ",
}  # fmt: skip
_NUMBERS = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}
_BLANK = " \t\n\r"

Sections = Mapping[str, Mapping[str, list[str]]]  # by section and key, all values in their order


class Odd(Exception):  # noqa: N818 - it says what is so
    """Something that is not understood here; the text says what, without any value."""


def sections(text: str) -> Sections:
    """Of a file and its drop-ins one after the other, as `systemctl cat` prints them. An empty value begins anew."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in _joined(text):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            continue
        key, equals, value = line.partition("=")
        if not equals:
            continue
        values = found.setdefault(section, {}).setdefault(key.strip(), [])
        if value.strip():
            values.append(value.strip())
        else:
            values.clear()
    return {name: {key: values for key, values in keys.items() if values} for name, keys in found.items()}


def _joined(text: str) -> Iterator[str]:
    """Lines without comments; one that ends with a backslash goes on in the next."""
    begun = ""
    for line in text.split("\n"):
        if line.lstrip()[:1] in ("#", ";"):
            continue
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        if (begun + line).strip():
            yield (begun + line).strip()
        begun = ""
    if begun.strip():
        yield begun.strip()


def split(text: str) -> list[str]:
    """The words of a value. Raises `Odd`."""
    words: list[str] = []
    at, word, quote = 0, None, ""
    while at < len(text):
        one = text[at]
        at += 1
        if one == "\\":
            piece, at = _escape(text, at)
            word = (word or "") + piece
        elif quote:
            word, quote = (word or "", "") if one == quote else ((word or "") + one, quote)
        elif one in "\"'":
            word, quote = word or "", one
        elif one in _BLANK:
            words += [word] if word is not None else []
            word = None
        else:
            word = (word or "") + one
    if quote:
        raise Odd("has a quote without its end")
    return [*words, *([word] if word is not None else [])]


def _escape(text: str, at: int) -> tuple[str, int]:
    kind = text[at : at + 1]
    if kind in _ESCAPES and kind:
        return _ESCAPES[kind], at + 1
    digits, base = _NUMBERS.get(kind, (3, 8))
    start = at + 1 if kind in _NUMBERS else at
    number = text[start : start + digits]
    if not re.fullmatch(r"[0-9A-Fa-f]+" if base == 16 else r"[0-7]+", number) or len(number) != digits:
        raise Odd("has a backslash that means nothing")
    if int(number, base) == 0 or (kind not in ("u", "U") and int(number, base) > 0x7F):
        raise Odd("has a byte that is no text")
    return chr(int(number, base)), start + digits


def specified(text: str, meanings: Mapping[str, str]) -> str:
    """With its specifiers (`%h`) replaced. Raises `Odd` for one that is not among them."""

    def meaning(found: re.Match[str]) -> str:
        if found[1] not in meanings:
            raise Odd(f"uses the specifier %{found[1]}")
        return meanings[found[1]]

    return re.sub(r"%(.?)", meaning, text, flags=re.DOTALL)


def command(values: Sequence[str], meanings: Mapping[str, str]) -> tuple[list[str], bool]:
    """The words of the one program, and whether variables are expanded in them. Raises `Odd`."""
    if len(values) != 1:
        raise Odd("has not one ExecStart= but several" if values else "has no ExecStart=")
    expands, text = True, values[0]
    while text[:1] in ("-", ":", "@", "+", "!", "|"):
        if text[0] not in "-:":
            raise Odd(f"its ExecStart= begins with {text[0]}")
        expands, text = expands and text[0] != ":", text[1:]
    words = [specified(word, meanings) for word in split(text)]
    if ";" in words:
        raise Odd("its ExecStart= has several commands")
    return words, expands


def expanded(words: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """The arguments with variables in them replaced; never in the program itself. Raises `Odd`."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        if found[1] not in variables:
            raise Odd(f"its ExecStart= uses the variable {found[1]}, which it does not set")
        return variables[found[1]]

    if any(re.fullmatch(r"\$[A-Za-z_]\w*", word) for word in words[1:]):
        raise Odd("its ExecStart= has a variable as a word of its own, which may become several")
    return [*words[:1], *(re.sub(r"\$\$|\$\{([A-Za-z_]\w*)\}", value, word) for word in words[1:])]


def seconds(text: str) -> float | None:
    """A time as systemd prints it, "1min 30s"; None for what is none, such as "infinity"."""
    units = {"us": 1e-6, "ms": 1e-3, "s": 1, "sec": 1, "": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    parts = re.findall(r"([0-9.]+)\s*([a-z]*)", text)
    if not parts or re.sub(r"[0-9.]+\s*[a-z]*|\s", "", text) or any(unit not in units for _, unit in parts):
        return None
    return sum(float(number) * units[unit] for number, unit in parts)
