"""Variables that git names as secrets are for what is rendered from them, and not for the programs of a pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.test_rollback import good, layer, running, watched
from tests.scenarios.world import SLEEP, World, a_world, until
from tests.source.conftest import _http

__all__ = ["a_world"]
pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]

GIVEN = {"DB_PASSWORD": "hunter2", "VAULT_TOKEN": "t0ken", "PLAIN": "x", "GITLAB_TOKEN": "g1tlab"}


def named(word: Path) -> str:
    """Secrets from variables, and from a command that needs one of them."""
    asks = f"!secret {{command: 'printenv DB_PASSWORD > {word}; echo $VAULT_TOKEN-made'}}"
    made = {"DB": "DB_PASSWORD", "V": "VAULT_TOKEN", "G": "GITLAB_TOKEN"}
    env = ", ".join([f"M: {asks}", *(f"{name}: !secret {{env: {source}}}" for name, source in made.items())])
    return (
        f"services:\n  web: {{component: app, command: {SLEEP}, env: {{{env}}}, supervisor: {{startsecs: 0}}, "
        f"health: {{exec: {{command: 'test $DB = hunter2 && test -n $M && test -z \"$DB_PASSWORD\"'}}, "
        "settle: 0s}}\n"
    )


@pytest.fixture
def git_tells(world: World) -> Path:
    """A git that notes the environment of each of its calls."""
    folder, noted = world.folder / "bin", world.folder / "noted"
    folder.mkdir()
    noted.mkdir()
    (folder / "git").write_text(f'#!/bin/sh\nenv > {noted}/$$\nPATH="${{PATH#*:}}"\nexec git "$@"\n')
    (folder / "git").chmod(0o755)
    world.env["PATH"] = f"{folder}:{world.env['PATH']}"
    return noted


def told(env: Path) -> set[str]:
    return {line.partition("=")[0] for line in env.read_text().splitlines()} & GIVEN.keys()


def names(noted: Path) -> set[str]:
    """Which of the variables that were given some call of git had; what was noted is taken away."""
    found: set[str] = set()
    for path in noted.iterdir():
        found |= told(path)
        path.unlink()
    return found


def test_programs_of_a_pass_do_not_get_them(world: World, git_tells: Path) -> None:
    """But for what gets secrets itself, and for what credential helpers of git go by."""
    word, listening = world.folder / "word", world.folder / "listening"
    world.write({"desired/environments/dev.yaml": named(word)})
    world.commit()
    (world.folder / "notify.yaml").write_text(
        f"receivers: {{ops: {{command: 'cat > /dev/null; env > {listening}', on: [change]}}}}\n"
    )
    (world.folder / "agent.yaml").write_text("notify: notify.yaml\n")
    agent = ("--once", "--config", str(world.folder / "agent.yaml"))
    assert world.run(*agent, env=GIVEN).code == 0
    assert word.read_text() == "hunter2\n"
    assert told(listening) == {"PLAIN", "GITLAB_TOKEN"}
    names(git_tells)
    world.commit({"README": "news\n"})
    names(git_tells)
    assert world.run(*agent, env=GIVEN).code == 0  # it fetches
    assert names(git_tells) == {"PLAIN", "GITLAB_TOKEN"}
    pids = world.pids()
    assert world.run(*agent, env=GIVEN | {"VAULT_TOKEN": "0ther"}).code == 0
    assert world.pids()["web"] != pids["web"]  # a new value is still seen


def test_of_a_state_that_noted_none_the_next_pass_notes_them(world: World, git_tells: Path) -> None:
    world.commit({"desired/environments/dev.yaml": named(world.folder / "word")})
    assert world.run("--once", env=GIVEN).code == 0
    (world.state / world.site / "source.json").unlink()
    assert world.run("--once", env=GIVEN).code == 0
    names(git_tells)
    assert world.run("--once", env=GIVEN).code == 0
    assert names(git_tells) == {"PLAIN", "GITLAB_TOKEN"}


def test_a_credential_helper_that_reads_one_of_them_is_told(world: World) -> None:
    """Passes keep it from git, so the first of them is the last that reaches the repo: doctor tells beforehand."""
    env = "env: {A: !secret {env: REPO_WORD}}, supervisor: {startsecs: 0}"
    service = f"web: {{component: app, command: {SLEEP}, {env}}}"
    world.commit({"desired/environments/dev.yaml": f"services:\n  {service}\n"})
    helper = '"!f() { echo username=ann; echo \\"password=$REPO_WORD\\"; }; f"'
    (world.home / ".gitconfig").write_text(f"[credential]\n\thelper = {helper}\n")
    given = {"REPO_WORD": "pa:ss@word", "GIT_WORD": "pa:ss@word"}
    with _http(world.folder) as port:
        world.url = f"http://127.0.0.1:{port}/repo/.git"
        doctor = world.run("doctor", env=given)
        said = " ".join(doctor.out.split())
        assert (doctor.code, "passes keep REPO_WORD from git" in said) == (1, True), doctor.said
        assert world.run("--once", env=given).code == 0
        lost = world.run("--once", env=given)
        assert "git does not get REPO_WORD" in " ".join(lost.out.split()), lost.said

        (world.home / ".gitconfig").write_text(f"[credential]\n\thelper = {helper.replace('REPO', 'GIT')}\n")
        doctor = world.run("doctor", env=given)
        said = " ".join(doctor.out.split())
        assert "is reached without REPO_WORD too" in said, doctor.said
        assert world.run("--once", env=given).out == ""


def test_nor_those_of_a_commit_that_is_gone_back_to(world: World, git_tells: Path) -> None:
    """Git says another one by now, and the process has that which it said before."""
    good(world, "1.0")

    def with_secret(name: str) -> dict[str, str]:
        return layer(web=watched(world).replace("env: {", f"env: {{S: !secret {{env: {name}}}, "))

    world.commit(with_secret("DB_PASSWORD"))
    assert world.run("--once", env=GIVEN).code == 0
    world.write(world.versions("2.0"))
    world.commit(with_secret("VAULT_TOKEN"))
    assert world.run("--once", env=GIVEN).code == 1
    assert running(world) == {"web": "1.0"}
    assert world.run("--once", env=GIVEN).code == 1  # it notes them
    for _ in range(2):
        world.commit({"README": "news\n"})
        names(git_tells)
        assert world.run("--once", env=GIVEN).code == 1
        assert names(git_tells) == {"PLAIN", "GITLAB_TOKEN"}


def test_a_loop_gives_them_back_when_git_names_them_no_more(world: World, git_tells: Path) -> None:
    world.commit({"desired/environments/dev.yaml": named(world.folder / "word")})
    world.env |= GIVEN
    process = world.start("--interval", "1s")
    world.env = {name: value for name, value in world.env.items() if name not in GIVEN}
    try:
        until(lambda: {"PLAIN", "GITLAB_TOKEN"} in map(told, whole(git_tells)))
        until(world.pids)
        for path in whole(git_tells):  # those from before it knew the names
            path.unlink()
        world.commit(world.services("web", web=f"component: app, command: {SLEEP}, env: {{DB: plain}}"))
        until(lambda: set(GIVEN) in map(told, whole(git_tells)))
    finally:
        process.terminate()
        process.communicate(timeout=60)


def whole(noted: Path) -> list[Path]:
    return [path for path in noted.iterdir() if "PATH=" in path.read_text()]
