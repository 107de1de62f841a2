"""`managed: false`: what others run is seen, told and waited for, and never touched."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.backends.beds import a_users_world  # noqa: F401
from tests.scenarios.world import SLEEP, World, a_world, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.git]

KEYS = f"component: app, command: {SLEEP}, supervisor: {{startsecs: 0}}"


def git(world: World, runner: str, one: str = KEYS) -> str:
    """Service `one` is managed; how `runner` is written."""
    text = f"services:\n  one: {{{one}}}\n  runner: {{{runner}}}\n"
    return world.commit({"desired/environments/dev.yaml": text})


def seen(world: World) -> dict[str, Any]:
    done = world.run("status", "--json")
    (deployment,) = done.json()["deployments"]
    return next(dict(service) for service in deployment["services"] if service["service"] == "runner")


def change(world: World, *words: str) -> dict[str, Any]:
    (deployment,) = world.run(*words, "--json").json()["deployments"]
    return next(dict(found) for found in deployment["changes"] if found["service"] == "runner")


def told(world: World, *words: str) -> str:
    return " ".join(world.run(*words).out.split())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def program(world: World, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else's, by a name that no other test has."""
    path = world.folder / "their-runner"
    if not path.exists():
        path.write_text("#!/bin/sh\nsleep 86398\n")
        path.chmod(0o755)
    process = subprocess.Popen([path, *words], start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@pytest.mark.supervisor
def test_is_not_taken_for_a_second_one_of_what_a_pass_starts(world: World) -> None:
    """Of one program with another folder, and with the same last word; there are two of it."""
    words = ("--dir", f"{world.root}/slow", "run")
    with program(world, *words), program(world, *words):
        own = f"component: app, command: '{world.folder}/their-runner --dir {world.root}/fast run'"
        pattern = f"managed: false, process: 'their-runner --dir {world.root}/slow run$'"
        git(world, pattern, f"{own}, supervisor: {{startsecs: 0}}")
        world.once()
        world.idle()
        git(world, "component: app, command: their-runner run, supervisor: {startsecs: 0}", f"{own}, enabled: false")
        assert "runner was started by hand" in told(world, "--once")


@pytest.mark.supervisor
def test_seen_by_its_command_line(world: World) -> None:
    git(world, f"managed: false, process: '^/bin/sh {world.folder}/their-runner run( |$)'")
    world.once()
    world.idle()
    assert world.run("--once").out == ""
    absent = seen(world)
    assert (absent["state"], absent["pid"], absent["version"], absent["wanted"]) == ("absent", None, None, None)
    assert world.run("status").code == 0
    assert "= runner not managed, absent" in told(world, "plan")
    with program(world, "register"), program(world, "run") as first, program(world, "run", "-d"):
        running = seen(world)
        assert (running["state"], running["pid"], running["managed"]) == ("running", first.pid, False)
        assert abs(running["since"] - os.stat(f"/proc/{first.pid}").st_mtime) < 60
        assert "and 1 more process" in told(world, "status")
        assert "runner running - not managed" in told(world, "status")
        kept = change(world, "plan")
        assert (kept["kind"], kept["state"], kept["reasons"], kept["managed"]) == ("keep", "running", [], False)
        world.idle()
        assert alive(first.pid)
    world.idle()


@pytest.mark.supervisor
def test_of_one_account_only(world: World) -> None:
    with program(world, "run") as process:
        git(world, f"managed: false, process: '{world.folder}/their-runner', user: nobody")
        world.once()
        assert seen(world)["state"] == "absent"
        git(world, f"managed: false, process: '{world.folder}/their-runner', user: '{os.getuid()}'")
        world.once()
        assert seen(world)["pid"] == process.pid
        git(world, f"managed: false, process: '{world.folder}/their-runner', user: nobody-of-this-name")
        world.once()
        assert world.run("status").code == 0
        assert "there is no account nobody-of-this-name here" in seen(world)["detail"]


@pytest.mark.supervisor
def test_handed_over_it_goes_on_and_is_forgotten(world: World) -> None:
    first = git(world, KEYS)
    world.once()
    before, files = world.pids(), world.files()
    second = git(world, "managed: false, launcher: supervisor")
    compared = world.run("diff", f"{first}..{second}", "--repo", str(world.repo), where=False)
    assert compared.code == 2
    assert "= runner not managed; is not managed any more: it goes on as it runs" in " ".join(compared.out.split())
    assert "is not managed any more" in told(world, "plan")
    world.idle()
    assert (world.pids(), world.files()) == (before, files)
    assert change(world, "plan")["reasons"] == []
    assert seen(world)["pid"] == before["runner"]
    world.idle()
    # Its supervisord keeps it as before, whoever stops or starts it.
    world.supervisorctl("restart", "runner")
    after = until(lambda: pids if (pids := world.pids()).get("runner", before["runner"]) != before["runner"] else None)
    assert seen(world)["pid"] == after["runner"]
    world.supervisorctl("stop", "runner")
    world.idle()
    assert seen(world)["state"] == "stopped"
    assert world.run("status").code == 0
    # Even where nothing is remembered, nothing of it is cleaned away.
    for path in (world.root / ".reconcile/inventory.json", *world.state.glob("*/dev/*.json")):
        path.unlink()
    world.run("--once")
    world.idle()
    assert world.files() == files
    # And back again: it is ours as it stands.
    git(world, KEYS)
    world.once()
    world.idle()
    assert world.pids().keys() == {"", "one", "runner"}


@pytest.mark.supervisor
def test_handed_over_by_its_command_line_it_is_no_stray(world: World) -> None:
    git(world, "component: app, command: sleep 86397, supervisor: {startsecs: 0}")
    world.once()
    before = world.pids()
    git(world, "managed: false, process: '^sleep 86397$'")
    world.idle()
    world.supervisorctl("signal", "KILL", "runner")
    until(lambda: world.pids().get("runner") not in (None, before["runner"]) or None)
    world.idle()
    os.kill(world.pids()[""], signal.SIGKILL)  # what it ran is left over now; a new one starts what its files say
    until(lambda: "" not in world.pids() or None)
    left = world.pids()["runner"]
    world.run("--once")
    assert alive(left)


@pytest.mark.supervisor
def test_many_are_handed_over_without_any_budget(world: World) -> None:
    names = [f"s{number}" for number in range(8)]
    world.commit(world.services("one", *names))
    world.once()
    before = world.pids()
    lines = "".join(f"  {name}: {{managed: false, launcher: supervisor}}\n" for name in names)
    world.commit({"desired/environments/dev.yaml": f"services:\n  one: {{{KEYS}, files: [app.conf]}}\n{lines}"})
    world.idle()
    assert world.pids() == before


@pytest.mark.supervisor
def test_what_starts_after_it_waits_while_it_is_down(world: World) -> None:
    pattern = f"managed: false, process: '{world.folder}/their-runner run'"
    git(world, pattern, one=f"{KEYS}, after: [runner]")
    done = world.once(code=1)
    assert "waits for runner, which is not up and not managed: others start it" in " ".join(done.out.split())
    assert "one" not in world.pids()
    with program(world, "run"):
        world.once()
        world.idle()
        pids = world.pids()
    world.idle()  # what runs goes on
    assert world.pids() == pids


@pytest.mark.systemd
@pytest.mark.parametrize("launcher", ["supervisor", "systemd"])
def test_seen_in_the_user_manager(users_world: World, launcher: str) -> None:
    """Also where nothing of the deployment's own is kept there."""
    world = users_world
    manager = world.boot()
    own = KEYS if launcher == "supervisor" else f"component: app, command: {SLEEP}, launcher: systemd"
    git(world, "managed: false, launcher: systemd, name: theirs.service", one=own)
    world.run("--once")
    assert seen(world)["state"] == "absent"
    manager.write("theirs.service", "[Service]\nExecStart=/bin/sleep 86396\n")
    manager.systemctl("daemon-reload")
    manager.systemctl("start", "theirs.service")
    running = seen(world)
    assert (running["state"], running["launcher"]) == ("running", "systemd")
    assert Path(f"/proc/{running['pid']}/cmdline").read_bytes() == b"/bin/sleep\x0086396\x00"
    done = world.run("--once", "--json")
    (deployment,) = done.json()["deployments"]
    assert (done.code, deployment["steps"]) == (0, [])
    assert alive(running["pid"])
    manager.systemctl("stop", "theirs.service")
    assert seen(world)["state"] in ("stopped", "absent")
    assert world.run("--once").code == 0


@pytest.mark.systemd
def test_a_unit_handed_over_goes_on(users_world: World) -> None:
    world = users_world
    world.boot()
    keys = f"component: app, command: {SLEEP}, launcher: systemd"
    git(world, keys, one=keys)
    world.once()
    before = world.pids()
    git(world, "managed: false, launcher: systemd", one=keys)
    for _ in range(2):
        (deployment,) = world.run("--once", "--json").json()["deployments"]
        assert deployment["steps"] == []
    assert world.pids() == before
    assert seen(world)["pid"] == before["runner"]
