"""A person's own copy of the desired-state repo: read, and given a commit on a branch that was not there before.

Neither the work tree nor the index nor the branch that is checked out is touched: blobs, trees and the commit are made
as objects, and the last act is one new ref. So it works in a bare repo as well, and a run that is killed has changed
nothing. Hooks of `git commit` do not run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from reconciler.authoring.refused import Refused, refused
from reconciler.core.problem import Origin, Problem
from reconciler.desired import Tree
from reconciler.source import SourceError, UnknownCommit, check_branch, is_local, tree_at
from reconciler.source.command import describe, environment, is_commit
from reconciler.source.errors import BadTree

if TYPE_CHECKING:
    from reconciler.host.run import Finished

_TIMEOUT = 60.0  # seconds, of each call of git: it asks no network
_SIGNING = 300.0  # somebody may have to type a passphrase
_FORMAT = "%H%x00%an <%ae>%x00%ct%x00%s"


class Commit(NamedTuple):
    sha: str
    author: str  # NAME <MAIL>
    when: float  # seconds since the epoch
    subject: str

    def __str__(self) -> str:
        return f"{self.sha[:8]} ({self.author.partition(' <')[0]}: {self.subject})"


class Checkout:
    """The repo at a path. Raises `Refused` where there is none, `SourceError` for whatever git fails at."""

    def __init__(self, path: str) -> None:
        local = is_local(path)
        if local is None:
            raise refused("--repo", "a commit is made in a copy of the repo on this host", "clone it, give its path")
        self.path = local
        if not os.path.isdir(local):
            raise refused("--repo", f"there is no folder {local}")
        self._env = environment()
        ended = self._ended("rev-parse", "--absolute-git-dir")
        if b"not a git repository" in ended.err:
            hint = "run it in a checkout of the desired-state repo, or give --repo PATH"
            raise refused("--repo", f"{local} is no git repository", hint)
        self.folder = os.fsdecode(self._checked(ended).removesuffix(b"\n"))

    # ------------------------------------------------------------ reading

    def resolve(self, revision: str) -> str:
        """The commit that a revision names. Raises `UnknownCommit`."""
        if not revision or revision.startswith("-"):
            raise UnknownCommit(f"not a revision: {revision!r}")
        ended = self._ended("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        name = ended.out.decode(errors="replace").strip()
        if not is_commit(name):
            raise UnknownCommit(f"{revision} names no commit of {self.path}")
        return name

    def commit(self, sha: str) -> Commit:
        (found,) = self._log(sha, "--max-count=1", "--no-walk")
        return found

    def tree(self, sha: str) -> Tree:
        """The files of desired state. Raises `BadTree` for what is not read."""
        return tree_at(self.path, sha, _TIMEOUT)[1]

    def readable(self, sha: str) -> Tree | None:
        """The same; None where it holds what is not read, or is not here: a shallow clone ends somewhere."""
        try:
            return self.tree(sha)
        except (BadTree, UnknownCommit):
            return None

    def branch(self) -> str:
        """The branch that is checked out; empty where none is."""
        return self._ended("symbolic-ref", "--quiet", "--short", "HEAD").out.decode(errors="replace").strip()

    def history(self, head: str, limit: int, without: str = "") -> list[Commit]:
        """The commits of the branch itself that touch desired state, newest first; a merge is one of them."""
        but = [f"^{without}"] if without else []
        return self._log(head, *but, "--first-parent", f"--max-count={limit}", paths=("desired", "templates"))

    def is_shallow(self) -> bool:
        """The history ends before its beginning."""
        return self._run("rev-parse", "--is-shallow-repository").strip() == b"true"

    def is_ancestor(self, old: str, new: str) -> bool:
        return self._ended("merge-base", "--is-ancestor", old, new).code == 0

    def parent(self, sha: str) -> str:
        """The commit before it on the branch; empty for the first one."""
        try:
            return self.resolve(f"{sha}^")
        except UnknownCommit:
            return ""

    def _log(self, *words: str, paths: Sequence[str] = ()) -> list[Commit]:
        argv = ["log", "-z", f"--format={_FORMAT}", "--no-show-signature", "--no-color", *words]
        out = self._run(*argv, "--", *(f":(top){path}" for path in paths)).decode(errors="replace")
        fields = out.rstrip("\0").split("\0") if out else []
        rows = zip(*(fields[at::4] for at in range(4)), strict=False)
        return [Commit(sha, author, float(when), subject) for sha, author, when, subject in rows]

    def unsaved(self, paths: Sequence[str]) -> list[str]:
        """Those of some files whose work tree differs from what is committed."""
        if self._run("rev-parse", "--is-bare-repository").strip() == b"true" or not paths:
            return []
        out = self._ended("status", "--porcelain", "-z", "--no-renames", "--", *(f":(top){path}" for path in paths)).out
        return [os.fsdecode(entry[3:]) for entry in out.split(b"\0") if entry]

    def remote(self) -> str:
        """Where a branch is pushed to: that of the branch that is checked out, `origin`, or the only one."""
        asked = self._ended("config", "--get", f"branch.{self.branch()}.remote")
        of_branch = asked.out.decode(errors="replace").strip()
        names = self._run("remote").decode(errors="replace").split()
        usual = [name for name in (of_branch, "origin") if name in names]
        return (usual or (names if len(names) == 1 else [""]))[0]

    def merged(self, ours: bytes, base: bytes, theirs: bytes) -> bytes | None:
        """Three texts of one file as git merges them; None where they contradict each other."""
        from tempfile import TemporaryDirectory

        from reconciler.host import files

        with TemporaryDirectory(prefix="reconcile-") as folder:
            names = [os.path.join(folder, name) for name in ("ours", "base", "theirs")]
            for name, content in zip(names, (ours, base, theirs), strict=True):
                files.write(name, content, 0o600, sync=False)
            ended = self._ended("merge-file", "-p", "--quiet", *names)
        if ended.code < 0 or ended.code > 127:  # else: how many conflicts there are
            self._checked(ended)
        return ended.out if ended.code == 0 else None

    # ------------------------------------------------------------ writing

    def check_free(self, branch: str) -> None:
        """Raises `Refused` for a branch that is there, or a name that git does not take."""
        if taken := self.taken(branch):
            raise Refused([taken])

    def taken(self, branch: str) -> Problem | None:
        """What keeps a branch from being made: that it is there. Raises `Refused` for a name that git does not take."""
        if wrong := check_branch(branch):
            raise refused("--branch", wrong)
        there = self._ended("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}").out.decode().strip()
        if not there:
            return None
        hint = "give another one with --branch NAME"
        if branch.partition("/")[0] in ("bump", "promote", "rollback"):  # not one of their own, such as main
            hint += f", or remove it: git branch -D {branch}"
        return Problem(Origin("--branch", 0, 0), f"there is a branch {branch} already, at {there[:8]}", hint)

    def make(self, base: str, content: Mapping[str, bytes | None], message: str, branch: str) -> str:
        """A commit on top of `base` with these files changed, and a new branch that points to it."""
        self.check_free(branch)
        tree = self._with(f"{base}^{{tree}}", {path: self._blob(text) for path, text in content.items()})
        sha = self._commit(tree, base, message)
        why, nothing = f"reconcile: {message.splitlines()[0]}", "0" * len(sha)  # it must not have come up meanwhile
        self._run("update-ref", "-m", why, f"refs/heads/{branch}", sha, nothing)
        return sha

    def _blob(self, content: bytes | None) -> str:
        """Empty for a file that goes."""
        return "" if content is None else self._run("hash-object", "-w", "--stdin", feed=content).decode().strip()

    def _with(self, tree: str, blobs: Mapping[str, str]) -> str:
        """The tree with some files replaced, folder by folder; empty where nothing is left of it."""
        here = {path: blob for path, blob in blobs.items() if "/" not in path}
        below: dict[str, dict[str, str]] = {}
        for path, blob in blobs.items():
            if "/" in path:
                folder, _, rest = path.partition("/")
                below.setdefault(folder, {})[rest] = blob
        entries = self._entries(tree) if tree else {}
        for name, blob in here.items():
            mode = entries[name].partition(" ")[0] if name in entries else "100644"
            entries[name] = f"{mode} blob {blob}" if blob else ""
        for name, inner in below.items():
            old = entries.get(name, "").rpartition(" ")[2]
            new = self._with(old, inner)
            entries[name] = f"040000 tree {new}" if new else ""
        listed = "".join(f"{entry}\t{name}\0" for name, entry in entries.items() if entry)
        if not listed:
            return ""
        return self._run("mktree", "-z", feed=listed.encode("utf-8", "surrogateescape")).decode().strip()

    def _entries(self, tree: str) -> dict[str, str]:
        """By name, what `git mktree` is told of each entry of a folder."""
        out = self._run("ls-tree", "-z", "--full-tree", tree).decode("utf-8", "surrogateescape")
        found = (line.partition("\t") for line in out.split("\0") if line)
        return {name: entry for entry, _, name in found}

    def _commit(self, tree: str, parent: str, message: str) -> str:
        """By the person that git is set up for, who is not guessed, and signed where that one signs."""
        signed = self._ended("config", "--type=bool", "--get", "commit.gpgSign").out.strip() == b"true"
        words = ["-c", "user.useConfigOnly=true", "commit-tree", tree, "-p", parent, *["-S"] * signed, "-F", "-"]
        out = self._run(*words, feed=message.encode(), timeout=_SIGNING if signed else _TIMEOUT)
        return out.decode().strip()

    # ------------------------------------------------------------ calling git

    def _run(self, *words: str, feed: bytes = b"", timeout: float = _TIMEOUT) -> bytes:
        return self._checked(self._ended(*words, feed=feed, timeout=timeout))

    def _ended(self, *words: str, feed: bytes = b"", timeout: float = _TIMEOUT) -> Finished:
        from reconciler.host.run import CommandFailed, run

        try:
            return run(["git", "-C", self.path, *words], timeout=timeout, env=self._env, stdin=feed, check=False)
        except CommandFailed as error:
            raise SourceError(str(error)) from error

    def _checked(self, ended: Finished) -> bytes:
        if ended.code == 0:
            return ended.out
        from reconciler.host.child import Ended

        raise SourceError(describe(ended.argv, Ended(ended.code, ended.out, ended.err, late=False), _TIMEOUT))

