"""Things of somebody else's beside ours, with names near ours: nothing may ever happen to them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from tests.backends.images import image
from tests.backends.instances import instances
from tests.launchers.matrix import Combination
from tests.scenarios.world import World, until

State = Mapping[str, "Thing"]

# A generated file of another deployment's, as far as its header goes.
_THEIRS = "# managed by reconcile: deployment=elsewhere/dev unit={} root=/nowhere\n"


class Foreign(Protocol):
    """All of one launcher. `known` is what must not change."""

    known: State

    def begin(self) -> None:
        """Make and start them. Ours may run already."""

    def after_power_cut(self) -> None:
        """What their owners do before anything of ours runs."""

    def after_boot(self) -> None:
        """What they do when systemd is there, before our first pass."""

    def note(self) -> None:
        """What is there now is what must stay."""

    def state(self) -> State: ...


class Thing(NamedTuple):
    """A running thing, and its file to the byte; zero and empty for what is gone."""

    pid: int
    inode: int
    content: bytes


def _thing(pid: int, path: Path) -> Thing:
    return Thing(pid, path.stat().st_ino, path.read_bytes()) if path.exists() else Thing(pid, 0, b"")


class _Base:
    def __init__(self, world: World) -> None:
        self.world = world
        self.known: State = {}

    def note(self) -> None:
        self.known = self.state()

    def after_power_cut(self) -> None: ...

    def after_boot(self) -> None: ...

    def state(self) -> dict[str, Thing]:
        raise NotImplementedError


# ---------------------------------------------------------------- supervisor


class Programs(_Base):
    """Programs in the supervisord of the deployment. It comes back with our pass, and starts them."""

    names = ("tool", "tool-b2", "tool-b-dev", "theirs")

    def _path(self, name: str) -> Path:
        return self.world.root / f"config/supervisor/{name}.conf"

    def begin(self) -> None:
        for name in self.names:
            header = _THEIRS.format(name) if name == "theirs" else ""
            self._path(name).write_text(f"{header}[program:{name}]\ncommand=/bin/sleep 86399\nstartsecs=0\n")
            self.world.account.own(self._path(name))
        self.world.supervisorctl("reread")
        self.world.supervisorctl("add", *self.names)
        until(lambda: self._pids().keys() >= set(self.names))
        self.note()

    def state(self) -> dict[str, Thing]:
        pids = self._pids()
        return {name: _thing(pids.get(name, 0), self._path(name)) for name in self.names}

    def _pids(self) -> dict[str, int]:
        """Of those that run, as `NAME  RUNNING  pid 12, uptime 0:00:01` tells."""
        lines = (line.replace(",", " ").split() for line in self.world.supervisorctl("status").splitlines())
        return {words[0]: int(words[3]) for words in lines if words[1:3] == ["RUNNING", "pid"]}


# ---------------------------------------------------------------- systemd


class Units(_Base):
    """Units in the account's own folder. `bare` is enabled, and comes back at boot."""

    bare = "tool-b.service"
    names = (bare, "tool-b-dev2.service", "my-tool-b-dev.service", "theirs.service")

    def _path(self, name: str) -> Path:
        return self.world.home / ".config/systemd/user" / name

    def begin(self) -> None:
        assert self.world.manager
        service = "[Service]\nExecStart=/bin/sleep 86399\n[Install]\nWantedBy=default.target\n"
        for name in self.names:
            self.world.manager.write(name, (_THEIRS.format(name) if name == "theirs.service" else "") + service)
        self._path(f"{self.bare}.d").mkdir()
        (self._path(f"{self.bare}.d") / "mine.conf").write_text("[Service]\nEnvironment=MINE=1\n")
        self.world.account.own_all(self._path(f"{self.bare}.d"))
        self.world.manager.systemctl("daemon-reload")
        self.world.manager.systemctl("enable", self.bare)
        self.world.manager.systemctl("start", *self.names)
        self.note()

    def after_boot(self) -> None:
        assert self.world.manager
        self.world.manager.systemctl("start", *self.names)
        self.note()

    def state(self) -> dict[str, Thing]:
        found = {name: _thing(self._pid(name), self._path(name)) for name in self.names}
        found["drop-in"] = _thing(0, self._path(f"{self.bare}.d") / "mine.conf")
        link = self._path("default.target.wants") / self.bare
        found["enabled"] = Thing(0, link.lstat().st_ino, os.fsencode(os.readlink(link)))
        return found

    def _pid(self, name: str) -> int:
        assert self.world.manager
        return int(self.world.manager.show(name, "MainPID")["MainPID"])


# ---------------------------------------------------------------- apptainer


class Instances(_Base):
    """Instances of the same account, with their records in the same folder. One carries another's marks."""

    names = ("tool-b", "tool-b-dev2", "theirs")

    def begin(self) -> None:
        """Without any mark, and with those of another deployment that calls its services the same."""
        self.image = image(self.world.account.folder(self.world.folder / "theirs"), "7.0")
        for name in self.names:
            self._start(name, self._marks() if name == "theirs" else {})
        self.note()

    def _marks(self) -> dict[str, str]:
        marks = {"DEPLOYMENT": "elsewhere/dev", "ROOT": "/nowhere", "SERVICE": "tool-b", "PID": "1", "SPEC": "x"}
        return {f"APPTAINERENV_RECONCILE_{name}": value for name, value in marks.items()} | {
            "APPTAINERENV_RECONCILE_LAUNCHER": "apptainer"
        }

    def _start(self, name: str, env: Mapping[str, str]) -> None:
        argv = ["apptainer", "instance", "start", str(self.image), name, "sleep", "86399"]
        subprocess.run(
            argv, cwd=self.world.folder, env={**self.world.env, **env}, check=True,
            capture_output=True, timeout=60, **self.world.account.become,
        )  # fmt: skip

    def after_power_cut(self) -> None:
        """Their owner starts them again."""
        self.begin()

    def state(self) -> dict[str, Thing]:
        found = {one.name: one.pid for one in instances() if one.image == str(self.image)}
        return {name: _thing(found.get(name, 0), self._record(name)) for name in self.names}

    def _record(self, name: str) -> Path:
        user = self.world.account.name
        return self.world.folder / "a/instances/app" / os.uname().nodename / user / name / f"{name}.json"


class Several(_Base):
    """Units and instances."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.kinds: tuple[Units, Instances] = (Units(world), Instances(world))

    def begin(self) -> None:
        for kind in self.kinds:
            kind.begin()
        self.note()

    def after_power_cut(self) -> None:
        for kind in self.kinds:
            kind.after_power_cut()

    def after_boot(self) -> None:
        for kind in self.kinds:
            kind.after_boot()
        self.note()

    def state(self) -> dict[str, Thing]:
        return {f"{type(kind).__name__} {name}": thing for kind in self.kinds for name, thing in kind.state().items()}


def foreign_of(combination: Combination, world: World) -> Foreign:
    """What may stand beside services that are kept so."""
    if combination.launcher == "supervisor":
        return Programs(world)
    if combination.launcher == "apptainer":
        return Instances(world)
    return Several(world) if combination.is_instance else Units(world)
