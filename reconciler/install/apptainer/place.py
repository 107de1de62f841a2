"""Whether the image in its place is the one that git wants. No process is started for it."""

from __future__ import annotations

import os
from enum import Enum
from functools import lru_cache
from stat import S_ISREG

from reconciler.core.desired import Install
from reconciler.install.building import first_line


class Standing(Enum):
    """What stands in the place of an image."""

    MISSING = "missing"
    RIGHT = "right"
    UNPROVEN = "unproven"  # its digest alone can tell
    OTHER = "other"  # it is of another build, or no file at all


def beside(install: Install, ending: str) -> str:
    """A name of ours next to the image."""
    folder, name = os.path.split(install.path)
    return os.path.join(folder, f".{name}.{ending}")


def standing(install: Install) -> Standing:
    """What the image's own state and the marker beside it tell. Raises `OSError` where that cannot be told.

    Whoever replaces an image by hand has the last word, unless git says with `sha256` what it must be.
    """
    info = stat_of(install.path)
    if info is None:
        return Standing.MISSING
    if not S_ISREG(info.st_mode):
        return Standing.OTHER
    if not install.source and not install.sha256:
        return Standing.RIGHT  # others put it there
    identity, _, file = first_line(beside(install, "complete")).partition(" ")
    if identity == install.digest and (not install.sha256 or file == told(info)):
        return Standing.RIGHT
    return Standing.UNPROVEN if install.sha256 else Standing.OTHER


def is_right(install: Install) -> bool:
    """As `standing`, but it reads the whole image where only that can tell. Raises `OSError`."""
    found = standing(install)
    return found is Standing.RIGHT or (found is Standing.UNPROVEN and has_digest(install))


def has_digest(install: Install) -> bool:
    """Whether the file in place has the digest that git says. It is read once, however often it is asked about."""
    info = os.stat(install.path)
    return _digest(install.path, told(info), info.st_dev) == install.sha256


def record(install: Install, info: os.stat_result, maker: str) -> None:
    """Say beside the image that this very file is of this build. Raises `OSError`.

    `maker`: the component that it was made for; empty for what others have put there, also where that is what git
    wants: it is theirs.
    """
    from reconciler.host import files

    marker = beside(install, "complete")
    text = f"{install.digest} {told(info)}\n{install.id}\n" + (f"{maker}\n" if maker else "")
    files.write(marker, text.encode("utf-8", "surrogateescape"), 0o644)
    files.sync_folders((marker,))


def forget(install: Install) -> None:
    """Say no longer which build the image is of. Raises `OSError`."""
    from reconciler.host import files

    marker = beside(install, "complete")
    files.remove(marker)
    files.sync_folders((marker,))


def stat_of(path: str) -> os.stat_result | None:
    """None where there is nothing. Raises `OSError` where that cannot be told."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def told(info: os.stat_result) -> str:
    """A file's identity and state, as the marker has it: another host's number of the device means nothing."""
    return f"{info.st_size} {info.st_mtime_ns} {info.st_ino}"


@lru_cache(maxsize=64)
def _digest(path: str, told: str, device: int) -> str:  # noqa: ARG001 - they tell one state of a file from another
    from reconciler.install.apptainer.content import sha256_of

    return sha256_of(path)
