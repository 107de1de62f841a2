"""A deployment for tests of the launcher `systemd`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.launchers.base import Container, Mode, Place, ServiceSpec

FOLDERS = ("bin", "config", "logs", "run", "images", "venvs")


def place(root: Path | str, settings: Mapping[str, object] | None = None, home: Path | str = "/home/jaws") -> Place:
    paths = {"root": str(root)} | {name: f"{root}/{name}" for name in FOLDERS}
    return Place("dori", "dev", paths, settings or {}, str(home))


def service(name: str, command: str = "sleep 1000", **changes: Any) -> ServiceSpec:
    whole = ServiceSpec(
        name=name,
        unit=f"{name}-dev.service",
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
        options={"start_seconds": 0},
        spec="spec-1",
    )
    return whole._replace(**changes)


def instance(name: str, image: Path | str, home: Path | str = "/home/jaws", **changes: Any) -> ServiceSpec:
    """A service in an Apptainer instance."""
    box = Container(
        mode=Mode.INSTANCE,
        program="apptainer",
        image=str(image),
        instance=f"{name}-dev",
        mounts=(),
        options=(),
        configdir=f"{home}/.apptainer",
        home=False,
        cleanenv=True,
    )
    return service(name, container=box, **changes)
