"""`on_start`: what runs when a service finds itself on another node, and what is told where that fails."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.apptainer.site import Site
from tests.backends.beds import a_users_world  # noqa: F401
from tests.launchers.test_on_start import needs_nodes, node_of
from tests.scenarios.world import SLEEP, World, a_world, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.git]

FIRST = "on_start failed on {node} with exit status 1"


def git(world: World, on_start: str, *, more: str = "", others: str = "") -> None:
    keys = f"component: app, command: {SLEEP}, supervisor: {{startsecs: 0}}"
    text = f"services:\n  dns: {{{keys}{more}, on_start: {json.dumps(on_start)}}}\n  other: {{{keys}{others}}}\n"
    world.commit({"desired/environments/dev.yaml": text})


def folder(world: World) -> Path:
    return world.root / "run/on_start"


def ran(world: World) -> list[str]:
    path = world.folder / "ran"
    return path.read_text().split() if path.exists() else []


def told(world: World, *words: str, code: int = 0) -> dict[str, Any]:
    done = world.run(*words, "--json")
    assert done.code == code, done.said
    (deployment,) = done.json()["deployments"]
    return dict(deployment)


def awaits(path: Path) -> None:
    """A service is up as soon as it is begun; what it does first may still go on."""
    until(lambda: path.exists() or None)


@pytest.mark.supervisor
def test_it_runs_once_for_a_node_and_a_second_pass_is_idle(world: World) -> None:
    git(world, f"uname -n >>{world.folder}/ran")
    world.once()
    awaits(folder(world) / "dns.node")
    world.idle()
    assert world.run("--once").out == ""
    world.supervisorctl("restart", "dns")
    until(lambda: world.pids().get("dns"))
    assert ran(world) == [os.uname().nodename]
    assert [path.name for path in folder(world).iterdir()] == ["dns.node"]


@pytest.mark.supervisor
def test_its_failure_is_a_finding_until_it_goes_well(world: World) -> None:
    go = world.folder / "go"
    git(world, f"echo first; echo no server answers >&2; test -e {go}")
    world.run("--once")
    awaits(folder(world) / "dns.failed")
    pids = world.pids()
    assert pids.keys() == {"", "dns", "other"}, "it started all the same"
    first = FIRST.format(node=os.uname().nodename)
    done = world.once(code=1)
    assert "finding: dns: " + first in " ".join(done.out.split())
    assert "\n      no server answers\n" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert "no server answers" in world.run("status").out
    for words in (["plan"], ["status"], ["--once"]):
        deployment = told(world, *words, code=1)
        (finding,) = deployment["findings"]
        assert (finding["name"], finding["check"]) == ("dns", "on_start")
        assert finding["message"] == f"{first}\nfirst\nno server answers"
        assert deployment.get("converged", False) is False
        assert deployment.get("steps", []) == []
    assert world.pids() == pids
    go.touch()
    world.supervisorctl("restart", "dns")
    awaits(folder(world) / "dns.node")
    world.idle()
    assert world.run("status").code == 0


@pytest.mark.supervisor
def test_a_slow_one_is_no_finding_and_keeps_its_mark(world: World) -> None:
    go = world.folder / "go"
    git(world, f"until [ -e {go} ]; do sleep 0.05; done")
    world.once()
    (dns,) = [one for one in world.live() if one.service == "dns"]
    assert dns.marks["RECONCILE_VERSION"] == "1.0"
    world.idle()
    go.touch()
    until(lambda: Path(f"/proc/{dns.pid}/cmdline").read_bytes() == b"sleep\x0086399\x00" or None)
    assert world.pids()["dns"] == dns.pid
    world.idle()


@pytest.mark.supervisor
def test_a_change_restarts_its_service_alone_and_runs_it_anew(world: World) -> None:
    git(world, f"echo one >>{world.folder}/ran")
    world.once()
    awaits(folder(world) / "dns.node")
    before = world.pids()
    git(world, f"echo two >>{world.folder}/ran")
    change = {change["service"]: change for change in told(world, "plan", code=2)["changes"]}["dns"]
    assert (change["kind"], change["restarts"]) == ("update", ["dns"])
    assert change["reasons"][0].startswith("on_start ")
    world.once()
    until(lambda: ran(world) == ["one", "two"] or None)
    after = until(lambda: found if (found := world.pids()).keys() == before.keys() else None)
    assert {name for name in after if after[name] != before[name]} == {"dns"}
    world.idle()


@pytest.mark.supervisor
@pytest.mark.parametrize("left", ["service", "key"])
def test_what_it_noted_goes_with_it(world: World, left: str) -> None:
    git(world, "false")
    world.run("--once")
    awaits(folder(world) / "dns.failed")
    text = (world.repo / "desired/environments/dev.yaml").read_text()
    lines = [line.replace(', on_start: "false"', "") for line in text.splitlines()]
    kept = [line for line in lines if left == "key" or not line.startswith("  dns")]
    world.commit({"desired/environments/dev.yaml": "\n".join(kept) + "\n"})
    steps = {step["id"]: step["status"] for step in told(world, "--once")["steps"]}
    assert steps[f"clean:{folder(world)}/dns.failed"] == "done"
    assert list(folder(world).iterdir()) == []
    world.idle()


@pytest.mark.supervisor
def test_what_it_printed_is_not_told_where_the_service_has_a_secret(world: World) -> None:
    git(world, "env; false", more=", env: {DB_PASSWORD: c4nary}")
    world.run("--once")
    awaits(folder(world) / "dns.failed")
    assert "c4nary" in (folder(world) / "dns.failed").read_text()
    assert (folder(world) / "dns.failed").stat().st_mode & 0o777 == 0o600
    for words in (["--once"], ["plan", "--json"], ["status"], ["status", "--json"]):
        done = world.run(*words)
        assert (done.code, "c4nary" in done.out + done.err) == (1, False), done.said
        assert "may hold a secret" in " ".join(done.out.split())


@pytest.mark.supervisor
def test_a_secret_in_it_is_refused(world: World) -> None:
    git(world, "nsupdate -y name:{{ tsig_key }}", more="")
    layer = (world.repo / "desired/environments/dev.yaml").read_text()
    world.commit({"desired/environments/dev.yaml": "vars: {tsig_key: c4nary}\n" + layer})
    done = world.run("validate", "repo", where=False)
    assert done.code == 3
    assert "`on_start` of service dns holds a secret" in " ".join(done.out.split())
    assert "c4nary" not in done.out + done.err


@pytest.mark.supervisor
def test_a_note_that_cannot_be_read_is_a_gap(world: World) -> None:
    git(world, "true")
    world.once()
    awaits(folder(world) / "dns.node")
    (folder(world) / "dns.failed").symlink_to("dns.failed")
    deployment = told(world, "--once", code=1)
    assert [gap["scope"] for gap in deployment["gaps"]] == ["file"]
    assert deployment["findings"] == []


@needs_nodes
@pytest.mark.supervisor
def test_another_node_with_the_same_files(world: World) -> None:
    """As where a job begins again elsewhere: one root, seen from several nodes."""
    git(world, f"uname -n >>{world.folder}/ran; [ $(uname -n) != nid02 ]")
    codes = []
    for node in ("nid01", "nid02", "nid03", "nid03"):
        world.power_cut()
        argv = [*node_of(node), *world.argv("--once")]
        subprocess.run(argv, cwd=world.folder, env=world.env, check=False, capture_output=True, timeout=90)
        until(lambda: world.pids().get("dns"))
        until(lambda: Path(f"/proc/{world.pids()['dns']}/cmdline").read_bytes() == b"sleep\x0086399\x00" or None)
        codes.append(subprocess.run(argv, cwd=world.folder, env=world.env, check=False, capture_output=True).returncode)
    assert codes == [0, 1, 0, 0]
    assert ran(world) == ["nid01", "nid02", "nid03"]


@pytest.mark.systemd
@pytest.mark.parametrize("commands", ["true", "false"])
def test_under_systemd(users_world: World, commands: str) -> None:
    world = users_world
    world.boot()
    git(world, f"echo ran; {commands}", more=", launcher: systemd", others=", launcher: systemd")
    world.run("--once")
    awaits(folder(world) / ("dns.node" if commands == "true" else "dns.failed"))
    assert world.pids().keys() == {"dns", "other"}
    if commands == "true":
        world.idle()
    else:
        assert "\n      ran\n" in world.once(code=1).out


@pytest.mark.apptainer
@pytest.mark.parametrize("commands", ["true", "false"])
def test_outside_of_an_instance(users_world: World, commands: str) -> None:
    """It runs on the host, which an image need not have: the folder of the notes is not mounted."""
    site = Site(users_world)
    outside = users_world.folder / "outside"
    site.commit(one=f'on_start: "echo ran; touch {outside}; {commands}"')
    site.converge(code=0 if commands == "true" else 1)
    assert outside.exists()
    assert site.pids().keys() == {"one"}
    assert (folder(users_world) / ("one.node" if commands == "true" else "one.failed")).exists()
    if commands == "true":
        users_world.idle()
    else:
        assert "ran" in users_world.once(code=1).out
