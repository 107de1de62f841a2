"""Where an image may come from, as `source` of a component says it. Pure."""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple
from urllib.parse import unquote

from reconciler.install.requirement import redact

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_LOGIN = re.compile(r"//([^/@]*)@(?!sha\d+:)")  # docker://name@sha256:... pins an image and names no user
_LOOPBACK = re.compile(r"//(?:127\.0\.0\.1|localhost|\[::1\])[:/]")


class Kind(Enum):
    """What is done to get an image from its source."""

    COPY = "copies"  # a finished image, or a folder that holds the files of one, on this host
    PULL = "pulls"  # a finished image elsewhere
    CONVERT = "converts"  # an image of another kind, here or elsewhere

    @property
    def method(self) -> str:
        """The install method for such sources."""
        return "apptainer-docker" if self is Kind.CONVERT else "apptainer-sif"


_SCHEMES = {
    "oras": Kind.PULL,
    "library": Kind.PULL,
    "https": Kind.PULL,
    "http": Kind.PULL,
    "docker": Kind.CONVERT,
    "docker-archive": Kind.CONVERT,
    "oci-archive": Kind.CONVERT,
    "oci": Kind.CONVERT,
}
_LOCAL = frozenset({"docker-archive", "oci-archive", "oci"})  # a path of this host follows
_WITH_LOGIN = frozenset({"docker", "oras"})  # Apptainer takes user and password for these from its environment

ALLOWED = {
    "apptainer-sif": "an absolute path of an image or of a sandbox folder, oras://, library:// and https:// addresses",
    "apptainer-docker": "docker:// addresses, docker-archive:/PATH, oci-archive:/PATH and oci:/PATH",
}


class SourceError(ValueError):
    """An image cannot come from there. The text says why and how to mend it, without any secret."""


class Source(NamedTuple):
    kind: Kind
    address: str  # as Apptainer is given it, without user and password
    path: str = ""  # of an image or folder on this host
    user: str = ""
    password: str = ""

    @property
    def shown(self) -> str:
        """For people: what follows a question mark may be a token."""
        return shown(self.address)


def shown(source: str) -> str:
    """A source as people may see it."""
    return re.sub(r"(?s)(://[^?]*\?).*", r"\1****", redact(source))


def parse(source: str) -> Source:
    """Raises `SourceError`."""
    if not source.isprintable():
        raise SourceError("it has a line break or another character that cannot be printed in it")
    if source.startswith("/"):
        return _path(source)
    found = _URI.fullmatch(source)
    scheme, rest = (found[1], found[2]) if found else ("", source)
    kind = _SCHEMES.get(scheme)
    if not found:
        raise SourceError("a path must be absolute, as nothing says what it would be relative to")
    if kind is None:
        raise SourceError(f"{scheme}: is not a kind of source that is known; known are {', '.join(ALLOWED.values())}")
    if scheme in _LOCAL:
        return _archive(kind, scheme, rest)
    if not rest.startswith("//") or not rest.strip("/"):
        raise SourceError(f"after {scheme}: two slashes and a name must follow")
    return _remote(kind, scheme, rest)


def check(method: str, source: str, sha256: str) -> str:
    """What stands against this source for this install method, or nothing. It has no secret in it."""
    try:
        parsed = parse(source)
    except SourceError as error:
        return str(error)
    if parsed.kind.method != method:
        return f"that is for `install: {parsed.kind.method}`; {method} takes {ALLOWED[method]}"
    if parsed.address.startswith("http:") and not sha256 and not _LOOPBACK.search(parsed.address):
        return "http:// proves nothing of what comes: use https://, or say with `sha256` what the image must be"
    return ""


def _path(source: str) -> Source:
    if source.endswith(".def"):
        raise SourceError("an image is not built from its definition here: build it once, and give what was built")
    return Source(Kind.COPY, source, source)


def _archive(kind: Kind, scheme: str, rest: str) -> Source:
    if not rest.startswith("/"):
        raise SourceError(f"the path after {scheme}: must be absolute, as nothing says what it would be relative to")
    return Source(kind, f"{scheme}:{rest}")


def _remote(kind: Kind, scheme: str, rest: str) -> Source:
    login = _LOGIN.match(rest)
    if not login:
        return Source(kind, f"{scheme}:{rest}")
    if scheme not in _WITH_LOGIN:
        others = "://, ".join(sorted(_WITH_LOGIN))
        raise SourceError(
            f"with {scheme}:// a password would stand in the process list; it can be given with {others}:// alone"
        )
    user, colon, password = login[1].partition(":")
    if not (user and colon and password):
        raise SourceError(f"before the @ both a user and a password must stand: {scheme}://USER:PASSWORD@HOST/NAME")
    return Source(kind, f"{scheme}://{rest[login.end() :]}", "", unquote(user), unquote(password))
