"""The files of ours in a supervisord's include folder: which programs they describe."""

from __future__ import annotations

import os
from typing import NamedTuple

from reconciler.core.problem import Gap
from reconciler.host import files
from reconciler.launchers.shim import owner_of

_HEADER = 1024  # bytes of a file that hold its header


class Sections(NamedTuple):
    claimed: dict[tuple[str, str], str]  # by launcher and unit, the file that describes it
    copies: tuple[str, ...] = ()  # further files that describe a unit
    gaps: tuple[Gap, ...] = ()


def read(launcher: str, folder: str, deployment: str) -> Sections:
    """Units that a file of this deployment's names, with those files, and further files that do.

    Of several, supervisord goes by the one that it reads last. Ours is the one that is called as the unit.
    """
    found: dict[str, list[str]] = {}
    gaps = []
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return Sections({})
    except OSError as error:
        return Sections({}, gaps=(Gap("launcher", launcher, f"{folder} cannot be listed: {error.strerror}"),))
    for name in sorted(names):
        if not name.endswith(".conf") or name.startswith("."):
            continue
        path = f"{folder}/{name}"
        try:
            owner = owner_of(files.head(path, _HEADER))
        except FileNotFoundError:
            continue
        except OSError as error:
            gaps.append(Gap("file", path, f"{path} cannot be read: {error.strerror}"))
            continue
        if owner and owner.unit and owner.deployment == deployment:
            found.setdefault(owner.unit, []).append(path)
    claimed = {}
    for unit, paths in found.items():
        own = f"{folder}/{unit}.conf"
        claimed[launcher, unit] = paths.pop(paths.index(own) if own in paths else 0)
    return Sections(claimed, tuple(path for paths in found.values() for path in paths), tuple(gaps))
