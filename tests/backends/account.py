"""An ordinary user for what root cannot or should not do: services are seldom root's.

Root cannot start Apptainer instances everywhere. Tests that root runs become this user for it; tests
that anybody else runs are an ordinary user's already, and need none of this.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shutil
import subprocess
import sys
import sysconfig
from contextlib import suppress
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import reconciler

TESTER = "reconcile-test"  # made by scripts/setup
_OURS = "lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages"
_REQUIRED = re.compile(r"[A-Za-z0-9._-]+")
_LARGE = ("site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter")


class Account(NamedTuple):
    """Whom a program is run as."""

    name: str
    uid: int
    gid: int

    @property
    def become(self) -> dict[str, Any]:
        """Arguments of `subprocess.Popen`."""
        return {} if self.uid == os.getuid() else {"user": self.uid, "group": self.gid, "extra_groups": ()}

    def own(self, *paths: Path) -> None:
        """Give files to it."""
        for path in paths if self.become else ():
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def own_all(self, folder: Path) -> None:
        """Give it a folder with all that is in it."""
        self.own(folder, *folder.rglob("*"))

    def folder(self, path: Path, mode: int = 0o755) -> Path:
        """One of its own; those above it too, where they are missing."""
        missing = [each for each in path.parents if not each.exists()]
        path.mkdir(mode, parents=True, exist_ok=True)
        self.own(path, *missing)
        return path


def current() -> Account:
    """Who runs the tests."""
    return _account(os.getuid())


def ordinary() -> Account:
    """Somebody who is not root. The test is skipped where root runs it and there is nobody else."""
    if os.getuid():
        return current()
    try:
        return _account(pwd.getpwnam(TESTER).pw_uid)
    except KeyError:
        pytest.skip(f"no user {TESTER} (scripts/setup makes it)")


def _account(uid: int) -> Account:
    try:
        found = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), uid, os.getgid())
    return Account(found.pw_name, uid, found.pw_gid)


# ---------------------------------------------------------------- a Python for it


def python_for(account: Account) -> str:
    """A Python with the project in it that this account can execute; the one of the tests where it can.

    Root's is often below root's home, closed to all others.
    """
    if _imports(sys.executable, account):
        return sys.executable
    made = _copy(Path(os.environ["RECONCILE_TEST_BASE"]) / "py")
    if not _imports(made, account):
        pytest.skip(f"no Python that {account.name} can execute: neither {sys.executable} nor a copy of it")
    return made


@cache
def _imports(python: str, account: Account) -> bool:
    argv = [python, "-c", "import reconciler.cli.main, jinja2, ruamel.yaml, git, supervisor.supervisord"]
    try:
        done = subprocess.run(argv, cwd="/", capture_output=True, timeout=60, check=False, **account.become)
    except OSError:
        return False
    return done.returncode == 0


@cache
def _copy(folder: Path) -> str:
    """A virtual environment like that of the tests, without its tools. Made once per session."""
    python = folder / "venv/bin/python"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not python.exists():
            _copy_packages(folder / "venv" / Path(*_OURS))
            home = _copy_interpreter(folder / "base")
            (folder / "venv/pyvenv.cfg").write_text(f"home = {home.parent}\ninclude-system-site-packages = false\n")
            python.parent.mkdir()
            python.symlink_to(home)
            # The account could not write bytecode there, and compiling takes longer than most passes.
            subprocess.run([python, "-m", "compileall", "-q", folder / "venv"], capture_output=True, check=False)
    return str(python)


def _copy_interpreter(folder: Path) -> Path:
    """The Python itself with its library, as hard links where that can be: 40 MB that nobody changes."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = Path(sysconfig.get_path("stdlib"))
    (folder / "bin").mkdir(parents=True)
    python = Path(_link(os.path.realpath(sys.executable), str(folder / "bin" / name)))
    shutil.copytree(library, folder / "lib" / name, ignore=shutil.ignore_patterns(*_LARGE), copy_function=_link)
    for shared in Path(sysconfig.get_config_var("LIBDIR") or "/nowhere").glob("libpython*.so*"):
        _link(str(shared), str(folder / "lib" / shared.name))
    return python


def _copy_packages(folder: Path) -> None:
    """The project as it is now, what it requires, and a pip beside it, as its environment has one: without, each
    environment that is built unpacks one of its own, which takes five seconds."""
    shutil.copytree(Path(reconciler.__file__).parent, folder / "reconciler")
    packages: dict[str, Distribution] = {}
    _require("reconcile", packages)
    _require("pip", packages)
    for found in packages.values():
        for file in found.files or ():
            target = folder / file
            if ".." not in file.parts and file.suffix != ".pth" and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(str(found.locate_file(file)), str(target))


def _require(name: str, packages: dict[str, Distribution]) -> None:
    """Whatever is not installed is wanted by other systems or other versions of Python only."""
    if name in packages:
        return
    with suppress(PackageNotFoundError):
        packages[name] = distribution(name)
        for line in packages[name].requires or ():
            found = _REQUIRED.match(line)
            if found and "extra ==" not in line:
                _require(found[0], packages)


def _link(source: str, target: str) -> str:
    if not os.path.exists(source):
        return target
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
    return target
