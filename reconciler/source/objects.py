"""Reads commits with one `git cat-file --batch`: trees are taken apart here, so one process serves a whole commit.

Measured: ls-tree and cat-file are two processes one after the other, and `git archive` would apply
attributes (export-subst, line ends), so that other bytes arrive than were committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from types import TracebackType
from typing import NamedTuple, Self

from reconciler.source.command import describe, is_commit, never, start
from reconciler.source.errors import BadTree, Damaged, UnknownCommit

FOLDERS = ("approvals", "desired", "secrets", "templates")
MAX_FILE = 1 << 20  # bytes
MAX_FILES = 5000
MAX_TOTAL = 64 << 20  # bytes of all files together
_AT_A_TIME = 60  # object names that fit a pipe of the smallest size (4096 bytes), so that neither side waits for ever

_FOLDER, _LINK, _SUBMODULE = "40000", "120000", "160000"


class CommitInfo(NamedTuple):
    sha: str
    author: str  # NAME <MAIL>
    when: float  # seconds since the epoch, of the commit (not of its first writing)
    subject: str


class _Entry(NamedTuple):
    mode: str
    path: str
    name: str  # of the object


class Reader:
    """Objects of one repository, for the length of a `with`. `seconds` bound all that is read in it."""

    def __init__(
        self, git: list[str], env: dict[str, str], seconds: float, asked_to_stop: Callable[[], bool] = never
    ) -> None:
        self._argv, self._seconds = [*git, "cat-file", "--batch"], seconds
        self._deadline = monotonic() + seconds
        self._child = start(self._argv, env, feed=True, asked_to_stop=asked_to_stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.end()

    def commit(self, rev: str) -> CommitInfo:
        """A commit by any name. Raises `UnknownCommit`, `Damaged`."""
        (answered,) = self._objects([f"{rev}^{{commit}}"])
        if answered is None:
            raise UnknownCommit(f"{rev} names no commit of this repository")
        return _commit_info(*answered)

    def tree(self, commit: str) -> dict[str, bytes]:
        """The regular files of `FOLDERS` by their paths. Raises `UnknownCommit`, `BadTree`, `Damaged`."""
        (root,) = self._objects([f"{commit}^{{tree}}"])
        if root is None:
            raise UnknownCommit(f"{commit} names no commit of this repository")
        top = [entry for entry in _entries("", root[1], len(root[0]) // 2) if entry.path in FOLDERS]
        return self._contents(self._files(top))

    def _files(self, level: list[_Entry]) -> list[_Entry]:
        """All files below these entries, level by level; in the order of their paths."""
        files: list[_Entry] = []
        seen = 0
        while level:
            seen += len(level)
            if seen > MAX_FILES:
                raise BadTree(f"more than {MAX_FILES} files and folders below desired/, templates/ and secrets/")
            files += [_regular(entry) for entry in level if entry.mode != _FOLDER]
            folders = [entry for entry in level if entry.mode == _FOLDER]
            level = [
                inner
                for entry, (name, content) in zip(folders, self._present(folders), strict=True)
                for inner in _entries(entry.path + "/", content, len(name) // 2)
            ]
        return sorted(files, key=lambda entry: entry.path)

    def _contents(self, files: list[_Entry]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        total = 0
        for entry, (_, content) in zip(files, self._present(files), strict=True):
            found[entry.path] = content
            total += len(content)
            if total > MAX_TOTAL:
                folders = ", ".join(FOLDERS)
                raise BadTree(f"the files of {folders} are more than {MAX_TOTAL >> 20} MiB together")
        return found

    def _present(self, entries: list[_Entry]) -> Iterator[tuple[str, bytes]]:
        """The objects of these entries: what a tree names must be there."""
        answers = self._objects([entry.name for entry in entries], [entry.path for entry in entries])
        for entry, answered in zip(entries, answers, strict=True):
            if answered is None:
                raise Damaged(f"{entry.path}: its object {entry.name} is missing")
            yield answered

    def _objects(self, names: list[str], paths: Iterable[str] = ()) -> Iterator[tuple[str, bytes] | None]:
        """Name and content of each object; None for a missing one."""
        told = iter(paths)
        for first in range(0, len(names), _AT_A_TIME):
            batch = names[first : first + _AT_A_TIME]
            self._child.send("".join(f"{name}\n" for name in batch).encode("utf-8", "surrogateescape"))
            for name in batch:
                yield self._one(next(told, name))

    def _one(self, path: str) -> tuple[str, bytes] | None:
        header = self._child.line(self._deadline)
        if header is None:
            raise self._broken()
        name, _, rest = header.decode("utf-8", "replace").rstrip("\n").partition(" ")
        kind, _, size = rest.partition(" ")
        if kind not in ("blob", "tree", "commit", "tag") or not is_commit(name):
            return None  # "NAME missing", "NAME ambiguous"
        if int(size) > MAX_FILE:
            raise BadTree(f"{path}: {int(size)} bytes; at most {MAX_FILE} are read")
        content = self._child.exactly(int(size) + 1, self._deadline)
        if content is None:
            raise self._broken()
        return name, content[:-1]

    def _broken(self) -> Damaged:
        return Damaged(describe(self._argv, self._child.finish(self._deadline), self._seconds))


def _regular(entry: _Entry) -> _Entry:
    if entry.mode == _LINK:
        raise BadTree(f"{entry.path}: a symbolic link; put a regular file in its place")
    if entry.mode == _SUBMODULE:
        raise BadTree(f"{entry.path}: a submodule; its files must be part of the repository itself")
    return entry


def _entries(folder: str, content: bytes, size: int) -> Iterator[_Entry]:
    """The entries of a tree object: MODE SP NAME NUL and `size` bytes of object name, over and over."""
    at = 0
    while at < len(content):
        nul = content.index(b"\0", at)
        mode, _, raw = content[at:nul].partition(b" ")
        at = nul + 1 + size
        yield _Entry(mode.decode("ascii"), folder + _checked(folder, raw), content[nul + 1 : at].hex())


def _checked(folder: str, raw: bytes) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise BadTree(f"{folder}{raw!r}: the name of the file is not UTF-8") from None
    if name in ("", ".", "..") or "/" in name:
        raise BadTree(f"{folder}{name!r}: not a name for a file")
    return name


def _commit_info(sha: str, content: bytes) -> CommitInfo:
    head, _, message = content.partition(b"\n\n")
    fields: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").split("\n"):
        key, _, value = line.partition(" ")
        fields.setdefault(key, value)
    author = fields.get("author", "").rpartition("> ")[0]
    stamp = fields.get("committer", "").rpartition("> ")[2].partition(" ")[0]
    subject = message.decode("utf-8", "replace").strip().partition("\n")[0]
    return CommitInfo(sha, author + ">" if author else "", float(stamp) if stamp.isdigit() else 0.0, subject)
