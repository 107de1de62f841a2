"""Real processes, read and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep, time
from uuid import uuid4

import pytest

from reconciler.core.observed import Mark
from reconciler.host import proc

Start = Callable[..., subprocess.Popen[bytes]]

MARKS = {
    "RECONCILE_ROOT": "/srv/jaws",
    "RECONCILE_SERVICE": "rpc",
    "RECONCILE_LAUNCH": "launch-1",
    "RECONCILE_PID": "",
    "RECONCILE_SPEC": "",
}
# What a shim ends with.
BECOME = (
    "export RECONCILE_PID=$$ RECONCILE_SPEC=spec-1 RECONCILE_VERSION=2.8.1 RECONCILE_COMPONENT=site; exec sleep 1000"
)


@pytest.fixture
def deployment() -> str:
    return f"test/{uuid4().hex}"


@pytest.fixture
def start(deployment: str) -> Iterator[Start]:
    """Starts a shell that leads a group, as a launcher does, and waits until it is one."""
    started: list[subprocess.Popen[bytes]] = []

    def run(script: str, marks: Mapping[str, str] = MARKS, *argv: str) -> subprocess.Popen[bytes]:
        env = {"PATH": os.environ["PATH"], "RECONCILE_DEPLOYMENT": deployment, **marks}
        command = argv or ("/bin/sh", "-c", script)
        started.append(subprocess.Popen(command, env=env, start_new_session=True, stdout=subprocess.PIPE))
        return started[-1]

    yield run
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()


def until(what: Callable[[], bool]) -> None:
    end = monotonic() + 20
    while not what():
        assert monotonic() < end, "it never came true"
        sleep(0.01)


def runs(pid: int, program: bytes) -> Callable[[], bool]:
    def look() -> bool:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().startswith(program)

    return look


def test_a_main_process_and_its_mark(deployment: str, start: Start) -> None:
    before = time()
    process = start(BECOME)
    until(runs(process.pid, b"sleep"))
    found, gaps = proc.scan(deployment)
    assert (list(found), gaps) == ([process.pid], ())
    one = found[process.pid]
    assert one.mark == Mark(deployment, "/srv/jaws", "rpc", "spec-1", "launch-1", "2.8.1", "site", process.pid)
    assert one.parent == os.getpid()
    assert before - 1 < one.started < time() + 1
    assert proc.look(process.pid) == one


def test_readings_agree(start: Start) -> None:
    process = start(BECOME)
    until(runs(process.pid, b"sleep"))
    starts = [one.started for one in (proc.look(process.pid) for _ in range(50)) if one]
    assert max(starts) - min(starts) < 0.02
    assert all(proc.alive(process.pid, started) for started in starts)
    assert not proc.alive(process.pid, starts[0] - 2)


def test_children_do_not_count(deployment: str, start: Start) -> None:
    process = start(BECOME.replace("exec sleep 1000", "exec sh -c 'setsid sleep 1001 & echo $!; wait'"))
    assert process.stdout
    child = int(process.stdout.readline())
    until(runs(child, b"sleep"))
    assert list(proc.scan(deployment)[0]) == [process.pid]
    one = proc.look(child)
    assert one is not None
    assert one.mark is not None
    assert (one.mark.pid, one.parent) == (process.pid, process.pid)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def test_before_its_marks_only_the_leader_counts(deployment: str, start: Start) -> None:
    process = start("sleep 1000 & echo $!; wait")
    assert process.stdout
    child = int(process.stdout.readline())
    found, _ = proc.scan(deployment)
    assert list(found) == [process.pid]
    mark = found[process.pid].mark
    assert mark
    assert (mark.service, mark.spec, mark.launch, mark.pid) == ("rpc", "", "launch-1", process.pid)
    other = proc.look(child)
    assert other is not None
    assert other.mark is not None
    assert other.mark.pid == 0


def test_a_daemon_is_known_by_its_own_pid(deployment: str, start: Start) -> None:
    process = start(BECOME, {"RECONCILE_SERVICE": "", "RECONCILE_DAEMON": "supervisor"})
    until(runs(process.pid, b"sleep"))
    mark = proc.scan(deployment)[0][process.pid].mark
    assert mark
    assert (mark.service, mark.spec) == ("", "spec-1")


_SLOW_LAUNCHER = """
import os, sys, time
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    time.sleep(0.4)  # a busy host: it is some time until the program begins
    os.execve("/bin/sleep", ["sleep", "1000"], os.environ | {"RECONCILE_SERVICE": "rpc", "RECONCILE_SPEC": "spec-1"})
print(child, flush=True)
os.waitpid(child, 0)
"""


def test_a_child_that_has_not_begun_is_waited_for(deployment: str, start: Start) -> None:
    """Until its program begins it shows the launcher's mark; that must not be taken for its own."""
    marks = {"RECONCILE_ROOT": "/srv/jaws", "RECONCILE_DAEMON": "supervisor", "RECONCILE_SPEC": "conf-1"}
    argv = ("/bin/sh", "-c", 'export RECONCILE_PID=$$; exec "$@"', "sh", sys.executable, "-c", _SLOW_LAUNCHER)
    launcher = start("", marks, *argv)
    assert launcher.stdout
    child = int(launcher.stdout.readline())
    try:
        process = proc.look(child)
    finally:
        os.kill(child, signal.SIGKILL)
    assert process is not None
    assert process.mark is not None
    assert (process.mark.service, process.mark.spec) == ("rpc", "spec-1")


def test_other_deployments_do_not_count(deployment: str, start: Start) -> None:
    process = start(BECOME, MARKS | {"RECONCILE_DEPLOYMENT": deployment + "2"})
    until(runs(process.pid, b"sleep"))
    assert proc.scan(deployment) == ({}, ())
    assert list(proc.scan(deployment + "2")[0]) == [process.pid]


def test_foreign_unreadable_overwritten_and_gone_are_told_apart(start: Start) -> None:
    foreign = start("exec sleep 1000", {"RECONCILE_DEPLOYMENT": ""})
    overwritten = start("", MARKS, "env", "-i", "sleep", "1000")
    gone = start("exit 0")
    until(runs(foreign.pid, b"sleep"))
    until(runs(overwritten.pid, b"sleep"))
    until(lambda: proc.look(gone.pid) is None)  # its remains are not collected yet
    assert os.path.exists(f"/proc/{gone.pid}")
    assert [one.mark for one in (proc.look(foreign.pid), proc.look(overwritten.pid)) if one] == [proc.FOREIGN, None]
    assert proc.look(2**22 + 1) is None


_SET_TITLE = """
import ctypes, time
environ = [int(x) for x in open("/proc/self/stat").read().rsplit(")", 1)[1].split()[47:49]]
ctypes.memset(environ[0], 0, environ[1] - environ[0])
ctypes.memmove(environ[0], b"worker", 6)
print("done", flush=True)
time.sleep(1000)
"""


def test_a_title_over_the_environment_hides_the_mark(deployment: str, start: Start) -> None:
    process = start("", MARKS, sys.executable, "-c", _SET_TITLE)
    assert process.stdout
    assert process.stdout.readline() == b"done\n"
    one = proc.look(process.pid)
    assert one is not None
    assert one.mark is None
    assert proc.scan(deployment)[0] == {}


# What the first process of an Apptainer instance looks like, with its service as a child that takes no SIGTERM.
_APPINIT = """
import ctypes, os, signal, subprocess, sys, time
service = subprocess.Popen(sys.argv[1:])
signal.signal(signal.SIGUSR1, lambda *_: service.send_signal(signal.SIGUSR1))
ctypes.CDLL(None).prctl(15, b"appinit")
print(service.pid, flush=True)
while True:
    service.poll()
    time.sleep(0.01)
"""


BARE = ("env", "-u", "RECONCILE_DEPLOYMENT")


def engine(name: str, env: Mapping[str, str]) -> dict[str, str]:
    """As Apptainer leaves it to itself: the marks are for the inside."""
    document = {"containerID": name, "engineConfig": {"jsonConfig": {"apptainerEnv": dict(env)}}}
    return {"ENGINE_CONFIG1": json.dumps(document, separators=(",", ":"))}


@pytest.fixture
def marked(deployment: str) -> dict[str, str]:
    own = {"RECONCILE_DEPLOYMENT": deployment, "RECONCILE_PID": "1", "RECONCILE_SPEC": "spec-1"}
    return MARKS | own | {"RECONCILE_STOP": "USR1 10"}


def test_the_first_process_of_an_instance_is_a_main_one(deployment: str, start: Start, marked: dict[str, str]) -> None:
    variables = engine("rpc-dev", marked)
    argv = (*BARE, sys.executable, "-c", _APPINIT, "sleep", "1000")
    process = start("", variables, *argv)
    keeper = start("", variables, *BARE, "sleep", "1000")
    assert process.stdout
    inside = int(process.stdout.readline())
    until(runs(keeper.pid, b"sleep"))
    found, gaps = proc.scan(deployment)
    assert (list(found), gaps) == ([process.pid], ())
    assert found[process.pid].mark == Mark(deployment, "/srv/jaws", "rpc", "spec-1", "launch-1", "", "", process.pid)
    assert proc.look(process.pid) == found[process.pid]
    assert proc.instance(process.pid) == ("rpc-dev", marked)
    assert proc.instance(keeper.pid) is None
    assert not proc.is_empty(process.pid)
    os.kill(inside, signal.SIGKILL)
    until(lambda: proc.is_empty(process.pid))


def test_a_stray_instance_ends_by_its_own_signal(start: Start, marked: dict[str, str], tmp_path: Path) -> None:
    told = tmp_path / "told"
    trap = f"trap '' TERM; trap 'echo usr1 >{told}; exit' USR1; >{told}; while :; do sleep 0.02; done"
    argv = (*BARE, sys.executable, "-c", _APPINIT, "sh", "-c", trap)
    variables = engine("rpc-dev", marked)
    process = start("", variables, *argv)
    assert process.stdout
    assert process.stdout.readline().strip()
    until(told.exists)  # the shell has its traps
    one = proc.look(process.pid)
    assert one
    began = monotonic()
    assert proc.kill_group(one.pid, one.started, 10)
    assert monotonic() - began < 5
    assert told.read_text() == "usr1\n"
    assert process.wait() == -signal.SIGKILL


def test_garbled_configurations_are_told_from_none(start: Start, deployment: str) -> None:
    garbled = {"ENGINE_CONFIG1": f'{{"RECONCILE_DEPLOYMENT":"{deployment}"'}
    process = start("", garbled, *BARE, "sleep", "1000")
    until(runs(process.pid, b"sleep"))
    assert proc.scan(deployment) == ({}, ())
    one = proc.look(process.pid)
    assert one is not None
    assert one.mark is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes another user")
def test_another_users_process_is_not_ours(deployment: str, start: Start) -> None:
    process = start("", MARKS, "setpriv", "--reuid=65534", "--clear-groups", "/bin/sh", "-c", BECOME)
    until(runs(process.pid, b"sleep"))
    assert proc.scan(deployment) == ({}, ())


def test_odd_names_of_programs(deployment: str, start: Start) -> None:
    odd = "import ctypes; ctypes.CDLL(None).prctl(15, b') Z 1 (x'); print(1, flush=True); import time; time.sleep(1000)"
    process = start("", MARKS, sys.executable, "-c", odd)
    assert process.stdout
    process.stdout.readline()
    assert proc.scan(deployment)[0][process.pid].parent == os.getpid()


def test_only_the_same_process_is_signalled(start: Start) -> None:
    process = start(BECOME)
    until(runs(process.pid, b"sleep"))
    one = proc.look(process.pid)
    assert one
    assert not proc.signal_process(one.pid, one.started - 60, signal.SIGKILL)
    assert proc.alive(one.pid, one.started)
    assert proc.signal_process(one.pid, one.started, signal.SIGTERM)
    assert proc.wait_gone([(one.pid, one.started)], 10)
    assert process.wait() == -signal.SIGTERM
    assert not proc.signal_process(one.pid, one.started, signal.SIGTERM)


def test_without_pidfd(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    process = start(BECOME)
    one = proc.look(process.pid)
    assert one
    assert not proc.signal_process(one.pid, one.started - 60, signal.SIGKILL)
    assert proc.signal_process(one.pid, one.started, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_group_ends_with_those_that_will_not(start: Start) -> None:
    process = start("sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.1; done' & wait")
    assert process.stdout
    deaf = int(process.stdout.readline())
    one, other = proc.look(process.pid), proc.look(deaf)
    assert one
    assert other
    assert proc.kill_group(one.pid, one.started, 5)
    assert proc.wait_gone([(other.pid, other.started)], 10)
    assert proc.kill_group(one.pid, one.started, 5)  # gone already


def test_one_that_leads_no_group_ends_alone(start: Start) -> None:
    process = start("sleep 1000 & echo $!; wait; sleep 1000")
    assert process.stdout
    child = proc.look(int(process.stdout.readline()))
    assert child
    assert proc.kill_group(child.pid, child.started, 5)
    assert process.poll() is None


def test_this_boot() -> None:
    assert len(proc.boot_id()) == 36
    assert proc.boot_id() == proc.boot_id()
