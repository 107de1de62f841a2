"""What is written for an instance, and what is refused."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from reconciler.core.desired import Role
from reconciler.launchers import NAMES, launcher, shim
from reconciler.launchers.apptainer.starts import redact
from reconciler.launchers.base import Container, Mode, Place, Rendering, ServiceSpec
from tests.supervisor.deployment import FOLDERS, service

LAUNCHER = launcher("apptainer")


def place(**settings: object) -> Place:
    paths = {"root": "/srv/jaws"} | {name: f"/srv/jaws/{name}" for name in FOLDERS}
    return Place("dori", "dev", paths, settings, "/home/jaws")


def box(name: str = "rpc-dev", **changes: object) -> Container:
    whole = Container(
        mode=Mode.INSTANCE,
        program="apptainer",
        image="/srv/jaws/images/site-2.8.1.sif",
        instance=name,
        mounts=("src=/a b,dst=/c,ro",),
        options=("--nv",),
        configdir="/home/jaws/.apptainer",
        home=False,
        cleanenv=True,
    )
    return whole._replace(**changes)  # type: ignore[arg-type]


def rpc(**changes: object) -> ServiceSpec:
    given = {"command": "rpc --port 1", "unit": "rpc-dev", "container": box(), "options": {}} | changes
    return service(str(given.pop("name", "rpc")), **given)  # type: ignore[arg-type]


def render(*services: ServiceSpec, **settings: object) -> Rendering:
    return LAUNCHER.render(place(**settings), services)


def script(rendering: Rendering) -> str:
    (file,) = (file for file in rendering.files if file.role is Role.SHIM)
    return file.content.decode()


def test_it_is_registered() -> None:
    assert "apptainer" in NAMES
    assert (LAUNCHER.account_wide, LAUNCHER.mode) == (True, Mode.INSTANCE)


@pytest.mark.parametrize(("name", "unit"), [("", "rpc-dev"), ("mine", "mine"), ("mine.service", "mine")])
def test_the_unit_is_the_name_of_the_instance(name: str, unit: str) -> None:
    assert LAUNCHER.unit("rpc", "dev", name) == unit


def test_the_files_of_a_service() -> None:
    files = render(rpc()).files
    assert [(file.path, oct(file.mode), file.role, file.service, file.secret) for file in files] == [
        ("/srv/jaws/bin/rpc-dev", "0o700", Role.SHIM, "rpc", False),
        ("/srv/jaws/config/env/rpc-dev.env", "0o600", Role.ENV, "rpc", False),
    ]
    assert {shim.owner_of(file.content.decode()) for file in files} == {("dori/dev", "rpc-dev", "/srv/jaws")}


def test_the_start_script_sets_every_mark() -> None:
    rendering = render(rpc(stop_signal="sigint", stop_seconds=7.2))
    text = script(rendering)
    assert text.splitlines()[3] == (
        "export RECONCILE_DEPLOYMENT=dori/dev RECONCILE_ROOT=/srv/jaws RECONCILE_SERVICE=rpc RECONCILE_DAEMON='' "
        "RECONCILE_PID=1 RECONCILE_LAUNCHER=apptainer RECONCILE_STOP='INT 8' "
        f"RECONCILE_LAUNCH={rendering.launch['rpc']}"
    )
    assert text.endswith(
        "export APPTAINER_CONFIGDIR=/home/jaws/.apptainer\n"
        "exec apptainer instance start --cleanenv --no-home --env-file /srv/jaws/config/env/rpc-dev.env "
        "--mount 'src=/a b,dst=/c,ro' --nv /srv/jaws/images/site-2.8.1.sif rpc-dev rpc --port 1\n"
    )


@pytest.mark.parametrize("prologue", ["", "A=1"])
def test_what_apptainer_is_given(tmp_path: Path, prologue: str) -> None:
    """The script itself, run by hand out of another service, with something in the place of Apptainer."""
    program = tmp_path / "apptainer"
    program.write_text("#!/bin/sh\nenv | grep ^APPTAINERENV_RECONCILE_\n")
    program.chmod(0o755)
    (tmp_path / "config/env").mkdir(parents=True)
    paths = {"root": str(tmp_path)} | {name: str(tmp_path / name) for name in FOLDERS}
    here = Place("dori", "dev", paths, {}, str(tmp_path))
    one = rpc(prologue=prologue, container=box(program=str(program)))
    rendering = LAUNCHER.render(here, [one])
    for file in rendering.files:
        Path(file.path).parent.mkdir(exist_ok=True)
        Path(file.path).write_bytes(file.content)
        Path(file.path).chmod(file.mode)
    env = {"PATH": "/usr/bin:/bin", "RECONCILE_SERVICE": "other", "RECONCILE_SPEC": "old", "RECONCILE_PID": "77"}
    printed = subprocess.run([tmp_path / "bin/rpc-dev"], env=env, capture_output=True, text=True, check=True).stdout
    marks = dict(line.removeprefix("APPTAINERENV_RECONCILE_").split("=", 1) for line in printed.splitlines())
    assert marks == {
        "DEPLOYMENT": "dori/dev",
        "ROOT": str(tmp_path),
        "SERVICE": "rpc",
        "DAEMON": "",
        "PID": "1",
        "LAUNCHER": "apptainer",
        "STOP": "TERM 5",
        "LAUNCH": rendering.launch["rpc"],
        "SPEC": "spec-1",
        "VERSION": "2.8.1",
        "COMPONENT": "site",
    }


def test_nothing_of_a_version_is_another_launch() -> None:
    old, new = rpc(), rpc(version="2.9.0", spec="spec-2", container=box(image="/other.sif", options=()))
    assert render(old).launch == render(new).launch
    assert render(old).manager == render(new).manager


@pytest.mark.parametrize(
    "changes",
    [
        {"stop_seconds": 6.0},
        {"stop_signal": "INT"},
        {"unit": "rpc2", "container": box("rpc2")},
        {"container": box(configdir="/x")},
    ],
)
def test_how_it_is_stopped_and_found_is_another_launch(changes: dict[str, object]) -> None:
    assert render(rpc(**changes)).launch != render(rpc()).launch


def test_the_manager_says_what_is_not_as_usual() -> None:
    usual = {
        "deployment": "dori/dev",
        "root": "/srv/jaws",
        "bin": "/srv/jaws/bin",
        "env": "/srv/jaws/config/env",
        "run": "/srv/jaws/run",
        "logs": "/srv/jaws/logs",
        "configdir": "/home/jaws/.apptainer",
        "parallel": "8",
    }
    manager = render(rpc()).manager
    assert (manager.launcher, manager.is_daemon, dict(manager.address)) == ("apptainer", False, usual)
    assert render().manager == manager
    odd = render(rpc(container=box(configdir="/c"), options={"start_seconds": 5}), parallel=2)
    more = {"configdir rpc-dev": "/c", "start_seconds rpc-dev": "5", "parallel": "2"}
    assert dict(odd.manager.address) == usual | more
    assert odd.ready_seconds == {"rpc": 5.0}


def test_who_waits_for_its_turn_may_take_longer() -> None:
    several = [rpc(name=f"rpc{number}") for number in range(5)]
    assert set(render(*several).ready_seconds.values()) == {1.0}
    assert set(render(*several, parallel=2).ready_seconds.values()) == {11.0}
    assert render(rpc(prologue="module load x")).ready_seconds == {"rpc": 61.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"container": None}, "install: apptainer-sif"),
        ({"container": box("other")}, "write `name: other`"),
        ({"unit": "-rpc", "container": box("-rpc")}, "cannot be an instance's name"),
        ({"unit": "..", "container": box("..")}, "cannot be an instance's name"),
        ({"unit": "a b", "container": box("a b")}, "cannot be an instance's name"),
        ({"unit": "a" * 201, "container": box("a" * 201)}, "at most 200"),
        ({"stop_signal": "NOTHING"}, "there is no signal"),
        ({"command": "a; b"}, "only one process"),
        ({"env": (("RECONCILE_STOP", "KILL"),)}, "one of the marks"),
    ],
)
def test_what_is_refused(changes: dict[str, object], words: str) -> None:
    told = LAUNCHER.check(place(), rpc(**changes))
    assert words in told
    assert bool(told) == bool(words)


def test_a_value_of_a_variable_is_kept_out() -> None:
    text = "FATAL: /hush is missing\nsecond line\nonce more: long-hush, /hush"
    assert redact(text, ["/hush", "long-hush", "a", "no\nsecond line"]) == ("FATAL: … is missing\n…\nonce more: …, …")
    assert shlex.split("export A='b c'") == ["export", "A=b c"]  # how the file of variables is read
