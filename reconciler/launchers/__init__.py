"""What keeps services running. A new launcher is one package and one line of `_MODULES`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from reconciler.launchers.base import Launcher

_MODULES = {
    "supervisor": "reconciler.launchers.supervisor",
    "systemd": "reconciler.launchers.systemd",
    "apptainer": "reconciler.launchers.apptainer",
    "slurm": "reconciler.launchers.slurm",
}

NAMES = tuple(_MODULES)


@cache
def launcher(name: str) -> Launcher:
    """The launcher of this name; a `KeyError` for any that is not in `NAMES`."""
    return cast("Launcher", import_module(_MODULES[name]).LAUNCHER)
