"""Passes with little time: each goes on where the one before it stopped, and nothing waits for ever behind anything.

The clock is one that each look at it puts forward by a second, so how far a pass comes depends on no machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.cleanup import Cleaned, Kept, Why
from reconciler.core.desired import Age, Cleanup
from reconciler.core.retention import GONE
from reconciler.host.scratch import listing
from reconciler.host.scratch.clean import anything, clean
from reconciler.host.scratch.walk import Task, name_of
from tests.host.trees import DAYS, FOLDERS, Folder, build, listed


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rc-turns-") as folder:
        yield Path(folder)


def rule(root: Path, **more: object) -> Cleanup:
    return Cleanup("inputs", str(root), DAYS, min_depth=2, max_depth=2)._replace(**more)  # type: ignore[arg-type]


def run(path: Path, *, files: int = 1, old: bool = True) -> Path:
    when = 0 if old else time.time()
    path.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        (path / f"f{number:04}").write_text("x")
        os.utime(path / f"f{number:04}", (when, when))
    os.utime(path, (when, when))
    return path


def looks() -> Callable[[], float]:
    ticks = count()
    return lambda: float(next(ticks))


def passes(of: Cleanup, most: int, begin: str = "") -> list[Cleaned]:
    """One after another until one is through."""
    found: list[Cleaned] = []
    while not found or found[-1].stopped:
        assert len(found) < most, [one.at for one in found]
        task = Task(of, Kept(of), time.time(), begin, key="k")
        found.append(clean(task, workers=1, clock=looks()))
        begin = found[-1].at
    return found


def test_old_runs_behind_many_new_ones_of_a_large_folder_are_reached(place: Path) -> None:
    """And so is what lies behind that folder."""
    for number in range(200):
        run(place / "jgi_meta" / f"run-{number:03}", old=False)
    last = [run(place / "jgi_meta/zz-1"), run(place / "jgi_meta/zz-2"), run(place / "zeta/run-1")]
    done = passes(rule(place, age=Age.NEWEST, minutes=1), 30)
    assert len(done) > 3
    assert not any(path.exists() for path in last)
    assert sum(one.failed for one in done) == 0


def test_space_is_freed_where_to_look_everywhere_takes_longer_than_a_pass(place: Path) -> None:
    """What is old lies at the end, and some of it before where a later pass begins."""
    for number in range(1000):
        run(place / "jgi_meta" / f"run-{number:04}", old=False)
    last = [run(place / "jgi_meta/zz-1"), run(place / "zeta/run-1")]
    of, begin, done = rule(place, age=Age.NEWEST, minutes=10, free_bytes=1 << 60), "", list[Cleaned]()
    while not done or done[-1].stopped:
        assert len(done) < 60, [one.at for one in done]
        done.append(clean(Task(of, Kept(of), time.time(), begin, Why.FREE), clock=looks()))
        begin = done[-1].at
        if not any(path.exists() for path in last):
            break
    assert len(done) > 3
    assert not any(path.exists() for path in last)
    assert done[-1].short


@pytest.mark.parametrize("age", Age)
def test_a_folder_that_takes_longer_than_a_pass_keeps_nothing_behind_it_waiting(place: Path, age: Age) -> None:
    """It is judged as one, so half of it is of no use to the next pass; that is told."""
    for number in range(200):
        run(place / "ann/large" / f"part-{number}")
    run(place / "ann/large")
    last = [run(place / "ann/run-1"), run(place / "zeta/run-1")]
    of = rule(place, age=age, minutes=1, exclude=("*.keep",))
    done = passes(of, 8)
    assert not any(path.exists() for path in last)
    assert [one.troubles for one in done if one.failed] == [
        ("ann/large: takes longer than a pass may: the next one goes on behind it",)
    ]
    assert len(os.listdir(place / "ann/large")) == 201


def test_a_root_of_more_names_than_are_held_is_gone_through_to_its_end(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "SORTED", 16)
    for number in range(300):
        run(place / f"user-{number:03}" / "run", old=False)
    last = [run(place / "zeta" / f"run-{number:02}") for number in range(40)]
    done = passes(rule(place, age=Age.NEWEST, minutes=1), 60)
    assert len(done) > 3
    assert not any(path.exists() for path in last)


def test_what_is_half_gone_goes_on_first_whatever_its_name(place: Path) -> None:
    """It has one by now that comes before that at which the pass goes on."""
    run(place / "ann/run-1", files=20_000)
    run(place / "ann/zz")
    of = rule(place, minutes=1)
    task = Task(of, Kept(of), time.time(), key="k")
    first = clean(task, workers=1, clock=looks())
    assert first.stopped
    assert [name.startswith(GONE) for name in sorted(os.listdir(place / "ann"))] == [True, False]
    (second, *_) = passes(of, 20, first.at)
    assert second.entries > 1000
    assert os.listdir(place / "ann") == []


def test_what_others_call_so_is_not_gone_through_again_and_again(place: Path) -> None:
    """A large folder of that name would keep what is behind it waiting."""
    for number in range(200):
        run(place / f"ann/{name_of('other', 1)}/part-{number}", old=False)
    last = [run(place / "ann" / f"user-{number}/run") for number in range(3)]
    done = passes(rule(place, min_depth=3, max_depth=3, age=Age.NEWEST, minutes=1), 8, "ann/user-0")
    assert len(done) == 1
    assert not any(path.exists() for path in last)


def test_whether_there_is_anything_is_asked_from_where_it_goes_on(place: Path) -> None:
    run(place / "ann/run-1")
    of = rule(place)
    assert [anything(Task(of, Kept(of), time.time(), begin)) for begin in ("", "ann/run-1", "ann/run-2", "bob")] == [
        True,
        True,
        False,
        False,
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=FOLDERS, least=st.integers(1, 3), looks_each=st.integers(25, 200), held=st.integers(1, 5))
def test_many_short_passes_remove_what_one_long_pass_removes(
    place: Path, plan: Folder, least: int, looks_each: int, held: int
) -> None:
    now = time.time()
    shutil.rmtree(place)
    (place / "outside").mkdir(parents=True)
    build(os.fsencode(place / "root"), plan, now, place / "outside")
    subprocess.run(["cp", "-a", place / "root", place / "other"], check=True)
    once, of = (rule(place / name, min_depth=least, max_depth=0) for name in ("other", "root"))
    clean(Task(once, Kept(once), now), workers=1)
    kept, listing.SORTED = listing.SORTED, held
    try:
        passes(of._replace(minutes=looks_each / 60), 200)  # type: ignore[arg-type]
    finally:
        listing.SORTED = kept
    assert listed(place / "root") == listed(place / "other")
