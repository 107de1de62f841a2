"""One deployment of an ordinary user's, kept by one launcher: the same words for what a feature meets with each.

`commit` says what git wants; what is looked at afterwards is the host itself, by the marks of processes.
"""

from __future__ import annotations

import json
import os
import signal
import xmlrpc.client
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reconciler.launchers.slurm.job import USER
from tests.backends.account import Account
from tests.backends.cluster import Cluster, Job
from tests.backends.images import image
from tests.backends.instances import instances
from tests.scenarios.world import SLEEP, Done, World, until
from tests.slurm.deck import Deck

TIMES = "start_period: 0s, settle: 0s, interval: 0s, retries: 1"
_IMAGE = """\
  {name}:
    install: apptainer-sif
    image: "{name}-{{{{ version }}}}.sif"
    source: "{folder}/app-{{{{ version }}}}.sif"
    container: {{configdir: "{folder}/a"}}
    {more}
"""
_FAMILY = """\
#!/bin/sh
setsid sleep 86397 &
setsid sh -c 'sleep 86397 & sleep 86397' &
exec sleep 86399
"""


def on(*launchers: str) -> pytest.MarkDecorator:
    """With a bed of each of these; "slurm-22.05" is one of the older Slurm."""
    return pytest.mark.parametrize(
        "bed",
        [pytest.param(name, id=name, marks=getattr(pytest.mark, name.partition("-")[0])) for name in launchers],
        indirect=True,
    )


class Bed:
    """What all have in common; each launcher's own says how."""

    launcher = ""
    own: ClassVar[Mapping[str, str]] = {}  # further keys of each service
    quickly: ClassVar[Mapping[str, str]] = {}  # keys of one that fails to start: without further tries
    family_size = 5  # processes of `family`, by the marks that they carry

    def __init__(self, world: World) -> None:
        self.world = world
        world.env["RECONCILE_DEBUG"] = "1"  # a defect shows where it is
        self.services: dict[str, str] = {}
        self.versions = {"app": "1.0", "tool": "1.0"}
        self.settings = ""  # of the launcher, as flow YAML
        self.policy = ""

    # ------------------------------------------------------------ git

    def keys(self, component: str = "app", *, command: str = SLEEP, **more: str) -> str:
        """Of a service; `more` as flow YAML."""
        words = [f"component: {component}", f"launcher: {self.launcher}", f"command: {json.dumps(command)}"]
        words += [f"{key}: {value}" for key, value in {**self.own, **more}.items()]
        return ", ".join(words)

    def watched(self, component: str = "app", **more: str) -> str:
        """A service that is healthy where there is a file named after its version."""
        probe = json.dumps(f"test -e {self.world.folder}/good-$V")
        env, health = '{V: "{{ version }}"}', f"{{exec: {{command: {probe}}}, {TIMES}}}"
        return self.keys(component, **({"env": env, "health": health} | more))

    def good(self, *versions: str) -> None:
        for version in versions:
            (self.world.folder / f"good-{version}").touch()

    def commit(self, services: Mapping[str, str] | None = None, **versions: str) -> str:
        self.services = dict(services) if services is not None else self.services
        self.versions |= versions
        settings = self.settings_text()
        lines = [f"{self.launcher}: {{{settings}}}"] if settings else []
        lines += [self.policy] if self.policy else []
        lines += ["services:" if self.services else "services: {}"]
        lines += [f"  {name}: {{{keys}}}" for name, keys in self.services.items()]
        self.world.write({"desired/environments/dev.yaml": "\n".join([*lines, ""])})
        return self.world.commit(self.world.versions(self.versions["app"], self.versions["tool"]))

    def settings_text(self) -> str:
        return self.settings

    # ------------------------------------------------------------ passes

    def once(self, *words: str, code: int = 0) -> str:
        """All that a pass says, in one line."""
        return " ".join(self.world.once(*words, code=code).out.split())

    def report(self, *words: str, code: int = 0) -> dict[str, Any]:
        """What a pass, or a plan, says of the deployment."""
        done = self.world.run(*(words or ("--once",)), "--json")
        assert done.code == code, done.said
        (found,) = done.json()["deployments"]
        return dict(found)

    def approve(self, plan: str) -> Done:
        done = self.world.run("approve", plan)
        assert done.code == 0, done.said
        return done

    def waits(self) -> str:
        """The id of the plan that waits. Nothing is done for it, and a second pass says the same and writes nothing."""
        before = self.snapshot()
        found = self.report(code=2)["approval"]
        assert found["approved"] is None
        state = self._remembered()
        assert f"waits for approval: reconcile approve {found['plan'][:8]}" in self.once(code=2)
        assert self.snapshot() == before
        assert self._remembered() == state
        return str(found["plan"])

    def approved(self) -> None:
        """What waits is approved, and then done, once."""
        self.approve(self.waits())
        self.once()
        self.world.idle()

    def still(self, code: int = 1) -> None:
        """A further pass does nothing, and still says that something is wrong."""
        before = self.snapshot()
        report = self.report(code=code)
        assert report["steps"] == []
        assert "rollback" not in report
        assert self.snapshot() == before

    def snapshot(self) -> object:
        """What runs, and what is rendered."""
        return self.pids(), self.world.files()

    def _remembered(self) -> dict[str, tuple[int, int]]:
        """All that is, but for the locks, when the remote and the services last answered, and what was printed."""
        every = (path for path in self.world.state.rglob("*") if path.is_file() and path.parent.name != "health")
        found = {path: path.stat() for path in every}
        passing = ("source.json", "lock", "printed")
        return {str(p): (i.st_size, i.st_mtime_ns) for p, i in found.items() if p.name not in passing}

    # ------------------------------------------------------------ the host

    def running(self) -> dict[str, str]:
        """The version of each service's process, as the process itself says."""
        return {one.service: one.marks["RECONCILE_VERSION"] for one in self.world.live() if one.service}

    def pids(self) -> dict[str, int]:
        return self.world.pids()

    def pid(self, service: str) -> int:
        return self.pids()[service]

    def stop(self, service: str) -> None:
        """By hand. Returns when it is down."""
        raise NotImplementedError

    def family(self) -> str:
        """A program with children in sessions of their own: with itself there are `family_size`."""
        path = self.world.folder / "family"
        path.write_text(_FAMILY)
        path.chmod(0o755)
        return str(path)

    def members(self, service: str) -> dict[int, str]:
        """All processes of a service, children too, and the version of each."""
        root = os.fsencode(f"RECONCILE_ROOT={self.world.root}")
        found = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                entries = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
                marks = dict(entry.decode(errors="replace").partition("=")[::2] for entry in entries)
                if root in entries and marks.get("RECONCILE_SERVICE") == service and marks.get("RECONCILE_VERSION"):
                    found[int(name)] = marks["RECONCILE_VERSION"]
        return found

    def end(self) -> None:
        self.world.end()


class Supervisor(Bed):
    launcher = "supervisor"
    own: ClassVar[Mapping[str, str]] = {"supervisor": "{startsecs: 0}"}
    quickly: ClassVar[Mapping[str, str]] = {"supervisor": "{startsecs: 1, startretries: 0}"}

    def __init__(self, folder: Path, account: Account) -> None:
        super().__init__(World(folder, account=account))

    def stop(self, service: str) -> None:
        self.world.supervisorctl("stop", service)


class Systemd(Bed):
    launcher = "systemd"
    own: ClassVar[Mapping[str, str]] = {"systemd": "{start_seconds: 0}"}
    quickly: ClassVar[Mapping[str, str]] = {"systemd": "{start_seconds: 1}"}

    def __init__(self, folder: Path, account: Account) -> None:
        super().__init__(World(folder, account=account))
        self.manager = self.world.boot()

    def stop(self, service: str) -> None:
        self.manager.systemctl("stop", f"{service}-dev.service")


class Apptainer(Bed):
    """Each version of an image is there as soon as a commit names it."""

    launcher = "apptainer"
    own: ClassVar[Mapping[str, str]] = {"apptainer": "{start_seconds: 0}"}
    quickly: ClassVar[Mapping[str, str]] = {"apptainer": "{start_seconds: 1}"}
    family_size = 4  # `appinit` has the marks in another place

    def __init__(self, folder: Path, account: Account) -> None:
        super().__init__(World(folder, account=account))
        self.component = ""  # a further key of both components

    def commit(self, services: Mapping[str, str] | None = None, **versions: str) -> str:
        for version in {*self.versions.values(), *versions.values()}:
            if not (self.world.folder / f"app-{version}.sif").exists():
                image(self.world.folder, version)
        given = {"folder": self.world.folder, "more": self.component}
        text = "".join(_IMAGE.format(name=name, **given) for name in self.versions)
        self.world.write({"desired/defaults.yaml": f"components:\n{text}"})
        return super().commit(services, **versions)

    def stop(self, service: str) -> None:
        pid = self.pid(service)
        os.kill(pid, signal.SIGKILL)
        records = self.world.folder / "a"
        until(lambda: not os.path.exists(f"/proc/{pid}") and not list(records.rglob(f"{service}-dev.json")))

    def images(self) -> set[str]:
        """Those that are installed."""
        return {path.name for path in (self.world.root / "images").glob("*.sif")}

    def image(self, service: str) -> str:
        """The file that its instance was started from."""
        pid = self.pid(service)
        return next(one.image for one in instances() if one.pid == pid)

    def family(self) -> str:
        """Nothing in the image can begin a session."""
        return "sh -c 'sleep 86397 & sh -c \"sleep 86397 & sleep 86397\" & exec sleep 86399'"


class Slurm(Bed):
    """Its job runs on this machine."""

    launcher = "slurm"
    own: ClassVar[Mapping[str, str]] = {"slurm": "{startsecs: 0}"}
    quickly: ClassVar[Mapping[str, str]] = {"slurm": "{startsecs: 1, startretries: 0}"}

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.cluster = cluster
        self.deck = Deck(folder, cluster)
        super().__init__(self.deck.world)

    def settings_text(self) -> str:
        """Names of nodes are not known to any resolver here."""
        return ", ".join(filter(None, ('address: "127.0.0.1"', self.settings)))

    def job(self) -> Job:
        return self.deck.job()

    def stop(self, service: str) -> None:
        """As its own supervisord is told to by whoever has the key."""
        note = json.loads(next((self.world.root / "run/slurm").glob("*.json")).read_text())
        with xmlrpc.client.ServerProxy(f"http://{USER}:{note['key']}@127.0.0.1:{note['port']}/RPC2") as client:
            client.supervisor.stopProcess(service)

    def cancel(self) -> None:
        """Somebody does, by hand. Returns when nothing of it is left."""
        self.cluster.run("scancel", self.job().id)
        until(lambda: not self.deck.jobs() and not self.pids(), seconds=60)

    def end(self) -> None:
        self.deck.end()

