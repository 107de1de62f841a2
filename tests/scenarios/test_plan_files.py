"""A plan that was read is what is applied, or nothing; and looking changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.site import SERVICES, SITE_SERVICES, Site, service

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]


def saved(site: Site) -> Path:
    path = site.folder / "plan"
    assert site.run("plan", "--out", str(path)).code == 2
    return path


def bump(site: Site) -> None:
    site.layer["versions"]["site"] = "2.9.0"
    site.commit("Bump")


def refused(site: Site, path: Path) -> None:
    """A saved plan is stale: exit 2, it says so, and nothing is done."""
    files, pids = site.snapshot(), site.pids()
    told = site.run("apply", str(path))
    assert (told.code, "nothing of it is applied" in " ".join(told.out.split())) == (2, True), told.brief
    assert (site.snapshot(), site.pids()) == (files, pids)


# ---------------------------------------------------------------- saved plans


def test_a_saved_plan_is_applied(site: Site) -> None:
    site.converge()
    bump(site)
    path, before = saved(site), site.pids()
    told = site.run("apply", str(path), "--json")
    assert told.code == 0, told.brief
    report = told.json["deployments"][0]
    after = site.pids()
    assert {name for name in after if after[name] != before[name]} == set(SITE_SERVICES)
    assert report["converged"]
    assert {step["status"] for step in report["steps"]} == {"done"}
    site.settled()


def test_a_saved_plan_for_a_host_on_which_nothing_is(site: Site) -> None:
    path = saved(site)
    assert not site.root.exists()
    assert site.run("apply", str(path)).code == 0
    assert site.pids().keys() == {"", *SERVICES}
    site.settled()


def test_a_saved_plan_is_applied_once(site: Site) -> None:
    site.converge()
    bump(site)
    path = saved(site)
    assert site.run("apply", str(path)).code == 0
    refused(site, path)


def test_a_saved_plan_with_nothing_to_do(site: Site) -> None:
    site.converge()
    path, pids = site.folder / "plan", site.pids()
    assert site.run("plan", "--out", str(path)).code == 0
    assert site.run("apply", str(path)).code == 0
    assert site.pids() == pids


def test_stale_after_a_stop_by_hand(site: Site) -> None:
    site.converge()
    bump(site)
    path = saved(site)
    site.stop("cromwell")
    refused(site, path)
    assert set(site.converge().kinds) == {*SITE_SERVICES, "cromwell"}


def test_stale_after_a_restart_by_hand(site: Site) -> None:
    """Another process than the one that was decided on."""
    site.converge()
    bump(site)
    path = saved(site)
    site.restart("rpc-server")
    refused(site, path)


def test_stale_after_an_edit_by_hand(site: Site) -> None:
    site.converge()
    bump(site)
    path = saved(site)
    (site.root / "config/shared.conf").write_text("level=TRACE\n")
    refused(site, path)


def test_stale_after_another_commit(site: Site) -> None:
    site.converge()
    bump(site)
    path = saved(site)
    site.services["cleaner"]["env"] = {"A": "1"}
    site.commit()
    site.once()
    refused(site, path)
    site.settled()


def test_stale_after_a_commit_that_nobody_applied(site: Site) -> None:
    site.converge()
    bump(site)
    path = saved(site)
    site.services["cleaner"]["env"] = {"A": "1"}
    site.commit()
    refused(site, path)


def test_stale_after_a_rewind(site: Site) -> None:
    """The commit that the plan was made from is no longer the branch's."""
    site.converge()
    bump(site)
    path = saved(site)
    site.rewind()
    refused(site, path)
    site.settled()


def test_a_rewind_is_accepted_for_a_saved_plan_as_for_a_pass(site: Site) -> None:
    site.converge()
    bump(site)
    site.converge()
    site.rewind()
    path = site.folder / "plan"
    assert site.run("plan", "--accept-rewind", "--out", str(path)).code == 2
    refused(site, path)
    assert site.run("apply", str(path), "--accept-rewind").code == 0
    assert site.status()["rpc-server"]["version"] == "2.8.1"
    site.settled()


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", "garbage", '{"reconcile": "plan"}', "\x00\xff"])
def test_what_is_no_saved_plan(content: str, site: Site) -> None:
    path = site.folder / "plan"
    path.write_text(content)
    told = site.run("apply", str(path))
    assert (told.code, told.out) == (3, "")
    assert "is not a saved plan" in told.err
    assert not site.root.exists()


def test_a_saved_plan_that_is_not_there(site: Site) -> None:
    told = site.run("apply", str(site.folder / "plan"))
    assert (told.code, told.out) == (3, "")
    assert "cannot be read: No such file or directory" in told.err


def test_a_saved_plan_of_another_site(site: Site) -> None:
    path = saved(site)
    path.write_text(json.dumps({**json.loads(path.read_text()), "site": "elsewhere"}))
    told = site.run("apply", str(path))
    assert told.code == 3
    assert "is a plan of site elsewhere" in told.err


# ---------------------------------------------------------------- looking changes nothing


def test_looking_at_a_host_on_which_nothing_is(site: Site) -> None:
    for arguments, code in ((("plan",), 2), (("status",), 1), (("explain", "rpc-server"), 0), (("validate",), 0)):
        told = site.run(*arguments)
        if arguments != ("validate",):
            assert told.code == code, told.brief
        assert not site.root.exists()
    assert site.pids() == {}


def test_looking_changes_nothing(site: Site) -> None:
    site.converge()
    site.stop("metrics")
    bump(site)
    files, pids = site.snapshot(), site.pids()
    for arguments in (("plan",), ("status",), ("explain", "rpc-server", "version"), ("diff", "HEAD~1..HEAD")):
        site.run(*arguments)
        assert (site.snapshot(), site.pids()) == (files, pids)


# ---------------------------------------------------------------- diff


def told(change: dict[str, Any]) -> tuple[object, ...]:
    return (change["service"], change["kind"], change["reasons"], change["restarts"])


def compared(site: Site) -> dict[str, Any]:
    """What the last commit does to this site, from the repo alone."""
    answer = site.run("diff", "HEAD~1..HEAD", "--json")
    assert answer.code == 2, answer.brief
    (here,) = answer.json["sites"]
    found: dict[str, Any] = here["deployments"][0]
    return found


def test_diff_foretells_the_plan_of_a_bump(site: Site) -> None:
    site.converge()
    bump(site)
    foretold, plan = compared(site), site.plan()["deployments"][0]
    assert list(map(told, foretold["changes"])) == list(map(told, plan["changes"]))
    assert [step["id"] for step in foretold["steps"]] == [step["id"] for step in plan["steps"]]
    assert "2.8.1 -> 2.9.0" in site.run("diff", "HEAD~1..HEAD").out


def test_diff_foretells_the_plan_of_many_changes(site: Site) -> None:
    site.converge()
    del site.services["metrics"]
    site.services["consumer"] = service("site", after=["rpc-server"])
    site.services["task-logger"] = site.services.pop("task-log")
    site.services["cromwell"]["stop"] = {"grace": 33}
    site.layer["vars"]["level"] = "DEBUG"
    site.commit()
    foretold, plan = compared(site), site.plan()["deployments"][0]
    assert list(map(told, foretold["changes"])) == list(map(told, plan["changes"]))
    assert {step["id"] for step in foretold["steps"]} == {step["id"] for step in plan["steps"]}
    site.once()
    site.settled()


def test_diff_of_a_change_that_means_nothing(site: Site) -> None:
    site.layers["environments/dev"] = {"vars": {"level": "INFO"}}
    site.commit()
    answer = site.run("diff", "HEAD~1..HEAD")
    assert answer.code == 0, answer.brief
