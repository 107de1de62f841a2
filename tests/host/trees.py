"""Trees of files for the clean-up: made from a plan, and read back as a set of paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

DAY = 86400
DAYS = 14
LIMIT = (DAYS + 1) * DAY  # seconds: what is older is old


class Leaf(NamedTuple):
    kind: str  # "file", "link", "hard", "fifo"
    age: float  # seconds


class Folder(NamedTuple):
    age: float
    entries: Mapping[bytes, Leaf | Folder]


# Around the limit to the second, and far from it on both sides.
AGES = st.sampled_from([0, DAY, LIMIT - DAY, LIMIT - 60, LIMIT - 1, LIMIT + 1, LIMIT + 60, 40 * DAY])
NAMES = st.sampled_from([b"a", b"b", b"c d", b"new\nline", b"\xff\xfe", b"-rf", b"*", b".hidden", "\u00e9".encode()])
LEAVES = st.builds(Leaf, st.sampled_from(["file", "file", "file", "link", "hard", "fifo"]), AGES)
FOLDERS = st.recursive(
    st.builds(Folder, AGES, st.dictionaries(NAMES, LEAVES, max_size=3)),
    lambda inner: st.builds(Folder, AGES, st.dictionaries(NAMES, LEAVES | inner, max_size=4)),
    max_leaves=12,
)


def build(folder: bytes, plan: Folder, now: float, outside: Path) -> None:
    """Links lead to `outside`, and so do further names of files that stand there."""
    os.mkdir(folder)
    for name, part in plan.entries.items():
        path = os.path.join(folder, name)
        if isinstance(part, Folder):
            build(path, part, now, outside)
        elif part.kind == "link":
            os.symlink(outside, path)
        elif part.kind == "hard":
            other = outside / f"hard-{len(os.listdir(outside))}"
            other.write_bytes(b"kept")
            os.link(other, path)
        elif part.kind == "fifo":
            os.mkfifo(path)
        else:
            Path(os.fsdecode(path)).write_bytes(b"x")
        if not isinstance(part, Folder):
            os.utime(path, (now - part.age, now - part.age), follow_symlinks=False)
    os.utime(folder, (now - plan.age, now - plan.age))


def listed(root: Path) -> set[bytes]:
    """All paths below a root, links not followed."""
    top = os.fsencode(root)
    return {
        os.path.relpath(os.path.join(folder, name), top)
        for folder, folders, files in os.walk(top)
        for name in (*folders, *files)
    }


def with_all_below(paths: set[bytes], found: set[bytes]) -> set[bytes]:
    """Those of `paths` that are in `found`, or below one that is."""
    return {path for path in paths if any(path == top or path.startswith(top + b"/") for top in found)}
