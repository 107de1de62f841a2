"""A site or an environment that is not there, named by an option or the agent's file: told, not taken for none."""

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
    done = elsewhere(up, *words)
    assert (done.code, done.out) == (3, ""), done.said
    assert f"no commit is known here for nosuch, so nobody can tell its rules\n    known: {up.site}" in done.err


def test_what_waits_where_nothing_is(up: World) -> None:
    for words in ([], ["abcdef"], ["--json"]):
        done = up.run("approve", *words, "--environment", "dve")
        assert (done.code, done.out, "has no environment `dve`" in done.err) == (3, "", True), done.said
        done = elsewhere(up, "approve", *words)
        assert (done.code, done.out) == (3, ""), done.said
        assert f"there is no site `nosuch`\n    there is {up.site}; or add" in done.err


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


@pytest.mark.parametrize("command", ["plan", "status"])
def test_a_name_that_is_wrong_makes_no_commit_invalid(up: World, command: str) -> None:
    """Whoever reads it looks at the option, and not through a repo that `validate` says is valid."""
    assert up.run("validate", str(up.repo), where=False).code == 0
    for done in (up.run(command, "--environment", "dve"), elsewhere(up, command)):
        told = " ".join(done.out.split())
        assert "not valid" not in told, done.said
        assert "--site, --environment, or the agent's file" in told, done.said


def test_doctor_of_a_name_that_is_wrong(up: World) -> None:
    for done in (up.run("doctor", "--environment", "dve"), elsewhere(up, "doctor")):
        told = " ".join(done.out.split())
        assert (done.code, "not valid" in told, "validate" in told) == (1, False, False), done.said
        assert "--site, --environment, or the agent's file" in told, done.said


def test_a_comparison_of_what_is_in_neither_commit(up: World) -> None:
    """In a pipeline, that 0 of 0 deployments differ would be green."""
    before = up.git("rev-parse", "HEAD")
    other = "paths: {root: '/srv/{{ environment }}'}\n"
    extra = {"desired/sites/other.yaml": other, "desired/environments/prod.yaml": ""}
    after = up.commit({**up.services("web", "job"), **extra})
    up.commit({"desired/sites/other.yaml": None, "desired/environments/prod.yaml": None})

    def diff(span: str, *words: str) -> Done:
        return up.run("diff", span, "--repo", up.url, *words, where=False)

    done = diff(f"{before}..{after}", "--environment", "dve")
    assert (done.code, done.out) == (3, ""), done.said
    assert "--environment: neither commit has an environment `dve`\n    did you mean `dev`?" in done.err
    done = diff(f"{before}..{after}", "--site", "othr", "--environment", "prod")
    assert (done.code, done.out) == (3, ""), done.said
    assert "--site: neither commit has a site `othr`\n    did you mean `other`?" in done.err
    assert "--environment" not in done.err
    done = diff(f"{before}..{after}", "--site", up.site, "--environment", "prod", "--json")
    assert (done.code, f"an environment `prod` of {up.site}\n    known: dev" in done.err) == (3, True), done.said
    for span in (f"{before}..{after}", f"{after}..HEAD"):  # one of the two has it
        done = diff(span, "--site", "other", "--environment", "prod")
        assert (done.code, "1 of 1 deployments differ" in done.out) == (2, True), done.said


def test_the_history_of_what_is_not_there(up: World) -> None:
    for name, told in (("dve", "did you mean dev?"), ("production", "there are passes of dev")):
        done = up.run("history", "--environment", name)
        assert (done.code, "no pass has" in done.out) == (0, False), done.said
        assert f"nothing is recorded here of {up.site} {name}; {told}" in " ".join(done.out.split())
        (warning,) = up.run("history", "--json", "--environment", name).json()["warnings"]
        assert warning.endswith(told)
    both = up.run("history", "--environment", "dve", "--environment", "dev")
    assert ("nothing is recorded" in both.out, "+1" in both.out) == (True, True), both.said
    done = elsewhere(up, "history")
    assert f"nothing is recorded here of nosuch; there are passes of {up.site}" in " ".join(done.out.split()), done.said
    assert "nothing is recorded" not in up.run("history").out


def test_none_of_a_history(up: World) -> None:
    done = up.run("history", "-n", "0")
    assert (done.code, done.out) == (0, "1 more: -n all\n"), done.said


def test_the_history_of_a_new_host(world: World) -> None:
    world.commit(world.services("web"))
    assert world.run("history", "--environment", "dev").out == f"no pass has done anything yet on {world.site} dev\n"


def test_a_pause_of_a_site_that_nobody_here_knows(up: World) -> None:
    """It holds: before the first pass on a host, and offline, nobody can tell whether there is such a site."""
    words = ("pause", "--for", "1h", "--reason", "the database moves")
    done = elsewhere(up, *words)
    told = " ".join(done.out.split())
    assert (done.code, "paused: all of nosuch, " in told) == (0, True), done.said
    assert "warning: nothing is known of a site nosuch here, and this holds nothing of another one" in told
    assert f"known: {up.site}" in told
    (warning,) = elsewhere(up, *words, "--json").json()["warnings"]
    assert "nothing is known of a site nosuch here" in warning
    done = up.run(*words)
    assert (done.code, "warning" in done.out) == (0, False), done.said


def test_a_pause_on_a_new_host(world: World) -> None:
    world.commit(world.services("web"))
    done = world.run("pause", "--for", "1h", "--reason", "it is being set up")
    assert (done.code, "no pass has been here with this state directory" in " ".join(done.out.split())) == (0, True)
    assert world.once(code=2)
    assert world.live() == []
