"""Units that a start script of ours names: of this launcher they are the only description."""

from __future__ import annotations

import os

from reconciler.core.problem import Gap
from reconciler.host import files
from reconciler.launchers.apptainer.words import KEEPER, NAME
from reconciler.launchers.shim import owner_of

_HEADER = 4096  # bytes of a start script that hold its header and its marks


def read(folder: str, deployment: str) -> tuple[dict[tuple[str, str], str], tuple[Gap, ...]]:
    """By unit, the script in this folder; and what could not be read."""
    claimed, gaps = {}, []
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}, ()
    except OSError as error:
        return {}, (Gap("launcher", NAME, f"{folder} cannot be listed: {error.strerror}"),)
    for path in (f"{folder}/{name}" for name in names if not name.startswith(".")):
        try:
            head = files.head(path, _HEADER)
        except FileNotFoundError:
            continue
        except OSError as error:
            gaps.append(Gap("file", path, f"{path} cannot be read: {error.strerror}"))
            continue
        owner = owner_of(head)
        if owner and owner.deployment == deployment and f" {KEEPER}={NAME} " in head:
            claimed[NAME, owner.unit] = path
    return claimed, tuple(gaps)
