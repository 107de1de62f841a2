"""What the clean-up of scratch folders asks of the file system, counted by strace: each may be a message."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.core.desired import Age
from reconciler.host.scratch.crew import WORKERS
from tests.host.trees import LIMIT

pytestmark = pytest.mark.strace

FILES = 5  # in each folder
ACT = """
import sys, time
from reconciler.core.cleanup import Kept
from reconciler.core.desired import Age, Cleanup, Sort
from reconciler.host.scratch.clean import anything, clean, survey
from reconciler.host.scratch.crew import WORKERS
from reconciler.host.scratch.walk import Task
of = Cleanup("x", sys.argv[2], 14, min_depth=2, max_depth=int(sys.argv[4]), age=Age(sys.argv[3]))
together = lambda task: clean(task, workers=WORKERS)  # as on a file system that is not of this host
print({"clean": together, "survey": survey, "anything": anything}[sys.argv[1]](Task(of, Kept(of), time.time())))
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
    log = root.parent / "strace.log"  # one for each thread: else calls that overlap are told in two halves
    strace = ["strace", "-ff", "-y", "-s", "4096", "-o", str(log), "-e", "trace=%%stat,openat"]
    argv = [*strace, sys.executable, "-c", ACT, act, str(root), age.value, str(most)]
    subprocess.run(argv, check=True, capture_output=True)
    by_name, opened, open_ones = Counter[str](), Counter[str](), Counter[str]()
    for line in (line for one in log.parent.glob("strace.log.*") for line in one.read_text().splitlines()):
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


@pytest.mark.parametrize(("act", "call"), [("survey", "newfstatat"), ("clean", "unlinkat")])
def test_where_each_call_takes_a_while_all_work_on_one_large_folder(short_folder: Path, act: str, call: str) -> None:
    """On a file system behind a network the calls of one thread wait for each other."""
    root = short_folder / "root"
    when = (time.time() - LIMIT - 60,) * 2
    for number in range(8):
        folder = root / "u" / "run" / f"call-{number}" / "execution"
        folder.mkdir(parents=True)
        for file in range(FILES):
            (folder / f"f{file}").write_text("x")
    os.utime(root / "u" / "run", when)
    log = short_folder / "strace.log"
    slow = ["strace", "-ff", "-y", "-o", str(log), "-e", f"trace={call}", "-e", f"inject={call}:delay_enter=3000"]
    argv = [*slow, sys.executable, "-c", ACT, act, str(root), Age.SELF.value, "2"]
    subprocess.run(argv, check=True, capture_output=True)
    files = re.compile(r'execution>, "f\d"')
    found = [len(files.findall(one.read_text())) for one in short_folder.glob("strace.log.*")]
    assert sum(found) == 8 * FILES
    assert len([count for count in found if count >= FILES]) == WORKERS
    assert list(root.rglob("*")) == [root / "u"] if act == "clean" else len(list(root.rglob("f*"))) == 8 * FILES


# ---------------------------------------------------------------- calls that fail, and sudden ends

FAULT = """
import sys, time
from reconciler.core.cleanup import Kept
from reconciler.core.desired import Age, Cleanup
from reconciler.host.scratch.clean import clean
from reconciler.host.scratch.names import Names
from reconciler.host.scratch.walk import Task
of = Cleanup("x", sys.argv[1], 14, min_depth=2, max_depth=int(sys.argv[3]), age=Age(sys.argv[2]), exclude=("*.keep",))
names = Names(f"{of.root}.log", "run-7", of.name, of.root)
print(clean(Task(of, Kept(of, ["run-used"]), time.time(), names=names), workers=1))
"""
_CHANGES = ("renameat", "renameat2", "unlinkat", "utimensat")  # nothing else changes a file system here


def faulty(root: Path, age: Age, options: Sequence[str], most: int = 0) -> subprocess.CompletedProcess[str]:
    log = root.parent / "strace.log"
    program = [sys.executable, "-c", FAULT, str(root), age.value, str(most)]
    argv = ["strace", "-f", "-y", "-o", str(log), *options, *program]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def mixed(root: Path) -> set[str]:
    """Runs that go, and others that must stay; their paths."""
    old, new = time.time() - LIMIT - 60, time.time()
    files = {f"{run}/f": old for run in ("a/run-1", "a/run-1/call", "a/run-1/call/deep", "a/run-2", "b/run-3/call")}
    stays = {"a/run-new/call/f": old, "a/run-new/call/new": new, "b/run-keep/call/a.keep": old, "b/run-keep/f": old}
    stays["b/run-used/call/f"] = old
    kept = {"/".join(path.split("/")[:end]) for path in stays for end in range(1, path.count("/") + 2)}
    for path, when in {**files, **stays}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
        os.utime(root / path, (when, when))
    for folder in (path for path in root.rglob("*") if path.is_dir()):
        when = new if folder.name == "run-new" else old
        os.utime(folder, (when, when))
    return kept


def left(root: Path) -> set[str]:
    found = {str(path.relative_to(root)) for path in root.rglob("*")}
    assert all(path.read_text() == str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return found


@pytest.mark.parametrize("age", Age)
def test_a_folder_that_cannot_be_listed_is_not_taken_for_one_without_what_must_stay(
    short_folder: Path, age: Age
) -> None:
    root = short_folder / "root"
    kept, hit = mixed(root), set()
    for folder in sorted(path for path in kept if (root / path).is_dir() and "/" in path):
        inject = ["-P", str(root / folder), "-e", "trace=getdents64", "-e", "inject=getdents64:error=EIO"]
        done = faulty(root, age, inject, most=2)
        hit |= {folder} if "Input/output error" in done.stdout else set()
        assert kept <= left(root), folder
        shutil.rmtree(root)
        mixed(root)
    assert hit >= {"b/run-keep/call", "a/run-new/call" if age is Age.NEWEST else "b/run-keep"}


@pytest.mark.slow
@pytest.mark.parametrize("age", Age)
def test_killed_before_any_change_the_next_pass_goes_on_and_nothing_else_is_lost(short_folder: Path, age: Age) -> None:
    """At each call of a removal that changes anything, so in each state that a file system can be left in."""
    root = short_folder / "root"
    kept = mixed(root)
    faulty(root, age, ["-e", "trace=" + ",".join(f"?{name}" for name in _CHANGES)], most=2)
    assert left(root) == kept
    calls = Counter(re.findall(r"(?m)^\d+ +(\w+)\(", (short_folder / "strace.log").read_text()))
    assert calls["renameat"] + calls["renameat2"] == 3
    calls["unlinkat"] -= 1  # of a file that tells the clock, by another thread: each counts for itself below
    assert calls["unlinkat"] == 5 + 6
    for name, many in calls.items():
        for nth in range(1, many + 1):
            shutil.rmtree(root)
            mixed(root)
            log = root.with_name("root.log")
            log.unlink(missing_ok=True)
            before = {str(path.relative_to(root)) for path in root.glob("*/*")}
            inject = f"inject={name}:signal=KILL:when={nth}"
            killed = faulty(root, age, ["-e", f"trace={name}", "-e", inject], most=2)
            assert killed.returncode == -9, (inject, killed)
            there = {str(path.relative_to(root)) for path in root.rglob("*")}
            assert kept <= there, inject
            assert there - kept, inject
            lines = log.read_text().splitlines() if log.exists() else []  # killed at the file that tells the clock
            told = {line.split("\t")[4] for line in lines}
            assert {f"{root}/{path}" for path in before - there} <= told, inject  # also what is renamed by now
            again = faulty(root, age, ["-e", "trace=none"], most=2)
            assert "failed=0" in again.stdout, (inject, again)
            assert left(root) == kept, inject
