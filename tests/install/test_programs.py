"""Where the programs of a version are that runs, or did."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.desired import Install
from reconciler.core.observed import ELSEWHERE
from reconciler.install.programs import programs_of


def finished(venvs: Path, name: str) -> str:
    folder = venvs / ".store" / f"{name}-0123abcd"
    (folder / "bin").mkdir(parents=True)
    (folder / ".complete").touch()
    (venvs / name).symlink_to(f".store/{folder.name}")
    return str(folder / "bin")


def install(venvs: Path, component: str, version: str, method: str = "venv") -> Install:
    name = f"{component}-{version}"
    return Install(name, component, version, method, "d", str(venvs / ".store" / f"{name}-4567abcd"), "", "", "")


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that end with their test."""
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for one in found:
        one.kill()
        one.wait()


def running(started: list[subprocess.Popen[bytes]], **env: str) -> int:
    started.append(subprocess.Popen(["sleep", "86395"], env={"PATH": "/usr/bin:/bin", **env}))
    environ = Path(f"/proc/{started[-1].pid}/environ")
    while not environ.read_bytes().startswith(b"PATH="):  # while a program takes the place of another there is none
        assert started[-1].poll() is None
    return started[-1].pid


def test_a_process_tells_it_itself(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    """Also of another build than that which the link of its version names by now."""
    finished(tmp_path, "web-1.0")
    (tmp_path / "other/bin").mkdir(parents=True)
    wanted = [install(tmp_path, "web", "2.0")]
    pid = running(started, RECONCILE_VERSION="1.0", VIRTUAL_ENV=str(tmp_path / "other"))
    assert programs_of(pid, "web", "1.0", wanted) == str(tmp_path / "other/bin")
    assert programs_of(running(started, RECONCILE_VERSION="1.0"), "web", "1.0", wanted) == ""


def test_of_one_that_cannot_be_asked_the_version_tells(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    old = finished(tmp_path, "web-1.0")
    wanted = [install(tmp_path, "web", "2.0"), install(tmp_path, "db", "1", "apptainer-sif")]
    for pid in (0, ELSEWHERE + 1, running(started), os.getpid()):
        assert programs_of(pid, "web", "1.0", wanted) == old
        assert programs_of(pid, "web", "2.0", wanted) == ""  # is not built yet
        assert programs_of(pid, "db", "1", wanted) == ""
    assert programs_of(0, "web", "1.0", [install(tmp_path, "db", "1")]) == old  # git has no more of the component
    assert programs_of(0, "web", "1.0", []) == ""
