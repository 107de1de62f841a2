"""Lines of a unified diff in colours: what comes and goes, and the words of common configuration languages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape

from reconciler.report.clean import clean

_TOKEN = re.compile(
    r"""(?P<c>(?:^|(?<=\s))(?:\#|//|;).*$)"""
    r"""|(?P<s>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<k>(?<![\w.])[A-Za-z_][\w.-]*(?=\s*[=:]))"""
    r"""|(?P<w>\b(?:true|false|yes|no|null|export|exec|cd|if|then|else|fi|exit|include)\b)"""
    r"""|(?P<n>(?<![\w.])\d[\d.]*\b)"""
)
_KINDS = {"+": "add", "-": "del", "@": "hunk", "\\": "note"}
_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
_LONGEST = 2000  # characters of a line that are coloured; the rest is told as it is


def diff_rows(lines: Iterable[str]) -> Iterator[str]:
    """Rows of a table: the line's number before and after, its mark, its text."""
    old = new = 0
    for line in lines:
        mark, text = line[:1], line[1:]
        kind = _KINDS.get(mark, "same")
        if kind == "hunk":
            found = _HUNK.match(line)
            old, new = (int(found[1]), int(found[2])) if found else (0, 0)
            yield f'<tr class="hunk"><td></td><td></td><td colspan="2">{escape(clean(line))}</td></tr>'
            continue
        before = "" if kind in ("add", "note") else str(old)
        after = "" if kind in ("del", "note") else str(new)
        old, new = old + (before != ""), new + (after != "")
        yield (
            f'<tr class="{kind}"><td>{before}</td><td>{after}</td><td>{escape(mark.strip())}</td>'
            f"<td><code>{coloured(text)}</code></td></tr>"
        )


def coloured(text: str) -> str:
    """HTML of one line."""
    text = clean(text)
    head, rest = text[:_LONGEST], text[_LONGEST:]
    done, at = [], 0
    for match in _TOKEN.finditer(head):
        done += [escape(head[at : match.start()]), f'<i class="{match.lastgroup}">{escape(match[0])}</i>']
        at = match.end()
    return "".join([*done, escape(head[at:]), escape(rest)])
