"""The effective values of a service, and where each is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.report.style import Style


def explain_text(service: str, fields: Mapping[str, Any], style: Style) -> str:
    lines = [style.paint(service, "bold")]
    width = max((len(key) for key in fields), default=0)
    for key, field in fields.items():
        place = str(field.origin) if field.origin.line else field.origin.file
        value = field.value if isinstance(field.value, str) else _plain(field.value)
        shown = value.strip().replace("\n", "\n" + " " * (width + 4)) or "''"
        lines.append(f"  {style.paint(f'{key:<{width}}', 'dim')}  {shown}")
        lines.append(" " * (width + 4) + style.paint(place, "dim"))
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    from json import dumps

    return dumps(value, ensure_ascii=False)
