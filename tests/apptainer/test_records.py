"""Records of instances: read, believed only where their process is that instance, and forgotten where not."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.host import proc
from reconciler.launchers.apptainer import records
from reconciler.launchers.apptainer.records import Record, Stand
from tests.backends.account import ordinary, python_for

Start = Callable[..., int]

_APPINIT = """
import ctypes, time
ctypes.CDLL(None).prctl(15, b"appinit")
print("up", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def start() -> Iterator[Start]:
    """Processes that look like the first one of an instance, by pid."""
    started: list[subprocess.Popen[bytes]] = []

    def run(name: str, document: str = "", **changes: object) -> int:
        whole = document or json.dumps({"containerID": name, "engineConfig": {"jsonConfig": {}}})
        env = {"PATH": os.environ["PATH"], "ENGINE_CONFIG1": whole}
        argv = [sys.executable, "-c", _APPINIT]
        started.append(subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, **changes))  # type: ignore[call-overload]
        assert started[-1].stdout
        assert started[-1].stdout.readline() == b"up\n"
        return started[-1].pid

    yield run
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def write(configdir: Path, name: str, content: bytes | dict[str, object]) -> Path:
    path = Path(records.path(str(configdir), name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_where_they_are() -> None:
    place = f"{os.uname().nodename}/{pwd.getpwuid(os.getuid()).pw_name}"
    assert records.path("/c", "rpc") == f"/c/instances/app/{place}/rpc/rpc.json"
    assert records.logs("/c", "rpc") == (f"/c/instances/logs/{place}/rpc.out", f"/c/instances/logs/{place}/rpc.err")


def test_of_this_host_and_account_only(tmp_path: Path) -> None:
    assert records.names(str(tmp_path)) == []
    mine = write(tmp_path, "one", b"")
    (mine.parents[2] / "other/two").mkdir(parents=True)
    (mine.parents[3] / "elsewhere" / mine.parents[1].name / "three").mkdir(parents=True)
    assert records.names(str(tmp_path)) == ["one"]


def test_one_that_has_ended_and_was_not_collected_is_none() -> None:
    """It keeps its pid and its name until then, for ever in some containers; and is closed to all but root."""
    account = ordinary()
    python, how = python_for(account), {"stdout": subprocess.PIPE, "cwd": "/", **account.become}
    with subprocess.Popen([python, "-c", _APPINIT], **how) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        code = f"from reconciler.host import proc; print(proc.instance({process.pid}))"
        done = subprocess.run([python, "-c", code], check=True, **how)
    assert done.stdout == b"None\n"


def test_what_stands_behind_one(tmp_path: Path, start: Start) -> None:
    pid = start("one")
    write(tmp_path, "one", {"pid": pid})
    assert records.read(str(tmp_path), "one") == Record(Stand.ALIVE, pid)
    write(tmp_path, "two", {"pid": pid})
    assert records.read(str(tmp_path), "two") == Record(Stand.STALE, pid)
    write(tmp_path, "three", {"pid": os.getpid()})
    assert records.read(str(tmp_path), "three") == Record(Stand.STALE, os.getpid())
    for number in (0, 1, -7, 2**22 + 1, 2**70):
        write(tmp_path, "four", {"pid": number})
        assert records.read(str(tmp_path), "four").stand is Stand.STALE
    assert records.read(str(tmp_path), "five") == Record(Stand.ABSENT)
    write(tmp_path, "six", b'{"pid": 12')
    assert records.read(str(tmp_path), "six") == Record(Stand.BROKEN)


def test_an_instance_that_cannot_be_told_is_not_stale(tmp_path: Path, start: Start) -> None:
    pid = start("one", "{")
    path = write(tmp_path, "one", {"pid": pid})
    assert records.read(str(tmp_path), "one") == Record(Stand.CLOSED, pid)
    records.forget(str(tmp_path), "one")
    assert path.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes another user")
def test_another_accounts_process_is_not_ours(tmp_path: Path, start: Start) -> None:
    pid = start("one", user=65534) if os.access(sys.executable, os.X_OK) and _others_may_run() else 1
    write(tmp_path, "one", {"pid": pid})
    assert records.read(str(tmp_path), "one").stand is Stand.STALE


def _others_may_run() -> bool:
    return subprocess.run(["/bin/sh", "-c", f"exec {sys.executable} -V"], user=65534, check=False).returncode == 0


def test_one_that_is_being_written_is_waited_for(tmp_path: Path, start: Start) -> None:
    pid = start("one")
    path = write(tmp_path, "one", b"{")
    whole = f'{{"pid": {pid}}}'
    often = f"while :; do : >{path}; printf '%s' '{whole}' >{path}; sleep 0.02; done"
    writer = subprocess.Popen(["/bin/sh", "-c", often])
    try:
        end = monotonic() + 1
        while monotonic() < end:
            assert records.read(str(tmp_path), "one") == Record(Stand.ALIVE, pid)
            sleep(0.001)
    finally:
        writer.kill()
        writer.wait()


def test_only_what_nothing_stands_behind_is_forgotten(tmp_path: Path, start: Start) -> None:
    pid = start("one")
    alive, stale, broken = write(tmp_path, "one", {"pid": pid}), write(tmp_path, "two", {"pid": pid}), b""
    path = write(tmp_path, "three", broken)
    kept = write(tmp_path, "four", {"pid": pid})
    (kept.parent / "notes").write_text("of a person")
    for name in ("one", "two", "three", "four", "five"):
        records.forget(str(tmp_path), name)
    assert [each.exists() for each in (alive, stale.parent, path.parent, kept, kept.parent)] == [
        True, False, False, False, True,
    ]  # fmt: skip


def test_every_instance_of_the_account_is_found(start: Start) -> None:
    pid, odd = start("one"), start("two", "{")
    found = dict(records.first_processes())
    assert (found[pid], found[odd]) == ("one", "")
    assert proc.instance(os.getpid()) is None
    os.kill(odd, signal.SIGKILL)


@given(st.binary(max_size=200))
def test_nothing_that_a_record_holds_breaks_the_reading(content: bytes) -> None:
    pid = records.parse(content)
    assert pid is None or 0 <= pid < 1 << 31


@given(st.dictionaries(st.just("pid") | st.text(), st.none() | st.integers() | st.text() | st.floats() | st.booleans()))
def test_any_document_is_a_record_or_not_whole(content: dict[str, object]) -> None:
    pid = records.parse(json.dumps(content).encode())
    assert pid is None or isinstance(content["pid"], int)
