"""What all tests share: which real backends are here, short folders, and a look for processes left behind.

Everything that a session makes lies below one folder, `/tmp/rc-*`, whose path is short enough for
unix sockets (108 bytes) and tells this session's processes from those of any other.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

import pytest

_BASE = "RECONCILE_TEST_BASE"  # in the environment, so that the workers of pytest-xdist share it
_INDEX = "RECONCILE_TEST_INDEX"  # why the package index cannot be used; empty where it can
_LEAKS = pytest.StashKey[list[str]]()
_SBIN = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


class Backend(NamedTuple):
    """A real thing that tests run against."""

    name: str
    found: str  # empty: it is missing
    missing: str = ""  # why, and how to get it


# ---------------------------------------------------------------- backends


def _program(name: str, package: str, *version_arguments: str) -> Backend:
    path = shutil.which(name, path=_SBIN)
    if not path:
        return Backend(name, "", f"not installed (Debian: {package})")
    if not version_arguments:
        return Backend(name, name)
    printed = subprocess.run([path, *version_arguments], capture_output=True, text=True, timeout=20, check=False)
    return Backend(name, (printed.stdout or printed.stderr).partition("\n")[0].strip() or name)


def _supervisord() -> Backend:
    try:
        return Backend("supervisord", f"supervisord {version('supervisor')}")
    except PackageNotFoundError:
        return Backend("supervisord", "", "not installed (pip install -e .[dev])")


def _http_backend() -> Backend:
    name = "git http-backend"
    git = shutil.which("git")
    if not git:
        return Backend(name, "", "not installed (Debian: git)")
    folder = subprocess.run(
        [git, "--exec-path"], capture_output=True, text=True, timeout=20, check=False
    ).stdout.strip()
    there = os.access(os.path.join(folder, "git-http-backend"), os.X_OK)
    return Backend(name, name if there else "", "not part of this git")


def _index() -> Backend:
    name = "package index"
    if _INDEX not in os.environ:
        os.environ[_INDEX] = _why_no_index()
    return Backend(name, "" if os.environ[_INDEX] else name, os.environ[_INDEX])


def _why_no_index() -> str:
    argv = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--no-deps", "--ignore-installed"]
    argv += ["--disable-pip-version-check", "--no-input", "--timeout", "5", "--retries", "0", "six"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return "no answer within 30 s"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["pip failed"])[-1]


_BACKENDS: dict[str, Callable[[], Backend]] = {
    "git": lambda: _program("git", "git", "--version"),
    "supervisord": _supervisord,
    "sshd": lambda: _program("sshd", "openssh-server"),
    "lighttpd": lambda: _program("lighttpd", "lighttpd", "-v"),
    "git http-backend": _http_backend,
    "package index": _index,
}
_NEEDED = {"git": "git", "supervisor": "supervisord", "network": "package index"}  # by mark


def pytest_report_header() -> list[str]:
    backends = [look() for look in _BACKENDS.values()]
    lines = ["real backends: " + ", ".join(backend.found for backend in backends if backend.found)]
    lines += [f"left out: {backend.name}: {backend.missing}" for backend in backends if not backend.found]
    return lines


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for mark, name in _NEEDED.items():
        marked = [item for item in items if item.get_closest_marker(mark)]
        backend = _BACKENDS[name]() if marked else None
        if backend and not backend.found:
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=f"{name}: {backend.missing}"))


# ---------------------------------------------------------------- folders


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if _is_worker(config):
        return
    os.environ.pop("RECONCILE_CONFIG", None)  # nobody's own settings
    base = tempfile.mkdtemp(prefix="rc-", dir="/tmp")
    os.chmod(base, 0o755)  # tests that become another user pass through it
    os.environ[_BASE] = base
    for name in ("s", "t"):
        os.mkdir(os.path.join(base, name))
        os.chmod(os.path.join(base, name), 0o1777)
    os.environ["TMPDIR"] = tempfile.tempdir = os.path.join(base, "t")
    if config.option.basetemp is None:
        config.option.basetemp = os.path.join(base, "p")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """An empty folder with a path of about 20 bytes, for what has unix sockets in it."""
    folder = tempfile.mkdtemp(prefix="", dir=os.path.join(os.environ[_BASE], "s"))
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


# ---------------------------------------------------------------- processes left behind


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Processes of a deployment below this session's folder that are still there fail the session, and are ended."""
    if _is_worker(session.config):
        return
    base = os.environ[_BASE]
    leaks = _await_end(base, seconds=3)
    session.config.stash[_LEAKS] = list(leaks.values())
    for pid in leaks:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if leaks and session.exitstatus in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if session.exitstatus == 0:
        shutil.rmtree(base, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    leaks = terminalreporter.config.stash.get(_LEAKS, [])
    if leaks:
        terminalreporter.section("processes left behind", red=True)
        terminalreporter.write_line("\n".join(leaks))
    if exitstatus or leaks:
        terminalreporter.write_line(f"what the tests wrote is kept in {os.environ[_BASE]}")


def _await_end(base: str, seconds: float) -> dict[int, str]:
    until = monotonic() + seconds
    while leaks := left_behind(base):
        if monotonic() > until:
            break
        sleep(0.05)
    return leaks


def left_behind(base: str) -> dict[int, str]:
    """Processes of this account that carry a deployment's mark and this folder; by pid, each in a line."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # gone meanwhile, or somebody else's
            environ = Path(f"/proc/{name}/environ").read_bytes()
            if b"RECONCILE_DEPLOYMENT=" in environ and b"=" + os.fsencode(base) + b"/" in environ:
                command = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(name)] = f"{name}: {command}"
    return found


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")
