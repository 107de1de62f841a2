"""A deployment below one folder on a real `systemd --user` of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

from reconciler.core.desired import Role
from reconciler.core.observed import Drift, Process, State, Unit
from reconciler.host import files, proc
from reconciler.launchers.base import Look, Rendering, ServiceSpec
from reconciler.launchers.systemd import LAUNCHER
from reconciler.launchers.systemd.backend import SystemdBackend
from tests.backends.account import Account, current
from tests.backends.manager import Manager
from tests.systemd.deployment import place, service

T = TypeVar("T")


def until(what: Callable[[], T | None], seconds: float = 20.0) -> T:
    """Wait for something to come true, and give it back."""
    end = monotonic() + seconds
    while not (found := what()):
        assert monotonic() < end, "it never came true"
        sleep(0.01)
    return found


class Host:
    """`manager` is the real one; `backend` drives it."""

    def __init__(self, folder: Path, account: Account | None = None, root: str = "d") -> None:
        self.account = account or current()
        self.account.folder(folder)
        self.manager = Manager(folder / "m", self.account)
        self.root = folder / root
        self.settings: Mapping[str, object] = {}
        self.linger = folder / "linger"
        self.render()

    def render(self, *services: ServiceSpec) -> Rendering:
        """Write everything for these services; what is there of others stays. They are what git wants."""
        where = place(self.root, self.settings, self.manager.home)
        assert LAUNCHER.check_settings(where) == ""
        assert [problem for one in services if (problem := LAUNCHER.check(where, one))] == []
        rendering = LAUNCHER.render(where, services)
        for folder in ("logs", "run"):
            files.make_folder(f"{self.root}/{folder}", 0o700)
        for file in rendering.files:
            files.make_folder(os.path.dirname(file.path), 0o755)
            files.write(file.path, file.content, file.mode, sync=False)
        self.account.own_all(self.root)
        self.account.own_all(self.manager.home)
        self.backend = SystemdBackend(rendering.manager, 20.0, str(self.manager.runtime), str(self.linger))
        return rendering

    def up(self, *services: ServiceSpec) -> None:
        """Render and start them, each step as it is to be taken."""
        self.render(*services)
        assert self.backend.reload() == frozenset()
        names = [one.unit for one in services]
        for verb in (self.backend.add, self.backend.start):
            assert [outcome for outcome in verb(names) if outcome.error] == []

    def run(self, name: str = "rpc", command: str = "sleep 1000", **options: object) -> Unit:
        """Start one service and wait until it runs."""
        self.up(service(name, command, options={"start_seconds": 0, **options}))
        return self.await_state(f"{name}-dev.service", State.RUNNING)

    def look(self) -> Look:
        self.backend.ask()
        return self.backend.answer(self.processes())

    def seen(self, name: str = "rpc-dev.service") -> Unit:
        """What a look tells of a unit, when nothing could not be told."""
        look = self.look()
        assert look.gaps == ()
        return look.units.get(("systemd", name)) or Unit("systemd", name, State.ABSENT)

    def drift(self, name: str = "rpc-dev.service") -> tuple[Drift, ...]:
        return self.seen(name).drift

    def processes(self) -> dict[int, Process]:
        found, gaps = proc.scan("dori/dev")
        assert gaps == ()
        return {pid: one for pid, one in found.items() if one.mark and one.mark.root == str(self.root)}

    def unit(self, name: str = "rpc-dev.service") -> Unit:
        return self.backend.units([name])[name]

    def await_state(self, name: str, state: State) -> Unit:
        def reached() -> Unit | None:
            unit = self.unit(name)
            return unit if unit.state is state else None

        return until(reached)

    def file(self, rendering: Rendering, role: Role = Role.UNIT) -> Path:
        (path,) = (file.path for file in rendering.files if file.role is role)
        return Path(path)

    def end(self) -> None:
        self.backend.close()
        self.manager.end()
