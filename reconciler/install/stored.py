"""What stands in the folder of an install method: finished versions, unfinished builds, and what is half removed.

Only what reconcile has made itself counts, and says so: the marker of a build names its component. An image that
others have put there, or have put in the place of ours, is theirs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple

from reconciler.core.retention import GONE, Stored
from reconciler.host import files

_BUILD = re.compile(r".+-[0-9a-f]{8}")  # a venv, or what is to become one
_COMPLETE = ".complete"
_ASIDE = re.compile(r"(\..+)\.building-[^.]+")  # an image in the making
_MARKER = re.compile(r"\.(.+)\.complete")  # of an image
_MAKING = (".building", "pyvenv.cfg")  # what an unfinished venv has in it, unless it is empty


class Leftover(NamedTuple):
    """What a killed pass has left."""

    path: str
    lock: str = ""  # whoever builds there holds it; empty: nobody does
    version: str = ""  # path of the version that it was to become, or is of


class Shelf(NamedTuple):
    """What stands in one folder."""

    versions: tuple[Stored, ...] = ()
    leftovers: tuple[Leftover, ...] = ()


def shelf(folder: str, *, is_image: bool) -> Shelf:
    """Nothing where there is no such folder. Raises `OSError`."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return Shelf()
    gone = [Leftover(os.path.join(folder, name)) for name in names if name.startswith(GONE)]
    versions, left = _images(folder, names) if is_image else _venvs(folder, names)
    return Shelf(tuple(versions), (*gone, *left))


def again(one: Stored, *, is_image: bool) -> Stored | None:
    """The same as it stands now; None where it is no longer what it was. Raises `OSError`."""
    return _image(one.path) if is_image else _venv(one.path)


def lock_of(path: str, *, is_image: bool) -> str:
    """The lock that builders of this version take."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name if is_image else name[:-9]}.lock")


def marker_of(path: str, *, is_image: bool) -> str:
    """The file whose time of change is when it was finished, or last used."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.complete") if is_image else os.path.join(path, _COMPLETE)


def link_of(path: str) -> str:
    """The name for people of a venv."""
    store, name = os.path.split(path)
    return os.path.join(os.path.dirname(store), name[:-9])


def _venvs(folder: str, names: Iterable[str]) -> tuple[list[Stored], list[Leftover]]:
    versions, left = [], []
    for name in names:
        path = os.path.join(folder, name)
        if not _BUILD.fullmatch(name) or name.startswith(".") or not S_ISDIR(os.lstat(path).st_mode):
            continue
        found = _venv(path)
        if found is not None:
            versions.append(found)
        elif _is_unfinished(path):
            left.append(Leftover(path, lock_of(path, is_image=False), path))
    return versions, left


def _venv(path: str) -> Stored | None:
    lines, used = _marker(os.path.join(path, _COMPLETE))
    if len(lines) < 3 or not lines[0].startswith(path[-8:]):
        return None
    component, _, size = lines[2].partition(" ")
    version = lines[1].removeprefix(f"{component}-")
    if version == lines[1] or not size.isdecimal():
        return None
    return Stored(path, component, version, used, int(size))


def _is_unfinished(path: str) -> bool:
    """It was begun by a builder. What has a marker that says nothing of whose it is, is finished."""
    inside = os.listdir(path)
    return _COMPLETE not in inside and (not inside or any(name in inside for name in _MAKING))


def _images(folder: str, names: Iterable[str]) -> tuple[list[Stored], list[Leftover]]:
    versions, left = [], []
    for name in names:
        aside, marker = _ASIDE.fullmatch(name), _MARKER.fullmatch(name)
        if aside:
            path = os.path.join(folder, aside[1][1:])
            left.append(Leftover(os.path.join(folder, name), lock_of(path, is_image=True), path))
        elif marker:
            path = os.path.join(folder, marker[1])
            found = _image(path)
            versions += [found] if found is not None else []
            if not os.path.lexists(path) and len(_marker(os.path.join(folder, name))[0]) > 2:
                left.append(Leftover(os.path.join(folder, name), lock_of(path, is_image=True), path))
    return versions, left


def _image(path: str) -> Stored | None:
    from reconciler.install.apptainer.place import told

    lines, used = _marker(marker_of(path, is_image=True))
    if len(lines) < 3:
        return None
    with suppress(FileNotFoundError):
        info, component = os.lstat(path), lines[2]
        version = lines[1].removeprefix(f"{component}-")
        if S_ISREG(info.st_mode) and version != lines[1] and lines[0].partition(" ")[2] == told(info):
            return Stored(path, component, version, used, info.st_blocks * 512)
    return None


def _marker(path: str) -> tuple[list[str], float]:
    """Its lines, and when it was written or touched. Raises `OSError`."""
    try:
        return files.read(path).decode(errors="replace").splitlines(), os.stat(path).st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return [], 0.0
