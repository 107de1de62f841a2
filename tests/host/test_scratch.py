"""What the clean-up of scratch folders removes, held against `find` itself, and what it never touches."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reconciler.core.cleanup import Cleaned, Kept
from reconciler.core.model import Age, Cleanup, Sort
from reconciler.host.scratch.clean import anything, clean, survey
from reconciler.host.scratch.walk import Task
from tests.host.trees import DAYS, FOLDERS, LIMIT, Folder, build, listed, with_all_below

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rule(root: Path, **more: object) -> Cleanup:
    return Cleanup("inputs", str(root), DAYS, min_depth=2)._replace(**more)  # type: ignore[arg-type]


def task(of: Cleanup, now: float, in_use: Sequence[str] = ()) -> Task:
    return Task(of, Kept(of, in_use), now)


def cleaned(of: Cleanup, now: float | None = None, in_use: Sequence[str] = (), workers: int = 4) -> Cleaned:
    return clean(task(of, time.time() if now is None else now, in_use), workers=workers)


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rc-scratch-") as folder:
        yield Path(folder)


def made(place: Path, plan: Folder, now: float) -> Path:
    shutil.rmtree(place)
    (place / "outside").mkdir(parents=True)
    build(os.fsencode(place / "root"), plan, now, place / "outside")
    return place / "root"


# ---------------------------------------------------------------- what goes


@SLOW
@given(
    plan=FOLDERS,
    least=st.integers(1, 3),
    more=st.none() | st.integers(0, 2),
    sort=st.sampled_from(Sort),
    workers=st.integers(1, 3),
)
def test_by_its_own_date_what_goes_is_what_find_finds(
    place: Path, plan: Folder, least: int, more: int | None, sort: Sort, workers: int
) -> None:
    now = time.time()
    root = made(place, plan, now)
    outside = listed(place / "outside")
    before = listed(root)
    words = ["-mindepth", str(least), *([] if more is None else ["-maxdepth", str(least + more)])]
    words += [] if sort is Sort.ANY else ["-type", sort.value]
    argv = ["find", str(root), *words, "-mtime", f"+{DAYS}", "-print0"]
    printed = subprocess.run(argv, capture_output=True, check=True).stdout
    assume(time.time() - now < 0.9)  # else a second has passed for `find` that has not for us
    found = {os.path.relpath(path, os.fsencode(root)) for path in printed.split(b"\0") if path}

    of = rule(root, min_depth=least, max_depth=0 if more is None else least + more, sort=sort)
    expected = with_all_below(before, found)
    assert anything(task(of, now)) is bool(expected)
    figures, _ = survey(task(of, now))
    assert figures.entries == len(expected)
    done = cleaned(of, now, workers=workers)
    assert listed(root) == before - expected
    assert (done.entries, done.failed, done.stopped) == (len(expected), 0, False)
    assert listed(place / "outside") == outside


def newer(root: Path, before: set[bytes], now: float) -> set[bytes]:
    """Everything that is no folder and not old, with all folders above it."""
    found = set()
    for path in before:
        info = os.lstat(os.path.join(os.fsencode(root), path))
        if not os.path.isdir(os.path.join(os.fsencode(root), path)) or os.path.islink(
            os.path.join(os.fsencode(root), path)
        ):
            if info.st_mtime > now - LIMIT:
                found |= {path, *above(path)}
    return found


def above(path: bytes) -> Iterator[bytes]:
    while path := os.path.dirname(path):
        yield path


@SLOW
@given(plan=FOLDERS, least=st.integers(1, 2), more=st.none() | st.integers(0, 2), sort=st.sampled_from(Sort))
def test_by_the_newest_file_no_folder_goes_that_holds_a_newer_one(
    place: Path, plan: Folder, least: int, more: int | None, sort: Sort
) -> None:
    now = time.time()
    root = made(place, plan, now)
    before = listed(root)
    kept = newer(root, before, now)
    of = rule(root, min_depth=least, max_depth=0 if more is None else least + more, sort=sort, age=Age.NEWEST)
    figures, _ = survey(task(of, now))
    done = cleaned(of, now)
    left = listed(root)
    assert kept <= left
    assert (done.entries, done.failed) == (len(before) - len(left), 0)
    assert figures.entries == done.entries
    assert cleaned(of, now).entries == 0  # nothing goes that a second look finds
