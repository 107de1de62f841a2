"""The mirror: a bare repository on this host that follows one branch of the desired-state repository."""

from __future__ import annotations

import os
import os.path
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import TypeVar

from reconciler.host.child import Child
from reconciler.source import mend, refs
from reconciler.source.address import check_branch, check_url, is_local
from reconciler.source.command import Remote, answer, ask, describe, is_commit, never, no_branch, remote
from reconciler.source.errors import Damaged, SourceError, Stopped, UnknownCommit, Unreachable
from reconciler.source.local import check_rev
from reconciler.source.objects import CommitInfo, Reader
from reconciler.source.trust import Require, Trust

_HEAD = "refs/reconcile/head"  # where the remote's branch stood at the last fetch
_PINS = "refs/reconcile"
_MANY_PACKS = 50  # each fetch with news adds one
_FETCH = (
    *("-c", "gc.auto=0", "-c", "maintenance.auto=false"),  # nothing in the background of a pass
    *("-c", "fetch.unpackLimit=1"),  # packs are synced to disk, loose objects are not
    *("-c", "fetch.fsckObjects=true"),
    # faults of old histories that harm nobody
    *("-c", "fetch.fsck.zeroPaddedFilemode=warn", "-c", "fetch.fsck.badTimezone=warn"),
    *("-c", "fetch.fsck.missingSpaceBeforeDate=warn", "-c", "fetch.fsck.zeroPaddedDate=warn"),
)

T = TypeVar("T")


class Poll:
    """A question to the remote that is under way, or its answer. Call `head` or `close`."""

    def __init__(self, source: Remote, branch: str, timeout: float, known: str) -> None:
        self._source, self._branch, self._timeout, self._known = source, branch, timeout, known
        self._deadline = monotonic() + timeout
        self._child: Child | None = None if known else ask(source, branch)

    def head(self) -> str:
        """The commit of the branch, waiting up to the time limit, which began with `Mirror.poll`.

        Raises `Unreachable`, `NoBranch`.
        """
        child, self._child = self._child, None
        if child is not None:
            self._known = answer(self._source, self._branch, child.finish(self._deadline), self._timeout)
        if not self._known:
            raise SourceError("the question was closed, or has failed before")
        return self._known

    def close(self) -> None:
        """End the question; SIGTERM first. Any number of times."""
        child, self._child = self._child, None
        if child is not None:
            child.end()


class Mirror:
    """One branch of `repo`, mirrored in `folder`; made by the first fetch. `timeout`: seconds for each call of git.

    The caller holds the lock of the state directory while it calls `fetch` or `pin`, or anything that
    may have to repair (`tree`, `commit_info`): two that repair one mirror at a time would be in each
    other's way. `poll` needs no lock. Raises `SourceError` for an address or branch that is not taken.
    Whatever waits for git raises `Stopped` soon after `asked_to_stop` has become true.
    """

    def __init__(
        self, repo: str, branch: str, folder: str, timeout: float = 60.0, asked_to_stop: Callable[[], bool] = never
    ) -> None:
        wrong = check_url(repo) or check_branch(branch)
        if wrong:
            raise SourceError(wrong)
        self.branch, self.folder, self.timeout = branch, os.path.abspath(folder), timeout
        self._path = is_local(repo)
        self._repo, self._asked_to_stop = repo, asked_to_stop
        self._source = remote(repo, timeout, asked_to_stop)

    def take_environment(self) -> None:
        """Have git get this process' environment as it is by now."""
        self._source = remote(self._repo, self.timeout, self._asked_to_stop)

    @property
    def address(self) -> str:
        """The repository's address as it may be shown: without credentials."""
        return self._source.address.url

    # ------------------------------------------------------------ the remote

    def poll(self) -> Poll:
        """Begin to ask what the branch points to, without waiting. On this host the ref is just read."""
        known = refs.branch_head(self._path, self.branch) if self._path else ""
        return Poll(self._source, self.branch, self.timeout, known)

    def fetch(self) -> str:
        """Get the branch and give its commit. A damaged mirror is repaired on the way.

        Raises `Unreachable`, `NoBranch`; other `SourceError`s where neither fetching nor a rebuild helped.
        """
        try:
            return self._fetch()
        except OSError as error:
            raise SourceError(f"{self.folder}: {error.strerror or error}") from error

    def _fetch(self) -> str:
        mend.settle(self.folder)
        if not os.path.isdir(self.folder):
            return self._rebuild(self.poll().head())
        mend.leftovers(self.folder)
        try:
            commit = self._fetch_into(self.folder)
        except (Unreachable, Stopped):
            raise
        except SourceError as error:
            # git's words do not tell whose fault it was; asking the remote without the mirror does
            head = Poll(self._source, self.branch, self.timeout, "").head()
            commit = self._rebuild(head) if isinstance(error, Damaged) else self._fetch_mended(head)
        self._housekeep()
        return commit

    def _fetch_mended(self, head: str) -> str:
        with _NoMatter():
            mend.skeleton(self.folder)
            return self._fetch_into(self.folder)
        return self._rebuild(head)

    def _fetch_into(self, folder: str) -> str:
        """Fetch into one folder, and see that what came can be read."""
        commit = self._transfer(folder, self.address, f"+refs/heads/{self.branch}:{_HEAD}")
        with self._reader(folder) as reader:
            reader.commit(commit)
        return commit

    def _transfer(self, folder: str, url: str, refspec: str) -> str:
        argv = self._git(folder, *_FETCH, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules")
        argv += [*self._source.options, "--", url, refspec]
        ended = self._source.start(argv).finish(monotonic() + self.timeout)
        if ended.late:
            raise Unreachable(describe(argv, ended, self.timeout, self._source.address))
        if b"couldn't find remote ref" in ended.err:
            raise no_branch(self._source, self.branch)
        if ended.code:
            raise SourceError(describe(argv, ended, self.timeout, self._source.address))
        if f"{folder}/objects".encode() in ended.err:
            # git has gone round a broken pack by fetching its content again; it would be in the way for ever
            raise Damaged(describe(argv, ended, self.timeout, self._source.address))
        name = refspec.partition(":")[2]
        commit = refs.read_ref(folder, name)
        if not commit:
            raise Damaged(f"{folder}: {name} cannot be read after a fetch")
        return commit

    # ------------------------------------------------------------ repair

    def _rebuild(self, head: str) -> str:
        """Make the mirror anew beside the old one and swap them when it is complete, pins included."""
        from reconciler.source import library

        aside = self.folder + mend.NEW
        mend.discard(aside)
        os.makedirs(os.path.dirname(aside), exist_ok=True)
        library.create(aside, sha256=len(head) == 64)
        commit = self._fetch_into(aside)
        for name, pinned in self._old_pins().items():
            self._carry(aside, name, pinned)
        mend.swap(self.folder)
        return commit

    def _old_pins(self) -> dict[str, str]:
        if not os.path.isdir(self.folder):
            return {}
        mend.skeleton(self.folder)
        found = refs.below(self.folder, _PINS)
        found.pop(_HEAD, None)
        return found

    def _carry(self, aside: str, name: str, pinned: str) -> None:
        """Have a pinned commit in the new mirror: it came with the branch, or the old one has it, or the remote."""
        with _NoMatter():
            self._run(aside, "update-ref", name, pinned)
            self._run(aside, "rev-list", "--objects", "--quiet", pinned)
            return
        for url, wanted in ((self.folder, name), (self.address, pinned)):
            with _NoMatter():
                self._run(aside, "update-ref", "-d", name)
                self._transfer(aside, url, f"+{wanted}:{name}")
                return

    def _repair(self, because: SourceError) -> None:
        """Rebuild after reading failed. Raises `Damaged` where the remote is of no help now."""
        try:
            self._rebuild(Poll(self._source, self.branch, self.timeout, "").head())
        except Stopped:
            raise
        except (SourceError, OSError) as error:
            raise Damaged(f"{because}\n{self.folder} is damaged and cannot be rebuilt now: {error}") from error

    def _read(self, commit: str, work: Callable[[Reader], T]) -> T:
        """Read a commit from the mirror: as it is, then mended, then rebuilt."""
        for repair in (self._mend, self._repair):
            try:
                with self._reader(self.folder) as reader:
                    return work(reader)
            except Damaged as error:
                repair(error)
            except UnknownCommit as error:
                if not self._must_have(commit):
                    raise
                repair(error)
        with self._reader(self.folder) as reader:
            return work(reader)

    def _must_have(self, commit: str) -> bool:
        """A ref names it: when it is missing, the mirror is damaged."""
        return commit in refs.below(self.folder, _PINS).values()

    def _mend(self, because: SourceError) -> None:
        try:
            mend.settle(self.folder)
            if os.path.isdir(self.folder):
                mend.leftovers(self.folder)
                mend.skeleton(self.folder)
        except OSError as error:
            raise Damaged(f"{because}\n{self.folder}: {error.strerror or error}") from error

    def _housekeep(self) -> None:
        """Keep the mirror small. A failure is no matter: the next fetch tries again."""
        try:
            names = os.listdir(os.path.join(self.folder, "objects", "pack"))
        except OSError:
            return
        if sum(name.endswith(".pack") for name in names) <= _MANY_PACKS:
            return
        from reconciler.source import library

        with _NoMatter():
            library.pack(self.folder, self.timeout)

    # ------------------------------------------------------------ what it holds

    def has(self, commit: str) -> bool:
        """The commit itself can be read here; of its files this says nothing."""
        try:
            with self._reader(self.folder) as reader:
                return reader.commit(_full(commit)).sha == commit
        except Stopped:
            raise
        except SourceError:
            return False

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` follows from `old`; False also when `old` is not known here. Raises `SourceError`."""
        if _full(old) == _full(new):
            return True
        for repair in (self._mend, self._repair):
            told = self._follows(old, new)
            if isinstance(told, bool):
                return told
            repair(told)
        told = self._follows(old, new)
        if isinstance(told, bool):
            return told
        if self.has(new) and not self.has(old):
            return False  # the mirror is new and complete, and nobody has the old commit any more
        raise told

    def _follows(self, old: str, new: str) -> bool | SourceError:
        argv = self._git(self.folder, "merge-base", "--is-ancestor", old, new)
        ended = self._source.start(argv).finish(monotonic() + self.timeout)
        if ended.code in (0, 1) and not ended.late:
            return ended.code == 0
        if not self._must_have(old) and self.has(new) and not self.has(old):
            return False
        return SourceError(describe(argv, ended, self.timeout))

    def verify(self, trust: Trust, home: str, commit: str, since: str = "") -> None:
        """See that somebody known has signed what leads to a commit from another one, as `trust` requires.

        `home` is a folder that is made and taken away. Without `since`, or where that is not known here, the commit
        itself is looked at alone. Raises `Untrusted`, `BadKeys`, other `SourceError`s where it cannot be told.
        """
        from reconciler.source import signatures

        name, known = _full(commit), since if since and since != commit and self.has(since) else ""
        git = self._git(self.folder)
        with signatures.Verifier(trust, git, self._source, home, self.timeout) as verifier:
            if trust.require is Require.TAG:
                wrong = verifier.tag(name, self._source.options)
            else:
                each = trust.require is Require.ALL and known
                wrong = verifier.commits(verifier.since(known, name) if each else [name])
        if wrong:
            raise signatures.untrusted(wrong, self.commit_info(wrong.commit), trust)

    def verify_named_tag(self, trust: Trust, home: str, name: str, commit: str) -> str | None:
        """Whether the remote has a tag of this name that somebody known has signed under this very name, and that
        names this commit or one that it follows from.

        None: there is no such tag; empty: it is good; else what is wrong with it. Raises as `verify` does.
        """
        from reconciler.source import signatures

        if check_branch(name):
            return None
        with signatures.Verifier(trust, self._git(self.folder), self._source, home, self.timeout) as verifier:
            found = verifier.named(name, self._source.options)
        if found is None or found.why:
            return found.why if found else None
        known = self.is_ancestor(found.commit, _full(commit))
        return "" if known else f"it names commit {found.commit[:12]}, which {commit[:12]} does not follow from"

    def pin(self, name: str, commit: str) -> None:
        """Keep a commit, whatever the branch does, under refs/reconcile/NAME. Raises `SourceError`."""
        wrong = check_branch(name) or ("the name 'head' is taken" if name == "head" else "")
        if wrong:
            raise SourceError(wrong)
        ref = f"{_PINS}/{name}"
        if refs.read_ref(self.folder, ref) != _full(commit):
            mend.leftovers(self.folder)
            self._run(self.folder, "update-ref", ref, commit)

    def pinned(self, name: str) -> str:
        """The commit that was pinned; empty when there is none."""
        return refs.read_ref(self.folder, f"{_PINS}/{name}") if not check_branch(name) else ""

    def tree(self, commit: str) -> dict[str, bytes]:
        """Every regular file of a commit that is part of the desired state, by repo-relative path.

        Raises `BadTree` for what is not read, `UnknownCommit`, `Damaged`.
        """
        name = _full(commit)
        return self._read(name, lambda reader: reader.tree(name))

    def commit_info(self, commit: str) -> CommitInfo:
        name = _full(commit)
        return self._read(name, lambda reader: reader.commit(name))

    def commit_infos(self, commits: Iterable[str]) -> dict[str, CommitInfo]:
        """Those of some commits that are here, by their names. Raises `SourceError`, and repairs nothing."""
        found = {}
        with self._reader(self.folder) as reader:
            for commit in filter(is_commit, commits):
                with suppress(UnknownCommit):
                    found[commit] = reader.commit(commit)
        return found

    def resolve(self, rev: str) -> str:
        """The commit that a revision names: a (short) commit, the branch or HEAD, a pin, with ~1 and the like.

        Raises `UnknownCommit`; the mirror has no other branch than its own, and no tags.
        """
        check_rev(rev)
        base = min((rev.partition(mark)[0] for mark in "~^@:"), key=len)
        if base in (self.branch, "HEAD"):
            rev = _HEAD + rev[len(base) :]
        elif base and not check_branch(base) and refs.read_ref(self.folder, f"{_PINS}/{base}"):
            rev = f"{_PINS}/{rev}"
        with self._reader(self.folder) as reader:
            return reader.commit(rev).sha

    def log(self, commit: str, paths: Sequence[str] = (), limit: int = 100) -> list[CommitInfo]:
        """The history of a commit, newest first, of these paths only when any are given. Raises `SourceError`."""
        from reconciler.source import library

        return library.history(self.folder, _full(commit), paths, limit)

    # ------------------------------------------------------------ calling git

    def _git(self, folder: str, *words: str) -> list[str]:
        return ["git", f"--git-dir={folder}", *words]

    def _run(self, folder: str, *words: str) -> bytes:
        return self._source.run(self._git(folder, *words), self.timeout)

    def _reader(self, folder: str) -> Reader:
        return Reader(self._git(folder), self._source.env, self.timeout, self._source.asked_to_stop)


class _NoMatter:
    """What fails in this block is done in another way, or another time; an end that was asked for ends it all."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return isinstance(error, SourceError) and not isinstance(error, Stopped)


def _full(commit: str) -> str:
    if not is_commit(commit):
        raise UnknownCommit(f"not the full name of a commit: {commit!r}")
    return commit
