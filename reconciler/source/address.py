"""Addresses of repositories and names of branches: which are taken, and what they mean.

No regular expressions and no urllib: this is on the path of a pass that finds nothing to do.
"""

from __future__ import annotations

import os.path
from typing import NamedTuple

_SCHEMES = ("https", "http", "ssh", "git", "file")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_NEVER_IN_REF = frozenset(" ~^:?*[\\")


def check_url(repo: str) -> str:
    """What is wrong with the address of a repository; empty when it is good."""
    if not repo:
        return "the address of the repository is empty"
    if any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in repo):
        return "the address of the repository has a control character"
    if repo.startswith("-"):
        return "the address of the repository starts with '-'"
    if _names_helper(repo):
        return "remote helpers (NAME::ADDRESS) are not allowed; use https, ssh, git, file or a path"
    scheme, separator, rest = repo.partition("://")
    if separator and scheme.isascii() and scheme.replace("+", "").replace("-", "").replace(".", "").isalnum():
        return _check_scheme(scheme, rest)
    return _check_scp(repo) if _is_scp(repo) else ""


def _names_helper(repo: str) -> bool:
    """Git takes letters, digits, '+', '-' and '.' before '::' for the name of a program to run."""
    head, separator, _ = repo.partition("::")
    return bool(separator) and all(letter.isascii() and (letter.isalnum() or letter in "+-.") for letter in head)


def _check_scheme(scheme: str, rest: str) -> str:
    if scheme not in _SCHEMES:
        return f"{scheme}:// is not allowed; use https, ssh, git, file or a path"
    if scheme == "file":
        return "" if rest.startswith("/") else "a file:// address needs an absolute path: file:///srv/repo.git"
    user, host, path = _split(rest)
    if not _without_port(host):
        return f"the {scheme}:// address names no host"
    if host.startswith("-") or user.startswith("-"):
        return "the host of the address starts with '-'"
    if not path.strip("/"):
        return f"the {scheme}:// address names no repository"
    if scheme == "http" and _without_port(host) not in _LOOPBACK:
        return "http:// sends desired state and credentials in the clear; use https://"
    if scheme in ("ssh", "git") and ":" in user:
        return f"{scheme}:// takes no password in the address; use a key"
    return ""


def _split(rest: str) -> tuple[str, str, str]:
    """USER[:PASSWORD]@HOST[:PORT]/PATH as (user with password, host with port, path)."""
    authority, slash, path = rest.partition("/")
    user, _, host = authority.rpartition("@")
    return user, host, slash + path


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdigit() or not port) else host


def _is_scp(repo: str) -> bool:
    """Git's own rule: a colon before the first slash."""
    return ":" in repo.partition("/")[0]


def _check_scp(repo: str) -> str:
    authority, _, path = repo.partition("]:") if "[" in repo.partition(":")[0] else repo.partition(":")
    user, _, host = authority.rpartition("@")
    if not host.strip("["):
        return "the address names no host"
    if host.startswith("-") or user.startswith("-") or path.startswith("-"):
        return "the host or path of the address starts with '-'"
    return "" if path else "the address names no repository"


def check_branch(name: str) -> str:
    """What is wrong with the name of a branch, by the rules of `git check-ref-format`; empty when it is good."""
    wrong = f"not the name of a branch: {name!r}: "
    if not name:
        return "the name of the branch is empty"
    if name.startswith("-"):
        return wrong + "it starts with '-'"
    if name in ("@", "HEAD"):
        return wrong + "the word has a meaning of its own"
    if any(ord(letter) < 33 or ord(letter) == 127 or letter in _NEVER_IN_REF for letter in name):
        return wrong + "it has a space, a control character or one of ~ ^ : ? * [ \\"
    if ".." in name or "@{" in name or name.endswith("."):
        return wrong + "'..', '@{' and a dot at the end are not allowed"
    if any(not part or part.startswith(".") or part.endswith(".lock") for part in name.split("/")):
        return wrong + "a part of it is empty, starts with '.', or ends in '.lock'"
    return ""


def is_local(repo: str) -> str | None:
    """The absolute path of a repository on this host: of a plain path or a file:// address. Else None."""
    if repo.startswith("file:///"):
        return _decoded(repo[7:])
    if "://" in repo or _is_scp(repo):
        return None
    return os.path.abspath(os.path.expanduser(repo))


def is_ssh(repo: str) -> bool:
    return repo.startswith("ssh://") or ("://" not in repo and _is_scp(repo))


def _decoded(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)


class Address(NamedTuple):
    """An address taken apart, so that its credentials need not stand where others can read them."""

    url: str  # what git is given: without user and password for http(s), a local path made absolute
    base: str  # SCHEME://HOST of http(s); empty otherwise
    user: str
    password: str
    secrets: tuple[str, ...]  # texts that must not appear in any message


def take_apart(repo: str) -> Address:
    scheme, separator, rest = repo.partition("://")
    if scheme not in ("https", "http") or not separator:
        local = is_local(repo) if not separator else None
        return Address(local or repo, "", "", "", ())
    userinfo, host, path = _split(rest)
    if not userinfo:
        return Address(repo, "", "", "", ())
    raw_user, _, raw_password = userinfo.partition(":")
    user, password = _decoded(raw_user), _decoded(raw_password)
    # a name without a password is often a token, and a short name would blacken half a message
    hidden = [userinfo, raw_password, password] if password else [userinfo, user]
    secrets = tuple(sorted({text for text in hidden if text}, key=len, reverse=True))
    return Address(f"{scheme}://{host}{path}", f"{scheme}://{host}", user, password, secrets)
