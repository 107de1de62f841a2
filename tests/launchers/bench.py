"""A deployment of one combination on this host, the command line, and what the host itself says of it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any, NamedTuple

from tests.backends.account import ordinary
from tests.backends.instances import helpers, instances
from tests.backends.manager import runs
from tests.launchers import running, versions
from tests.launchers.foreign import Foreign, foreign_of
from tests.launchers.matrix import AFTER, COMPONENTS, SERVICES, Combination
from tests.scenarios.world import Done, World, until

_OFTEN = ("lock", "source.json")  # below the state directory: who passes, and when the remote was asked


_VERSIONS = (("app", "1.0"), ("app", "2.0"), ("tool", "1.0"))


class Passed(NamedTuple):
    """A plan, and the pass that has carried it out."""

    changes: Mapping[str, Mapping[str, Any]]  # by service, those that are not kept
    steps: tuple[str, ...]
    changed: frozenset[str]  # services that had a process, and have another one now

    @property
    def kinds(self) -> dict[str, str]:
        return {name: change["kind"] for name, change in self.changes.items()}

    def why(self, service: str) -> str:
        return "; ".join(self.changes[service]["reasons"])


class Bench:
    """`wanted` and `app` are what git says after the next `commit`."""

    def __init__(self, combination: Combination, folder: Path) -> None:
        self.combination = combination
        self.world = World(folder, account=ordinary())
        if combination.launcher == "systemd":
            self.world.boot()
        self.wanted = list(SERVICES)
        self.app = "1.0"
        self.foreign: Foreign = foreign_of(combination, self.world)
        self._settled = False
        made = [versions.make(self.world, combination.install, *one) for one in _VERSIONS]
        self._sums = {
            version: _sha256(path) for (name, version), path in zip(_VERSIONS, made, strict=True) if name == "app"
        }
        self.commit()

    # ------------------------------------------------------------ git

    def commit(self) -> None:
        self._settled = False
        how = self.combination
        layer = {
            "versions": {"app": self.app, "tool": "1.0"},
            "vars": {"sums": self._sums},
            "components": {name: self._component(name) for name in COMPONENTS},
            "files": {
                f"{name}.conf": {"template": f"{name}.conf.j2", "path": f"{{{{ paths.config }}}}/{name}.conf"}
                for name in COMPONENTS
            },
            "services": {
                name: how.service(name) | {"command": versions.command(self.world, how.install, name.partition("-")[0])}
                for name in self.wanted
            },
        }
        templates = {f"templates/{name}.conf.j2": f"version = {{{{ versions.{name} }}}}\n" for name in COMPONENTS}
        self.world.commit({"desired/defaults.yaml": json.dumps(layer), **templates})

    def _component(self, name: str) -> dict[str, object]:
        """Git says of the images of one component what must be in them."""
        how = self.combination
        keys = versions.component(self.world, how.install, how.mode, name)
        return keys | {"sha256": "{{ sums[version] }}"} if how.is_image and name == "app" else keys

    def cold_start(self) -> None:
        """From nothing, in one pass; the next one does nothing, and says nothing to cron. Then foreign things come."""
        passed = self.converge()
        assert passed.kinds == dict.fromkeys(SERVICES, "create"), passed
        starts = [name for step in passed.steps if (name := step.removeprefix("start:")) in SERVICES]
        assert sorted(starts) == list(SERVICES)
        for name in SERVICES:
            for earlier in AFTER.get(name, ()):
                assert starts.index(earlier) < starts.index(name)
        self.silent()
        self.foreign.begin()
        self.settled()

    # ------------------------------------------------------------ the command line

    def converge(self) -> Passed:
        """A plan, and a pass that does what it says and no more."""
        self._settled = False
        before = self.pids()
        files = self._on_host()
        plan = self._json("plan", "--json", codes=(0, 2))
        assert _different(files, self._on_host()) == []
        assert self.pids() == before
        report = self._json("--once", "--json", codes=(0,))
        until(lambda: all(map(self.is_up, self.wanted)), 10)  # here they count as started as soon as they are begun
        after = self.pids()
        assert _changes(report) == _changes(plan)
        assert _steps(report) == _steps(plan)
        assert report["converged"]
        assert {step["status"] for step in report["steps"]} <= {"done"}
        changed = frozenset(name for name in before.keys() & after.keys() if before[name] != after[name] and name)
        changes = {change["service"]: change for change in plan["changes"] if change["kind"] != "keep"}
        assert {name for change in changes.values() for name in change["restarts"]} == changed
        return Passed(changes, _steps(plan), changed)

    def settled(self) -> None:
        """All is as git wants it; a second pass does nothing at all."""
        pids, files = self.pids(), self.snapshot()
        second = self._json("--once", "--json", codes=(0,))
        assert (_steps(second), second["converged"]) == ((), True)
        assert {change["kind"] for change in second["changes"]} <= {"keep"}
        assert _different(files, self.snapshot()) == []
        assert self.pids() == pids
        assert pids.keys() - {""} == set(self.wanted)
        self._tells_what_runs(pids)
        assert self.foreign.state() == self.foreign.known
        assert self.left_behind() == []
        self._settled = True

    def silent(self) -> None:
        """As from cron: not a word."""
        done = self.world.run("--once")
        assert (done.code, done.out, done.err) == (0, "", "")

    @property
    def is_settled(self) -> bool:
        return self._settled

    def touched(self) -> None:
        """Something is about to be changed by hand."""
        self._settled = False

    def _tells_what_runs(self, pids: Mapping[str, int]) -> None:
        """`status`, and what the programs themselves say."""
        due = {name: self.version(name) for name in self.wanted}
        until(lambda: all(versions.served(pids[name]) for name in due), 10)
        assert {name: versions.served(pids[name]) for name in due} == due
        status = {one["service"]: one for one in self._json("status", "--json", codes=(0,))["services"]}
        assert {name: (one["version"], one["wanted"], one["pid"]) for name, one in status.items()} == {
            name: (version, version, pids[name]) for name, version in due.items()
        }
        assert {one["state"] for one in status.values()} | {one["healthy"] for one in status.values()} == {
            "running",
            True,
        }

    def _json(self, *words: str, codes: tuple[int, ...]) -> dict[str, Any]:
        """Of the one deployment."""
        done: Done = self.world.run(*words)
        assert done.code in codes, done.said
        deployment: dict[str, Any] = done.json()["deployments"][0]
        return deployment

    # ------------------------------------------------------------ the host

    def version(self, service: str) -> str:
        """The one that it should have."""
        return self.app if service.startswith("app") else "1.0"

    def unit(self, service: str) -> str:
        return self.combination.unit(service)

    def pids(self) -> dict[str, int]:
        """By service; a daemon of the deployment's own under the empty name."""
        return running.pids(self.world)

    def pid(self, service: str) -> int:
        return self.pids()[service]

    def is_up(self, service: str) -> bool:
        """It says its version, and all that is written about its start has been written."""
        pid = self.pids().get(service, 0)
        if not pid or not versions.served(pid):
            return False
        if self.combination.launcher != "systemd" or not self.combination.is_instance:
            return True
        note = self.world.root / f"run/{self.combination.script(service)}.pid"
        return note.exists() and note.read_text().strip() == str(pid)

    def shim(self, service: str) -> Path:
        return self.world.root / "bin" / self.combination.script(service)

    def description(self, service: str) -> Path:
        """What the launcher reads of it."""
        if self.combination.launcher == "supervisor":
            return self.world.root / f"config/supervisor/{service}.conf"
        return self.units / self.unit(service) if self.combination.launcher == "systemd" else self.shim(service)

    @property
    def units(self) -> Path:
        return self.world.home / ".config/systemd/user"

    def record(self, name: str) -> Path:
        """Apptainer's, of an instance."""
        user = self.world.account.name
        return self.world.folder / "a/instances/app" / os.uname().nodename / user / name / f"{name}.json"

    def age(self) -> None:
        """Wait until what is done to files now is clearly later than the start of all that runs."""
        born = max(os.stat(f"/proc/{pid}").st_mtime for pid in self.pids().values())
        until(lambda: time() - born > 1.1)

    def as_user(self, *argv: str, code: int = 0) -> str:
        """As a person of this account runs it."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            argv, cwd=self.world.folder, env=self.world.env, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, check=False, **self.world.account.become,
        )  # fmt: skip
        assert done.returncode == code, f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def snapshot(self) -> dict[str, tuple[int, ...]]:
        """Everything of ours on disk, by path: what it is, and when it was written."""
        found: dict[str, tuple[int, ...]] = {}
        for path in self._files():
            with suppress(FileNotFoundError):
                info = os.lstat(path)
                size = info.st_size if stat.S_ISREG(info.st_mode) else 0
                found[path] = (info.st_ino, info.st_mode, size, info.st_mtime_ns)
        return found

    def _on_host(self) -> dict[str, tuple[int, ...]]:
        """The same without what the agent keeps for itself: a plan may fetch and remember."""
        return {path: was for path, was in self.snapshot().items() if not path.startswith(f"{self.world.state}")}

    def _files(self) -> Iterator[str]:
        """Logs grow, and the locks and the time of the last fetch are any pass's to write."""
        world = self.world
        for top in (world.root, world.state, world.home / ".config", world.folder / "a/instances"):
            yield str(top)
            for folder, folders, files in os.walk(top):
                if "logs" in folder.split("/"):
                    continue
                often = _OFTEN if top == world.state else ()
                yield from (f"{folder}/{name}" for name in (*folders, *files) if name not in often)

    def left_behind(self) -> list[str]:
        """What lies about of services that git does not want, but for their logs."""
        names = [self.combination.script(name) for name in SERVICES if name not in self.wanted]
        return [
            path
            for path in (self._files() if names else ())
            for name in names
            if (base := os.path.basename(path)) == name or base.startswith(f"{name}.")
        ]

    # ------------------------------------------------------------ its end

    def power_cut(self) -> None:
        """All that runs is gone at once, foreign things too; files stay as they are."""
        self.touched()
        theirs = [one.pid for one in instances() if one.image.startswith(f"{self.world.folder}/")]
        self.world.power_cut()
        for pid in (*theirs, *helpers(self.world.folder)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(map(runs, theirs)))

    def end(self) -> None:
        self.power_cut()


def _changes(deployment: Mapping[str, Any]) -> list[tuple[object, ...]]:
    return [(c["service"], c["kind"], c["reasons"], c["restarts"]) for c in deployment["changes"]]


def _steps(deployment: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(step["id"] for step in deployment["steps"])


def _different(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    return sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
