"""A supervisord that somebody has set up by hand, with programs of every shape, and a site that is to take it in."""

from __future__ import annotations

import http.client
import os
import pwd
import re
import signal
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from tests.backends import warm
from tests.scenarios.site import _KILLED as KILLED
from tests.scenarios.site import Told, until

ENVIRONMENT = "dev"
SECRET = "hunter2-never-in-git"

# It writes down what it was started with, and stays: two starts of one program can be compared.
PROGRAM = """#!/bin/sh
name=$1; shift
{ printf '%s\\n' "$@"; echo "-- cwd $(pwd) umask $(umask)"; env | grep '^T_' | sort; } >"$(dirname "$0")/said/$name.tmp"
mv "$(dirname "$0")/said/$name.tmp" "$(dirname "$0")/said/$name"
exec sleep 1000
"""

CONF = """
[unix_http_server]
file=%(here)s/s.sock

[supervisord]
logfile=%(here)s/supervisord.log
pidfile=%(here)s/supervisord.pid
childlogdir=%(here)s
environment=T_GLOBAL="from [supervisord]"

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://%(here)s/s.sock

[include]
files=more/*.conf

[program:plain]
command=%(here)s/prog plain

[program:worded]
command=%(here)s/prog worded "two words" 'single "double"' back\\\\slash $HOME * ~ a;b "" --flag=x
environment=T_A="x, y",T_B='say "hi"',T_PCT="100%%",T_HASH="a#b",T_URL="http://x/?a=1&b=2"

[program:alpha]
command=%(here)s/prog alpha
[program:beta]
command=%(here)s/prog beta
autorestart=true
[group:pair]
programs=alpha,beta
priority=5

[program:worker]
command=%(here)s/prog worker-%(process_num)d --of %(numprocs)d
process_name=%(program_name)s_%(process_num)02d
numprocs=3
environment=T_NUM="%(process_num)d"

[program:percent]
command=%(here)s/prog percent 50%% %%d %%(x)s %%%%
stdout_logfile=%(here)s/%(program_name)s.log
stdout_logfile_maxbytes=1MB
stdout_logfile_backups=2

[program:expanded]
command=%(here)s/prog expanded %(ENV_HOME)s %(program_name)s %(host_node_name)s %(group_name)s
environment=T_HOME="%(ENV_HOME)s"

[program:placed]
command=%(here)s/prog placed
directory=%(here)s
umask=027

[program:unexpected]
command=%(here)s/prog unexpected
autorestart=unexpected
exitcodes=0,2
startsecs=0
startretries=7

[program:oneshot]
command=%(here)s/prog oneshot
autorestart=false
priority=1

[program:stopper]
command=%(here)s/prog stopper
stopsignal=INT
stopwaitsecs=3
stopasgroup=true
killasgroup=true

[program:jinja]
command=%(here)s/prog jinja {{{{ x }} "{%% raw %%}" {# c "{{{" }}
environment=T_J="{{ not_a_var }}{%% if %%}"

[program:named.with-dots_]
command=%(here)s/prog dotted

[program:secretive]
command=%(here)s/prog secretive
environment=T_DB_PASSWORD="@SECRET@",T_DSN="postgres://me:@SECRET@@db/x",T_OPEN="yes"

[program:loud]
command=%(here)s/prog loud --password @SECRET@

[program:idle]
command=%(here)s/prog idle
autostart=false

[program:bare]
command=sleep 1001

[program:lines]
command=%(here)s/prog lines tab\\there "é ü €"
stderr_logfile=NONE
redirect_stderr=true

[eventlistener:listener]
command=%(here)s/listen
events=TICK_3600
"""

MORE = """
[program:included]
command=%(here)s/../prog included
user=@USER@
"""

LISTEN = "#!/bin/sh\nwhile :; do echo READY; read line || exit; done\n"


class ByHand:
    """supervisord with its programs, below a folder of its own."""

    def __init__(self, folder: Path, text: str = CONF, login: tuple[str | None, str | None] = (None, None)) -> None:
        self.folder, self.login = folder, login
        self.conf = folder / "hand.conf"
        for name in ("said", "more"):
            (folder / name).mkdir(parents=True)
        for name, content in (("prog", PROGRAM), ("listen", LISTEN)):
            (folder / name).write_text(content)
            (folder / name).chmod(0o755)
        self.conf.write_text(text.replace("@SECRET@", SECRET))
        # read by those who include it
        (folder / "more" / "one.conf").write_text(MORE.replace("@USER@", pwd.getpwuid(os.geteuid()).pw_name))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"}
        (self.folder / "s.sock").unlink(missing_ok=True)
        argv = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self.conf)]
        with open(self.folder / "out", "ab") as out:
            self._process = subprocess.Popen(argv, cwd="/", env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        until(self._listens)
        until(lambda: all(p["statename"] != "STARTING" for p in self.infos()))

    def _listens(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self.folder / "out").read_text()
        try:  # it may be bound, and not listened at yet
            return bool(self.call("getPID"))
        except (OSError, xmlrpc.client.Error, http.client.HTTPException):
            return False

    def call(self, method: str, *params: object) -> Any:
        transport = SupervisorTransport(*self.login, f"unix://{self.folder}/s.sock")
        try:
            return getattr(xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor, method)(*params)
        finally:
            transport.close()

    def infos(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("getAllProcessInfo")
        return found

    def pids(self) -> dict[str, int]:
        """Of what runs, by unit."""
        found = {}
        for info in self.infos():
            alone = info["group"] == info["name"]
            found[info["name"] if alone else f"{info['group']}:{info['name']}"] = info["pid"]
        return {name: pid for name, pid in found.items() if pid}

    def said(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in (self.folder / "said").iterdir() if path.suffix != ".tmp"}

    def kill(self) -> None:
        """The daemon alone; what it runs goes on."""
        assert self._process
        self._process.kill()
        self._process.wait()
        self._process = None

    def end(self) -> None:
        with suppress(Exception):
            for pid in self.pids().values():
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


class Place:
    """A desired-state repo and an agent's state, both new."""

    site = "here"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repo, self.state, self.root = folder / "repo", folder / "state", folder / "root"
        self.repo.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    @property
    def layer(self) -> Path:
        return self.repo / f"desired/sites/{self.site}.{ENVIRONMENT}.yaml"

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=A Person", "-c", "user.email=a@b"]
        argv = ["git", *who, *arguments]
        return subprocess.run(argv, cwd=self.repo, check=True, capture_output=True, text=True).stdout

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "Change")

    def run(self, *arguments: str, env: dict[str, str] | None = None) -> Told:
        options = ["--repo", str(self.repo), "--site", self.site, "--state-dir", str(self.state)]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **(env or {})}
        argv = [sys.executable, "-m", "reconciler", *options, "--environment", ENVIRONMENT, *arguments]
        told = Told(*warm.run(argv, env=env, cwd=self.folder).texts)
        assert "Traceback" not in told.err, told.err
        assert "a defect in reconcile itself" not in told.err, told.err
        return told

    def adopt(self, *what: str, code: int = 0, env: dict[str, str] | None = None) -> Told:
        told = self.run("adopt", *what, "--root", str(self.root), "--json", env=env)
        assert told.code == code, told.err or told.out
        return told

    def deployment(self, *arguments: str, code: int = 0, env: dict[str, str] | None = None) -> dict[str, Any]:
        """Of a plan or a pass, the one deployment."""
        told = self.run(*arguments, "--json", env=env)
        assert told.code == code, told.brief
        found: dict[str, Any] = told.json["deployments"][0]
        return found

    def run_until_ended(self, prefix: str) -> None:
        """A pass that is killed when the last step whose id begins so has ended."""
        argv = [sys.executable, "-c", KILLED, prefix, str(self.repo), self.site, str(self.state)]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        assert warm.run(argv, env=env, cwd=self.folder).code == -signal.SIGKILL

    def bump(self, components: Iterable[str], version: str) -> None:
        """Other versions for these, as a person edits the lines, and a commit."""
        head, _, rest = self.layer.read_text().partition("components:")
        for name in components:
            head, count = re.subn(rf'(?m)^(  "?{re.escape(name)}"?): "adopted"$', rf'\1: "{version}"', head)
            assert count == 1, (name, head)
        self.layer.write_text(f"{head}components:{rest}")
        self.commit()

    def own_pids(self) -> dict[str, int]:
        """Main processes with this deployment's mark, by service."""
        found = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                entries = Path(f"/proc/{name}/environ").read_bytes().decode(errors="replace").split("\0")
                environ = dict(entry.split("=", 1) for entry in entries if "=" in entry)
                if environ.get("RECONCILE_ROOT") == str(self.root) and environ.get("RECONCILE_PID") == name:
                    found[environ["RECONCILE_SERVICE"]] = int(name)
        return found

    def end(self) -> None:
        """The daemon first, so that it starts nothing again."""
        while left := self.own_pids():
            pids = [left[""]] if "" in left else [*left.values()]
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            until(lambda gone=tuple(pids): not any(map(runs, gone)))  # type: ignore[misc]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
