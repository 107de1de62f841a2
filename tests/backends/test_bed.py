"""The beds themselves: what scenarios rely on holds."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.backends.images import Registry, Stored, archive, image, oci_archive
from tests.backends.instances import children, helpers, instances
from tests.backends.manager import Manager
from tests.conftest import left_behind
from tests.scenarios.world import World, until

systemd, apptainer = pytest.mark.systemd, pytest.mark.apptainer

UNIT = "[Service]\nExecStart=/bin/sh -c 'echo hello; exec sleep 86399'\n[Install]\nWantedBy=default.target\n"


def run(world: World, *argv: str) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        argv, cwd=world.folder, env=world.env, capture_output=True, text=True, timeout=60, check=False,
        **world.account.become,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def marked(world: World) -> list[str]:
    """What every instance of a deployment is given."""
    marks = {"DEPLOYMENT": "s/dev", "ROOT": str(world.root), "SERVICE": "one", "PID": "1"}
    return [word for name, value in marks.items() for word in ("--env", f"RECONCILE_{name}={value}")]


# ---------------------------------------------------------------- what is left behind


def test_an_instance_left_behind_is_told(short_folder: Path) -> None:
    """Its environment has its marks in JSON."""
    program = shutil.copy(shutil.which("sleep") or "", short_folder / "appinit")
    env = {"ENGINE_CONFIG1": json.dumps({"image": f"{short_folder}/x.sif"})}
    with subprocess.Popen([program, "60"], env=env) as process:
        until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "appinit\n")
        found = left_behind(str(short_folder))
        process.kill()
    assert set(found) == {process.pid}


@systemd
def test_what_a_manager_runs_is_told(manager: Manager) -> None:
    manager.write("x.service", UNIT)
    manager.systemctl("start", "x.service")
    found = left_behind(str(Path(manager.runtime).parents[1]))
    assert {manager.pid, int(manager.show("x.service", "MainPID")["MainPID"])} <= set(found)


# ---------------------------------------------------------------- systemd


@systemd
def test_an_enabled_unit_comes_back_after_a_power_cut(manager: Manager) -> None:
    manager.write("x.service", UNIT)
    manager.systemctl("enable", "--now", "x.service")
    before = int(manager.show("x.service", "MainPID")["MainPID"])
    assert before in manager.pids()
    manager.power_cut()
    assert (manager.pids(), manager.runtime.exists()) == (set(), False)
    manager.boot()
    after = manager.show("x.service", "MainPID", "ActiveState")
    assert (after["ActiveState"], int(after["MainPID"]) != before) == ("active", True)
    manager.stop()
    assert manager.pids() == set()


@systemd
def test_what_a_unit_prints_is_in_the_journal(manager: Manager, journal: None) -> None:
    manager.write("x.service", UNIT)
    manager.systemctl("start", "x.service")
    assert until(lambda: manager.journal("x.service")) == ["hello"]
    argv = ["journalctl", "--user", "--quiet", "--no-pager", "--output=cat", "--unit=x.service"]
    seen = subprocess.run(argv, env=manager.env, capture_output=True, text=True, check=True, **manager.account.become)
    assert "hello" in seen.stdout.splitlines()


@systemd
def test_the_command_runs_as_the_user(users_world: World) -> None:
    users_world.commit(users_world.services("one"))
    users_world.boot()
    users_world.once()
    assert {Path(f"/proc/{one.pid}").stat().st_uid for one in users_world.live()} == {users_world.account.uid}
    users_world.power_cut()
    assert users_world.live() == []


# ---------------------------------------------------------------- Apptainer


@apptainer
def test_an_instance_is_found_and_ended(users_world: World) -> None:
    sif = image(users_world.folder, "1.0")
    run(users_world, "apptainer", "instance", "start", *marked(users_world), str(sif), "one")
    (live,) = users_world.live()
    (found,) = [one for one in instances() if one.pid == live.pid]
    assert (live.service, live.marks["RECONCILE_PID"], found.name, found.image) == ("one", "1", "one", str(sif))
    assert len(children(live.pid)) == 1
    assert set(helpers(users_world.folder)) >= {found.parent}
    users_world.end()
    assert (users_world.live(), list(helpers(users_world.folder))) == ([], [])


@apptainer
def test_an_instance_outlives_its_program(users_world: World) -> None:
    """A fact to reckon with: it is listed as ever, and its name is taken. The next signal ends it."""
    sif = image(users_world.folder, "1.0")
    run(users_world, "apptainer", "instance", "start", *marked(users_world), str(sif), "one", "false")
    (live,) = users_world.live()
    until(lambda: not children(live.pid))
    listed = json.loads(run(users_world, "apptainer", "instance", "list", "--json"))
    assert [(one["instance"], one["pid"]) for one in listed["instances"]] == [("one", live.pid)]
    run(users_world, "apptainer", "instance", "stop", "one")
    until(lambda: not users_world.live())


@apptainer
def test_an_image_tells_its_version(users_world: World) -> None:
    sif = image(users_world.folder, "1.1", files={"bin/job": "#!/bin/sh\necho job $1\n"})
    assert run(users_world, "apptainer", "exec", str(sif), "cat", "/version") == "1.1\n"
    assert run(users_world, "apptainer", "run", str(sif), "job", "x") == "job x\n"
    labels = json.loads(run(users_world, "apptainer", "inspect", "--json", str(sif)))
    assert labels["data"]["attributes"]["labels"]["org.label-schema.version"] == "1.1"


@apptainer
def test_images_are_built_from_archives(users_world: World) -> None:
    archive(users_world.folder / "d.tar", "2.0")
    oci_archive(users_world.folder / "o.tar", "2.1")
    found = []
    for source in ("docker-archive:d.tar", "oci-archive:o.tar"):
        run(users_world, "apptainer", "build", "--force", "x.sif", source)
        found.append(run(users_world, "apptainer", "run", "x.sif", "cat", "/version"))
    assert found == ["2.0\n", "2.1\n"]


@apptainer
def test_images_are_pulled_from_a_registry(users_world: World, registry: Registry) -> None:
    registry.push("team/app", "3.0", Stored.of("3.0"))
    registry.push("team/sif", "3.1", Stored.of_sif(image(users_world.folder, "3.1")))
    found = []
    for source in (f"docker://{registry.host}/team/app:3.0", f"oras://{registry.host}/team/sif:3.1"):
        run(users_world, "apptainer", "pull", "--no-https", "--force", "x.sif", source)
        found.append(run(users_world, "apptainer", "exec", "x.sif", "cat", "/version"))
    assert found == ["3.0\n", "3.1\n"]
