"""The rules of `cleanup` in one pass: how long it may clean up, and who else does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from reconciler.agent.alone import alone
from reconciler.agent.cleanup import Scratches, task
from reconciler.agent.config import Agent
from reconciler.agent.store import Store
from reconciler.core.change import Diff
from reconciler.core.cleanup import Memory, key_of
from reconciler.core.desired import Cleanup, Deployment, Policy, without_services
from reconciler.core.outcome import Status
from reconciler.core.plan import Plan
from reconciler.host.scratch.names import NO_NAMES
from reconciler.host.scratch.root import NO_LIMITS
from tests.host.small import bytes_left, inodes_left, room, small_system


@pytest.fixture
def desired(tmp_path: Path) -> Deployment:
    """Two rules that are due, each with a file that goes."""
    rules = []
    for name in ("a", "b"):
        file = tmp_path / name / "user" / "file"
        file.parent.mkdir(parents=True)
        file.write_text("x")
        os.utime(file, (0, 0))
        rules.append(Cleanup(name, str(tmp_path / name), 14, min_depth=2, minutes=2))
    store(tmp_path).save_scratch("dev", {rule.name: Memory(key_of(rule, "h"), 0.0, 1.0) for rule in rules})
    return without_services("x", "dev", "", str(tmp_path / "r"), Policy())._replace(cleanups=tuple(rules))


def store(folder: Path) -> Store:
    found = Store(str(folder / "s"), "x")
    found.prepare()
    return found


def scratches(desired: Deployment, folder: Path, clock: Callable[[], float] = monotonic) -> Scratches:
    agent = Agent("https://nowhere/x", "x", state_dir=str(folder / "s"))
    return Scratches(desired, agent, store(folder), "h", clock=clock)


EMPTY = Plan("x", "dev", "", Diff((), (), (), (), (), (), (), ()), ())


def test_all_rules_together_have_the_time_of_one(tmp_path: Path, desired: Deployment) -> None:
    """So long a commit has to wait, however many there are. The next pass goes on with what is left."""
    now = 1000.0
    one = scratches(desired, tmp_path, lambda: now)
    first, second = one.into(EMPTY, {}).steps
    assert one.carry_out(first, print, lambda: False).status is Status.DONE
    now += 121
    ended = one.carry_out(second, print, lambda: False)
    assert (ended.status, ended.waits) == (Status.SKIPPED, True)
    assert ((tmp_path / "a/user/file").exists(), (tmp_path / "b/user/file").exists()) == (False, True)
    one.remember()

    again = scratches(desired, tmp_path, lambda: now)
    (left,) = again.into(EMPTY, {}).steps
    assert again.carry_out(left, print, lambda: False).status is Status.DONE
    assert not (tmp_path / "b/user/file").exists()


def test_what_is_due_waits_while_somebody_cleans_up_by_hand(tmp_path: Path, desired: Deployment) -> None:
    one = scratches(desired, tmp_path)
    with alone(store(tmp_path).cleanup_lock_path()):
        assert one.into(EMPTY, {}) == EMPTY
    first, _ = one.into(EMPTY, {}).steps
    with alone(store(tmp_path).cleanup_lock_path()):
        ended = one.carry_out(first, print, lambda: False)
        assert (ended.status, ended.waits) == (Status.SKIPPED, True)
        assert f"pid {os.getpid()}" in ended.message
    assert (tmp_path / "a/user/file").exists()


@pytest.mark.parametrize("fill", [bytes_left, inodes_left])
def test_where_nothing_more_can_be_written_it_cleans_up_all_the_same(
    tmp_path: Path, fill: Callable[[Path, int], None]
) -> None:
    """That is when it is needed most. Nothing of clean-up was there before; what it has to remember it then can."""
    with small_system(tmp_path / "f", "size=2m,nr_inodes=300") as folder:
        found = store(folder)
        user = folder / "scratch/user"
        user.mkdir(parents=True)
        for number in range(8):
            (user / str(number)).write_bytes(bytes(8192))
            os.utime(user / str(number), (0, 0))
        rule = Cleanup("a", str(folder / "scratch"), 14, min_depth=2, free_percent=10)
        desired = without_services("x", "dev", "", str(tmp_path / "r"), Policy())._replace(cleanups=(rule,))
        fill(folder, 0)

        one = scratches(desired, folder)
        (step,) = one.into(EMPTY, {}).steps
        ended = one.carry_out(step, print, lambda: False)
        assert not os.listdir(user), ended
        one.remember()
        assert found.scratch_key()


def test_a_rule_is_remembered_with_what_marks_the_folders_that_go(tmp_path: Path) -> None:
    """Before the file system is full."""
    rule = Cleanup("a", str(tmp_path / "scratch"), 14)
    desired = without_services("x", "dev", "", str(tmp_path / "r"), Policy())._replace(cleanups=(rule,))
    found = store(tmp_path)
    one = scratches(desired, tmp_path)
    assert one.into(EMPTY, {}) == EMPTY
    one.remember()
    assert found.scratch_key()


def test_a_folder_that_goes_while_nothing_can_be_written_is_known_to_the_next_pass(tmp_path: Path) -> None:
    """What marks it is kept in memory until there is room for it."""
    with small_system(tmp_path / "f", "size=2m,nr_inodes=300") as folder:
        found = store(folder)
        bytes_left(folder, 0)
        key = found.scratch_key(make=True)
        assert key
        assert store(folder).scratch_key() == ""
        room(folder)
        assert found.scratch_key(make=True) == key
        assert store(folder).scratch_key() == key


@pytest.mark.parametrize("by", ["file", "command"])
def test_what_is_in_use_is_asked_again(tmp_path: Path, by: str) -> None:
    """A clean-up by hand may take days."""
    running = tmp_path / "running"
    running.write_text("run-1\n")
    plain = Cleanup("a", str(tmp_path), 14)
    rule = plain._replace(in_use_file=str(running)) if by == "file" else plain._replace(in_use_command=f"cat {running}")
    made = task(rule, 0.0, NO_LIMITS, "", NO_NAMES)()
    running.write_text("run-2\n")
    assert made.again is not None
    kept = made.again()
    assert [made.kept.covers("run-1"), kept.covers("run-1"), kept.covers("run-2")] == [True, False, True]
    assert task(plain, 0.0, NO_LIMITS, "", NO_NAMES)().again is None
