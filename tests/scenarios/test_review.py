"""What a person reads before something is applied: diff, plan, explain and blame, in every form."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest

from tests.scenarios.world import SLEEP, World, a_world  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.git]

DEV = "desired/environments/dev.yaml"
FORMS = {"markdown": "### reconcile", "html": "<!doctype html>", "junit": '<?xml version="1.0"'}


def test_diff_tells_every_file_and_every_value(world: World) -> None:
    world.commit(world.services("one", "two"), "start")
    defaults = (world.repo / "desired/defaults.yaml").read_text()
    world.commit({"desired/defaults.yaml": defaults.replace("INFO", "DEBUG")}, "louder")
    done = world.run("diff", "main~1..main")
    assert done.code == 2, done.said
    assert "\n-level = INFO\n+level = DEBUG\n" in done.out
    assert re.search(r"git +vars.level INFO -> DEBUG  desired/defaults.yaml:2\s+[0-9a-f]{8} louder \(ann\)", done.out)
    assert "rendered files change" in done.out
    whole = world.run("diff", "main~1..main", "--patch").out
    assert whole.count("\n+++ ") == 3, "the file and two shims"
    told = world.run("diff", "main~1..main", "--json").json()["sites"][0]["deployments"][0]
    (cause,) = told["causes"]
    assert (cause["key"], cause["before"], cause["after"], cause["line"]) == ("vars.level", "INFO", "DEBUG", 2)
    assert (cause["subject"], cause["commit"]) == ("louder", world.git("rev-parse", "HEAD"))
    shared = next(one for one in told["files"] if one["role"] == "config")
    assert shared["services"] == ["one", "two"]
    assert {"-level = INFO", "+level = DEBUG"} <= set(shared["diff"])
    assert [change["causes"][0]["key"] for change in told["changes"]] == ["vars.level"] * 2
    assert [change["intent"] for change in told["changes"]] == ["intentional"] * 2


def test_a_merge_request_that_touches_nothing_says_so(world: World) -> None:
    world.commit(world.services("one"))
    world.commit({"README": "words\n", "desired/environments/dev.yaml": world.services("one")[DEV] + "# a remark\n"})
    done = world.run("diff", "main~1..main")
    assert (done.code, "0 of 1 deployments differ" in done.out) == (0, True)
    comment = world.run("diff", "main~1..main", "-o", "markdown")
    assert (comment.code, "Nothing changes in any of 1 deployments" in comment.out) == (0, True)


def test_the_work_tree_is_compared_before_it_is_committed(world: World) -> None:
    world.commit(world.services("one"))
    assert world.run("diff", "HEAD").code == 0
    world.write(world.services("one", "two"))
    done = world.run("diff", "HEAD")
    assert (done.code, "+ two" in done.out, "in the work tree" in done.out) == (2, True, True)
    assert "not committed yet" in done.out
    assert world.run("diff", "HEAD", "--json").json()["after"] is None
    world.write({DEV: "services: ["})
    assert world.run("diff", "HEAD").code == 3
    bare = world.folder / "bare.git"
    world.git("clone", "--quiet", "--bare", str(world.repo), str(bare))
    refused = world.run("diff", "HEAD", "--repo", str(bare), "--site", world.site, where=False)
    assert (refused.code, "has no work tree" in refused.err) == (3, True)


@pytest.mark.supervisor
def test_a_plan_names_the_commit_and_a_pass_tells_drift_from_it(world: World) -> None:
    world.commit(world.services("one", "two"), "start")
    world.once()
    sha = world.commit(world.versions("1.1"), "Bump app to 1.1")
    planned = world.run("plan")
    assert re.search(rf"versions.app 1.0 -> 1.1 +desired/sites/{world.site}.yaml:1\s+{sha[:8]} Bump app", planned.out)
    told = world.run("plan", "--json").json()["deployments"][0]
    assert {change["intent"] for change in told["changes"]} == {"intentional"}
    assert {(change["causes"][0]["key"], change["causes"][0]["commit"]) for change in told["changes"]} == {
        ("versions.app", sha)
    }
    assert "+app = 1.1" in next(one for one in told["files"] if one["role"] == "config")["diff"]
    world.once()
    world.supervisorctl("stop", "one")
    (world.root / "config/app.conf").write_text("password = c4nary\n")
    drifted = world.run("plan", "--json")
    changes = {change["service"]: change for change in drifted.json()["deployments"][0]["changes"]}
    assert {change["intent"] for change in changes.values()} == {"corrective"}
    assert all(change["since"] > 1e9 and change["causes"] == [] for change in changes.values())
    text = world.run("plan").out
    assert re.search(r"was stopped by hand, since \d{4}-\d\d-\d\d \d\d:\d\d", text)
    for form, begins in FORMS.items():
        made = world.run("plan", "-o", form)
        assert (made.code, made.out.startswith(begins)) == (2, True), made.said
        assert "corrective" in made.out or form == "junit"
        assert "c4nary" not in made.out, "what somebody wrote on the host may be no one's to read"
    assert "c4nary" not in drifted.out
    assert world.run("apply", "-o", "markdown").code == 0
    world.idle()
    for command, code in (("plan", 0), ("apply", 0), ("status", 0)):
        for form, begins in FORMS.items():
            made = world.run(command, "-o", form)
            assert (made.code, made.out.startswith(begins)) == (code, True), made.said
            if form == "junit":
                assert ET.fromstring(made.out).find("*/failure") is None
    world.supervisorctl("stop", "one")
    down = ET.fromstring(world.run("status", "-o", "junit").out)
    broken = [case.get("name") for case in down.iter("testcase") if len(case)]
    assert broken == ["one"]


def test_explain_shows_what_every_layer_says_and_blame_who_said_it(world: World) -> None:
    layer = f"services: {{one: {{component: app, command: {SLEEP}, env: {{A: low, PASSWORD: c4nary-low}}}}}}\n"
    first = world.commit({"desired/defaults.yaml": (world.repo / "desired/defaults.yaml").read_text() + layer}, "start")
    site = f"desired/sites/{world.site}.yaml"
    text = (world.repo / site).read_text() + "services: {one: {env: {A: high, PASSWORD: c4nary-high}}}\n"
    second = world.commit({site: text}, "higher")
    told = world.run("explain", "one", "env.A", "--json").json()["env.A"]
    assert [(one["value"], one["file"], one["wins"]) for one in told["layers"]] == [
        ("low", "desired/defaults.yaml", False),
        ("high", site, True),
    ]
    shown = world.run("explain", "one", "env.A").out
    assert re.search(rf"\* {site}:3 +high\n +desired/defaults.yaml:\d+ +low\n", shown)
    everything = world.run("explain", "one").out + world.run("explain", "one", "--json").out
    assert "c4nary" not in everything
    blamed = world.run("blame", "one", "--json")
    found = blamed.json()
    assert (found["env.A"]["commit"], found["env.A"]["subject"]) == (second, "higher")
    assert (found["command"]["commit"], found["command"]["author"]) == (first, "ann")
    assert found["enabled"]["commit"] is None
    text = world.run("blame", "one", "env.A").out
    assert re.search(rf"{second[:8]} \d{{4}}-\d\d-\d\d ann +env.A  high  {site}:3  higher", text)
    assert "c4nary" not in blamed.out + world.run("blame", "one").out
    assert world.run("blame", "nobody").code == 3


def test_a_form_that_nobody_knows(world: World) -> None:
    world.commit(world.services("one"))
    done = world.run("plan", "-o", "pdf")
    assert (done.code, "markdown" in done.err) == (3, True)
    assert json.loads(world.run("plan", "-o", "json").out)["site"] == world.site
