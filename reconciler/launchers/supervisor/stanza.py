"""supervisord's configuration as text: its quoting, its two kinds of expansion, its sections.

Pure, and the one place that knows these rules of supervisor 4 (`options.py` and `datatypes.py` there):

- every value is expanded with `%`, log file names twice;
- before that, `%(here)s` is replaced wherever it stands, even after an escaping `%`;
- ` ;` and ` #` begin a comment, and nothing escapes them;
- `environment=` is split by a shell lexer that knows quotes and no backslash, and then all quotes at both
  ends of a value are taken off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# Expands to nothing. It parts what must not stand together: a blank and `;`, a `%` and `(here)s`.
_NOTHING = "%(here).0s"
_COMMENT = r"(?<=\s)(?=[;#])"


def escape(text: str, expansions: int = 1) -> str:
    """A value that supervisord reads as this very text after so many expansions."""
    for _ in range(expansions):
        text = text.replace("%", "%%")
    return re.sub(_COMMENT, _NOTHING, text.replace("%(", f"%{_NOTHING}("))


def check_text(text: str) -> str:
    """What stands against this text as a path or a mark in a configuration, or nothing."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "contains a control character"
    if "'" in text and '"' in text:
        return "contains both kinds of quotes, which supervisord cannot read"
    if text[:1] in ("'", '"') or text[-1:] in ("'", '"'):
        return "begins or ends with a quote, which supervisord takes off"
    return ""


def environment(variables: Mapping[str, str]) -> str:
    """The value of `environment=`. Texts that `check_text` refuses cannot be written."""
    return escape(",".join(f"{key}={_quoted(value)}" for key, value in variables.items()))


def _quoted(value: str) -> str:
    return f"'{value}'" if '"' in value else f'"{value}"'


def section(name: str, options: Iterable[tuple[str, str]]) -> str:
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in options)
