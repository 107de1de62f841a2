"""Rollbacks on real back ends: what fails goes back, is told, and holds up no commit that mends it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.backends.beds import a_users_world  # noqa: F401
from tests.scenarios.test_kill import killed_at
from tests.scenarios.world import SLEEP, Done, World, a_world, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]

TIMES = "start_period: 0s, settle: 0s, interval: 0s, retries: 1"


def watched(world: World, *, probe: str = "", more: str = "", launcher: str = "supervisor: {startsecs: 0}") -> str:
    """A service that is healthy where there is a file named after its version."""
    probe = probe or f"test -e {world.folder}/good-$V"
    health = f"health: {{exec: {{command: {json.dumps(probe)}}}, {TIMES}}}"
    return f'component: app, command: {SLEEP}, {launcher}, env: {{V: "{{{{ version }}}}"}}, {health}{more}'


def layer(**services: str) -> dict[str, str]:
    lines = [f"  {name}: {{{keys}}}" for name, keys in services.items()]
    return {"desired/environments/dev.yaml": "\n".join(["services:", *lines, ""])}


def good(world: World, *versions: str) -> None:
    for version in versions:
        (world.folder / f"good-{version}").touch()


def other(component: str = "tool") -> str:
    return f"component: {component}, command: {SLEEP}, supervisor: {{startsecs: 0}}"


def running(world: World) -> dict[str, str]:
    """The version of each service's process, as the process itself says."""
    return {one.service: one.marks["RECONCILE_VERSION"] for one in world.live() if one.service}


def deployment(done: Done) -> dict[str, Any]:
    (found,) = done.json()["deployments"]
    return dict(found)


def change(done: Done, service: str = "web") -> dict[str, Any]:
    return next(one for one in deployment(done)["changes"] if one["service"] == service)


def told(done: Done) -> str:
    return " ".join(done.out.split())


def still(world: World, before: Mapping[str, int], *, code: int = 1) -> None:
    """A further pass takes no step, and still says that something is wrong."""
    done = world.once("--json", code=code)
    assert deployment(done)["steps"] == []
    assert "rollback" not in deployment(done)
    assert world.pids() == before


def test_a_release_that_fails_goes_back(world: World) -> None:
    good(world, "1.0")
    world.commit(layer(web=watched(world), other=other()))
    world.once()
    assert change(world.once("--json"))["rollout"] == "applied"
    before = world.pids()
    commit = world.commit(world.versions("2.0"))
    done = world.once(code=1)
    assert f"rolled-back: web: 2.0 of {commit[:8]} failed at" in told(done)
    assert "exec: exit status 1; 1.0 is kept until a commit changes it" in told(done)
    assert "1 updated, 1 unchanged" in told(done)
    assert "1 rolled back." in told(done)
    for form in ("markdown", "html", "junit"):
        assert "2.0 of" in world.run("plan", "-o", form).out, form
    shown = told(world.run("show"))
    assert "version 1.0 -> 2.0" in shown
    assert "version 2.0 -> 1.0" in shown
    (part,) = world.run("show", "--json").json()["deployments"]
    intents = [(one["wanted"], one["intent"]) for one in part["changes"]]
    assert intents == [("2.0", "intentional"), ("1.0", "rollback")], "no commit asks for the way back"
    assert shown.index("[intentional]") < shown.index("version 2.0 -> 1.0") < shown.index("[rollback]")
    assert "rolled-back: web: 2.0 failed: exec: exit status 1; 1.0 is kept" in shown
    assert running(world) == {"web": "1.0", "other": "1.0"}
    after = world.pids()
    assert (after["other"], after[""]) == (before["other"], before[""])
    assert after["web"] != before["web"]
    still(world, after)
    seen = world.run("status", "--json")
    (service,) = (one for one in deployment(seen)["services"] if one["service"] == "web")
    assert (seen.code, service["version"], service["wanted"]) == (1, "1.0", "2.0")
    assert (service["rollout"], service["failed_version"], service["healthy"]) == ("rolled-back", "2.0", True)
    assert "rolled-back: web: 2.0" in told(world.run("status"))
    assert '"rolled_back":{"web":["2.0","1.0","exec: exit status 1",""]}' in journal(world)
    world.supervisorctl("stop", "web")
    assert change(world.run("plan", "--json"))["intent"] == "corrective"
    world.once(code=1)
    (part,) = world.run("show", "--json").json()["deployments"]
    assert [one["intent"] for one in part["changes"]] == ["corrective"], "drift of what was gone back to is drift"


def test_while_it_is_rolled_back_no_pass_compiles(world: World) -> None:
    """What is gone back to is kept in its compiled form, until nothing is held back any more."""
    good(world, "1.0", "3.0")
    world.commit(layer(web=watched(world)))
    world.once()
    world.commit(world.versions("2.0"))
    world.once(code=1)
    kept = world.state / world.site / "dev/former.json"
    assert kept.exists()
    done = world.run("--once", "--json", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert (done.code, deployment(done)["steps"]) == (1, [])
    assert "reconciler.core.rollback" in done.err
    assert "ruamel" not in done.err
    kept.write_bytes(kept.read_bytes()[:-9])
    still(world, world.pids())
    assert "ruamel" not in world.run("--once", "--json", env={"PYTHONPROFILEIMPORTTIME": "1"}).err
    world.commit(world.versions("3.0"))
    world.once()
    assert not kept.exists()


def journal(world: World) -> str:
    return (world.state / world.site / "dev/journal.jsonl").read_text().splitlines()[-1]


def test_another_commit_is_tried_at_once(world: World) -> None:
    """One that does not touch the service is no reason to try again."""
    good(world, "1.0", "3.0")
    world.commit(layer(web=watched(world), other=other()))
    world.once()
    world.commit(world.versions("2.0"))
    world.once(code=1)
    kept = world.pids()
    world.commit(world.versions("2.0", tool="1.1"))
    world.once(code=1)
    assert (running(world), world.pids()["web"]) == ({"web": "1.0", "other": "1.1"}, kept["web"])
    world.commit(world.versions("3.0", tool="1.1"))
    done = world.once("--json")
    assert (running(world)["web"], change(done)["rollout"]) == ("3.0", "applied")
    world.idle()
    world.commit(world.versions("2.0", tool="1.1"))
    world.once(code=1)
    assert running(world)["web"] == "3.0", "it goes back to the last that was healthy, not further"


def test_a_health_check_that_fails_does_not_hold_up_the_commit_that_mends_it(world: World) -> None:
    good(world, "1.0", "2.0")
    world.commit(layer(web=watched(world)))
    world.once()
    world.commit({**world.versions("2.0"), **layer(web=watched(world, probe="false"))})
    world.once(code=1)
    assert running(world) == {"web": "1.0"}
    world.commit(layer(web=watched(world)))
    world.once()
    assert running(world) == {"web": "2.0"}
    world.idle()
    kept = world.pids()
    world.commit(layer(web=watched(world, probe="exit 3")))
    assert "exec: exit status 3; 2.0 is kept" in told(world.once(code=1))
    assert world.pids() == kept, "another way to ask restarts nothing, nor does going back from it"
    world.commit(layer(web=watched(world)))
    world.once()
    assert world.pids() == kept


def test_a_rollback_that_fails_too(world: World) -> None:
    """It is told, and tried again; what failed first is not. What was healthy once is not gone back from."""
    good(world, "1.0")
    world.commit(layer(web=watched(world)))
    world.once()
    (world.folder / "good-1.0").unlink()
    world.commit(world.versions("2.0"))
    done = world.once(code=1)
    assert "rolled-back: web: 2.0" in told(done)
    assert "degraded: web: exec: exit status 1" in told(done)
    after = world.pids()
    still(world, after)
    good(world, "1.0")
    still(world, after)
    good(world, "2.0")
    still(world, after)
    assert running(world) == {"web": "1.0"}


def test_what_was_healthy_and_is_no_more_stays(world: World) -> None:
    good(world, "1.0", "2.0")
    world.commit(layer(web=watched(world)))
    world.once()
    world.commit(world.versions("2.0"))
    world.once()
    (world.folder / "good-2.0").unlink()
    done = world.once(code=1)
    assert "degraded: web" in told(done)
    assert "rolled-back" not in told(done)
    assert running(world) == {"web": "2.0"}


def test_the_first_of_all_has_nothing_to_go_back_to(world: World) -> None:
    world.commit(layer(web=watched(world)))
    done = world.once(code=1)
    assert "degraded: web" in told(done)
    assert "rolled-back" not in told(done)
    kept = world.pids()
    world.commit(world.versions("2.0"))
    world.once(code=1)
    assert running(world) == {"web": "2.0"}
    good(world, "2.0")
    world.once()
    assert world.pids()["web"] != kept["web"]


def test_what_does_not_start_goes_back_where_git_says_so(world: World) -> None:
    """Without `health`; and one that says it does not want to stays where it is."""
    fails = f"sh -c 'test -e {world.folder}/good-$V && exec {SLEEP}'"
    keys = f'component: app, command: {json.dumps(fails)}, env: {{V: "{{{{ version }}}}"}}'
    start = ", supervisor: {startretries: 0}"
    good(world, "1.0")
    stays = watched(world, more=", strategy: {rollback: false}")
    world.commit(layer(web=keys + start + ", strategy: {rollback: true}", stays=stays, bare=keys + start))
    world.once()
    world.commit(world.versions("2.0"))
    done = world.once(code=1)
    assert "rolled-back: web: 2.0" in told(done)
    assert "did not start: FATAL" in told(done)
    assert running(world) == {"web": "1.0", "stays": "2.0"}
    world.once(code=1)
    assert running(world)["web"] == "1.0"


def with_conf(world: World, level: str) -> dict[str, str]:
    site = f'environments: [dev]\npaths: {{root: "{world.root}"}}\nvars: {{level: {level}}}\n'
    return {f"desired/sites/{world.site}.yaml": site}


def test_those_that_share_what_changed_go_back_together(world: World) -> None:
    """A file cannot have two contents; who does not read it stays at the new commit."""
    conf = world.root / "config/app.conf"
    reads = ", files: [app.conf]"
    probe = f"grep -q 'level = INFO' {conf}"
    beside = f"component: app, command: {SLEEP}, supervisor: {{startsecs: 0}}"
    services = {"web": watched(world, probe=probe, more=reads), "reader": beside + reads, "apart": beside}
    world.commit(layer(**services))
    world.once()
    content, before = conf.read_text(), world.pids()
    world.commit({**with_conf(world, "DEBUG"), **layer(**services | {"apart": beside + ", env: {A: b}"})})
    done = world.once("--json", code=1)
    assert (change(done)["rollout"], change(done, "reader")["beside"]) == ("rolled-back", "web")
    assert "rollout" not in change(done, "apart")
    assert conf.read_text() == content
    after = world.pids()
    assert all(after[name] != before[name] for name in services)
    still(world, after)
    world.commit(with_conf(world, "INFO"))
    world.once()
    assert world.pids() == after, "git wants again what runs"
    world.idle()


@pytest.mark.slow
def test_killed_at_every_boundary_of_rollout_and_rollback(world: World) -> None:
    """The next pass knows what was being tried, and comes to the same."""
    good(world, "1.0")
    world.commit(layer(web=watched(world), other=other()))
    world.once()
    kept, boundary, killed = world.pids(), 0, True
    while killed:
        boundary += 1
        world.commit(world.versions(f"2.{boundary}"))
        killed, where = killed_at(world, boundary, 1)
        world.once(code=1)
        assert running(world) == {"web": "1.0", "other": "1.0"}, where
        still(world, world.pids())
        assert world.pids()["other"] == kept["other"], where
    assert boundary > 12, "the story has become shorter than it was"
    good(world, "3.0")
    world.commit(world.versions("3.0"))
    world.once()
    world.idle()


def test_what_is_paused_is_neither_judged_nor_taken_back(world: World) -> None:
    """Nor does a window let a rollback through that it would not let a commit through."""
    good(world, "1.0")
    world.commit(layer(web=watched(world)))
    world.once()
    world.commit(world.versions("2.0"))
    assert killed_at(world, "ended restart:web")[0]
    assert running(world) == {"web": "2.0"}  # begun, and not known to be healthy
    world.run("pause", "web", "--for", "1h", "--reason", "a look at it")
    kept = world.pids()
    for _ in range(2):
        assert "rolled-back" not in told(world.once(code=1))
    assert world.pids() == kept
    world.run("resume", "web")
    window = 'policy: {windows: {never: {deny: "* * * * *", for: 1h, zone: UTC}}}\n'
    world.commit({"desired/environments/dev.yaml": next(iter(layer(web=watched(world)).values())) + window})
    assert "1.0 waits to take its place" in told(world.once(code=1))
    assert world.pids() == kept
    world.once("--ignore-windows", code=1)
    assert running(world) == {"web": "1.0"}


def test_what_is_remembered_is_lost_or_damaged(world: World) -> None:
    """There is a copy; without it too, nothing stops, and what failed is tried once more and then told."""
    good(world, "1.0")
    world.commit(layer(web=watched(world)))
    world.once()
    world.commit(world.versions("2.0"))
    world.once(code=1)
    kept, memory = world.pids(), world.state / world.site / "dev/rollouts.json"
    copy = world.root / ".reconcile/rollouts.json"
    assert memory.stat().st_mode & 0o777 == 0o600
    memory.write_text("{")
    still(world, kept)
    memory.unlink()
    still(world, kept)
    for path in (memory, copy):
        path.write_text("nonsense")
    assert "is damaged" in told(world.run("plan"))
    done = world.once(code=1)
    assert (running(world), "degraded: web" in told(done)) == ({"web": "2.0"}, True)
    good(world, "2.0")
    world.once()
    world.idle()


def with_secret(world: World, probe: str = "") -> dict[str, str]:
    """A service that is given a secret of the host's, which `probe` may ask for."""
    path = world.folder / "secret"
    if not path.exists():
        rotated(world, "first")
    probe = probe or f"test -e {world.folder}/good-$V"
    env = f'env: {{V: "{{{{ version }}}}", PASSWORD: !secret {{file: {path}}}}}'
    health = f"health: {{exec: {{command: {json.dumps(probe)}}}, {TIMES}}}"
    return layer(web=f"component: app, command: {SLEEP}, supervisor: {{startsecs: 0}}, {env}, {health}")


def rotated(world: World, secret: str) -> None:
    path = world.folder / "secret"
    path.write_text(secret)
    path.chmod(0o600)


def test_a_secret_that_is_rotated_keeps_nobody_in_the_version_that_failed(world: World) -> None:
    """The former version goes on with it, as it would if no commit had come; before it goes back, and after."""
    good(world, "1.0")
    world.commit(with_secret(world))
    world.once()
    world.commit(world.versions("2.0"))
    world.once(code=1)
    assert running(world) == {"web": "1.0"}
    before = world.pids()
    rotated(world, "second")
    done = world.once(code=1)
    assert (running(world), world.pids()["web"] != before["web"]) == ({"web": "1.0"}, True), done.said
    still(world, world.pids())
    good(world, "3.0")
    world.commit(world.versions("3.0"))
    world.once()
    world.commit(world.versions("4.0"))
    rotated(world, "third")
    world.once(code=1)
    assert running(world) == {"web": "3.0"}
    still(world, world.pids())


def test_what_fails_with_a_rotated_secret_has_no_other_version_to_go_back_to(world: World) -> None:
    """The same commit, healthy with the secret of before: that cannot be had any more."""
    good(world, "1.0")
    world.commit(with_secret(world, '[ "$PASSWORD" = first ]'))
    world.once()
    rotated(world, "second")
    done = world.once(code=1)
    assert "it cannot go back: web is not what was healthy at" in told(done)
    still(world, world.pids())
    rotated(world, "first")
    world.once()
    assert running(world) == {"web": "1.0"}


@pytest.mark.systemd
def test_under_systemd(users_world: World) -> None:
    world = users_world
    world.boot()
    good(world, "1.0")
    systemd = "launcher: systemd"
    beside = f"component: tool, {systemd}, command: {SLEEP}"
    world.commit(layer(web=watched(world, launcher=systemd), other=beside))
    world.once()
    before = world.pids()
    world.commit(world.versions("2.0"))
    assert "rolled-back: web: 2.0" in told(world.once(code=1))
    assert running(world) == {"web": "1.0", "other": "1.0"}
    assert world.pids()["other"] == before["other"]
    still(world, world.pids())
    good(world, "3.0")
    world.commit(world.versions("3.0"))
    world.once()
    world.idle()
