"""Services in Apptainer instances that a real systemd keeps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.observed import State, Unit
from reconciler.host import proc
from reconciler.launchers.base import Mode, ServiceSpec
from reconciler.launchers.systemd.control import account
from tests.backends.images import image
from tests.backends.instances import helpers, instances
from tests.systemd.deployment import instance
from tests.systemd.host import Host, until

pytestmark = [pytest.mark.systemd, pytest.mark.apptainer]

UNIT = "db-dev.service"

# $1: its log, $2: seconds that it takes to stop
SERVICE = """
for name in TERM INT USR1; do trap "echo $name >> $1; sleep $2; echo done >> $1; exit 3" $name; done
echo up >> $1
while :; do sleep 0.05; done
"""


def in_foreground(made: ServiceSpec) -> ServiceSpec:
    """The same in a container that does not go to the background."""
    assert made.container
    return made._replace(container=made.container._replace(mode=Mode.RUN, instance=""))


class Box:
    """One host with one image; `log` is what the service inside has noted."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.image = image(folder, "1", files={"svc.sh": SERVICE})
        self.log_path = host.root / "logs/svc"
        self.pid_file = host.root / "run/db-dev.pid"

    def service(self, grace: float = 0, command: str = "", **changes: Any) -> ServiceSpec:
        made = instance("db", self.image, self.host.manager.home, **{"options": {"start_seconds": 0}, **changes})
        assert made.container
        mount = f"src={self.host.root},dst={self.host.root}"
        return made._replace(
            command=command or f"sh /svc.sh {self.log_path} {grace}", container=made.container._replace(mounts=(mount,))
        )

    def run(self, *, grace: float = 0, **changes: Any) -> Unit:
        self.host.up(self.service(grace, **changes))
        return self.up(1)

    def up(self, times: int) -> Unit:
        """Wait until the service inside has begun for the n-th time."""
        until(lambda: self.log.count("up") == times)
        return self.host.await_state(UNIT, State.RUNNING)

    @property
    def log(self) -> list[str]:
        return self.log_path.read_text().split() if self.log_path.exists() else []

    @property
    def record(self) -> Path:
        name = os.uname().nodename
        folder = self.host.manager.home / f".apptainer/instances/app/{name}/{self.host.account.name}/db-dev"
        return folder / "db-dev.json"

    def left(self) -> list[int]:
        """What is there of instances of this image."""
        found = [one.pid for one in instances() if one.image == str(self.image)]
        return [*found, *helpers(self.image.parent)]

    def inside(self) -> int:
        """The service itself, as the host sees it."""
        (pid,) = Path(f"/proc/{self.host.unit(UNIT).pid}/task/{self.host.unit(UNIT).pid}/children").read_text().split()
        return int(pid)


@pytest.fixture
def box(users_host: Host, short_folder: Path) -> Box:
    return Box(users_host, short_folder)


def test_an_instance_runs_and_is_ours(box: Box) -> None:
    unit = box.run()
    (found,) = (one for one in instances() if one.image == str(box.image))
    assert (unit.state, unit.pid) == (State.RUNNING, found.pid)
    marks = {name: found.env[f"RECONCILE_{name}"] for name in ("DEPLOYMENT", "SERVICE", "SPEC", "PID", "VERSION")}
    assert marks == {"DEPLOYMENT": "dori/dev", "SERVICE": "db", "SPEC": "spec-1", "PID": "1", "VERSION": "2.8.1"}
    assert box.host.seen(UNIT).pid == unit.pid
    assert box.host.drift(UNIT) == ()


@pytest.mark.parametrize("name", ["TERM", "INT", "USR1"])
def test_it_is_stopped_by_its_signal_and_has_its_time(box: Box, name: str) -> None:
    box.run(grace=0.7, stop_signal=name)
    box.host.backend.stop([UNIT])
    assert box.host.unit(UNIT).state is State.STOPPING
    assert box.host.await_state(UNIT, State.STOPPED).detail in ("", "not started yet")
    assert box.log == ["up", name, "done"]
    assert box.left() == []
    assert not box.record.exists()


def test_it_is_killed_when_its_time_is_over(box: Box) -> None:
    box.run(grace=60, stop_seconds=1)
    box.host.backend.stop([UNIT])
    assert box.host.await_state(UNIT, State.STOPPED).detail == "took too long and was killed"
    assert box.log == ["up", "TERM"]
    until(lambda: not box.left())
    box.host.backend.start([UNIT])
    box.up(2)


def test_it_is_started_again_when_the_service_inside_has_ended(box: Box) -> None:
    """Apptainer's first process stays, and notices nothing."""
    first = box.run()
    until(box.inside)
    os.kill(box.inside(), signal.SIGKILL)
    assert box.up(2).pid != first.pid


@pytest.mark.parametrize("who", ["appinit", "keeper"])
def test_it_is_started_again_when_what_holds_it_is_killed(box: Box, who: str) -> None:
    first = box.run()
    keeper = int(box.host.manager.show(UNIT, "MainPID")["MainPID"])
    os.kill({"appinit": first.pid, "keeper": keeper}[who], signal.SIGKILL)
    assert box.up(2).pid != first.pid
    assert len([one for one in instances() if one.image == str(box.image)]) == 1


@pytest.mark.parametrize("content", ["stale", "empty", "half"])
def test_a_record_that_is_not_of_it_is_in_nobodys_way(box: Box, content: str) -> None:
    """As after a power cut: the pid is another process's by now."""
    box.run()
    whole = json.loads(box.record.read_text())
    box.host.backend.stop([UNIT])
    box.host.await_state(UNIT, State.STOPPED)
    box.host.account.folder(box.record.parent, 0o700)
    text = json.dumps(whole | {"pid": box.host.manager.pid}, separators=(",", ":"))
    box.record.write_text({"stale": text, "empty": "", "half": text[: len(text) // 2]}[content])
    box.host.account.own(box.record)
    box.host.backend.start([UNIT])
    box.up(2)
    box.record.write_text("")
    box.host.backend.stop([UNIT])
    box.host.await_state(UNIT, State.STOPPED)
    assert box.log == ["up", "TERM", "done", "up", "TERM", "done"]
    assert box.left() == []


def test_a_living_instance_of_the_name_is_left_alone(box: Box) -> None:
    """It was started by hand: the service does not start, and that is told."""
    box.run()
    box.host.manager.systemctl("kill", "--signal=KILL", "--kill-who=main", UNIT, code=None)
    box.up(2)
    others = instance("db", box.image, box.host.manager.home)
    assert others.container
    env = {**box.host.manager.env, "APPTAINER_CONFIGDIR": f"{box.host.manager.home}/.apptainer"}
    box.host.backend.stop([UNIT])
    box.host.await_state(UNIT, State.STOPPED)
    argv = ["apptainer", "instance", "start", str(box.image), "db-dev", "sleep", "1000"]
    subprocess.run(argv, env=env, cwd="/", check=True, capture_output=True, timeout=60, **box.host.account.become)
    (by_hand,) = (one.pid for one in instances() if one.image == str(box.image))
    try:
        box.host.backend.start([UNIT])
        assert until(lambda: unit if (unit := box.host.unit(UNIT)).state in (State.BACKOFF, State.FATAL) else None)
        assert by_hand in box.left()
    finally:
        os.kill(by_hand, signal.SIGKILL)
        until(lambda: not box.left())


def test_one_that_does_not_start(box: Box) -> None:
    box.image.unlink()
    box.host.up(box.service(options={"restart": "no"}))
    assert box.host.await_state(UNIT, State.FATAL).detail == "exit status 255"


def test_it_is_starting_until_its_first_process_is_there(box: Box) -> None:
    box.run()
    box.pid_file.rename(f"{box.pid_file}.away")
    unit = box.host.unit(UNIT)
    assert (unit.state, unit.pid) == (State.STARTING, 0)
    box.pid_file.write_text(str(os.getpid()))
    assert box.host.unit(UNIT).state is State.STARTING


@pytest.mark.parametrize("is_wanted", [True, False])
def test_one_whose_file_is_gone_is_still_kept(box: Box, is_wanted: bool) -> None:
    unit = box.run()
    (box.host.manager.units / UNIT).unlink()
    box.host.manager.systemctl("daemon-reload")
    if not is_wanted:
        box.host.render()
    process = proc.look(unit.pid)  # root's scan leaves out what is another account's
    assert process
    box.host.backend.ask()
    assert box.host.backend.answer({unit.pid: process}).units["systemd", UNIT].pid == unit.pid


def test_its_output_is_found(box: Box) -> None:
    box.run(command=f"sh -c 'echo hello; exec sh /svc.sh {box.log_path} 0'")
    files = [
        name.replace(f"/{account()}/db-dev", f"/{box.host.account.name}/db-dev")
        for name in box.host.backend.log(UNIT).files
    ]
    assert [Path(name).suffix for name in files] == [".out", ".err"]
    assert until(lambda: Path(files[0]).read_text()) == "hello\n"


def test_a_reboot_brings_it_back(box: Box) -> None:
    box.run()
    box.host.manager.power_cut()
    until(lambda: not box.left())
    assert box.record.exists()
    box.host.manager.boot()
    box.up(2)


def test_a_container_in_the_foreground_has_its_time_too(box: Box) -> None:
    """Its root file system is held by another process of the unit, which is not to end first."""
    box.host.up(in_foreground(box.service(grace=1)))
    unit = box.up(1)
    box.host.backend.stop([UNIT])
    stopped = box.host.await_state(UNIT, State.STOPPED)
    assert (unit.pid > 0, stopped.pid) == (True, 0)
    assert box.log == ["up", "TERM", "done"]
    until(lambda: not box.left())
    assert box.host.manager.pids() & {unit.pid} == set()
