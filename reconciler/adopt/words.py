"""What a command, a value or a name becomes on its way into a layer, and what may not stand there. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from reconciler.launchers.shim import quote

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_NAME = re.compile(r"(?i)(pass(word|wd|phrase)?|pwd|secret|token|credentials?|api_?key|(^|_)key)s?(_|$|\d)")
_SECRET_OPTION = re.compile(
    r"(?i)^-{0,2}([a-z0-9_.-]*[_.-])?(pass(word|wd|phrase)?|secret|token|credentials?|api[_-]?key|key)(?P<value>[=:].*)?$",
    re.DOTALL,
)
_LOGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s:]*:[^/@\s]+@", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"(?i)(password|passwd|secret|token|api[_-]?key)[\"']?\s*[=:]\s*[\"']?[^\s\"'&]|-----BEGIN")
_OPENS = re.compile(r"\{(?=[{%#])")


def literal(text: str) -> str:
    """A text that Jinja2 renders as this very text."""
    return _OPENS.sub("{{ '{' }}", text).replace("\r", "{{ '\\r' }}")


def command(argv: Sequence[str], directory: str = "") -> str:
    """A command for the shim that runs this very program with these arguments, in this folder."""
    words = " ".join(map(quote, argv))
    return f"""sh -c 'cd "$0" && exec "$@"' {quote(directory)} {words}""" if directory else words


def secret_variables(env: Mapping[str, str]) -> set[str]:
    """Variables whose values must not stand in git, by their names or by what they hold."""
    return {
        key
        for key, value in env.items()
        if value and (_SECRET_NAME.search(key) or _LOGIN.search(value) or _SECRET_TEXT.search(value))
    }


def secret_word(argv: Sequence[str]) -> int:
    """Which argument looks like a secret, or like what one follows; -1 where none does. Its value is told nowhere."""
    for at, word in enumerate(argv):
        if _LOGIN.search(word) or _SECRET_TEXT.search(word):
            return at
        option = _SECRET_OPTION.match(word)
        if at and option and word.startswith("-") and (option["value"] or at + 1 < len(argv)):
            return at
    return -1


def service_name(text: str) -> str:
    """Letters, digits, `.`, `_` and `-`, the first of them a letter or a digit; empty where none is left."""
    return re.sub(r"^[^A-Za-z0-9]+", "", re.sub(r"[^A-Za-z0-9._-]+", "-", text)).rstrip(".-")


def unlike(name: str, others: Iterable[str]) -> str:
    """This name, or the first with a number that nobody has."""
    taken, number, found = set(others), 1, name
    while found in taken:
        number, found = number + 1, f"{name}-{number + 1}"
    return found


def against(argv: Sequence[str], env: Mapping[str, str], directory: str) -> str:
    """What stands against writing this down as a service; empty where nothing does."""
    if not argv:
        return "it has no command"
    for text in (*argv, *env.values(), directory):
        if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
            return "there are bytes in it that are no UTF-8"
    odd = next((key for key in env if not _NAME.fullmatch(key)), "")
    if odd:
        return f"a shell cannot set its variable {odd!r}"
    if any(key.startswith("RECONCILE_") for key in env):
        return "it is run by reconcile already"
    if secret_word(argv) >= 0:
        return "its command line seems to hold a secret, which must not stand in git: let it read a private file"
    return ""


def signal_name(number: int) -> str:
    """As a service says it; empty for the usual one. Raises `ValueError` for one that has no name."""
    import signal

    name = signal.Signals(number).name.removeprefix("SIG")
    return "" if name == "TERM" else name


def pattern(words: Sequence[str]) -> str:
    """A regular expression that finds a process by its command line, without what may be a secret in it."""
    at = secret_word(words)
    shown, end = (words, "$") if at < 0 else (words[:at], "")
    return f"^{re.escape(' '.join(shown))}{end}"


def private_lines(env: Mapping[str, str]) -> str:
    """A file for a shell that sets these variables."""
    return "".join(f"export {key}={quote(value)}\n" for key, value in sorted(env.items()))
