"""Where desired state comes from: a git repository, kept as a bare mirror on this host.

Three ways lead to git, and each has its reason:

- The git command through `host.child` (posix_spawn) for whatever a pass over services may need: asking
  for news, fetching, reading a commit. It costs what git itself costs, and a time limit can end it.
- Plain file reading for the one question that every idle pass asks of a repository on this host:
  what does the branch point to (0.1 ms instead of 4).
- GitPython (`library`) for making a mirror, packing it and listing its history. Its import takes
  60 ms and it keeps helper processes, so it is loaded there only and closed at once.

Nothing here asks a question, and no credential of an address reaches a command line or an error.
"""

from reconciler.source.address import check_branch, check_url, is_local
from reconciler.source.errors import (
    BadKeys,
    BadTree,
    Damaged,
    NoBranch,
    SourceError,
    Stopped,
    UnknownCommit,
    Unreachable,
    Untrusted,
)
from reconciler.source.local import tree_at
from reconciler.source.mirror import Mirror, Poll
from reconciler.source.objects import CommitInfo
from reconciler.source.refs import branch_head
from reconciler.source.trust import Require, Trust

__all__ = [
    "BadKeys",
    "BadTree",
    "CommitInfo",
    "Damaged",
    "Mirror",
    "NoBranch",
    "Poll",
    "Require",
    "SourceError",
    "Stopped",
    "Trust",
    "UnknownCommit",
    "Unreachable",
    "Untrusted",
    "branch_head",
    "check_branch",
    "check_url",
    "is_local",
    "tree_at",
]
