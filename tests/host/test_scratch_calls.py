"""What the clean-up of scratch folders asks of the file system, counted by strace: each may be a message."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.core.desired import Age
from tests.host.trees import LIMIT

pytestmark = pytest.mark.strace

FILES = 5  # in each folder
ACT = """
import sys, time
from reconciler.core.cleanup import Kept
from reconciler.core.desired import Age, Cleanup, Sort
from reconciler.host.scratch.clean import anything, clean, survey
from reconciler.host.scratch.walk import Task
of = Cleanup("x", sys.argv[2], 14, min_depth=2, max_depth=int(sys.argv[4]), age=Age(sys.argv[3]))
print({"clean": clean, "survey": survey, "anything": anything}[sys.argv[1]](Task(of, Kept(of), time.time())))
"""
_LINE = re.compile(r"(\w+)\((?:\w+<([^>]*)>, )?(?:\"([^\"]*)\")?(.*)\)\s+= (?:\d|-1)")
_STATS = ("newfstatat", "fstatat64", "fstat", "fstat64", "stat", "lstat", "statx")


class Asked(NamedTuple):
    """How many calls there were, by path."""

    by_name: Mapping[str, int]
    opened: Mapping[str, int]
    open_ones: Mapping[str, int]  # an open folder was asked, by us or, as it begins to list it, by the C library


def tree(root: Path, age: float) -> None:
    """Runs of files and a folder each; in half of them one file is new."""
    when = (time.time() - age,) * 2
    for run in range(6):
        folder = root / f"u{run % 2}" / f"run-{run}"
        for place in (folder, folder / "call"):
            place.mkdir(parents=True)
            for number in range(FILES):
                (place / f"f{number}").write_text("x")
                os.utime(place / f"f{number}", when)
        if run % 2:
            (folder / "call" / "new").write_text("x")
        os.utime(folder / "call", when)
        os.utime(folder, when)


def asked(act: str, root: Path, age: Age, most: int) -> Asked:
    log = root.parent / "strace.log"
    strace = ["strace", "-f", "-y", "-s", "4096", "-o", str(log), "-e", "trace=%%stat,openat"]
    argv = [*strace, sys.executable, "-c", ACT, act, str(root), age.value, str(most)]
    subprocess.run(argv, check=True, capture_output=True)
    by_name, opened, open_ones = Counter[str](), Counter[str](), Counter[str]()
    for line in log.read_text().splitlines():
        found = _LINE.search(line)
        if not found or not f"{found[2]}/{found[3]}".startswith(f"{root}/") or found[3] in (".", ".."):
            continue
        name, folder, entry = found[1], found[2], found[3]
        if name == "openat":
            opened[f"{folder}/{entry}"] += 1
        elif entry:
            by_name[f"{folder}/{entry}"] += 1
        elif name in _STATS and folder != str(root):
            open_ones[folder] += 1
    return Asked(by_name, opened, open_ones)


@pytest.mark.parametrize("most", [0, 2])
@pytest.mark.parametrize("age", Age)
@pytest.mark.parametrize("act", ["survey", "clean", "anything"])
@pytest.mark.parametrize("old", [True, False])
def test_no_entry_is_asked_twice(short_folder: Path, act: str, age: Age, most: int, *, old: bool) -> None:
    """By its name, that is. A folder that was opened is asked once more, whether it lies on the root's file system."""
    root = short_folder / "root"
    tree(root, LIMIT + 60 if old else 60)
    found = asked(act, root, age, most)
    assert found.opened
    assert {path: count for path, count in found.by_name.items() if count > 1} == {}
    assert {path: count for path, count in found.opened.items() if count > 1} == {}
    assert {path: count for path, count in found.open_ones.items() if count > 2} == {}
    if act == "clean" and old and age is Age.SELF and most:  # what goes as a whole needs no date of what is in it
        assert {path.rpartition("/")[2][:3] for path in found.by_name} == {"run"}
    if act == "survey" and old and age is Age.SELF:
        assert len([path for path in found.by_name if re.search(r"/f\d$", path)]) == 6 * 2 * FILES
