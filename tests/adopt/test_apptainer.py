"""What runs inside of an image is compared by what the kernel tells of the process inside."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.backends.images import image
from tests.scenarios.site import until
from tests.scenarios.world import World

_CONF = """
[unix_http_server]
file=%(here)s/s.sock
[supervisord]
logfile=%(here)s/supervisord.log
pidfile=%(here)s/supervisord.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
_PROGRAM = """
[program:{name}]
command=/usr/bin/apptainer run --cleanenv --no-home --env T_MODE={mode} {mount} {image} sleep 86399
environment=APPTAINER_CONFIGDIR="{configdir}"
startsecs=0
stopasgroup=true
killasgroup=true
"""
_DESIRED = """\
components:
  app:
    install: apptainer-sif
    image: "app-{{{{ version }}}}.sif"
    source: "{images}/app-{{{{ version }}}}.sif"
    container: {{mode: run, configdir: "{configdir}", mounts: {{logs: "src={{{{ paths.logs }}}},dst=/var/tmp"}}}}
versions: {{app: "1.0"}}
services:
  same: &it {{component: app, command: "sleep 86399", env: {{T_MODE: fast}}, supervisor: {{startsecs: 0}}}}
  older: *it
  slower: *it
"""
WAYS = {"same": ("1.0", "fast"), "older": ("0.9", "fast"), "slower": ("1.0", "slow")}


@pytest.fixture
def by_hand(users_world: World) -> Iterator[Path]:
    """The configuration of a supervisord that runs, as that account."""
    world = users_world
    folder, configdir = world.account.folder(world.folder / "h"), world.folder / "a"
    for version in ("1.0", "0.9"):
        image(folder, version)
    text, mount = _CONF, f"--mount src={world.root}/logs,dst=/var/tmp"
    for name, (version, mode) in WAYS.items():
        path = folder / f"app-{version}.sif"
        text += _PROGRAM.format(name=name, image=path, mode=mode, configdir=configdir, mount=mount)
    world.account.folder(world.root / "logs")
    conf = folder / "hand.conf"
    conf.write_text(text)
    world.account.own(conf)
    argv = [world.python, "-m", "supervisor.supervisord", "-n", "-c", str(conf)]
    null = subprocess.DEVNULL
    daemon = subprocess.Popen(
        argv, cwd="/", env=world.env, stdin=null, stdout=null, stderr=null, **world.account.become
    )
    try:
        until(lambda: len(inside(world.folder)) == len(WAYS))
        yield conf
    finally:
        daemon.terminate()
        daemon.wait(30)
        for pid in inside(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def inside(folder: Path) -> dict[int, str]:
    """Processes that sleep inside of an image below this folder, with its path."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            path = next((e.decode()[20:] for e in environ if e.startswith(b"APPTAINER_CONTAINER=")), "")
            if words[:2] == [b"sleep", b"86399"] and path.startswith(f"{folder}/"):
                found[int(pid)] = path
    return found


@pytest.mark.apptainer
def test_the_process_inside_is_what_counts(by_hand: Path, users_world: World) -> None:
    world = users_world
    text = _DESIRED.format(images=by_hand.parent, configdir=world.folder / "a")
    world.commit({"desired/defaults.yaml": text, "templates/app.conf.j2": None})
    before = inside(world.folder)
    # A pass that comes too early starts no second one.
    early = world.run("--once", "--json")
    assert early.code == 1, early.said
    checks = {step["id"]: step for step in early.json()["deployments"][0]["steps"] if step["action"] == "check"}
    assert {checks[f"check:{name}"]["status"] for name in WAYS} == {"failed"}
    assert "was started by hand" in checks["check:same"]["message"]
    assert inside(world.folder) == before

    told = world.run("adopt", "supervisor", str(by_hand), "--environment", "dev", "--json")
    assert told.code == 0, told.said
    assert {one["service"]: one["differs"] for one in told.json()["services"]} == {
        "same": [],
        "older": ["runs version 0.9, and git wants 1.0"],
        "slower": ["runs with another T_MODE: 'slow', and git says 'fast'"],
    }
    for _ in range(2):
        (found,) = world.once("--json", code=2).json()["deployments"]
        kinds = {change["service"]: change["kind"] for change in found["changes"]}
        assert kinds == {"same": "keep", "older": "blocked", "slower": "blocked"}
        assert found["steps"] == []
    assert inside(world.folder) == before

    # Approved, it restarts as git says: each of these, and no other.
    (waiting,) = world.run("approve", "--json").json()["waiting"]
    assert world.run("approve", waiting["plan"][:8]).code == 0
    world.once()
    same = {pid for pid, path in before.items() if pid in inside(world.folder)}
    assert len(same) == 1
    until(lambda: len(inside(world.folder)) == len(WAYS))
    world.idle()
    assert same <= inside(world.folder).keys()
