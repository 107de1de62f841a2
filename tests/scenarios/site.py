"""A site of its own: a desired-state repo, a root folder, and the command line between the two.

What happened is not taken from the tool: processes are read from /proc, units from supervisord itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any, NamedTuple, TypeVar

from supervisor.xmlrpc import SupervisorTransport

from tests.backends import warm
from tests.backends.processes import read_all

T = TypeVar("T")
Make = Callable[..., "Site"]
Pids = Mapping[str, tuple[int, ...]]  # of the main processes, by service; "" is supervisord

SITE_SERVICES = ("perf-metrics", "rpc-server", "run-daemon", "task-log", "transfer-daemon")
CROMWELL_SERVICES = ("cleaner", "cromwell", "metrics")
SERVICES = tuple(sorted((*SITE_SERVICES, *CROMWELL_SERVICES)))

_KILLED = """
import os, signal, sys
from reconciler.agent.config import Agent
from reconciler.agent.run import Pass
from reconciler.report.log import Log

class Killer(Log):
    def deployment(self, plan, run):
        self.left = sum(step.id.startswith(sys.argv[1]) for step in plan.steps)
    def ended(self, step, result):
        self.left -= step.id.startswith(sys.argv[1])
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

Pass(Agent(sys.argv[2], sys.argv[3], state_dir=sys.argv[4]), Killer()).run()
"""

_PLAN = {"site", "commit", "deployments"}
_DEPLOYMENT = {"environment", "changes", "steps", "gaps"}
_CHANGE = {"service", "kind", "reasons", "restarts"}
_STEP = {"id", "action", "service", "target"}
_STATUS = {"service", "launcher", "state", "version", "wanted", "pid", "healthy"}
_KINDS = {"create", "update", "restart", "remove", "keep", "blocked"}
_ACTIONS = {"install", "render", "reload", "start", "stop", "restart", "check", "remove", "clean"}


def until(what: Callable[[], T | None], seconds: float = 30.0) -> T:
    """Wait for something to come true, and give it back."""
    end = monotonic() + seconds
    while not (found := what()):
        assert monotonic() < end, "it never came true"
        sleep(0.02)
    return found


class Told(NamedTuple):
    """What one command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def brief(self) -> str:
        """What went wrong in a pass, in a few lines."""
        with suppress(ValueError, KeyError, IndexError, TypeError):
            report = self.json
            deployment = report["deployments"][0]
            changes = [f"{c['kind']} {c['service']}: {c['reasons']}" for c in deployment.get("changes", ())]
            steps = [f"{s.get('status')} {s['id']} {s.get('message')}" for s in deployment.get("steps", ())]
            return "\n".join([f"exit {self.code} {report['notices']}", *changes, *steps])
        return f"exit {self.code}\n{self.out}\n{self.err}"


class Passed(NamedTuple):
    """A plan, and the pass that carried it out."""

    plan: dict[str, Any]
    text: str  # of the plan
    report: dict[str, Any]
    before: Pids
    after: Pids

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """By service, those that are not kept."""
        return {c["service"]: c for c in self.plan["deployments"][0]["changes"] if c["kind"] != "keep"}

    @property
    def kinds(self) -> dict[str, str]:
        return {name: change["kind"] for name, change in self.changes.items()}

    @property
    def steps(self) -> dict[str, dict[str, Any]]:
        return {step["id"]: step for step in self.report["deployments"][0]["steps"]}

    @property
    def changed(self) -> set[str]:
        """Services that had a process before and have another one now."""
        return {name for name, pids in self.before.items() if name and name in self.after and self.after[name] != pids}

    def why(self, service: str) -> str:
        """The reasons for one change. All of them stand in the text for people too."""
        change = self.changes[service]
        for reason in change["reasons"]:
            assert reason in self.text or reason.startswith("version "), self.text
        return "; ".join(change["reasons"])


class Site:
    """Site `here`, environment `dev`. Change `layer` or `templates`, commit, converge."""

    name, environment = "here", "dev"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.root, self.repo, self.state = folder / "root", folder / "repo", folder / "state"
        self.layer: dict[str, Any] = _layer(self.root)
        self.layers: dict[str, dict[str, Any]] = {"environments/dev": {}, "sites/here": {}}
        self.templates = {"shared.conf.j2": "level={{ level }}\n", "own.conf.j2": "threads={{ threads }}\n"}
        self.repo.mkdir()
        self._git("init", "-q", "-b", "main")
        self.commit()

    # ------------------------------------------------------------ git

    @property
    def services(self) -> dict[str, Any]:
        found: dict[str, Any] = self.layer["services"]
        return found

    def commit(self, message: str = "Change") -> str:
        """Write everything and commit it; the commit."""
        for name, layer in {"defaults": self.layer, **self.layers}.items():
            _write(self.repo / "desired" / f"{name}.yaml", json.dumps(layer, indent=1))
        for name, text in self.templates.items():
            _write(self.repo / "templates" / name, text)
        self._git("add", "-A")
        self._git("-c", "user.name=A Person", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", message)
        return self._git("rev-parse", "HEAD").strip()

    def rewind(self) -> None:
        """The branch goes back by one commit."""
        self._git("reset", "-q", "--hard", "HEAD~1")

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.repo, check=True, capture_output=True, text=True)
        return done.stdout

    def move(self, name: str) -> None:
        """Everything below another root."""
        self.root = self.folder / name
        self.layer["paths"]["root"] = str(self.root)

    # ------------------------------------------------------------ the command line

    def run(self, *arguments: str) -> Told:
        options = ["--repo", str(self.repo), "--site", self.name, "--state-dir", str(self.state)]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": os.environ.get("TMPDIR", "/tmp")}
        argv = [sys.executable, "-m", "reconciler", *options, *arguments]
        told = Told(*warm.run(argv, env=env, cwd=self.folder).texts)
        assert "Traceback" not in told.err, told.err
        assert "a defect in reconcile itself" not in told.err, told.err
        return told

    def once(self, code: int = 0) -> dict[str, Any]:
        """One pass."""
        told = self.run("--once", "--json")
        assert told.code == code, told.brief
        return _checked(told.json, applied=True)

    def plan(self) -> dict[str, Any]:
        """A plan, which changes nothing, neither on disk nor among the processes."""
        files, pids = self.snapshot(), self.pids()
        told = self.run("plan", "--json")
        assert (self.snapshot(), self.pids()) == (files, pids)
        plan = _checked(told.json, applied=False)
        changes = plan["deployments"][0]["changes"]
        agrees = not plan["deployments"][0]["steps"] and all(change["kind"] == "keep" for change in changes)
        assert told.code == (0 if agrees else 1 if _unhealthy(changes) else 2), told.brief
        return plan

    def run_until_ended(self, prefix: str) -> None:
        """A pass that is killed when the last step whose id begins so has ended."""
        argv = [sys.executable, "-c", _KILLED, prefix, str(self.repo), self.name, str(self.state)]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        assert warm.run(argv, env=env, cwd=self.folder).code == -signal.SIGKILL

    def status(self) -> dict[str, dict[str, Any]]:
        """By service."""
        told = self.run("status", "--json")
        services = told.json["deployments"][0]["services"]
        assert all(service.keys() >= _STATUS for service in services)
        healthy = all(service["healthy"] for service in services if service["wanted"])
        as_wanted = all(service["version"] == service["wanted"] for service in services if service["wanted"])
        assert told.code in ({0, 2} if healthy and as_wanted else {2} if healthy else {1}), told.brief
        return {service["service"]: service for service in services}

    def converge(self, code: int = 0, *, settled: bool = True) -> Passed:
        """Plan, pass, and a second pass that does nothing. The plan foretold what the pass did."""
        plan, text, before = self.plan(), self.run("plan").out, self.pids()
        report = self.once(code)
        passed = Passed(plan, text, report, before, self.pids())
        assert _told_changes(report) == _told_changes(plan)
        assert [s["id"] for s in report["deployments"][0]["steps"]] == [
            s["id"] for s in plan["deployments"][0]["steps"]
        ]
        foretold = {name for change in passed.changes.values() for name in change["restarts"]}
        assert foretold == passed.changed, (foretold, passed.changed)
        if settled:
            assert report["deployments"][0]["converged"]
            self.settled()
        return passed

    def settled(self) -> None:
        """Another pass has nothing to do, writes nothing, and prints nothing to cron."""
        files, pids = self.snapshot(), self.pids()
        report = self.once()
        assert (report["deployments"][0]["steps"], report["deployments"][0]["converged"]) == ([], True)
        assert {change["kind"] for change in report["deployments"][0]["changes"]} <= {"keep"}, report
        assert self.pids() == pids
        assert self.snapshot() == files
        status = self.status()
        assert {name: (service["pid"],) for name, service in status.items()} == {
            name: found for name, found in pids.items() if name
        }
        assert all(service["version"] == service["wanted"] for service in status.values())

    # ------------------------------------------------------------ what is there

    def pids(self) -> dict[str, tuple[int, ...]]:
        """The main processes that carry this deployment's mark, below any root."""
        found: dict[str, list[int]] = {}
        for pid, environ in self._marked():
            if environ.get("RECONCILE_PID") == str(pid):
                found.setdefault(environ["RECONCILE_SERVICE"], []).append(pid)
        return {service: tuple(sorted(pids)) for service, pids in found.items()}

    def pid(self, service: str) -> int:
        (pid,) = self.pids()[service]
        return pid

    def _marked(self) -> Iterator[tuple[int, dict[str, str]]]:
        ours = f"{self.folder}/"
        for pid, environ in read_all("environ"):
            if ours.encode() in environ and (marks := _variables(environ)).get("RECONCILE_ROOT", "").startswith(ours):
                yield pid, marks

    def environ(self, service: str) -> dict[str, str]:
        return _environ(self.pid(service))

    def snapshot(self) -> dict[str, tuple[int, int, int]]:
        """Everything below the root: size, mode and time of change. A lock may be taken, logs may grow."""
        found = {}
        for path in sorted(self.folder.glob("root*/**/*")):
            if path.name != "lock" and path.parent.name != "logs":
                info = path.lstat()
                found[str(path)] = (info.st_size if path.is_file() else 0, info.st_mode, info.st_mtime_ns)
        return found

    def files_of(self, service: str) -> list[Path]:
        """The shim and the environment of a service."""
        return [self.root / "bin" / service, self.root / "config/env" / f"{service}.env"]

    @property
    def unit_folder(self) -> Path:
        return self.root / "config" / "supervisor"

    # ------------------------------------------------------------ what a person does by hand

    @contextmanager
    def supervisor(self) -> Iterator[Any]:
        """supervisord's own client."""
        transport = SupervisorTransport(None, None, f"unix://{self.root}/run/supervisor.sock")
        try:
            yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor
        finally:
            transport.close()

    def state_of(self, unit: str) -> str:
        with self.supervisor() as client:
            return str(client.getProcessInfo(unit)["statename"])

    def await_state(self, unit: str, state: str) -> None:
        until(lambda: self.state_of(unit) == state)

    def stop(self, unit: str) -> None:
        with self.supervisor() as client:
            client.stopProcess(unit)

    def start(self, unit: str) -> None:
        """As `supervisorctl start` without waiting for it to be up; it may end at once."""
        with self.supervisor() as client:
            try:
                client.startProcess(unit, False)
            except xmlrpc.client.Fault as fault:
                if "SPAWN_ERROR" not in fault.faultString:
                    raise

    def restart(self, unit: str) -> None:
        before = self.pid(unit)
        self.stop(unit)
        self.start(unit)
        until(lambda: self.pids().get(unit, (before,)) != (before,))

    def update(self, unit: str) -> None:
        """`supervisorctl update` for one program: read the files, and take it up anew."""
        with self.supervisor() as client:
            client.reloadConfig()
            with suppress(xmlrpc.client.Fault):
                client.stopProcessGroup(unit)
                client.removeProcessGroup(unit)
            client.addProcessGroup(unit)

    def add_foreign(self, unit: str = "foreign") -> Path:
        """Somebody else's program in the same supervisord; its conf file."""
        path = self.unit_folder / f"{unit}.conf"
        path.write_text(f"[program:{unit}]\ncommand=/bin/sleep 1000\nstartsecs=0\n")
        with self.supervisor() as client:
            client.reloadConfig()
            client.addProcessGroup(unit)
        self.await_state(unit, "RUNNING")
        return path

    def pid_of_unit(self, unit: str) -> int:
        with self.supervisor() as client:
            return int(client.getProcessInfo(unit)["pid"])

    def kill(self, service: str, number: int = signal.SIGKILL) -> int:
        """A signal to a main process, or to supervisord for an empty name; its pid. Returns when it is gone."""
        pid = self.pid(service)
        os.kill(pid, number)
        until(lambda: not _runs(pid))
        return pid

    def shut_down(self) -> None:
        """End a supervisord, whoever started it."""
        with self.supervisor() as client:
            pid = client.getPID()
            client.shutdown()
        until(lambda: not _runs(pid))

    def grow_old(self, service: str) -> None:
        """Wait until what is done to files now is clearly later than the process's start."""
        born = os.stat(f"/proc/{self.pid(service)}").st_mtime
        until(lambda: time() - born > 2.5)

    def end(self) -> None:
        """The daemons first, so that they start nothing again; then whatever is left."""
        while left := dict(self._marked()):
            daemons = [
                pid
                for pid, environ in left.items()
                if environ.get("RECONCILE_PID") == str(pid) and environ.get("RECONCILE_DAEMON")
            ]
            for pid in daemons or left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            until(lambda gone=tuple(daemons or left): not any(map(_runs, gone)))  # type: ignore[misc]


# ---------------------------------------------------------------- what it begins with


def _layer(root: Path) -> dict[str, Any]:
    return {
        "versions": {"site": "2.8.1", "cromwell": "84"},
        "vars": {"level": "INFO", "threads": "4"},
        "paths": {"root": str(root)},
        "components": {"site": {"install": "none"}, "cromwell": {"install": "none"}},
        "files": {
            "shared.conf": {"template": "shared.conf.j2", "path": "{{ paths.config }}/shared.conf"},
            "own.conf": {"template": "own.conf.j2", "path": "{{ paths.config }}/own.conf"},
        },
        "services": {
            **{name: service("site", group="jaws-site") for name in SITE_SERVICES},
            **{name: service("cromwell", group="jaws-cromwell") for name in CROMWELL_SERVICES},
            "rpc-server": service("site", group="jaws-site", files=["shared.conf"]),
            "task-log": service("site", group="jaws-site", files=["shared.conf", "own.conf"]),
        },
    }


def service(component: str, command: str = "sleep 1000", *, startsecs: int = 0, **keys: Any) -> dict[str, Any]:
    supervisor = {"startsecs": startsecs, **keys.pop("supervisor", {})}
    return {"component": component, "command": command, "supervisor": supervisor, **keys}


# ---------------------------------------------------------------- reading


def _checked(report: dict[str, Any], *, applied: bool) -> dict[str, Any]:
    """The keys of the contract are there, and each service is told once."""
    assert report.keys() >= _PLAN
    for deployment in report["deployments"]:
        assert deployment.keys() >= (_DEPLOYMENT | {"converged"} if applied else _DEPLOYMENT)
        changes, steps = deployment["changes"], deployment["steps"]
        assert all(change.keys() >= _CHANGE and change["kind"] in _KINDS for change in changes)
        assert len({change["service"] for change in changes}) == len(changes)
        assert all(step.keys() >= _STEP and step["action"] in _ACTIONS for step in steps)
        assert not applied or all({"status", "seconds"} <= step.keys() for step in steps)
        assert not applied or {step["status"] for step in steps} <= {"done", "failed", "skipped", "blocked"}
    return report


def _told_changes(report: dict[str, Any]) -> list[tuple[object, ...]]:
    changes = report["deployments"][0]["changes"]
    return [(c["service"], c["kind"], c["reasons"], c["restarts"]) for c in changes]


def _unhealthy(changes: list[dict[str, Any]]) -> bool:
    """Something is blocked, or is not up and nothing is to be done about it."""
    return any(
        (change["kind"] == "blocked" and not change["held"])
        or (change["kind"] == "keep" and change["state"] not in ("running", "starting"))
        for change in changes
    )


def _environ(pid: int) -> dict[str, str]:
    return _variables(Path(f"/proc/{pid}/environ").read_bytes())


def _variables(environ: bytes) -> dict[str, str]:
    entries = environ.decode(errors="replace").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
