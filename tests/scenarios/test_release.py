"""A release as people do it, and the way back: bump, merge, pass, what history tells of it, rollback, merge, pass."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.scenarios.site import CROMWELL_SERVICES, SITE_SERVICES, Site, service

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]


@pytest.fixture
def begun(site: Site) -> Site:
    """Eight services that run; nobody has changed anything of it since."""
    git(site, "config", "user.name", "Ann")
    git(site, "config", "user.email", "ann@example.org")
    site.converge()
    return site


def git(site: Site, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=site.repo, check=True, capture_output=True, text=True).stdout.strip()


def merged(site: Site, *words: str) -> dict[str, Any]:
    """What a command for authors has prepared, merged as it says; what it foretold."""
    before = git(site, "status", "--porcelain", "--branch")
    told = site.run(*words, "--json")
    assert told.code == 0, told.err
    assert git(site, "status", "--porcelain", "--branch") == before
    data = told.json
    assert data["next"] == [f"git merge {data['branch']}"]
    git(site, "merge", "--quiet", data["branch"])
    return data


def foretold(data: dict[str, Any]) -> dict[str, str]:
    """The changes that were announced."""
    (report,) = data["effect"]["sites"]
    (deployment,) = report["deployments"]
    return {change["service"]: change["kind"] for change in deployment["changes"] if change["kind"] != "keep"}


def versions(site: Site) -> dict[str, str]:
    return {name: found["version"] for name, found in site.status().items()}


def test_a_release_and_the_way_back(begun: Site) -> None:
    bumped = merged(begun, "bump", "site", "2.9.0", "--environment", "dev")
    passed = begun.converge()
    assert passed.kinds == foretold(bumped) == dict.fromkeys(SITE_SERVICES, "update")
    assert versions(begun) == dict.fromkeys(SITE_SERVICES, "2.9.0") | dict.fromkeys(CROMWELL_SERVICES, "84")

    history = begun.run("history", "--json").json["runs"]
    assert [(run["commit"], run["subject"], run["exit_code"], run["counts"]) for run in history] == [
        (bumped["commit"], "Bump site to 2.9.0 in dev on here", 0, {"update": 5}),
        (bumped["base"], "Change", 0, {"create": 8}),
    ]
    shown = begun.run("show", "--json").json["deployments"][0]
    told = {one["service"]: (one["version"], one["wanted"], one["intent"]) for one in shown["changes"]}
    assert told == dict.fromkeys(SITE_SERVICES, ("2.8.1", "2.9.0", "intentional"))
    assert [step["status"] for step in shown["steps"]] == ["done"] * len(shown["steps"])
    assert "version 2.8.1 -> 2.9.0" in begun.run("show", history[0]["run"]).out

    back = merged(begun, "rollback", "rpc-server")
    passed = begun.converge()
    assert passed.kinds == foretold(back) == dict.fromkeys(SITE_SERVICES, "update")
    assert versions(begun) == dict.fromkeys(SITE_SERVICES, "2.8.1") | dict.fromkeys(CROMWELL_SERVICES, "84")
    assert passed.after["cromwell"] == passed.before["cromwell"]
    assert begun.run("history", "rpc-server", "--json").json["runs"][0]["subject"] == back["subject"]
    again = begun.run("rollback", "rpc-server", "--to", bumped["base"])
    assert (again.code, again.out.splitlines()[-1]) == (0, "Nothing to change, so nothing is committed.")


def test_a_failure_is_told_later_with_what_was_printed_and_drift_from_a_commit(begun: Site) -> None:
    fails = "sh -c 'echo the disk is full; exit 3'"
    begun.services["cleaner"] = service("cromwell", fails, startsecs=1, supervisor={"startretries": 0})
    begun.commit("It fails")
    begun.stop("metrics")
    begun.once(1)
    told = begun.run("history")
    assert told.out.splitlines()[1].split()[3:] == ["dev", "~1", "!1", "failed", "It", "fails"]
    shown = begun.run("show").out
    assert "failed (exit status 1)" in shown
    assert "the disk is full" in shown
    assert "[intentional]" in shown
    assert "! metrics  was stopped by hand [corrective]" in shown
    journal = begun.state / "here/dev/journal.jsonl"
    journal.write_text(journal.read_text() + "half a li\n")
    told = begun.run("history", "metrics")
    assert told.out.startswith("warning: ")
    assert "1 line cannot be read, and left out" in told.out
    assert len(told.out.splitlines()) == 4


def test_what_does_not_become_healthy_is_told_with_what_was_done(begun: Site) -> None:
    """It is known only after the steps, and stands beside them; the next pass still knows what failed."""
    probe = {"exec": {"command": "sh -c 'echo no answer; exit 1'"}}
    begun.services["cleaner"]["health"] = {**probe, "interval": "1s", "start_period": "1s", "settle": "0s"}
    begun.services["cleaner"]["command"] = "sleep 2000"
    begun.commit("It never answers")
    begun.once(1)
    shown = begun.run("show", "--json").json
    (part,) = shown["deployments"]
    assert (shown["exit_code"], part["exit_code"]) == (1, 1)
    assert all(step["status"] == "done" for step in part["steps"])
    assert "no answer" in part["health"]["cleaner"]["health_message"]
    assert ": cleaner: " in begun.run("show").out
    assert len((begun.state / "here/dev/journal.jsonl").read_text().splitlines()) == 3


def test_before_the_first_pass_there_is_nothing_to_tell(site: Site) -> None:
    told = site.run("history")
    assert (told.code, told.out) == (0, "no pass has done anything yet on here\n")
    told = site.run("show")
    assert (told.code, told.out) == (3, "")
    assert "no pass has done anything yet" in told.err
