"""A site or an environment that is not there, named by an option or the agent's file: told, and never taken for none."""

from __future__ import annotations

import pytest

from tests.scenarios.world import Done, World, a_world

__all__ = ["a_world"]
pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]


@pytest.fixture
def up(world: World) -> World:
    """One service that runs."""
    world.commit(world.services("web"))
    world.once()
    return world


def elsewhere(world: World, *words: str) -> Done:
    """The command for a site that git does not have."""
    where = ["--repo", world.url, "--site", "nosuch", "--state-dir", str(world.state)]
    return world.run(*words, *where, where=False)


@pytest.mark.parametrize("words", [["cleanup"], ["cleanup", "--dry-run"], ["cleanup", "old", "--json"]])
def test_a_clean_up_of_an_environment_that_is_not_there(up: World, words: list[str]) -> None:
    done = up.run(*words, "--environment", "dve")
    assert (done.code, done.out) == (3, ""), done.said
    assert "has no environment `dve`\n    did you mean `dev`?" in done.err


def test_the_status_of_what_is_not_there(up: World) -> None:
    """Also where a pass has been here, and where the agent's file says it."""
    file = up.folder / "agent.yaml"
    file.write_text("environments: [dve]\n")
    wrong = "has no environment `dve`"
    for words in (["--environment", "dve"], ["--config", str(file)]):
        done = up.run("status", *words)
        assert (done.code, wrong in done.out, "did you mean `dev`?" in done.out) == (3, True, True), done.said
        (problem,) = up.run("status", "--json", *words).json()["problems"]
        assert wrong in problem["message"]
    done = elsewhere(up, "status")
    assert (done.code, "there is no site `nosuch`" in done.out) == (3, True), done.said
