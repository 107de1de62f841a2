"""Who wrote a line: git's own blame, and the last commit that touched a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic

from reconciler.core.review import NOBODY, Who
from reconciler.source.command import is_commit, start
from reconciler.source.errors import SourceError

_FORMAT = "%H%x00%an%x00%ct%x00%s"


class Blame:
    """Lines of one commit, each file asked for once. An empty commit is the work tree, where `git` names one.

    What git cannot tell is nobody's: a report without it is better than none.
    """

    def __init__(self, git: Sequence[str], env: Mapping[str, str], commit: str, seconds: float) -> None:
        self._git = [*git, "-c", "blame.ignoreRevsFile="]
        self._env, self._commit = env, commit
        self._deadline = monotonic() + seconds
        self._lines: dict[str, dict[int, Who]] = {}
        self._files: dict[str, Who] = {}

    def line(self, file: str, line: int) -> Who:
        """The commit that wrote a line, counted from 1; of line 0 the last one that touched the file."""
        if not file.startswith(("desired/", "templates/")):
            return NOBODY
        if not line:
            return self.file(file)
        if file not in self._lines:
            words = ["blame", "--porcelain", "--no-textconv", *([self._commit] if self._commit else []), "--", file]
            self._lines[file] = _parse(self._run(words))
        return self._lines[file].get(line, NOBODY)

    def file(self, file: str) -> Who:
        if file not in self._files:
            words = ["log", "-1", f"--format={_FORMAT}", self._commit or "HEAD", "--", file]
            parts = self._run(words).rstrip("\n").split("\0")
            known = len(parts) == 4 and is_commit(parts[0])
            self._files[file] = Who(parts[0], parts[1], parts[3], float(parts[2])) if known else NOBODY
        return self._files[file]

    def _run(self, words: list[str]) -> str:
        try:
            ended = start([*self._git, *words], self._env).finish(self._deadline)
        except SourceError:
            return ""
        return "" if ended.code or ended.late else ended.out.decode("utf-8", "replace")


def _parse(text: str) -> dict[int, Who]:
    """By line, of `git blame --porcelain`: what is known of a commit stands at its first line only."""
    found: dict[int, Who] = {}
    commits: dict[str, dict[str, str]] = {}
    name, number = "", 0
    for line in text.split("\n"):
        if line.startswith("\t"):
            found[number] = _who(name, commits[name])
            continue
        first, _, rest = line.partition(" ")
        if is_commit(first):
            name, number = first, int(rest.split(" ")[1])
            commits.setdefault(name, {})
        elif name:
            commits[name].setdefault(first, rest)
    return found


def _who(commit: str, said: Mapping[str, str]) -> Who:
    if not commit.strip("0"):
        return Who(subject="not committed yet")
    return Who(commit, said.get("author", ""), said.get("summary", ""), float(said.get("committer-time", 0)))
