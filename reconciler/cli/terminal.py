"""What standard output can show."""

from __future__ import annotations

import os
import sys
from typing import Any

from reconciler.report.style import Style


def style() -> Style:
    """Colours and a width where a terminal is, neither where it is not. NO_COLOR is respected."""
    if not sys.stdout.isatty():
        return Style(colour=False, width=0)
    try:
        width = os.get_terminal_size(1).columns
    except OSError:
        width = 80
    return Style(colour=likes_colour(), width=max(width, 40))


def likes_colour() -> bool:
    """What the person says, wherever it is shown."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def json_line(data: Any) -> str:
    """On one line, for what is printed part by part."""
    from json import dumps

    return dumps(data, ensure_ascii=sys.stdout.encoding.lower() != "utf-8")


def print_json(data: Any) -> None:
    from json import dumps

    # Elsewhere a character may be written as Python does, which JSON does not read.
    print(dumps(data, indent=2, ensure_ascii=sys.stdout.encoding.lower() != "utf-8"))
