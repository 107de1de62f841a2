"""Slurm's short way of writing many names of nodes: `nid[001-003,7],login01`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

# More than the largest clusters have; a list of more is an error of its writer, and would fill the memory.
_MOST = 1_000_000


def expand(text: str) -> tuple[str, ...]:
    """Every name, in the order in which they are written. Raises ValueError for what is no such list."""
    names: list[str] = []
    for item in _items(text):
        names += _expand_item(item, _MOST - len(names))
    return tuple(names)


def _items(text: str) -> Iterator[str]:
    """The parts between commas that stand outside of brackets."""
    begin, inside = 0, False
    for at, letter in enumerate(text):
        if (letter == "[" and inside) or (letter == "]" and not inside):
            raise ValueError(f"{text!r} is not a list of nodes: {letter} at {at + 1} is out of place")
        if letter in "[]":
            inside = letter == "["
        elif letter == "," and not inside:
            yield text[begin:at]
            begin = at + 1
    if inside:
        raise ValueError(f"{text!r} is not a list of nodes: ] is missing")
    yield text[begin:]


def _expand_item(item: str, room: int) -> list[str]:
    """One name, or all that its brackets stand for; there may be several pairs of them."""
    if not item or any(letter.isspace() or letter in "(){}=" for letter in item):
        raise ValueError(f"{item!r} is not the name of a node")
    head, *rest = item.split("[")
    parts: list[list[str]] = [[head]]
    count = 1
    for piece in rest:
        ranges, _, tail = piece.partition("]")
        numbers = _numbers(item, ranges, room // count)
        count *= len(numbers)
        parts += [numbers, [tail]]
    if count > room:
        raise ValueError(f"{item!r} stands for more than {_MOST} nodes")
    return ["".join(words) for words in product(*parts)]


def _numbers(item: str, ranges: str, room: int) -> list[str]:
    found: list[str] = []
    for part in ranges.split(","):
        low, dash, high = part.partition("-")
        if not _is_number(low) or (dash and not _is_number(high)) or int(high or low) < int(low):
            raise ValueError(f"{part!r} in {item!r} is not a range of numbers")
        if int(high or low) - int(low) >= room - len(found):
            raise ValueError(f"{item!r} stands for more than {_MOST} nodes")
        found += [str(number).zfill(len(low)) for number in range(int(low), int(high or low) + 1)]
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
