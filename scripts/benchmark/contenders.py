"""Who does the job: reconcile, the lower bound, and the peers."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
import xmlrpc.client
from typing import NamedTuple

from scripts.benchmark import processes
from scripts.benchmark.repo import HERE, Repo, minfds

BOUND, RECONCILE = "bound", "reconcile"
PACKAGES = {"bound": ("pyyaml", "jinja2"), "pyinfra": ("pyinfra", "pyyaml"), "ansible": ("ansible-core",)}

_CONF = """\
[supervisord]
logfile={root}/supervisord.log
logfile_maxbytes=10MB
loglevel=info
pidfile={root}/supervisord.pid
childlogdir={root}/log
nocleanup=true
silent=true
minfds={minfds}
[unix_http_server]
file={root}/sup.sock
chmod=0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{root}/sup.sock
[include]
files = {root}/conf.d/*.conf
"""


class Tools(NamedTuple):
    """The programs that contenders are made of."""

    reconcile: str
    python: str  # of reconcile's environment; supervisord runs on it for all of them
    cache: str  # a folder with virtual environments for the others
    env: dict[str, str]

    def program(self, peer: str) -> str:
        names = {"bound": "python", "pyinfra": "pyinfra", "ansible": "ansible-pull"}
        return f"{self.cache}/{peer}/bin/{names[peer]}"

    def install(self, peer: str) -> bool:
        """Whether it is there, after an attempt to get it from PyPI."""
        if self.has(peer):
            return True
        folder = f"{self.cache}/{peer}"
        print(f"bench: installs {', '.join(PACKAGES[peer])} into {folder}", file=sys.stderr)
        os.makedirs(self.cache, exist_ok=True)
        made = [self.python, "-m", "venv", "--clear", folder], [f"{folder}/bin/pip", "install", "-q", *PACKAGES[peer]]
        for argv in made:
            done = subprocess.run(argv, check=False, capture_output=True, text=True)
            if done.returncode:
                print(f"bench: {done.stderr.strip()[-500:]}", file=sys.stderr)
                shutil.rmtree(folder, ignore_errors=True)
                return False
        with open(f"{folder}/complete", "w"):
            return True

    def has(self, peer: str) -> bool:
        return peer not in PACKAGES or os.path.exists(f"{self.cache}/{peer}/complete")


class Contender:
    """One of them, with a deployment of its own."""

    def __init__(self, name: str, repo: Repo, address: str, tools: Tools, folder: str) -> None:
        self.name, self.repo, self.tools, self.folder = name, repo, tools, folder
        self.kind, _, self.mode = name.partition(" ")
        self.own_daemon = self.kind == RECONCILE
        site = self.mode or "bench"
        self.root = repo.root(site) if self.own_daemon else f"{folder}/{name.replace(' ', '-')}"
        run = f"{self.root}/run" if self.own_daemon else self.root
        self.socket = f"{run}/supervisor.sock" if self.own_daemon else f"{run}/sup.sock"
        self._pidfile = f"{run}/supervisord.pid"
        self._state, self._agent = f"{folder}/s-{site}", f"{folder}/a-{site}.yaml"
        conf = f"{self.root}/supervisord.conf"
        daemon = [tools.python, "-m", "supervisor.supervisord", "-c", conf]
        self.env = dict(tools.env)
        self.env["CTL"] = f"{tools.python} -m supervisor.supervisorctl -c {conf}"
        self.env["DAEMON"] = " ".join(daemon)
        self.argv = self._argv(address, daemon)
        self._agent_text = f"repo: {address}\nsite: {site}\nstate_dir: {self._state}\n"

    def _argv(self, address: str, daemon: list[str]) -> list[str]:
        if self.kind == RECONCILE:
            return [self.tools.reconcile, "--once", "--config", self._agent]
        if self.kind == BOUND:
            python = self.tools.program(BOUND)
            return [python, "-I", f"{HERE}/bound.py", self.mode or "full", self.root, address, *daemon]
        shell = "/bin/bash"
        if self.kind == "bash":
            return [shell, f"{HERE}/peers/deploy.sh", self.root, address]
        if self.kind == "bash-tuned":
            return [shell, f"{HERE}/peers/tuned.sh", self.root, address]
        return [shell, f"{HERE}/peers/wrapped.sh", self.root, address, self.kind, self.tools.program(self.kind)]

    @property
    def log(self) -> str:
        return f"{self.folder}/{self.name.replace(' ', '-')}.out"

    def clear(self) -> None:
        """No daemon, no programs, no file, nothing remembered."""
        pid = self.daemon()
        if pid:
            processes.end(pid)
        for folder in (self.root, self._state):
            shutil.rmtree(folder, ignore_errors=True)
        if self.own_daemon:
            with open(self._agent, "w") as file:
                file.write(self._agent_text)
            return
        for name in ("bin", "conf.d", "env", "log"):
            os.makedirs(f"{self.root}/{name}")
        with open(f"{self.root}/supervisord.conf", "w") as file:
            file.write(_CONF.format(root=self.root, minfds=minfds(len(self.repo.names))))

    def daemon(self) -> int:
        """supervisord's pid; 0 where there is none."""
        try:
            with open(self._pidfile) as file:
                return int(file.read())
        except (OSError, ValueError):
            return 0

    def states(self) -> dict[str, tuple[str, int]]:
        """State and pid by program."""
        connection = xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(self.socket))
        infos = connection.supervisor.getAllProcessInfo()
        if not isinstance(infos, list):
            raise TypeError("supervisord does not answer with a list")
        return {str(info["name"]): (str(info["statename"]), int(info["pid"])) for info in infos}

    def wait_up(self, seconds: float) -> str:
        """Wait until every service is up in the version that git says; what stands against it otherwise."""
        until, wrong = time.monotonic() + seconds, "?"
        while wrong and time.monotonic() < until:
            try:
                wrong = self._wrong()
            except (OSError, http.client.HTTPException) as error:
                wrong = f"supervisord does not answer: {error}"
            if wrong:
                time.sleep(0.05)
        return wrong

    def _wrong(self) -> str:
        states = self.states()
        if states.keys() != set(self.repo.names):
            return f"it runs {len(states)} programs, not {len(self.repo.names)}"
        for name, (state, pid) in states.items():
            if state != "RUNNING":
                return f"{name} is {state}"
            if f"SERVICE_VERSION={self.repo.version(name)}".encode() not in processes.environment(pid):
                return f"{name} does not run {self.repo.version(name)}"
        return ""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> _Connection:  # noqa: ARG002 - there is one place to go to
        return _Connection(self._path)
