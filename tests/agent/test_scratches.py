"""The rules of `cleanup` in one pass: how long it may clean up, and who else does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from reconciler.agent.cleanup.scratch import Scratches, task
from reconciler.agent.config import Agent
from reconciler.agent.loop import Loop
from reconciler.agent.memory.store import Store
from reconciler.core.change import Diff
from reconciler.core.cleanup import Cleaned, Memory, key_of
from reconciler.core.desired import Cleanup, Deployment, Policy, without_services
from reconciler.core.inventory import Inventory
from reconciler.core.outcome import ASKED_TO_STOP, Status
from reconciler.core.plan import Plan
from reconciler.host.scratch.names import NO_NAMES
from reconciler.host.scratch.root import NO_LIMITS
from reconciler.report.log import Log
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
    make_due(tmp_path, *rules)
    return without_services("x", "dev", "", str(tmp_path / "r"), Policy())._replace(cleanups=tuple(rules))


def make_due(folder: Path, *rules: Cleanup) -> None:
    before = time.time() - 60
    store(folder).save_scratch("dev", {rule.name: Memory(key_of(rule, "h"), before, before) for rule in rules})


def store(folder: Path) -> Store:
    found = Store(str(folder / "s"), "x")
    found.prepare()
    return found


def scratches(desired: Deployment, folder: Path, clock: Callable[[], float] = monotonic, **more: Any) -> Scratches:
    agent = Agent("https://nowhere/x", "x", state_dir=str(folder / "s"))
    return Scratches(desired, agent, store(folder), "h", clock=clock, **more)


EMPTY = Plan("x", "dev", "", Diff((), (), (), (), (), (), (), ()), ())


def test_all_rules_together_have_the_time_of_one(tmp_path: Path, desired: Deployment) -> None:
    """So long a pass goes on, however many there are. The next one removes what is left."""
    now = 1000.0
    one = scratches(desired, tmp_path, lambda: now)
    assert one.begin({})
    first, second = one.into(EMPTY).steps
    assert one.carry_out(first, print, lambda: False).status is Status.DONE
    now += 121
    ended = one.carry_out(second, print, lambda: False)
    assert (ended.status, ended.waits) == (Status.SKIPPED, True)
    assert ((tmp_path / "a/user/file").exists(), (tmp_path / "b/user/file").exists()) == (False, True)
    one.remember()

    again = scratches(desired, tmp_path, lambda: now)
    assert again.begin({})
    (left,) = again.into(EMPTY).steps
    assert again.carry_out(left, print, lambda: False).status is Status.DONE
    assert not (tmp_path / "b/user/file").exists()


def test_it_ends_where_the_next_pass_of_a_loop_is_waited_for(tmp_path: Path, desired: Deployment) -> None:
    agent = Agent("https://nowhere/x", "x", state_dir=str(tmp_path / "s"), interval=300.0)
    loop = Loop(agent, Log(StringIO()), lambda _: None)
    began = monotonic()
    awaits = loop._awaits(began)
    assert (awaits(), loop._awaits(began - 301)()) == (False, True)
    loop._pushed = True
    one = scratches(desired, tmp_path, is_awaited=awaits)
    assert one.begin({})
    ended = one.carry_out(one.into(EMPTY).steps[0], print, lambda: False)
    assert (ended.status, ended.waits, "the next pass goes on" in ended.message) == (Status.SKIPPED, True, True)
    assert (tmp_path / "a/user/file").exists()


@pytest.mark.parametrize(("entries", "told"), [(42, "the pass was asked to stop: 42 entries"), (0, ASKED_TO_STOP)])
def test_a_pass_that_is_asked_to_stop_tells_what_has_gone_by_then(
    tmp_path: Path, desired: Deployment, monkeypatch: pytest.MonkeyPatch, entries: int, told: str
) -> None:
    one = scratches(desired, tmp_path)
    assert one.begin({})
    first, _ = one.into(EMPTY).steps
    monkeypatch.setattr("reconciler.host.scratch.clean.clean", lambda *_words: Cleaned(entries, stopped=True))
    ended = one.carry_out(first, print, lambda: True)
    assert (ended.status, ended.waits) == (Status.SKIPPED, bool(entries))
    assert ended.message.startswith(told)


@pytest.mark.parametrize(
    ("done", "hint"),
    [
        (Cleaned(0, troubles=("a: Read-only file system",), failed=1), "nothing has gone: `reconcile doctor`"),
        (Cleaned(5, troubles=("a: Permission denied",), failed=1), "all else that is old is gone"),
        (Cleaned(5, troubles=("a: Permission denied",), failed=1, stopped=True), "the next pass goes on"),
    ],
)
def test_what_could_not_be_removed_says_what_became_of_the_rest(
    tmp_path: Path, desired: Deployment, monkeypatch: pytest.MonkeyPatch, done: Cleaned, hint: str
) -> None:
    """Root may remove everything, so what comes of a removal is given here."""
    one = scratches(desired, tmp_path)
    assert one.begin({})
    first, _ = one.into(EMPTY).steps
    monkeypatch.setattr("reconciler.host.scratch.clean.clean", lambda *_words: done)
    ended = one.carry_out(first, print, lambda: False)
    assert ended.status is Status.FAILED
    assert hint in ended.hint


# ---------------------------------------------------------------- what others have


def noted(folder: Path, site: str, environment: str) -> Path:
    """What another deployment has installed, and the state directory remembers."""
    root = folder / "inst" / f"{site}-{environment}"
    (root / "config").mkdir(parents=True)
    conf, unit = root / "config/app.conf", folder / "units/app.service"
    unit.parent.mkdir(exist_ok=True)
    for path in (conf, unit):
        path.write_text("x")
        os.utime(path, (0, 0))
    other = Store(str(folder / "s"), site)
    other.prepare()
    inventory = Inventory(files={str(conf): "", str(unit): ""}, roots=(str(root),))
    other.save_inventory(environment, str(root), inventory)
    return root


@pytest.mark.parametrize(("site", "environment"), [("x", "prod"), ("x", "dev"), ("other", "dev")])
@pytest.mark.parametrize("place", ["inst", "inst/{}", "inst/{}/old", "inst/{}/config", "inst/{}/.reconcile", "units"])
def test_what_other_deployments_have_installed_is_no_scratch(
    tmp_path: Path, desired: Deployment, site: str, environment: str, place: str
) -> None:
    """Those of other sites, and what git has no more: `x/dev` had another root before."""
    root = noted(tmp_path, site, environment)
    (root / "old").mkdir()
    folder = tmp_path / place.format(root.name)
    mistaken = desired.cleanups[0]._replace(root=str(folder), min_depth=1)
    make_due(tmp_path, mistaken)
    one = scratches(desired._replace(cleanups=(mistaken,)), tmp_path)
    own_scratch = place == "inst/{}/old" and (site, environment) == ("x", "dev")
    assert one.begin({})
    (gap,) = one.into(EMPTY).diff.gaps or (None,)
    assert (gap is None) == own_scratch
    if gap is not None:
        assert f"{folder} holds {tmp_path}" in gap.message or f"{folder} is part of {tmp_path}" in gap.message


def test_nothing_is_removed_while_it_is_not_known_what_others_have(tmp_path: Path, desired: Deployment) -> None:
    noted(tmp_path, "x", "prod")
    path = tmp_path / "s/x/prod/inventory.json"
    path.write_bytes(path.read_bytes()[:-20])
    one = scratches(desired, tmp_path)
    assert one.begin({})
    plan = one.into(EMPTY)
    assert plan.steps == ()
    assert all(f"{path} is damaged" in gap.message and "x/prod" in gap.message for gap in plan.diff.gaps)
    assert len(plan.diff.gaps) == 2


# ---------------------------------------------------------------- clocks


def test_nothing_is_removed_by_a_clock_that_the_file_system_does_not_have(
    tmp_path: Path, desired: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that is years ahead, all is old. Ages are dates of the file system's."""
    ahead = time.time() + 400 * 86400
    young = tmp_path / "a/user/young"
    young.write_text("x")
    monkeypatch.setattr("time.time", lambda: ahead)
    make_due(tmp_path, *desired.cleanups)
    one = scratches(desired, tmp_path)
    assert one.begin({})
    first, _ = one.into(EMPTY).steps
    ended = one.carry_out(first, print, lambda: False)
    assert ended.status is Status.FAILED
    assert "400 days" in ended.message
    assert "clock" in ended.message
    assert sorted(path.name for path in young.parent.iterdir()) == ["file", "young"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["user"]  # nor is anything left of the look


# ---------------------------------------------------------------- full disks


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
        make_due(folder, rule)
        (folder / "s/x/cleanup.key").unlink()
        fill(folder, 0)

        one = scratches(desired, folder)
        assert one.begin({})
        (step,) = one.into(EMPTY).steps
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
    assert one.begin({})
    assert one.into(EMPTY) == EMPTY
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
