"""Reads a commit straight from a repository on this host, for commands that work offline."""

from __future__ import annotations

import os.path

from reconciler.source.command import environment
from reconciler.source.errors import UnknownCommit
from reconciler.source.objects import Reader


def tree_at(repo_path: str, rev: str = "HEAD", timeout: float = 60.0) -> tuple[str, dict[str, bytes]]:
    """The commit that `rev` names, and its files below `desired/` and `templates/`, by repo-relative path.

    `repo_path` is a repository, bare or not, or a folder in a work tree; what the work tree itself
    holds does not count. Raises `SourceError`.
    """
    check_rev(rev)
    # who names a path trusts it; its owner may be another account
    git = ["git", "-C", os.path.abspath(os.path.expanduser(repo_path)), "-c", "safe.directory=*"]
    with Reader(git, environment(), timeout) as reader:
        commit = reader.commit(rev).sha
        return commit, reader.tree(commit)


def check_rev(rev: str) -> None:
    """Refuse what is no revision. It is handed over on standard input, so it can never be an option."""
    if not rev or rev.startswith("-") or any(ord(letter) < 32 or ord(letter) == 127 for letter in rev):
        raise UnknownCommit(f"not a revision: {rev!r}")
    if len(rev) > 1000:
        raise UnknownCommit(f"not a revision: {rev[:40]!r}...")
