"""A deployment of its own for each test, on a real supervisord."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

from reconciler.core.observed import Process, State, Unit
from reconciler.host import files, proc
from reconciler.launchers.base import Look, Place, Rendering, ServiceSpec
from reconciler.launchers.supervisor import LAUNCHER
from reconciler.launchers.supervisor.backend import SupervisorBackend

T = TypeVar("T")
FOLDERS = ("bin", "config", "logs", "run", "images", "venvs")


def place(root: Path | str, settings: Mapping[str, object] | None = None) -> Place:
    paths = {"root": str(root)} | {name: f"{root}/{name}" for name in FOLDERS}
    return Place("dori", "dev", paths, settings or {}, str(root))


def service(name: str, command: str = "sleep 1000", **changes: object) -> ServiceSpec:
    whole = ServiceSpec(
        name=name,
        unit=name,
        component="site",
        version="2.8.1",
        group="jaws-site",
        command=command,
        env=(("LC_ALL", "C.UTF-8"),),
        prologue="",
        exports=(),
        container=None,
        stop_signal="TERM",
        stop_seconds=5.0,
        options={"startsecs": 0},
        spec="spec-1",
    )
    return whole._replace(**changes)  # type: ignore[arg-type]


def until(what: Callable[[], T | None], seconds: float = 20.0) -> T:
    """Wait for something to come true, and give it back."""
    end = monotonic() + seconds
    while not (found := what()):
        assert monotonic() < end, "it never came true"
        sleep(0.01)
    return found


class Site:
    """One deployment below one folder."""

    def __init__(self, root: Path, settings: Mapping[str, object] | None = None, seconds: float = 10.0) -> None:
        self.place = place(root, settings)
        self.root = root
        self.seconds = seconds
        self.rendering = self.render()
        self.backend = self._backend()

    def render(self, *services: ServiceSpec) -> Rendering:
        """Write everything for these services; what is there of others stays."""
        assert LAUNCHER.check_settings(self.place) == ""
        assert [LAUNCHER.check(self.place, one) for one in services if LAUNCHER.check(self.place, one)] == []
        self.rendering = LAUNCHER.render(self.place, services)
        for folder in ("logs", "run", "config/supervisor"):
            files.make_folder(f"{self.root}/{folder}", 0o700)
        for file in self.rendering.files:
            files.make_folder(os.path.dirname(file.path), 0o700)
            files.write(file.path, file.content, file.mode, sync=False)
        return self.rendering

    def _backend(self) -> SupervisorBackend:
        assert self.rendering.manager
        return SupervisorBackend(self.rendering.manager, self.seconds)

    def up(self, *services: ServiceSpec) -> None:
        """Render, start the daemon, and start the services, each step as taken."""
        self.render(*services)
        self.backend = self._backend()
        self.backend.start_daemon(lambda _: None)
        self.load(*services)

    def load(self, *services: ServiceSpec) -> None:
        names = [one.unit for one in services]
        self.backend.reload()
        for verb in (self.backend.add, self.backend.start):
            assert [outcome for outcome in verb(names) if outcome.error] == []

    def look(self) -> Look:
        self.backend.ask()
        return self.backend.answer(self.processes())

    def processes(self) -> dict[int, Process]:
        found, gaps = proc.scan("dori/dev")
        assert gaps == ()
        return {pid: one for pid, one in found.items() if one.mark and one.mark.root == str(self.root)}

    def process(self, name: str) -> Process | None:
        """The main process of a service, or the daemon for an empty name."""
        found = [one for one in self.processes().values() if one.mark and one.mark.service == name]
        assert len(found) <= 1
        return found[0] if found else None

    def daemon(self) -> Process:
        daemon = self.process("")
        assert daemon
        return daemon

    def unit(self, name: str) -> Unit:
        return self.backend.units([name])[name]

    def await_state(self, name: str, state: State) -> Unit:
        def reached() -> Unit | None:
            unit = self.unit(name)
            return unit if unit.state is state else None

        return until(reached)

    def kill_daemon(self) -> None:
        daemon = self.daemon()
        assert proc.signal_process(daemon.pid, daemon.started, signal.SIGKILL)
        assert proc.wait_gone([(daemon.pid, daemon.started)], 10)

    def end(self) -> None:
        """The daemons first, so that they start nothing again; then whatever is left."""
        while left := self.processes():
            daemons = [one for one in left.values() if one.mark and not one.mark.service]
            for one in daemons or left.values():
                assert proc.kill_group(one.pid, one.started, 0.0)


Make = Callable[..., Site]
