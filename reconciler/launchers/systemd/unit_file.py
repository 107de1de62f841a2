"""Unit files as text: systemd's quoting, its sections, and reading back what was written.

Pure, and the one place that knows these rules of systemd.syntax(7), systemd.exec(5) and systemd.service(5):

- `%` begins a specifier in every value and is written twice;
- words are parted at blanks; quotes keep blanks together, and a backslash escapes as in C;
- the program of `ExecStart=` is never expanded, so its `$` is written once; it may hold neither quotes nor
  backslashes, however they are written (`string_is_safe` in systemd);
- nothing is expanded in `Environment=` but specifiers;
- what begins with `X-` is left to others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Options = Sequence[tuple[str, str]]
Sections = Mapping[str, Mapping[str, str]]

OWN = "X-Reconcile"  # the section with what systemd does not need to know


def escape(text: str) -> str:
    """A value that systemd takes whole, such as that of `PIDFile=`."""
    return text.replace("%", "%%")


def word(text: str) -> str:
    """One word of a value that systemd splits."""
    return '"' + escape(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def argument(text: str) -> str:
    """One argument of a program, which systemd would expand variables in."""
    return word(text).replace("$", "$$")


def environment(variables: Mapping[str, str]) -> str:
    """The value of `Environment=`. Texts that `check_text` refuses cannot be written."""
    return " ".join(word(f"{key}={value}") for key, value in variables.items())


def check_text(text: str) -> str:
    """What stands against this text in a unit file, or nothing."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "contains a control character"
    if text != text.strip():
        return "begins or ends with a blank, which systemd takes off"
    return ""


def check_program(path: str) -> str:
    """What stands against this path as the program of `ExecStart=`, or nothing."""
    if any(character in path for character in "'\"\\"):
        return "contains a quote or a backslash, which systemd allows in no program's path"
    return check_text(path)


def write(sections: Mapping[str, Options]) -> str:
    return "\n".join(_section(name, options) for name, options in sections.items())


def _section(name: str, options: Options) -> str:
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in options)


def read(text: str) -> Sections:
    """What `write` has written: the last value of each option, as it stands there, by section."""
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in text.split("\n"):
        if line.startswith("["):
            section = found.setdefault(line.strip()[1:-1], {})
        elif not line.startswith(("#", ";")):
            key, equals, value = line.partition("=")
            if equals:
                section[key.strip()] = value.strip()
    return found


def unescape(value: str) -> str:
    """The text that was given to `escape`."""
    return value.replace("%%", "%")


def words(value: str) -> Iterable[str]:
    """The words that were given to `word`. Other ways of quoting are not read."""
    rest = value.lstrip()
    while rest.startswith('"'):
        text, rest = _first(rest)
        yield unescape(text)
        rest = rest.lstrip()


def _first(quoted: str) -> tuple[str, str]:
    """The word that a text begins with, without its quotes, and what follows."""
    text, position = "", 1
    while position < len(quoted) and quoted[position] != '"':
        position += quoted[position] == "\\"
        text += quoted[position : position + 1]
        position += 1
    return text, quoted[position + 1 :]
