"""What cron would mail: the same report is told once, and then not before something of it changes, or hours later."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import pytest

from reconciler.agent.memory.store import Store
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
    assert "versions" in once(world, code=3).out
    assert once(world, code=3) == Done(3, "", "")
    world.git("revert", "--no-edit", "HEAD")
    assert "waits for approval" in once(world, code=2).out
    assert once(world, code=2).out == ""


def test_what_is_wrong_is_told_once_and_again_after_hours(world: World) -> None:
    """The exit status says it each time. What is asked for is told, and so is what becomes wrong besides."""
    finding = "verify: {v: {command: 'false', matches: x}}"
    services = dict.fromkeys(("web", "other"), f"component: app, command: {SLEEP}, {finding}")
    world.commit(world.services("web", **services))
    once(world, code=1)
    assert "finding" in once(world, code=1).out  # what the first one did is not in it any more
    for _ in range(2):
        assert once(world, code=1) == Done(1, "", "")
    assert once(world, "--json", code=1).json()["deployments"][0]["findings"]
    assert "finding" in in_terminal(world.argv("--once"), world.env).out
    then = time.time() - 21_601
    os.utime(note(world), (then, then))
    assert "finding" in once(world, code=1).out
    assert once(world, code=1) == Done(1, "", "")

    world.commit(world.services("web", "other", **services))
    once(world, code=1)
    assert once(world, code=1).out.count("finding") == 2
    world.commit(world.services("web"))
    once(world)
    assert once(world) == Done(0, "", "")
    assert not note(world).exists()
    world.commit(world.services("web", **services))
    assert "finding" in once(world, code=1).out


def failures(world: World) -> int:
    return finish(world.start("history")).out.count("failed")


@pytest.mark.parametrize("fails", ["prologue", "start"])
def test_what_fails_anew_each_time_is_tried_without_a_word(fails: str, world: World) -> None:
    """Nor is a word on standard error, which cron mails too. What it tries anew is in the history."""
    flag = world.folder / "flag"
    keys = {
        "prologue": f"component: app, command: {SLEEP}, prologue: 'test -e {flag} || {{ echo $$ >&2; exit 7; }}'",
        "start": f"component: app, command: '{world.folder}/program', supervisor: {{startsecs: 1, startretries: 1}}",
    }
    program = world.folder / "program"
    program.write_text(f"#!/bin/sh\ntest -e {flag} && exec {SLEEP}\necho $$ is nothing\nexit 3\n")
    program.chmod(0o755)
    fine = f"component: app, command: {SLEEP}, supervisor: {{startsecs: 0}}"
    layer = f"services:\n  web: {{{keys[fails]}}}\n  fine: {{{fine}}}\n"
    world.commit({"desired/environments/dev.yaml": layer})
    assert "fine" in once(world, code=1).out
    told = once(world, code=1)
    assert "web" in told.out
    before = failures(world)
    for _ in range(2):
        assert once(world, code=1) == Done(1, "", "")
    assert failures(world) == before + 2
    flag.touch()
    done = once(world)
    assert "web" in done.out
    assert once(world) == Done(0, "", "")


def test_a_notice_is_told_once(world: World) -> None:
    """The repo is out of reach: the time since then is not news, whether the site is left to itself is."""
    world.commit(world.services("web"))
    once(world)
    away = world.folder / "away"
    world.repo.rename(away)
    assert "cannot be read" in once(world).out
    assert once(world) == Done(0, "", "")
    assert "max_staleness" in once(world, "--max-staleness", "0s", code=1).out
    away.rename(world.repo)
    assert once(world) == Done(0, "", "")


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


def test_what_keeps_a_clean_up_from_removing_is_told_once(world: World) -> None:
    """The list of what is in use is missing; its rule stays due, and no pass walks or mails for it again."""
    old = world.folder / "scratch/old"
    old.parent.mkdir()
    old.write_text("x")
    os.utime(old, (0, 0))
    rule = f'{{root: "{old.parent}", older_than: 14, in_use: {{file: "{world.folder}/running"}}}}'
    world.commit(world.services("web") | {f"desired/sites/{world.site}.dev.yaml": f"cleanup: {{old: {rule}}}\n"})
    once(world)
    store, due = Store(str(world.state), world.site), time.time() - 60
    store.save_scratch("dev", {name: one._replace(due=due) for name, one in store.scratch("dev").items()})
    assert "what is in use cannot be told" in " ".join(once(world, code=1).out.split())
    assert once(world, code=1).out == ""
    assert once(world, code=1).out == ""
    (world.folder / "running").write_text("")
    assert "1 entry" in once(world).out
