"""Every launcher with every install method that it can keep: eight combinations, each one value."""

from __future__ import annotations

from typing import NamedTuple

COMPONENTS = ("app", "tool")  # the first is bumped, the second never
SERVICES = ("app-a", "app-b", "tool-a", "tool-b")
APP = {"app-a", "app-b"}

AFTER = {"app-b": ["app-a"], "tool-b": ["app-a", "tool-a"]}  # one waits for what it does not restart with
_AT_ONCE = {"supervisor": {"startsecs": 0}, "systemd": {"start_seconds": 0}, "apptainer": {"start_seconds": 0}}


class Combination(NamedTuple):
    """How four services of two components are kept, and how their versions get onto the host."""

    launcher: str
    install: str
    mode: str = ""  # of containers

    def __str__(self) -> str:
        return "-".join(filter(None, (self.launcher, self.install.removeprefix("apptainer-"), self.mode)))

    @property
    def is_image(self) -> bool:
        return bool(self.mode)

    @property
    def is_instance(self) -> bool:
        return self.mode == "instance"

    @property
    def needs(self) -> tuple[str, ...]:
        """The marks of its tests."""
        return tuple(dict.fromkeys((self.launcher, *(["apptainer"] if self.is_image else []))))

    def unit(self, service: str) -> str:
        """What it is called on the host."""
        return {"supervisor": service, "systemd": f"{service}-dev.service"}.get(self.launcher, f"{service}-dev")

    def script(self, service: str) -> str:
        """The file name of its start script."""
        return self.unit(service).removesuffix(".service")

    def service(self, name: str) -> dict[str, object]:
        """Its keys, but for the command."""
        component, _, _ = name.partition("-")
        keys: dict[str, object] = {"component": component, "launcher": self.launcher, "files": [f"{component}.conf"]}
        return {**keys, "after": AFTER.get(name, []), self.launcher: _AT_ONCE[self.launcher]}


COMBINATIONS = (
    Combination("supervisor", "none"),
    Combination("supervisor", "venv"),
    Combination("supervisor", "apptainer-sif", "run"),
    Combination("systemd", "none"),
    Combination("systemd", "venv"),
    Combination("systemd", "apptainer-sif", "run"),
    Combination("systemd", "apptainer-sif", "instance"),
    Combination("apptainer", "apptainer-sif", "instance"),
)
