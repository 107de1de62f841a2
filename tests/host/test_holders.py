"""Who uses what lies at a path, as an ordinary account sees it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.backends.account import ordinary, python_for

BEGUN = "print(1, flush=True); import time; time.sleep(1000)"
CLOSED = f"import ctypes; ctypes.CDLL(None).prctl(4, 0); {BEGUN}"  # PR_SET_DUMPABLE, as ssh-agent
LOOK = "import json, sys; from reconciler.host import holders as h; print(json.dumps(h.holders({'it': [sys.argv[1]]})))"

Start = Callable[..., int]


@pytest.fixture
def start() -> Iterator[Start]:
    """A process of the account's that has begun; its pid."""
    account, started = ordinary(), list[subprocess.Popen[str]]()

    def begin(code: str, *words: str, env: dict[str, str] | None = None) -> int:
        argv = [python_for(account), "-c", code, *words]
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, cwd="/", env=env or {}, stdout=pipe, text=True, **account.become)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        return process.pid

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def used(place: Path) -> str:
    """By whom, in words; empty: by nobody."""
    account = ordinary()
    argv = [python_for(account), "-c", LOOK, f"/srv/{place.name}"]
    done = subprocess.run(argv, cwd="/", env={}, capture_output=True, text=True, check=False, **account.become)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout).get("it", ""))


def test_a_command_line_tells(start: Start, tmp_path: Path) -> None:
    assert used(tmp_path) == ""
    pid = start(BEGUN, f"/srv/{tmp_path.name}/bin/web")
    assert used(tmp_path) == f"process {pid}"


def test_an_environment_tells(start: Start, tmp_path: Path) -> None:
    pid = start(BEGUN, env={"VIRTUAL_ENV": f"/srv/{tmp_path.name}"})
    assert used(tmp_path) == f"process {pid}"


def test_one_that_has_closed_itself_tells_by_its_command_line_only(start: Start, tmp_path: Path) -> None:
    """It keeps no old version of anything for as long as it runs."""
    start(CLOSED)
    assert used(tmp_path) == ""
    pid = start(CLOSED, f"/srv/{tmp_path.name}/bin/web")
    assert used(tmp_path) == f"process {pid}"
