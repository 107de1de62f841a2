"""The desired state from a folder, as a person edits it. A pass reads it from a commit instead."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping

from reconciler.core.problem import Origin, Problem
from reconciler.desired.text import MAX_BYTES

Tree = Mapping[str, bytes]

MAX_FILES = 5000
PARTS = ("approvals", "desired", "secrets", "templates")


class UnreadableFolder(Exception):  # noqa: N818 - it names the thing, and `problems` the errors
    """A folder that is no desired-state repo, or too strange to be read as one; `problems` say why."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def read_folder(path: str) -> Tree:
    """All files below `PARTS`. Raises `UnreadableFolder` with everything that is wrong."""
    root = os.path.realpath(path)
    tree: dict[str, bytes] = {}
    problems: list[Problem] = []
    if not os.path.isdir(os.path.join(root, "desired")):
        wrong = "there is no folder `desired` in it" if os.path.isdir(root) else "there is no such folder"
        problems.append(Problem(Origin(path, 0, 0), wrong, "give the top folder of the repo"))
    for name in _files(root, problems):
        if len(tree) >= MAX_FILES:
            problems.append(
                Problem(Origin(name, 0, 0), f"more than {MAX_FILES} files", "this is no desired-state repo")
            )
            break
        content = _content(root, name, problems)
        if content is not None:
            tree[name] = content
    if problems:
        raise UnreadableFolder(tuple(sorted(problems)))
    return tree


def _files(root: str, problems: list[Problem]) -> Iterator[str]:
    """Paths relative to `root`, in order, without those that start with a dot."""
    pending = [part for part in reversed(PARTS) if os.path.isdir(os.path.join(root, part))]
    while pending:
        folder = pending.pop()
        try:
            names = sorted(os.listdir(os.path.join(root, folder)))
        except OSError as error:
            problems.append(Problem(Origin(folder, 0, 0), f"cannot be read: {error.strerror}"))
            continue
        for name in names:
            inner = f"{folder}/{name}"
            if name.startswith("."):
                continue
            if not os.path.isdir(os.path.join(root, inner)):
                yield inner
            elif os.path.islink(os.path.join(root, inner)):
                problems.append(
                    Problem(Origin(inner, 0, 0), "a link to a folder", "git does not follow it; use a folder")
                )
            else:
                pending.append(inner)


def _content(root: str, name: str, problems: list[Problem]) -> bytes | None:
    origin = Origin(name, 0, 0)
    full = os.path.join(root, name)
    if not os.path.realpath(full).startswith(root.rstrip("/") + "/"):
        problems.append(Problem(origin, "a link that leaves the repo", "put the file itself there"))
        return None
    try:
        info = os.stat(full)
        if not stat.S_ISREG(info.st_mode):
            problems.append(Problem(origin, "not a regular file", "take it out"))
        elif info.st_size > MAX_BYTES:
            problems.append(
                Problem(origin, f"the file has {info.st_size} bytes; {MAX_BYTES} are the limit", "split it")
            )
        else:
            with open(full, "rb") as file:
                return file.read(MAX_BYTES + 1)
    except OSError as error:
        problems.append(
            Problem(origin, f"cannot be read: {error.strerror}", "look at its mode, and at where a link leads")
        )
    return None
