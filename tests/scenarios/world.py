"""A small world of its own for each scenario: a repo, a state directory, a root, and real processes in it.

Everything is done as a person would do it: commits with git, passes with the command line. What is
looked at afterwards is the host itself: files, and processes by their environment in /proc.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple, TypeVar

import pytest

from tests.backends import warm
from tests.backends.account import Account, current, python_for
from tests.backends.instances import helpers, instances
from tests.backends.manager import Manager
from tests.backends.processes import read_all

T = TypeVar("T")

SLEEP = "sleep 86399"
DEFAULTS = """\
versions: {app: "1.0", tool: "1.0"}
vars: {level: INFO}
components:
  app: {install: none}
  tool: {install: none}
files:
  app.conf: {template: app.conf.j2, path: "{{ paths.config }}/app.conf"}
"""
TEMPLATE = "# for {{ site }} {{ environment }}\nlevel = {{ level }}\napp = {{ versions.app }}\n"


class Done(NamedTuple):
    """One run of the command, to its end."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def said(self) -> str:
        return f"exit {self.code}\n{self.out}\n{self.err}"


class Live(NamedTuple):
    """A process of a deployment."""

    pid: int
    service: str  # empty for the daemon
    marks: Mapping[str, str]


class World:
    """A repo and a host for it. `services` is what the layers say; `write` and `commit` bring it into git.

    With an account, everything is that one's: files, and all that runs, git too.
    """

    def __init__(self, folder: Path, *, fresh_repo: bool = True, account: Account | None = None) -> None:
        self.folder = folder
        self.repo = folder / "repo"
        self.root = folder / "r"
        self.state = folder / "s"
        self.home = folder / "home"
        self.site = "s" + folder.name.replace("_", "-")
        self.url = str(self.repo)
        self.account = account or current()
        self.python = python_for(account) if account else sys.executable
        self.manager: Manager | None = None
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "COLUMNS": "80",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "APPTAINER_CONFIGDIR": str(folder / "a"),
            "APPTAINER_CACHEDIR": str(folder / "a/cache"),
        } | {f"GIT_{who}_{what}": "ann" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        if fresh_repo:
            self._make_repo()

    def _make_repo(self) -> None:
        for path in (self.folder, self.home, self.repo, self.folder / "a"):
            self.account.folder(path)
        self.git("init", "--quiet", "--initial-branch=main")
        self.write(
            {
                "desired/defaults.yaml": DEFAULTS,
                "desired/environments/dev.yaml": "",
                f"desired/sites/{self.site}.yaml": f'environments: [dev]\npaths: {{root: "{self.root}"}}\n',
                "templates/app.conf.j2": TEMPLATE,
            }
        )

    # ------------------------------------------------------------ the repo

    def git(self, *words: str) -> str:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            ["git", *words],
            cwd=self.repo,
            env=self.env,
            check=True,
            capture_output=True,
            text=True,
            **self.account.become,
        )
        return done.stdout.strip()

    def write(self, files: Mapping[str, str | bytes | None]) -> None:
        for name, content in files.items():
            path = self.repo / name
            if content is None:
                path.unlink()
                continue
            self.account.folder(path.parent)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            self.account.own(path)

    def commit(self, files: Mapping[str, str | bytes | None] | None = None, subject: str = "change") -> str:
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", subject)
        return self.git("rev-parse", "HEAD")

    def services(self, *names: str, **more: str) -> dict[str, str]:
        """The layer of dev with these services: of component `app`, reading app.conf, unless `more` says otherwise."""
        lines = ["services:"]
        for name in names:
            keys = more.get(name, f"component: app, command: {SLEEP}, files: [app.conf]")
            lines.append(f"  {name}: {{{keys}, supervisor: {{startsecs: 0}}}}")
        return {"desired/environments/dev.yaml": "\n".join(lines) + "\n"}

    def versions(self, app: str, tool: str = "1.0") -> dict[str, str]:
        text = f'versions: {{app: "{app}", tool: "{tool}"}}\nenvironments: [dev]\npaths: {{root: "{self.root}"}}\n'
        return {f"desired/sites/{self.site}.yaml": text}

    def stubborn(self) -> str:
        """The path of a program that, told to stop, waits until `go` is there: a stop in hand for as long as that."""
        path = self.folder / "stubborn"
        waits = f"while [ ! -e {self.folder}/go ]; do sleep 0.05; done; exit"
        path.write_text(f"#!/bin/sh\ntrap '{waits}' TERM\nwhile :; do sleep 0.1; done\n")
        path.chmod(0o755)
        return str(path)

    # ------------------------------------------------------------ the command

    def argv(self, *words: str) -> list[str]:
        where = ["--repo", self.url, "--site", self.site, "--state-dir", str(self.state)]
        return [self.python, "-m", "reconciler", *words, *where]

    def start(self, *words: str, **changes: Any) -> subprocess.Popen[str]:
        """The command as a process that is not waited for, with pipes."""
        pipe = subprocess.PIPE
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "text": True}
        given |= self.account.become | changes
        process: subprocess.Popen[str] = subprocess.Popen(self.argv(*words), cwd=self.folder, env=self.env, **given)
        return process

    def run(self, *words: str, env: Mapping[str, str] | None = None, where: bool = True, seconds: float = 90.0) -> Done:
        with contextlib.suppress(OSError):  # what is held is told as if for the first time
            (self.state / self.site / "printed").unlink()
        argv = self.argv(*words) if where else [self.python, "-m", "reconciler", *words]
        env = {**self.env, **(env or {})}
        done = warm.run(argv, env=env, cwd=self.folder, timeout=seconds, become=self.account.become)
        return Done(*done.texts)

    def run_python(self, code: str) -> Done:
        """A few lines of Python with this world's environment."""
        argv = [self.python, "-c", code]
        done = subprocess.run(
            argv, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=90, check=False,
            **self.account.become,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def once(self, *words: str, code: int = 0) -> Done:
        done = self.run("--once", *words)
        assert done.code == code, done.said
        return done

    def idle(self) -> None:
        """A pass with nothing to do: no step, not a word."""
        done = self.run("--once", "--json")
        assert done.code == 0, done.said
        assert [step["id"] for deployment in done.json()["deployments"] for step in deployment["steps"]] == []

    # ------------------------------------------------------------ the host

    def boot(self) -> Manager:
        """A `systemd --user` for this world, running; the command finds it from now on. Again after `power_cut`."""
        if not self.manager:
            apptainer = {name: value for name, value in self.env.items() if name.startswith("APPTAINER_")}
            self.manager = Manager(self.folder, self.account, self.home, apptainer)
            self.env["XDG_RUNTIME_DIR"] = self.manager.env["XDG_RUNTIME_DIR"]
        self.manager.boot()
        return self.manager

    def power_cut(self) -> None:
        """Everything that runs is gone at once, with what lies in memory; files stay as they are."""
        if self.manager:
            self.manager.power_cut()
        self._kill_all()

    def live(self) -> list[Live]:
        """The main processes, daemons and instances with this root in their environment."""
        return [*self._live_processes(), *self.live_instances()]

    def _live_processes(self) -> Iterator[Live]:
        wanted = b"RECONCILE_ROOT=" + os.fsencode(self.root)
        for pid, environ in read_all("environ"):
            if wanted not in environ or wanted not in (entries := environ.split(b"\0")):
                continue
            ours = [entry.decode(errors="replace") for entry in entries if entry.startswith(b"RECONCILE_")]
            marks = dict(entry.partition("=")[::2] for entry in ours)
            if marks.get("RECONCILE_PID") == str(pid) and _runs(pid):
                yield Live(pid, marks.get("RECONCILE_SERVICE", ""), marks)

    def live_instances(self) -> list[Live]:
        """Those of Apptainer by their `appinit`: what runs inside counts processes in its own way."""
        found = []
        for one in instances():
            marks = {name: value for name, value in one.env.items() if name.startswith("RECONCILE_")}
            if marks.get("RECONCILE_ROOT") == str(self.root) and _runs(one.pid):
                found.append(Live(one.pid, marks.get("RECONCILE_SERVICE", ""), marks))
        return found

    def pids(self) -> dict[str, int]:
        """By service; the daemon under the empty name. Fails where a service has two processes."""
        live = self.live()
        found = {one.service: one.pid for one in live}
        assert len(found) == len(live), f"more than one process for a service: {live}"
        return found

    def files(self) -> dict[str, bytes]:
        """All that is rendered, by path below the root, with its mode in front; a leftover of a write too."""
        found = {}
        for folder in ("bin", "config"):
            for path in sorted((self.root / folder).rglob("*")):
                if path.is_file():
                    mode = f"{path.stat().st_mode & 0o7777:o} "
                    found[str(path.relative_to(self.root))] = mode.encode() + path.read_bytes()
        return found

    def supervisorctl(self, *words: str) -> str:
        argv = [self.python, "-m", "supervisor.supervisorctl", "-c", str(self.root / "config/supervisord.conf"), *words]
        done = warm.run(argv, env=self.env, cwd=self.folder, timeout=30, become=self.account.become)
        return "".join(done.texts[1:])

    def end(self) -> None:
        """The managers first, so that they start nothing again; then whatever carries this root."""
        self.power_cut()

    def _kill_all(self) -> None:
        for _ in range(200):
            live = self._left()
            if not live:
                return
            for pid in [pid for pid, daemon in live.items() if daemon] or list(live):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            sleep(0.01)

    def _left(self) -> dict[int, bool]:
        """By process, whether it is a daemon."""
        wanted = b"=" + os.fsencode(self.root)
        ours = [*(one.pid for one in self.live_instances()), *helpers(self.folder)]
        found = dict.fromkeys(filter(_runs, ours), False)
        for pid, environ in read_all("environ"):
            if wanted not in environ:
                continue
            entries = environ.split(b"\0")
            if any(entry.startswith(b"RECONCILE_") and wanted in entry for entry in entries) and _runs(pid):
                found[pid] = any(entry[:17] == b"RECONCILE_DAEMON=" and entry[17:] for entry in entries)
        return found


@pytest.fixture(name="world")
def a_world(short_folder: Path) -> Iterator[World]:
    """One that ends with its test. Import it where it is used."""
    made = World(short_folder)
    yield made
    made.end()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def until(what: Callable[[], T | None], seconds: float = 30.0) -> T:
    """Wait for something to come true, and give it back."""
    end = monotonic() + seconds
    while not (found := what()):
        assert monotonic() < end, "it never came true"
        sleep(0.02)
    return found


def finish(process: subprocess.Popen[str], seconds: float = 60.0) -> Done:
    out, err = process.communicate(timeout=seconds)
    return Done(process.returncode, out or "", err or "")


def in_terminal(argv: list[str], env: Mapping[str, str], columns: int = 80, seconds: float = 60.0) -> Done:
    """A command with a terminal for standard output and error; what it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=dict(env))
    os.close(theirs)
    chunks = []
    end = monotonic() + seconds
    with contextlib.suppress(OSError):  # the other side is closed
        while monotonic() < end:
            if select.select([ours], [], [], 0.2)[0]:
                chunks.append(os.read(ours, 65536))
    os.close(ours)
    return Done(process.wait(10), b"".join(chunks).decode(errors="replace").replace("\r\n", "\n"), "")


def everything_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every regular file and its bytes."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path, path.read_bytes()


def temporary(paths: Iterable[str]) -> list[str]:
    """Those that a write leaves when it is cut off."""
    return [path for path in paths if path.endswith((".new", ".tmp"))]
