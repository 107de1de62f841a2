"""The effective values of a service, what each layer says on them, and who wrote it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from reconciler.core.desired import Field
from reconciler.core.problem import Origin
from reconciler.core.review import Who
from reconciler.report.clean import clean, one_line
from reconciler.report.style import Style

_DATE = 10  # characters
_AUTHOR = 16


class Said(Protocol):
    """What one layer says; None takes the key away."""

    @property
    def text(self) -> str | None: ...
    @property
    def origin(self) -> Origin: ...
    @property
    def wins(self) -> bool: ...


def explain_text(
    heading: str,
    fields: Mapping[str, Field],
    layers: Mapping[str, list[Any]],
    style: Style,
    *,
    whole: bool = False,
) -> str:
    """`whole`: what every layer says; else only where several say something."""
    lines = [style.paint(heading, "bold")]
    width = max((len(key) for key in fields), default=0)
    indent = " " * (width + 4)
    for key, field in fields.items():
        shown = clean(_value(field)).strip().replace("\n", "\n" + indent) or "''"
        lines.append(f"  {style.paint(f'{key:<{width}}', 'dim')}  {shown}")
        lines.append(indent + style.paint(str(field.origin), "dim"))
        told = layers.get(key, [])
        if len(told) > 1 or (whole and told):
            lines += _layers(told, indent, style)
    return "\n".join(lines) + "\n"


def _layers(told: list[Said], indent: str, style: Style) -> Iterator[str]:
    """The strongest first, as it wins; those below are overruled."""
    width = max(len(str(one.origin)) for one in told)
    for one in reversed(told):
        text = "null: takes it away" if one.text is None else one_line(one.text)
        line = f"{'*' if one.wins else ' '} {one.origin!s:<{width}}  {text}"
        yield indent + style.paint(line, "green" if one.wins else "dim")


def _value(field: Field) -> str:
    return field.value if isinstance(field.value, str) else _plain(field.value)


def _plain(value: object) -> str:
    from json import dumps

    return dumps(value, ensure_ascii=False)


def blame_text(heading: str, fields: Mapping[str, Field], whose: Mapping[str, Who], style: Style) -> str:
    """As `git blame` does it: the commit, who and when; then the value, and where it is written."""
    lines = [style.paint(heading, "bold")]
    keys = max((len(key) for key in fields), default=0)
    for key, field in fields.items():
        who = whose[key]
        date = time.strftime("%Y-%m-%d", time.localtime(who.when)) if who.when else ""
        author = one_line(who.author)[:_AUTHOR]
        commit = who.commit[:8] or ("not yet" if who.subject else "-")
        head = f"  {commit:<8} {date:<{_DATE}} {author:<{_AUTHOR}}  {key:<{keys}}"
        subject = f"  {one_line(who.subject)}" if who.commit else ""
        value = one_line(_value(field)) or "''"
        told = f"{style.paint(head, 'dim')}  {value}  {style.paint(f'{field.origin}{subject}', 'dim')}"
        lines += style.fold(told, indent=" " * 11)
    return "\n".join(lines) + "\n"


def blame_data(fields: Mapping[str, Field], whose: Mapping[str, Who]) -> dict[str, Any]:
    return {
        key: {
            "value": field.value,
            "file": field.origin.file,
            "line": field.origin.line,
            "commit": whose[key].commit or None,
            "author": whose[key].author or None,
            "subject": whose[key].subject or None,
            "when": whose[key].when or None,
        }
        for key, field in fields.items()
    }
