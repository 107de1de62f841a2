"""What GitPython does here: make a mirror, pack it, list its history. None of it is on the path of a plain pass.

GitPython keeps helper processes alive and leaks them in long-lived programs, so each use opens a
`Repo` and closes it again. It hands on the caller's whole environment, so stray variables of a hook
are put aside meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler.source.command import STRAY
from reconciler.source.errors import SourceError, UnknownCommit
from reconciler.source.objects import CommitInfo

if TYPE_CHECKING:
    from git import Repo


def create(folder: str, *, sha256: bool) -> None:
    """Make an empty bare repository, readable by the account only. Raises `SourceError`."""
    os.mkdir(folder, 0o700)
    with _library():
        from git import Repo

        # no template: the account's own may bring hooks
        nothing = {"GIT_TEMPLATE_DIR": ""}
        Repo.init(folder, bare=True, env=nothing, object_format="sha256" if sha256 else None).close()


def pack(folder: str, seconds: float) -> None:
    """Join many packs into one and drop what nothing has named for two weeks. Raises `SourceError`."""
    with _opened(folder) as repo:
        repo.git.gc("--quiet", "--prune=2.weeks.ago", kill_after_timeout=seconds)


def history(folder: str, commit: str, paths: Sequence[str], limit: int) -> list[CommitInfo]:
    """The commits that lead to `commit`, newest first, that touch any of `paths` (all when empty)."""
    with _opened(folder) as repo:
        try:
            return [
                CommitInfo(
                    found.hexsha,
                    f"{found.author.name} <{found.author.email}>",
                    float(found.committed_date),
                    str(found.summary),
                )
                for found in repo.iter_commits(commit, paths=list(paths), max_count=limit)
            ]
        except ValueError as error:
            raise UnknownCommit(f"{commit} names no commit of this repository") from error


@contextmanager
def _opened(folder: str) -> Iterator[Repo]:
    with _library():
        from git import Repo

        repo = Repo(folder)
        try:
            yield repo
        finally:
            repo.close()


@contextmanager
def _library() -> Iterator[None]:
    """GitPython's errors as ours, and without the variables that would lead git elsewhere."""
    aside = {key: os.environ.pop(key) for key in STRAY if key in os.environ}
    try:
        from git.exc import GitError

        try:
            yield
        except GitError as error:
            raise SourceError(str(error).strip()) from error
    except ImportError as error:  # GitPython looks for git when it is imported
        raise SourceError(f"GitPython cannot be used: {error}") from error
    finally:
        os.environ.update(aside)
