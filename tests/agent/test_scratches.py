"""The rules of `cleanup` in one pass: how long it may clean up, and who else does."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from reconciler.agent.cleanup import Scratches
from reconciler.agent.config import Agent
from reconciler.agent.loop import Loop
from reconciler.agent.store import Store
from reconciler.core.change import Diff
from reconciler.core.cleanup import Memory, key_of
from reconciler.core.desired import Cleanup, Deployment, Policy, without_services
from reconciler.core.outcome import Status
from reconciler.core.plan import Plan
from reconciler.report.log import Log


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
