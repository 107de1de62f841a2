"""A page of the manual for a terminal: the Markdown that it is written in, folded to a width. Pure.

Knows what the pages use: headings, paragraphs, lists, tables, fenced code, links and bold words. A table becomes a list
of its rows, since few of them fit side by side into 80 columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from reconciler.report.style import Style

_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_BOLD = re.compile(r"\*\*([^*]+)\*\*")
_BETWEEN_CELLS = re.compile(r"(?<!\\)\|")
_WIDEST = 100  # longer lines are hard to read, however wide the terminal is
_FENCE = "```"


def title(page: str) -> str:
    """Its first line, without the marks."""
    return page.partition("\n")[0].lstrip("# ").strip()


def sections(page: str) -> tuple[str, ...]:
    """The titles of its parts, in order."""
    return tuple(_plain(block[0].lstrip("# ")) for block in _blocks(page) if block[0].startswith("## "))


def rendered(page: str, style: Style) -> str:
    """The page as text that ends in a line break."""
    style = style._replace(width=min(style.width or 80, _WIDEST))
    return "\n".join(line for block in _blocks(page) for line in _shown(block, style)) + "\n"


def _blocks(page: str) -> Iterator[list[str]]:
    """Lines that belong together: a fence with what is in it, a table, an item of a list, a paragraph, a blank line."""
    block: list[str] = []
    for line in page.splitlines():
        if block and not _belongs(line, block):
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _belongs(line: str, block: list[str]) -> bool:
    first = block[0]
    if first.startswith(_FENCE):
        return len(block) == 1 or block[-1] != _FENCE
    if first.startswith("|"):
        return line.startswith("|")
    return bool(first) and not first.startswith("#") and bool(line) and not line.startswith((_FENCE, "#", "|", "- "))


def _shown(block: list[str], style: Style) -> Iterator[str]:
    first = block[0]
    if first.startswith(_FENCE):
        yield from (f"    {line}".rstrip() for line in block[1:-1])
    elif first.startswith("#"):
        yield style.paint(_plain(first.lstrip("# ")), "bold")
    elif first.startswith("|"):
        yield from _rows(block, style)
    else:
        yield from style.fold(_plain(" ".join(map(str.strip, block))), "  " if first.startswith("- ") else "")


def _rows(table: list[str], style: Style) -> Iterator[str]:
    """The heading of a table is left out: what the columns are can be seen."""
    for line in table[2:]:
        *names, text = (cell.strip().replace("\\|", "|") for cell in _BETWEEN_CELLS.split(line.strip()[1:-1]))
        head = "  ".join(_plain(name) for name in names if name)
        if head:
            yield from style.fold(f"  {style.paint(head, 'bold')}", "    ")
        if text:
            yield from style.fold(f"      {_plain(text)}", "      ")


def _plain(text: str) -> str:
    """Without the marks of links and of bold words. An address is kept where it leads outside."""
    text = _LINK.sub(lambda link: f"{link[1]} <{link[2]}>" if "://" in link[2] else link[1], text)
    return _BOLD.sub(r"\1", text)
