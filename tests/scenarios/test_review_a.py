"""What people are shown: secrets that cannot be guessed, output that any terminal takes, and comparisons that hold."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.test_hostile import broken, sound
from tests.scenarios.world import SLEEP, World, a_world  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.git, pytest.mark.slow]

SECRET = f"component: app, command: {SLEEP}, env: {{DB_PASSWORD: hunter2}}"
DEV = "desired/environments/dev.yaml"


def _value(world: World, *more: str) -> Any:
    return world.run("explain", "one", "env.DB_PASSWORD", "--json", *more).json()["env.DB_PASSWORD"]["value"]


def test_the_digest_of_a_secret_is_of_one_answer_only(world: World) -> None:
    """A digest that is the same every time could be guessed at home."""
    world.commit(world.services("one", one=SECRET))
    first, second = _value(world), _value(world)
    assert first.startswith("(secret ")
    assert first != second


def test_a_comparison_uses_one_salt(world: World) -> None:
    """A secret that stays is no difference; one that changes is, and is not shown."""
    world.commit(world.services("one", one=SECRET))
    world.commit({"other": "x"})
    assert world.run("diff", "main~1..main").code == 0
    world.commit(world.services("one", one=SECRET.replace("hunter2", "hunter3")))
    done = world.run("diff", "main~1..main")
    assert (done.code, "env.DB_PASSWORD" in done.out, "hunter" in done.out) == (2, True, False)


# ---------------------------------------------------------------- comparing with what is not valid


def test_a_commit_that_is_not_valid_is_not_compared_with(world: World) -> None:
    """Else everything would be told as new."""
    world.write({DEV: world.services("one")[DEV] + "bogus: 1\n"})
    bad = world.commit()
    world.commit(world.services("one"))
    done = world.run("diff", "main~1..main")
    assert done.code == 3
    assert f"{bad[:8]} is not valid" in done.out
    assert f"{bad[:8]}:{DEV}:3:1: unknown key `bogus`" in done.out
    assert "+ one" not in done.out
    told = world.run("diff", "main~1..main", "--json").json()
    assert [(problem["file"], problem["line"]) for problem in told["problems"]] == [(f"{bad[:8]}:{DEV}", 3)]
    assert told["sites"] == []


def test_a_site_that_is_new_is_compared(world: World) -> None:
    world.commit(world.services("one"))
    world.commit({"desired/sites/new.yaml": 'environments: [dev]\npaths: {root: "/srv/new"}\n'})
    done = world.run("diff", "main~1..main", "--repo", world.url, where=False)
    assert (done.code, "+ one" in done.out) == (2, True)


def test_a_site_that_goes_and_was_not_valid(world: World) -> None:
    gone = "desired/sites/gone.yaml"
    world.commit({**world.services("one"), gone: "bogus: 1\n"})
    world.commit({gone: None})
    done = sound(world.run("diff", "main~1..main", "--repo", world.url, where=False), 3)
    assert "unknown key `bogus`" in done.out


# ---------------------------------------------------------------- terminals that cannot show everything


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_a_terminal_cannot_show_is_written_otherwise(encoding: str, world: World) -> None:
    strange = f'component: app, command: {SLEEP}, env: {{WORD: "\\u20ac \\u00fc \\U0001f600"}}'
    world.commit(world.services("one", one=strange), subject="für € 5 😀")
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = sound(world.run("plan", env=env), 2)
    assert "\\u20ac" in done.out
    done = sound(world.run("explain", "one", "env.WORD", env=env), 0)
    assert "\\u20ac" in done.out
    done = sound(world.run("explain", "one", "env.WORD", "--json", env=env), 0)
    assert json.loads(done.out)["env.WORD"]["value"] == "€ ü 😀"


def test_closed_outputs(world: World) -> None:
    """Nobody reads: that changes nothing in what is done, nor in the exit status."""
    world.commit(world.services("one"))
    script = 'exec "$@" >&- 2>&-'
    done = subprocess.run(["/bin/sh", "-c", script, "sh", *world.argv("plan")], env=world.env, timeout=60, check=False)
    assert done.returncode == 2


# ---------------------------------------------------------------- broken input on a host where several services run


@pytest.mark.supervisor
def test_forty_broken_commits_on_a_converged_host(world: World) -> None:
    """Mutations of another seed than elsewhere, on three services: no pid and no file changes."""
    world.commit(world.services("one", "two", "three"))
    world.once()
    before = world.files(), world.pids()
    assert len(before[1]) == 4
    for name, content in broken(4711, 40):
        path = name.replace("/x.yaml", f"/{world.site}.yaml")
        good = Path(world.repo / path).read_bytes()
        world.commit({path: content.replace(b"/srv/x", str(world.root).encode())})
        done = sound(world.run("--once"), 3)
        assert "is not valid" in done.out, content
        assert (world.files(), world.pids()) == before, content
        world.write({path: good})
    world.commit()
    world.idle()
