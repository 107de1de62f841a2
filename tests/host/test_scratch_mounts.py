"""The clean-up of scratch folders on a network file system: real sshfs, which at times does not answer."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest

from reconciler.agent.cleanup.scratch import Scratches
from reconciler.agent.config import Agent
from reconciler.agent.memory.store import Store
from reconciler.core.change import Diff
from reconciler.core.cleanup import Cleaned, Kept, Memory, key_of
from reconciler.core.desired import Age, Cleanup, Policy, RootIs, without_services
from reconciler.core.outcome import Status
from reconciler.core.plan import Plan
from reconciler.host.scratch.apart import Inside, Place, SilentError, apart
from reconciler.host.scratch.clean import anything, clean, survey
from reconciler.host.scratch.root import RootError
from reconciler.host.scratch.walk import Task
from tests.host.mounts import Line, mounted
from tests.host.trees import LIMIT

pytestmark = pytest.mark.sshfs

T = TypeVar("T")

PATIENCE = 1.5
EMPTY = Plan("x", "dev", "", Diff((), (), (), (), (), (), (), ()), ())


@pytest.fixture
def at(short_folder: Path) -> Path:
    """Where it is mounted."""
    (short_folder / "served").mkdir()
    (short_folder / "at").mkdir()
    return short_folder / "at"


@pytest.fixture
def line(at: Path) -> Iterator[Line]:
    with mounted(at.parent / "served", at) as line:
        yield line


def tree(root: Path, runs: int = 6) -> set[str]:
    """Old runs, and one with a file that is new; the paths of all."""
    old = (time.time() - LIMIT - 60,) * 2
    for run in range(runs):
        folder = root / f"u{run % 2}" / f"run-{run}"
        (folder / "call").mkdir(parents=True)
        for number in range(10):
            (folder / "call" / f"f{number}").write_text("x")
            os.utime(folder / "call" / f"f{number}", old)
        if run == 1:
            (folder / "call" / "new").write_text("x")
        else:
            os.utime(folder / "call", old)
            os.utime(folder, old)
    return listed(root)


def listed(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def rule(root: Path, **more: object) -> Cleanup:
    return Cleanup("inputs", str(root), 14, min_depth=2, max_depth=2)._replace(**more)  # type: ignore[arg-type]


def task(of: Cleanup, in_use: Sequence[str] = ()) -> Task:
    return Task(of, Kept(of, in_use), time.time())


def cleaned(of: Cleanup) -> Cleaned:
    return clean(task(of))


@pytest.mark.parametrize("age", Age)
def test_what_is_old_goes_there_as_anywhere(at: Path, line: Line, age: Age) -> None:
    served = at.parent / "served" / "scratch"
    before = tree(served)
    stays = {path for path in before if "run-1" in path or "/" not in path}
    of = rule(at / "scratch", age=age)
    figures, troubles = survey(task(of))
    assert (figures.entries, troubles) == (len(before - stays), ())
    done = cleaned(of)
    assert (done.entries, done.failed, listed(served)) == (len(before - stays), 0, stays)
    assert not anything(task(of))
    assert line.port


def test_no_other_file_system_is_entered_where_one_of_both_is_a_mount(short_folder: Path, at: Path) -> None:
    served, root = at.parent / "served", short_folder / "root"
    before = tree(served)
    run = root / "ann" / "run"
    run.mkdir(parents=True)
    (run / "file").write_text("x")
    inner = run / "mounted"
    inner.mkdir()
    with mounted(served, inner):
        os.utime(run, (0, 0))
        done = cleaned(rule(root))
        assert (done.failed, "another file system" in done.troubles[0]) == (1, True)
        assert listed(served) == before
        assert (root / "ann" / "run" / "mounted").is_mount()


def test_a_mount_point_is_a_root_only_where_the_rule_says_so(at: Path, line: Line) -> None:
    before = tree(at.parent / "served")
    with pytest.raises(RootError, match="is a mount point"):
        cleaned(rule(at))
    assert listed(at.parent / "served") == before
    assert cleaned(rule(at, root_is=RootIs.MOUNT)).top_count == 5
    assert line.port


def test_a_lost_connection_is_told_and_nothing_goes(at: Path, line: Line) -> None:
    before = tree(at.parent / "served" / "scratch")
    of = rule(at / "scratch")

    def lose() -> bool:
        line.cut()
        return False

    done = clean(task(of), asked_to_stop=lose)
    assert done.failed
    with suppress(RootError):  # or the mount has ended by now, and there is no such root
        assert cleaned(of) == Cleaned()
    assert listed(at.parent / "served" / "scratch") == before


# ---------------------------------------------------------------- no answer


@pytest.fixture
def place(at: Path, short_folder: Path) -> Place:
    return Place(str(at / "scratch"), str(short_folder / "mark"), PATIENCE)


def test_a_server_that_does_not_answer_is_told_and_at_once_as_long_as_that_lasts(
    at: Path, line: Line, place: Place
) -> None:
    before = tree(at.parent / "served" / "scratch")
    of = rule(at / "scratch")

    def work(inside: Inside) -> Cleaned:
        return clean(task(of), asked_to_stop=inside.must_stop)

    mine, theirs = os.pipe()
    line.silence()
    with pytest.raises(SilentError, match=r"has not answered for 1\.5 s"):
        apart(work, place)
    os.close(theirs)  # nobody else has it open: whoever reads all that a pass prints comes to its end
    assert select.select((mine,), (), (), 20)[0]
    os.close(mine)
    seconds, told = silent(work, place)
    assert (f"since {time.strftime('%Y-%m-%d ')}" in told, "still waits for it" in told) == (True, True)
    assert seconds < PATIENCE
    assert listed(at.parent / "served" / "scratch") == before
    line.go_on()
    done = answered(work, place)
    assert done.top_count == 5  # so nobody else has removed one meanwhile
    assert not os.path.exists(place.mark)


def silent(work: Callable[[Inside], object], place: Place) -> tuple[float, str]:
    """How long it took to tell that one is left behind. A call that sshfs has not taken up yet ends with its process,
    which then is not."""
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(SilentError) as found:
            apart(work, place)
        if "still waits" in str(found.value):
            return time.monotonic() - began, str(found.value)
    pytest.skip("sshfs has taken up no call, so each could be ended, and nobody was left behind")


def answered(work: Callable[[Inside], T], place: Place) -> T:
    """Once whoever waited is gone."""
    until = time.monotonic() + 20
    while True:
        try:
            return apart(work, place)
        except SilentError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def test_what_was_left_behind_removes_nothing_when_the_answer_comes(at: Path, line: Line, place: Place) -> None:
    """It hangs in the middle of a removal."""
    served = at.parent / "served" / "scratch"
    before = tree(served, runs=40)
    of = rule(at / "scratch")

    def work(inside: Inside) -> Cleaned:
        asked = 0

        def must_stop() -> bool:
            nonlocal asked
            asked += 1
            if asked <= 20:
                inside.say("on the way")
            return inside.must_stop()

        return clean(task(of), asked_to_stop=must_stop, workers=1)

    said = 0

    def heard(_: object) -> None:
        nonlocal said
        said += 1
        if said == 20:
            line.silence()

    with pytest.raises(SilentError):
        apart(work, place, heard)
    held = listed(served)
    assert 0 < len(before) - len(held) < len(before) / 2
    line.go_on()
    stays = answered(lambda _: listed(served), place)
    assert len(held) - len(stays) <= 1  # what was asked for when the line went silent


def test_services_do_not_wait_for_a_file_system_that_does_not_answer(at: Path, line: Line, short_folder: Path) -> None:
    """A rule on it is a gap, the others go on."""
    before, there = tree(at.parent / "served" / "scratch"), tree(short_folder / "other")
    rules = (rule(at / "scratch", name="a", free_bytes=1 << 60), rule(short_folder / "other", name="b"))
    agent = Agent("https://nowhere/x", "x", state_dir=str(short_folder / "state"))
    store = Store(agent.state_dir, "x")
    store.prepare()
    due = time.time() - 60
    store.save_scratch("dev", {one.name: Memory(key_of(one, "h"), due, due) for one in rules})
    desired = without_services("x", "dev", "", str(short_folder / "r"), Policy())._replace(cleanups=rules)

    def scratches() -> Scratches:
        return Scratches(desired, agent, store, "h", patience=PATIENCE)

    line.silence()
    for _ in range(2):
        one = scratches()
        assert one.begin({})
        plan = one.into(one.told(EMPTY))
        (gap,) = plan.diff.gaps
        assert (gap.subject, "has not answered" in gap.message) == ("a", True)
        assert [step.id for step in plan.steps] == ["clean:scratch:b"]
    assert listed(at.parent / "served" / "scratch") == before

    line.go_on()
    answered(lambda _: None, Place("", store.scratch_mark("dev", "a")))
    one = scratches()
    one.begin({})
    first, second = one.into(EMPTY).steps
    line.silence()
    ended = one.carry_out(first, print, lambda: False)
    assert (ended.status, "has not answered" in ended.message) == (Status.FAILED, True)
    assert one.carry_out(second, print, lambda: False).status is Status.DONE
    assert listed(short_folder / "other") != there
    line.go_on()
