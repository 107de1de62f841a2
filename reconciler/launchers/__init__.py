"""What keeps services running. A new launcher is one package and one line of `_MODULES`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from reconciler.core.desired import Manager
    from reconciler.launchers.base import Backend, Launcher, Shared

_MODULES = {
    "supervisor": "reconciler.launchers.supervisor",
    "systemd": "reconciler.launchers.systemd",
    "apptainer": "reconciler.launchers.apptainer",
    "slurm": "reconciler.launchers.slurm",
}

NAMES = tuple(_MODULES)

# What runs under these was made by hand. Git cannot name them; `reconcile adopt` notes them in the inventory.
BY_HAND: Mapping[str, str] = {
    "adopted-supervisor": "reconciler.launchers.adopted.supervisor",
    "adopted-systemd": "reconciler.launchers.adopted.systemd",
}


@cache
def launcher(name: str) -> Launcher:
    """The launcher of this name; a `KeyError` for any that is not in `NAMES`."""
    return cast("Launcher", import_module(_MODULES[name]).LAUNCHER)


def is_by_hand(name: str) -> bool:
    return _kind(name) in BY_HAND


def _kind(name: str) -> str:
    """A deployment may have adopted from several daemons of one kind: the second is `adopted-supervisor-2`."""
    kind, _, number = name.rpartition("-")
    return kind if number.isdecimal() else name


def by_hand(name: str, manager: Manager, shared: Shared | None = None) -> Backend:
    """What drives units that were made by hand, under one of `BY_HAND`."""
    return cast("Backend", import_module(BY_HAND[_kind(name)]).backend(manager, shared))
