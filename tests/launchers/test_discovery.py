"""Instances are found whatever their records, their units and our own memory say, and nobody else's are touched.

Under launcher `apptainer`, and under systemd, which keeps one behind a unit. In between, `status` is asked:
it tells what is so, also where that is not what git wants.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from time import sleep, time
from typing import Any

import pytest

from reconciler.host import proc
from tests.apptainer.site import Site
from tests.backends.beds import a_users_world  # noqa: F401
from tests.backends.images import image
from tests.backends.instances import Instance, children, instances
from tests.backends.manager import Manager, runs
from tests.scenarios.world import World, until

pytestmark = [pytest.mark.scenario, pytest.mark.git, pytest.mark.apptainer]

RECORDED = "one-dev"
UNIT = "one-dev.service"


class Kept(Site):
    """Two services whose instances a launcher keeps: `one` is meddled with, `two` must not notice."""

    def __init__(self, world: World, launcher: str) -> None:
        super().__init__(world)
        self.launcher = launcher
        self.manager: Manager | None = world.boot() if launcher == "systemd" else None
        own = "apptainer: {start_seconds: 0}" if launcher == "apptainer" else "systemd: {start_seconds: 0}"
        self.keys = f'command: "sleep 86399", container: {{mode: instance}}, {own}'
        self.bring("one", "two")

    def bring(self, *names: str, app: str = "1.0", code: int = 0) -> dict[str, str]:
        """A commit with exactly these services, and a pass."""
        self.want(*names, app=app)
        return self.converge(code=code)

    def want(self, *names: str, app: str = "1.0") -> None:
        lines = [f'versions: {{app: "{app}"}}', "services:" + " {}" * (not names)]
        lines += [f"  {name}: {{component: app, launcher: {self.launcher}, {self.keys}}}" for name in names]
        self.world.commit({"desired/environments/dev.yaml": "\n".join(lines) + "\n"})

    def told(self, service: str = "one") -> dict[str, Any]:
        """What `status` says of a service."""
        done = self.world.run("status", "--json")
        (found,) = [one for one in done.json()["deployments"][0]["services"] if one["service"] == service]
        return dict(found)

    def forget(self) -> None:
        """The state directory is lost."""
        shutil.rmtree(self.world.state)

    def systemctl(self, *words: str) -> str:
        assert self.manager
        return self.manager.systemctl(*words)

    def keeper(self) -> int:
        """The shell that systemd watches."""
        assert self.manager
        return int(self.manager.show(UNIT, "MainPID")["MainPID"])

    def lived(self, before: Mapping[str, int]) -> dict[str, bool]:
        """Which of the services kept their instance. All that there were are there now, once each."""
        now = self.pids()
        assert now.keys() == before.keys()
        return {name: now[name] == before[name] for name in before}

    def mends(self, before: Mapping[str, int]) -> None:
        """One pass and `one` is a new instance; then nothing is left to do."""
        assert self.converge()["two"] == "keep"
        assert self.lived(before) == {"one": False, "two": True}
        assert not runs(before["one"])
        assert self.told()["state"] == "running"
        self.world.idle()

    def goes_on(self, before: Mapping[str, int]) -> None:
        """Nothing that it would restart for."""
        self.converge()
        assert self.lived(before) == {"one": True, "two": True}
        self.world.idle()
        assert self.told()["state"] == "running"


@pytest.fixture(name="kept", params=["apptainer", pytest.param("systemd", marks=pytest.mark.systemd)])
def a_kept(request: pytest.FixtureRequest, users_world: World) -> Kept:
    return Kept(users_world, request.param)


@pytest.fixture(name="unit")
def a_unit(users_world: World) -> Kept:
    return Kept(users_world, "systemd")


def alive(pid: int) -> bool:
    return any(one.pid == pid for one in instances())


def empty(instance: int) -> None:
    """Its program ends; Apptainer goes on to call the instance running."""
    for pid in children(instance):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not runs(instance) or not children(instance))


# ---------------------------------------------------------------- records


@pytest.mark.parametrize("content", [b'{"pid": 12', b"gone"])
def test_our_own_record_is_not_whole(content: bytes, kept: Kept) -> None:
    before, path = kept.pids(), kept.record(RECORDED)
    if content == b"gone":
        path.unlink()
    else:
        path.write_bytes(content)
    kept.goes_on(before)
    os.kill(before["one"], signal.SIGKILL)
    until(lambda: not runs(before["one"]))
    if kept.launcher == "apptainer":
        kept.mends(before)
    else:  # which starts it again by itself, over the broken record
        until(lambda: "one" in kept.pids())
        kept.world.idle()


def test_others_records_are_not_whole(kept: Kept) -> None:
    """Of an instance of somebody's that runs, and of nobody at all. `apptainer instance list` fails over them."""
    before = kept.pids()
    theirs = kept.start_by_hand("theirs")
    broken = [kept.write_record("theirs", b'{"pid"'), kept.write_record("nobodys", b"")]
    kept.goes_on(before)
    image(kept.world.folder, "1.1")
    kept.bring("one", "two", app="1.1")
    assert kept.lived(before) == {"one": False, "two": False}
    kept.world.idle()
    assert (alive(theirs.pid), [path.exists() for path in broken]) == (True, [True, True])
    os.kill(theirs.pid, signal.SIGKILL)


def test_a_record_of_another_host(kept: Kept) -> None:
    """On a shared home: its pid is some process of this host, here even one that is an instance of ours."""
    before = kept.pids()
    other = kept.write_record(RECORDED, {"pid": before["two"], "ppid": 1}, host="elsewhere")
    kept.goes_on(before)
    os.kill(before["one"], signal.SIGKILL)
    until(lambda: not runs(before["one"]))
    if kept.launcher == "apptainer":
        assert kept.told()["state"] != "running"
        kept.mends(before)
    else:
        until(lambda: kept.pids().get("one") not in (None, before["one"]))
        kept.world.idle()
    assert kept.pids()["two"] == before["two"]
    kept.bring("two")
    kept.world.idle()
    assert (kept.pids(), other.exists()) == ({"two": before["two"]}, True)


@pytest.mark.parametrize("now", ["somebody's process", "another instance"])
def test_after_a_reboot(now: str, kept: Kept) -> None:
    """A power cut leaves records behind; their pids are given to others then."""
    content = json.loads(kept.record(RECORDED).read_bytes())
    before = kept.pids()
    kept.world.power_cut()
    assert kept.pids() == {}
    stranger = kept.start_by_hand("stranger")
    pid = stranger.pid if now == "another instance" else os.getpid()
    kept.write_record(RECORDED, {**content, "pid": pid, "ppid": pid})
    if kept.manager:
        kept.manager.boot()  # which starts its units itself
        until(lambda: kept.pids().keys() == before.keys())
    else:
        assert {kept.told(name)["state"] for name in before} == {"absent"}
    kept.converge()
    assert kept.lived(before) == {"one": False, "two": False}
    assert kept.told()["state"] == "running"
    kept.world.idle()
    assert alive(stranger.pid)
    os.kill(stranger.pid, signal.SIGKILL)


# ---------------------------------------------------------------- an instance that is down, and one that is empty


@pytest.mark.parametrize("end", ["stop", "empty"])
def test_an_instance_has_ended(end: str, kept: Kept) -> None:
    """By hand, or because its program did. systemd starts it again; otherwise the loop does."""
    before = kept.pids()
    if end == "stop":
        kept.apptainer("instance", "stop", RECORDED)
    else:
        empty(before["one"])
    until(lambda: not runs(before["one"]) or not children(before["one"]))
    if kept.launcher == "apptainer":
        told = kept.told()
        assert told["state"] == ("exited" if end == "empty" else "absent")
        assert (told["healthy"], told["version"]) == (False, None)
        kept.mends(before)
    else:
        until(lambda: kept.pids().get("one") not in (None, before["one"]))
        until(lambda: kept.told()["state"] == "running")
        kept.goes_on({**before, "one": kept.pids()["one"]})


@pytest.mark.systemd
def test_a_unit_that_does_not_start_again_is_no_running_service(unit: Kept) -> None:
    """`restart: "no"`: the unit ends with its program."""
    unit.keys = unit.keys.replace("start_seconds: 0", 'start_seconds: 0, restart: "no"')
    unit.bring("one", "two")
    before = unit.pids()
    empty(before["one"])
    until(lambda: not runs(before["one"]))
    until(lambda: unit.told()["state"] != "running")
    assert unit.told()["healthy"] is False
    unit.mends(before)


@pytest.mark.systemd
def test_an_instance_that_is_there_before_its_pid_file(unit: Kept) -> None:
    """As it is for an instant when systemd has started it by itself, after a boot or when it had ended."""
    before = unit.pids()
    (unit.world.root / "run/one-dev.pid").unlink()
    told = unit.told()
    assert (told["pid"], told["reasons"]) == (before["one"], [])
    unit.goes_on(before)


# ---------------------------------------------------------------- an instance without its unit


@pytest.mark.systemd
@pytest.mark.parametrize("memory", ["kept", "lost"])
def test_the_unit_file_is_gone(memory: str, unit: Kept) -> None:
    """And systemd was told so. What runs is not touched for it, being clearly older than that."""
    before = unit.pids()
    until(lambda: time() - os.stat(f"/proc/{before['one']}").st_mtime > 1.5)
    assert unit.manager
    (unit.manager.units / UNIT).unlink()
    unit.systemctl("daemon-reload")
    if memory == "lost":
        unit.forget()
    assert unit.told()["state"] == "running"
    unit.goes_on(before)
    assert unit.systemctl("is-enabled", UNIT) == "enabled\n"


@pytest.mark.systemd
@pytest.mark.parametrize("memory", ["kept", "lost"])
def test_the_keeper_is_killed(memory: str, unit: Kept) -> None:
    """`systemctl kill` with SIGKILL, of the shell alone: systemd then ends what is left in its control group."""
    before = unit.pids()
    unit.systemctl("kill", "--kill-who=main", "--signal=KILL", UNIT)
    until(lambda: unit.pids().get("one") not in (None, before["one"]))
    if memory == "lost":
        unit.forget()
    until(lambda: unit.told()["state"] == "running")
    unit.goes_on({**before, "one": unit.pids()["one"]})


def orphan(kept: Kept) -> Instance:
    """`one` as an instance that carries its marks, and that no launcher has started; its unit is down."""
    marks = {key: value for key, value in kept.instance(RECORDED).env.items() if key.startswith("RECONCILE_")}
    old = kept.pids()["one"]
    if kept.launcher == "systemd":
        kept.systemctl("stop", UNIT)
    else:
        os.kill(old, signal.SIGKILL)
    until(lambda: not runs(old) and not kept.record(RECORDED).exists())
    return kept.start_by_hand(RECORDED, marks)


@pytest.mark.systemd
@pytest.mark.parametrize("memory", ["kept", "lost"])
def test_an_instance_of_ours_beside_its_unit(memory: str, unit: Kept) -> None:
    """Its name is taken by what nobody keeps: that ends, and the unit starts its own."""
    before = unit.pids()
    stray = orphan(unit)
    if memory == "lost":
        unit.forget()
    told = unit.told()
    assert (told["state"], told["kind"]) == ("stopped", "restart")
    assert any(reason.startswith(f"pid {stray.pid} of it runs outside of systemd") for reason in told["reasons"])
    unit.mends({**before, "one": stray.pid})


@pytest.mark.parametrize("memory", ["kept", "lost"])
def test_an_orphaned_instance_of_ours_goes(memory: str, kept: Kept) -> None:
    """Git no longer has its service."""
    before = kept.pids()
    stray = orphan(kept)
    if memory == "lost":
        kept.forget()
    kept.want("two")
    kept.converge()
    assert kept.pids() == {"two": before["two"]}
    assert not alive(stray.pid)
    assert not kept.record(RECORDED).exists()
    if kept.manager:
        assert [path.name for path in kept.manager.units.rglob("one-dev*")] == []
    kept.world.idle()


@pytest.mark.parametrize("memory", ["kept", "lost"])
def test_a_service_that_git_no_longer_has_goes(memory: str, kept: Kept) -> None:
    before = kept.pids()
    kept.want("two")
    if memory == "lost":
        kept.forget()
    assert kept.converge() == {"one": "remove", "two": "keep"}
    assert kept.pids() == {"two": before["two"]}
    assert not kept.record(RECORDED).exists()
    kept.world.idle()


# ---------------------------------------------------------------- other people's


def test_what_is_not_ours_is_left_alone(kept: Kept) -> None:
    """Of another deployment, of nobody, of our name in another folder of records; through a bump and a removal too."""
    before = kept.pids()
    marks = {key: value for key, value in kept.instance(RECORDED).env.items() if key.startswith("RECONCILE_")}
    marks |= {"RECONCILE_DEPLOYMENT": "elsewhere/dev", "RECONCILE_ROOT": "/srv/other"}
    others = [
        kept.start_by_hand("others", marks),
        kept.start_by_hand("nobodys"),
        namesake(kept),
    ]
    kept.goes_on(before)
    image(kept.world.folder, "1.1")
    kept.bring("one", "two", app="1.1")
    kept.bring("two", app="1.1")
    kept.world.idle()
    assert kept.pids().keys() == {"two"}
    assert [alive(one.pid) for one in others] == [True, True, True]
    for one in others:
        os.kill(one.pid, signal.SIGKILL)


def namesake(kept: Kept) -> Instance:
    folder = kept.world.account.folder(kept.world.folder / "b")
    sif = str(kept.world.folder / "app-1.0.sif")
    kept.apptainer("instance", "start", sif, RECORDED, "sleep", "86399", env={"APPTAINER_CONFIGDIR": str(folder)})
    (found,) = [one for one in instances() if os.readlink(f"/proc/{one.pid}/fd/1").startswith(f"{folder}/")]
    return found


# ---------------------------------------------------------------- status tells what runs


def test_status_tells_the_version_that_runs(kept: Kept) -> None:
    """Of the process: not of a commit that could not be applied, nor of a start script that was written since."""
    before = kept.pids()
    kept.want("one", "two", app="2.0")  # there is no such image
    kept.fail()
    told = kept.told()
    assert (told["version"], told["wanted"], told["state"], told["pid"]) == ("1.0", "2.0", "running", before["one"])
    shim = kept.world.root / "bin/one-dev"
    shim.write_text(shim.read_text().replace("RECONCILE_VERSION=1.0", "RECONCILE_VERSION=3.0"))
    assert kept.told()["version"] == "1.0"
    assert kept.pids() == before
    image(kept.world.folder, "2.0")
    kept.converge()
    assert {kept.told(name)["version"] for name in before} == {"2.0"}
    kept.world.idle()


def test_an_image_that_was_replaced_is_told(kept: Kept) -> None:
    """Under the same name, by hand: what runs is the old one, and says so until it is restarted."""
    before = kept.pids()
    place = kept.world.root / "images/app-1.0.sif"
    fresh = place.with_name("fresh")
    shutil.copyfile(image(kept.world.folder, "1.0", "other", {"bin/more": "#!/bin/sh\n"}), fresh)
    kept.world.account.own(fresh)
    os.replace(fresh, place)
    told = kept.told()
    assert (told["state"], told["kind"]) == ("running", "restart")
    assert any("its image app-1.0.sif was replaced since it started" in reason for reason in told["reasons"])
    assert kept.converge() == {"one": "restart", "two": "restart"}
    assert kept.lived(before) == {"one": False, "two": False}
    kept.world.idle()


# ---------------------------------------------------------------- names elsewhere


def test_a_broken_record_and_a_namesake_elsewhere(users_world: World) -> None:
    """The name is free in our folder of records, whatever runs by it in another."""
    kept = Kept(users_world, "apptainer")
    before = kept.pids()
    other = namesake(kept)
    kept.record(RECORDED).write_bytes(b'{"pid')
    os.kill(before["one"], signal.SIGKILL)
    until(lambda: not runs(before["one"]))
    kept.mends(before)
    assert alive(other.pid)
    os.kill(other.pid, signal.SIGKILL)


# ---------------------------------------------------------------- a child that is not yet what it will be

_FORKED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(15, b"systemd")
child = os.fork()
if child == 0:
    sys.stdin.readline()
    os.execve("/bin/sleep", ["sleep", "60"], {"RECONCILE_DEPLOYMENT": "s/dev", "RECONCILE_SERVICE": "rpc"})
print(child, flush=True)
os.waitpid(child, 0)
"""


def test_a_child_of_systemd_that_has_not_begun_is_no_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its program begins it has systemd's environment, which carries no mark. It begins once it is waited for."""
    waits, go = os.pipe()
    argv = [sys.executable, "-c", _FORKED]
    parent = subprocess.Popen(argv, stdin=waits, stdout=subprocess.PIPE, env={"PATH": "/usr/bin:/bin"})
    assert parent.stdout
    child, looks = int(parent.stdout.readline()), 0

    def begins(seconds: float) -> None:
        nonlocal looks
        looks += 1
        os.write(go, b"\n")
        sleep(seconds)

    monkeypatch.setattr("reconciler.host.proc.time.sleep", begins)
    try:
        process = proc.look(child)
    finally:
        os.kill(child, signal.SIGKILL)
        parent.communicate()
        os.close(waits)
        os.close(go)
    assert looks, "nobody has waited for it"
    assert process is not None
    assert process.mark is not None
    assert (process.mark.deployment, process.mark.service) == ("s/dev", "rpc")
