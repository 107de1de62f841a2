"""What may stand in the `requirement` of a component, and how it is handed to pip. Pure.

pip gets it as a requirements file and never as arguments: arguments stand in the process list, and
an index or wheel URL may carry a password. pip itself puts the index on the command line of the
pip that it starts for a source build, so user and password are taken out of the URLs as well and
handed over as a netrc file, wherever they can be written in one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

# Long name and whether a value follows. All but the first may stand in a requirements file.
_OPTIONS = {
    "--no-deps": False,
    "--index-url": True,
    "--extra-index-url": True,
    "--find-links": True,
    "--no-index": False,
    "--pre": False,
    "--only-binary": True,
    "--no-binary": True,
    "--constraint": True,
    "--requirement": True,
}
_SHORT = {"-i": "--index-url", "-f": "--find-links", "-c": "--constraint", "-r": "--requirement"}
_PLACES = frozenset({"--find-links", "--constraint", "--requirement"})  # their values are paths or URLs
_LOGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/@\s]+)@(?!sha256:)")
_NETRC_SAFE = re.compile(
    r"[A-Za-z0-9!$%&()*+,./:;<=>?@^_`{|}~\[\]-]+"
)  # what every netrc reader takes as one plain word

ALLOWED = (
    "requirement specifiers, absolute paths, file:///, http:// and https:// URLs, -i, -f, -c, -r and "
    + ", ".join(name for name in _OPTIONS if name not in _SHORT.values())
)


class RequirementError(ValueError):
    """The requirement cannot be handed to pip. The text says what is wrong with it and how to mend it."""


class Parsed(NamedTuple):
    """A requirement, ready for pip."""

    lines: tuple[str, ...]  # of the requirements file
    arguments: tuple[str, ...]  # what only a command line can say
    logins: tuple[tuple[str, str, str], ...]  # host, user, password: of the netrc file
    secrets: tuple[str, ...]  # never to be shown


def problem(requirement: str) -> str:
    """What is wrong with a requirement, or nothing; for a check that needs no host."""
    try:
        parse(requirement)
    except RequirementError as error:
        return str(error)
    return ""


def parse(requirement: str) -> Parsed:
    """Split a requirement as a shell would. Raises `RequirementError`."""
    lines: list[str] = []
    arguments: list[str] = []
    logins: list[tuple[str, str, str]] = []
    wants = False
    words = iter(_words(requirement))
    for word in words:
        if not word.startswith("-"):
            lines.append(_named(_without_login(word, logins)))
            wants = True
            continue
        name, value = _option(word, words)
        wants = wants or name == "--requirement"
        if name == "--no-deps":
            arguments.append(name)
        elif value is None:
            lines.append(name)
        else:
            lines.append(f"{name} {shlex.quote(_without_login(value, logins))}")
    if not wants:
        raise RequirementError("it names nothing to install")
    return Parsed(tuple(lines), tuple(arguments), tuple(logins), _secrets(requirement))


def _words(requirement: str) -> list[str]:
    try:
        words = shlex.split(requirement)
    except ValueError as error:
        raise RequirementError(f"it cannot be split into words: {error}") from error
    if any("\n" in word or "\r" in word for word in words):
        raise RequirementError("a line break stands inside quotes")
    return words


def _option(word: str, words: Iterator[str]) -> tuple[str, str | None]:
    name, equals, value = word.partition("=")
    if name[:2] in _SHORT and not name.startswith("--") and len(word) > 2:  # -fPATH
        name, equals, value = word[:2], "=", word[2:].removeprefix("=")
    name = _SHORT.get(name, name)
    if name not in _OPTIONS:
        raise RequirementError(f"the option {name} is not allowed here; allowed are {ALLOWED}")
    if not _OPTIONS[name]:
        if equals:
            raise RequirementError(f"the option {name} takes no value")
        return name, None
    if not equals:
        value = next(words, "")
    if not value:
        raise RequirementError(f"the option {name} needs a value")
    if name in _PLACES and "://" not in value and not value.startswith("/"):
        raise RequirementError(f"the path after {name} must be absolute: {value}")
    return name, value


def _named(word: str) -> str:
    """One thing to install, checked as far as that can be done without pip."""
    if "://" in word:
        _check_url(word)
    elif word.startswith((".", "~")) or word.endswith((".whl", ".tar.gz", ".zip")) or "/" in word:
        if not word.startswith("/"):
            raise RequirementError(f"a path must be absolute, as nothing says what it would be relative to: {word}")
    elif not word[:1].isalnum():
        raise RequirementError(f"{word!r} is no requirement; one that has blanks in it is put in quotes: 'name >= 1.0'")
    return word


def _check_url(word: str) -> None:
    url = word.partition("@")[2].strip() if re.match(r"[A-Za-z0-9._\[\], -]+@\s", word) else word
    scheme = url.partition("://")[0].lower()
    if scheme not in ("file", "http", "https"):
        raise RequirementError(f"{scheme}:// is not a kind of URL that is allowed here; allowed are {ALLOWED}")


def _without_login(word: str, logins: list[tuple[str, str, str]]) -> str:
    """The word without user and password, where a netrc file can carry them; it gets them then."""
    found = _LOGIN.search(word)
    if not found or not found[1].lower().startswith("http"):
        return word
    user, _, password = (unquote(part) for part in found[2].partition(":"))
    host = urlsplit(word[found.start() :]).netloc.rpartition("@")[2].partition(":")[0]  # as pip looks it up
    others = {login[1:] for login in logins if login[0] == host}
    if (
        host.startswith("[")
        or not all(_NETRC_SAFE.fullmatch(part) for part in (host, user, password))
        or others - {(user, password)}
    ):
        return word
    if not others:
        logins.append((host, user, password))
    return word[: found.start(2)] + word[found.end() :]


def _secrets(requirement: str) -> tuple[str, ...]:
    secrets = []
    for _, login in _LOGIN.findall(requirement):
        user, colon, password = login.partition(":")
        secret = password if colon else user
        secrets += [secret, unquote(secret)]
    return tuple(sorted({secret for secret in secrets if len(secret) > 3}, key=len, reverse=True))


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The text without what stands before the @ of a URL, and without these secrets."""
    text = _LOGIN.sub(r"\1****@", text)
    for secret in secrets:
        text = text.replace(secret, "****")
    return text
