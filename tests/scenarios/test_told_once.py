"""What cron would mail: a pass that is only held says so once, and then not before something of it changes."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import pytest

from tests.scenarios.world import SLEEP, Done, World, a_world, finish, in_terminal, until

__all__ = ["a_world"]
pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]

DENIED = 'windows: {always: {deny: "* * * * *", for: 1d}}'


def held(world: World, policy: str = "sync: manual", *services: str) -> None:
    layer = world.services(*(services or ("web",)))
    layer["desired/environments/dev.yaml"] += f"policy: {{{policy}}}\n"
    world.commit(layer)


def once(world: World, *words: str, code: int = 0) -> Done:
    """As cron runs it: `World.once` would be told as if for the first time."""
    done = finish(world.start("--once", *words))
    assert done.code == code, done.said
    return done


def note(world: World) -> Path:
    return world.state / world.site / "printed"


@pytest.mark.parametrize("policy", ["sync: manual", DENIED])
def test_a_held_pass_is_told_once_until_something_of_it_changes(world: World, policy: str) -> None:
    held(world, policy)
    first = once(world, code=2)
    assert "web" in first.out
    noted = note(world).stat()
    assert once(world, code=2).out == ""
    assert once(world, code=2).out == ""
    assert (note(world).stat().st_ino, note(world).stat().st_mtime) == (noted.st_ino, noted.st_mtime)
    assert once(world, "--json", code=2).json()["deployments"][0]["changes"]
    assert "web" in in_terminal(world.argv("--once"), world.env).out
    held(world, policy, "web", "other")
    assert "other" in once(world, code=2).out
    assert once(world, code=2).out == ""
    held(world, "sync: automatic")
    assert "1 created" in once(world).out
    assert not note(world).exists()
    held(world, policy, "web", "other")
    assert "other" in once(world, code=2).out


def test_it_is_told_again_after_a_day(world: World) -> None:
    held(world)
    once(world, code=2)
    assert once(world, code=2).out == ""
    then = time.time() - 86_401
    os.utime(note(world), (then, then))
    assert "waits for approval" in once(world, code=2).out
    assert once(world, code=2).out == ""
    ahead = time.time() + 86_401  # a clock that was wrong hides nothing
    os.utime(note(world), (ahead, ahead))
    assert "waits for approval" in once(world, code=2).out


def test_what_came_between_is_told_and_then_the_hold_again(world: World) -> None:
    held(world)
    once(world, code=2)
    world.write({"desired/defaults.yaml": "versions: 1\n"})
    world.commit()
    for _ in range(2):  # a failure is told by each pass
        assert "versions" in once(world, code=3).out
    world.git("revert", "--no-edit", "HEAD")
    assert "waits for approval" in once(world, code=2).out
    assert once(world, code=2).out == ""


def test_what_is_wrong_is_told_by_each_pass(world: World) -> None:
    """Also beside what is held, and when it is the same each time."""
    finding = "verify: {v: {command: 'false', matches: x}}"
    layer = world.services("web", web=f"component: app, command: {SLEEP}, {finding}")
    layer["desired/environments/dev.yaml"] += "policy: {sync: manual}\n"
    world.commit(layer)
    for _ in range(3):
        assert "finding" in once(world, code=1).out


def test_a_person_who_applies_is_told(world: World) -> None:
    held(world)
    for _ in range(2):
        assert "waits for approval" in finish(world.start("apply")).out
        assert "waits for approval" in finish(world.start("plan")).out


def _is_other(path: Path, before: int) -> bool:
    return path.stat().st_mtime_ns != before


def test_the_loop_says_it_once(world: World) -> None:
    held(world)
    out, contact = world.folder / "out", world.state / world.site / "source.json"
    with out.open("w") as stdout:
        process = world.start("--interval", "1s", stdout=stdout)
    try:
        until(lambda: "waits for approval" in out.read_text())
        for _ in range(3):
            until(functools.partial(_is_other, contact, contact.stat().st_mtime_ns))
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert out.read_text().count("lets exactly this plan through") == 1
