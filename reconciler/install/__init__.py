"""How a version gets onto a host. A new method is one module and one line of `_MODULES`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from reconciler.install.base import Method

_MODULES = {
    "apptainer-docker": "reconciler.install.apptainer.docker",
    "apptainer-sif": "reconciler.install.apptainer.sif",
    "none": "reconciler.install.none",
    "venv": "reconciler.install.venv",
}

NAMES = tuple(_MODULES)


@cache
def method(name: str) -> Method:
    """The install method of this name; a `KeyError` for any that is not in `NAMES`."""
    return cast("Method", import_module(_MODULES[name]).METHOD)
