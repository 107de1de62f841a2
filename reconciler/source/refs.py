"""Reads refs of a repository on this host without starting git.

An answer is given only where it is certain: a loose ref or a packed one of the classic format.
Anything else (reftable, a symbolic ref, a hidden one, something half-written) is left to git.
"""

from __future__ import annotations

import os
import os.path

from reconciler.source.command import is_commit

_LIMIT = 64 << 20  # bytes of packed-refs
_CHUNK = 1 << 20


def branch_head(path: str, branch: str) -> str:
    """The commit of a branch of the repository at `path`; empty when git has to be asked."""
    try:
        folder = _common_folder(path)
        return read_ref(folder, f"refs/heads/{branch}") if _is_classic(folder) else ""
    except (OSError, ValueError):
        return ""


def read_ref(folder: str, name: str) -> str:
    """The commit that a ref of the repository folder names; empty when that is not certain.

    The loose one counts before the packed one, and it must be looked at first: git packs a ref
    before it takes the loose one away.
    """
    try:
        commit = _content(os.path.join(folder, name), _CHUNK).strip()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        commit = _packed_one(folder, name)
    return commit if is_commit(commit) else ""


def _packed_one(folder: str, name: str) -> str:
    """One packed ref, without taking apart the hundred thousand that a large repository may have."""
    try:
        content = _content(os.path.join(folder, "packed-refs"), _LIMIT)
    except FileNotFoundError:
        return ""
    at = content.find(f" {name}\n")
    return content[max(0, at - 64) : at].rpartition("\n")[2] if at > 0 else ""


def packed(folder: str) -> dict[str, str]:
    """The packed refs that are whole, by name."""
    try:
        content = _content(os.path.join(folder, "packed-refs"), _LIMIT)
    except FileNotFoundError:
        return {}
    pairs = (line.partition(" ") for line in content.splitlines() if line[:1] not in "#^")
    return {name: commit for commit, _, name in pairs if is_commit(commit) and name.startswith("refs/")}


def below(folder: str, prefix: str) -> dict[str, str]:
    """All readable refs whose names start with `prefix`, such as `refs/reconcile`, by name."""
    found = {name: commit for name, commit in packed(folder).items() if name.startswith(prefix + "/")}
    for place, _, names in os.walk(os.path.join(folder, prefix)):
        for name in names:
            ref = os.path.relpath(os.path.join(place, name), folder)
            if not ref.endswith(".lock") and (commit := read_ref(folder, ref)):
                found[ref] = commit
    return found


def _common_folder(path: str) -> str:
    """Where the branches of the repository lie: path/.git, what a .git file names, or the bare folder itself."""
    inner = os.path.join(path, ".git")
    if os.path.isdir(inner):
        folder = inner
    elif os.path.isfile(inner):
        word, _, target = _content(inner, _CHUNK).partition(":")
        if word != "gitdir":
            raise ValueError(inner)
        folder = os.path.join(path, target.strip())
    else:
        folder = path
    try:
        return os.path.join(folder, _content(os.path.join(folder, "commondir"), _CHUNK).strip())
    except FileNotFoundError:
        return folder


def _is_classic(folder: str) -> bool:
    """It is a repository, keeps its refs in files, and hides none."""
    config = _content(os.path.join(folder, "config"), _CHUNK).lower()
    return (
        "refstorage" not in config
        and "hiderefs" not in config
        and os.path.isfile(os.path.join(folder, "HEAD"))
        and os.path.isdir(os.path.join(folder, "objects"))
    )


def _content(path: str, limit: int) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        chunks = [os.read(descriptor, _CHUNK)]
        while chunks[-1] and len(chunks) * _CHUNK < limit:
            chunks.append(os.read(descriptor, _CHUNK))
    finally:
        os.close(descriptor)
    return b"".join(chunks).decode("utf-8", "surrogateescape")
