"""What can go wrong with the source. Each text says what was run, what git said, and how to mend it."""

from __future__ import annotations


class SourceError(Exception):
    """Desired state could not be had."""


class Unreachable(SourceError):  # noqa: N818 - the word that callers read
    """The remote could not be asked: network, authentication, no such repository, or it took too long."""


class NoBranch(SourceError):  # noqa: N818 - the word that callers read
    """The remote answered, and has no such branch."""


class UnknownCommit(SourceError):  # noqa: N818 - the word that callers read
    """A revision that is not in the repository at hand."""


class BadTree(SourceError):  # noqa: N818 - the word that callers read
    """The commit holds something below `desired/` or `templates/` that is not read: a link, too large, too many."""


class Damaged(SourceError):  # noqa: N818 - the word that callers read
    """Objects or refs of the mirror cannot be read, and a rebuild was not possible."""


class Stopped(SourceError):  # noqa: N818 - the word that callers read
    """The pass was asked to stop while git let it wait. Nothing that follows a failure may follow from it."""

    def __init__(self) -> None:
        super().__init__("the pass was asked to stop")


class Untrusted(SourceError):  # noqa: N818 - the word that callers read
    """A commit without a good signature of anybody known. Nothing of it may be read further."""


class BadKeys(SourceError):  # noqa: N818 - the word that callers read
    """A file of keys that the agent's file names cannot be used."""

    def __init__(self, path: str, wrong: str, hint: str = "") -> None:
        super().__init__(f"{path}: {wrong}")
        self.path, self.wrong, self.hint = path, wrong, hint


_HINTS = (
    ("Host key verification failed", "add the server's key to known_hosts, for example with ssh-keyscan"),
    ("Permission denied (", "the server refused the ssh key: give the account a deploy key that may read it"),
    ("could not read Username", "no credentials: configure a git credential helper, or use a deploy key"),
    ("could not read Password", "no credentials: configure a git credential helper, or use a deploy key"),
    ("Authentication failed", "the server refused the credentials: they may have expired"),
    ("does not appear to be a git repository", "check `repo` in the agent's file"),
    ("Could not resolve host", "this host does not know that name: a typing error, or no way out of this network"),
    ("dubious ownership", "another account owns the repository: git config --global --add safe.directory PATH"),
    ("No space left on device", "free some space, or move the state directory"),
    ("Disk quota exceeded", "free some space, or move the state directory"),
)


def hint(said: str) -> str:
    """How to mend what git complains about, as a line of its own; empty where it is not known."""
    for sign, remedy in _HINTS:
        if sign in said:
            return f"\n    {remedy}"
    return ""
