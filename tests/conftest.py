"""What all tests share: which real backends are here, short folders, and a look for processes left behind.

Everything that a session makes lies below one folder, `/tmp/rc-*`, whose path is short enough for
unix sockets (108 bytes) and tells this session's processes from those of any other.
"""

from __future__ import annotations

import os
import pwd
import re
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

from tests.backends import browser, view
from tests.host import mounts

_BASE = "RECONCILE_TEST_BASE"  # in the environment, so that the workers of pytest-xdist share it
_INDEX = "RECONCILE_TEST_INDEX"  # why the package index cannot be used; empty where it can
_TESTER = "reconcile-test"  # whom root becomes where root will not do; made by scripts/setup
_SYSTEMD = "/lib/systemd/systemd"
_SLURM = (b"munged\n", b"slurmctld\n", b"slurmd\n", b"slurmstepd\n")
_LEAKS = pytest.StashKey[list[str]]()
_OPEN = pytest.StashKey[str]()  # why root's tests see the machine as it is; empty where they see it read-only
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


def _systemd() -> Backend:
    why = _why_no_tester() or _why_no_groups()
    if os.access(_SYSTEMD, os.X_OK) and why:
        return Backend("systemd", "", why)
    return _program(_SYSTEMD, "systemd", "--version")._replace(name="systemd")


def _why_no_groups() -> str:
    """A user manager wants control groups of its own, which it makes itself below one that it is given."""
    if os.getuid():
        return "only root can give it control groups"
    roots = [path for path in ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup") if os.path.exists(f"{path}/cgroup.procs")]
    return "" if roots and os.access(roots[0], os.W_OK) else "control groups cannot be made here"


def _why_no_tester() -> str:
    there = os.getuid() or any(entry.pw_name == _TESTER for entry in pwd.getpwall())
    return "" if there else f"no user {_TESTER} (scripts/setup makes it)"


def _apptainer() -> Backend:
    found = _program("apptainer", "apptainer, in sid", "--version")
    why = found.found and (_why_no_tester() or _why_no_containers())
    return Backend("apptainer", "", why) if why else found


def _why_no_containers() -> str:
    """What an ordinary user needs to start one, and tests to make a small image."""
    busybox = shutil.which("busybox", path=_SBIN)
    if not busybox or b"ld-linux" in Path(busybox).read_bytes()[:4096]:
        return "needs a static busybox (Debian: busybox-static)"
    try:
        if os.stat("/dev/fuse").st_mode & 0o006 != 0o006:
            return "/dev/fuse is closed to ordinary users (scripts/setup opens it)"
    except OSError:
        return "no /dev/fuse"
    user = {"user": _TESTER, "group": _TESTER, "extra_groups": ()} if not os.getuid() else {}
    argv = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False, **user)  # type: ignore[call-overload]
    return f"user namespaces: {done.stderr.strip()}" if done.returncode else ""


def _slurm(version: int, name: str) -> Backend:
    """Unpacked beside the system: several versions cannot be installed at once."""
    if not os.access(f"/opt/slurm{version}/sbin/munged", os.X_OK):
        return Backend(name, "", "not unpacked (scripts/setup does it, as root on Debian)")
    why = _why_no_tester()
    return Backend(name, "" if why else name, why)


def _strace() -> Backend:
    """In a container the kernel may not let it look at another program, or make one's calls fail."""
    found = _program("strace", "strace")
    if not found.found:
        return found
    argv = ["strace", "-o", os.devnull, "-e", "inject=fsync:error=EIO", "true"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    return Backend("strace", "", f"of no use here: {done.stderr.strip()}") if done.returncode else found


def _sshfs() -> Backend:
    why = mounts.why_no_mount()
    return Backend("sshfs", "" if why else mounts.version(), why)


def _browser() -> Backend:
    path = browser.program()
    found = _program(path, "", "--version") if path else None
    missing = Backend("chromium", "", "not installed (Debian: chromium-headless-shell)")
    return found._replace(name="chromium") if found else missing


_BACKENDS: dict[str, Callable[[], Backend]] = {
    "git": lambda: _program("git", "git", "--version"),
    "supervisord": _supervisord,
    "sshd": lambda: _program("sshd", "openssh-server"),
    "lighttpd": lambda: _program("lighttpd", "lighttpd", "-v"),
    "git http-backend": _http_backend,
    "systemd": _systemd,
    "apptainer": _apptainer,
    "slurm 24.11 (scrontab)": lambda: _slurm(24, "slurm 24.11 (scrontab)"),
    "slurm 22.05": lambda: _slurm(22, "slurm 22.05"),
    "cron": lambda: _program("cron", "cron"),
    "sshfs": _sshfs,
    "strace": _strace,
    "package index": _index,
    "chromium": _browser,
}
_NEEDED = {"git": "git", "supervisor": "supervisord", "network": "package index"}  # by mark
_NEEDED |= {"browser": "chromium", "strace": "strace", "sshfs": "sshfs"}
_NEEDED |= {"systemd": "systemd", "apptainer": "apptainer", "slurm": "slurm 24.11 (scrontab)"}


def pytest_report_header(config: pytest.Config) -> list[str]:
    backends = [look() for look in _BACKENDS.values()]
    lines = ["real backends: " + ", ".join(backend.found for backend in backends if backend.found)]
    lines += [f"left out: {backend.name}: {backend.missing}" for backend in backends if not backend.found]
    if why := config.stash.get(_OPEN, ""):
        lines.append(f"left out: a view of the machine in which it is read-only: {why}")
    return lines


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for mark, name in _NEEDED.items():
        marked = [item for item in items if item.get_closest_marker(mark)]
        backend = _BACKENDS[name]() if marked else None
        if backend and not backend.found:
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=f"{name}: {backend.missing}"))
    _begin_with_the_slow(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def _begin_with_the_slow(items: list[pytest.Item], workers: int) -> None:
    """pytest-xdist gives each worker a stretch of the list, and what is at the end of one to whoever has no more: there
    should be short ones, so that in the end nobody waits long for another."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    fast = [item for item in items if not item.get_closest_marker("slow")]
    ends = [len(fast) * each // workers for each in range(workers + 1)]
    items[:] = [item for each in range(workers) for item in (*slow[each::workers], *fast[ends[each] : ends[each + 1]])]


# ---------------------------------------------------------------- folders


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it for what it runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # else all that tests start would ignore it too
    if _is_worker(config):
        return
    os.environ.pop("RECONCILE_CONFIG", None)  # nobody's own settings
    if not os.getuid():
        config.stash[_OPEN] = view.shut_in(_TESTER)
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
    if any(_groups(base)):
        _await_end(base, seconds=3)  # one that still has processes cannot be removed
        for group in sorted(_groups(base), reverse=True):
            with suppress(OSError):
                group.rmdir()
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
    """Processes of deployments, instances, and user managers with all that they run; by pid, each in a line.

    They are known by this folder. Root sees those of the ordinary user too.
    """
    found = {}
    grouped, bound = _grouped(base), _bound(base)
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # gone meanwhile, or somebody else's
            environ = Path(f"/proc/{name}/environ").read_bytes()
            program = Path(f"/proc/{name}/comm").read_bytes()
            ours = name in grouped or _is_ours(environ, program, os.fsencode(base) + b"/")
            if ours or (program == b"slurmstepd\n" and _holds(name, bound)):
                command = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(name)] = f"{name}: {command}"
    return found


def _groups(base: str) -> Iterator[Path]:
    """The control groups of user managers; tests name them by their folder."""
    name = re.sub(r"[^A-Za-z0-9]", "_", base).strip("_")
    for top in (*Path("/sys/fs/cgroup").glob(f"{name}_*.slice"), *Path("/sys/fs/cgroup").glob(f"*/{name}_*.slice")):
        yield from (top, *(path for path in top.rglob("*") if path.is_dir()))


def _grouped(base: str) -> set[str]:
    found: set[str] = set()
    for group in _groups(base):
        with suppress(OSError):
            found.update((group / "cgroup.procs").read_text().split())
    return found


def _bound(base: str) -> set[str]:
    """Unix sockets in it, as a descriptor's link names them: Slurm's keeper of a job overwrites its environment."""
    words = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return {f"socket:[{line[6]}]" for line in words if line[-1].startswith(f"{base}/")}


def _holds(pid: str, files: set[str]) -> bool:
    descriptors = f"/proc/{pid}/fd"
    return any(os.readlink(f"{descriptors}/{name}") in files for name in os.listdir(descriptors))


def _is_ours(environ: bytes, program: bytes, base: bytes) -> bool:
    if program == b"appinit\n":  # of an instance: what it was started with stands in JSON
        return b'"' + base in environ
    if b"=" + base not in environ:
        return False
    jobs = b"SLURM_JOB_ID=" in environ or program in _SLURM
    return b"RECONCILE_DEPLOYMENT=" in environ or program == b"systemd\n" or (b"SLURM_CONF=" + base in environ and jobs)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")
