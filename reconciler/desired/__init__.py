"""The desired state: layers of YAML and templates in, complete deployments or a list of problems out.

`compile_site` and `validate` are pure: the same files and facts give the same result, on any machine.
Nothing that they are given makes them raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.desired.compiler import (
        Compiler,
        Examined,
        Result,
        compile_site,
        environments,
        examine,
        sites,
        validate,
    )
    from reconciler.desired.folder import Tree, UnreadableFolder, read_folder
    from reconciler.desired.ground import Facts
    from reconciler.desired.schema import json_schema

__all__ = [
    "Compiler",
    "Examined",
    "Facts",
    "Result",
    "Tree",
    "UnreadableFolder",
    "compile_site",
    "environments",
    "examine",
    "json_schema",
    "read_folder",
    "sites",
    "validate",
]

_HOMES = {
    "Compiler": "compiler",
    "Examined": "compiler",
    "Facts": "ground",
    "Result": "compiler",
    "Tree": "folder",
    "UnreadableFolder": "folder",
    "compile_site": "compiler",
    "environments": "compiler",
    "examine": "compiler",
    "json_schema": "schema",
    "read_folder": "folder",
    "sites": "compiler",
    "validate": "compiler",
}


def __getattr__(name: str) -> object:
    """Each name from its module when it is first used: a pass with nothing to do needs none of them."""
    if name not in _HOMES:
        raise AttributeError(name)
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
