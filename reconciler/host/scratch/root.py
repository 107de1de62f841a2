"""Opens the root of a rule, or says why nothing below it may be removed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from stat import S_ISDIR
from typing import NamedTuple

from reconciler.core.cleanup import Free, holds, of_the_system
from reconciler.core.desired import Cleanup, RootIs
from reconciler.host import files

_ESCAPED = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))  # by the kernel, in mountinfo
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class RootError(Exception):
    """Nothing below a root may be removed, or it cannot be looked at. The text says why, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


class Limits(NamedTuple):
    """Where no root may lead, by way of links neither."""

    around: tuple[str, ...] = ()  # it may not be one of these, nor hold one
    inside: tuple[str, ...] = ()  # nor lie in one of these


NO_LIMITS = Limits()


class Ground(NamedTuple):
    """A root that is held open, and what tells its file system from any other."""

    descriptor: int
    device: int
    foreign: frozenset[tuple[int, int]]  # folders that something is mounted on, be it of the same file system

    def is_own(self, info: os.stat_result) -> bool:
        return info.st_dev == self.device and (info.st_dev, info.st_ino) not in self.foreign


def open_root(rule: Cleanup, limits: Limits = NO_LIMITS) -> Ground | None:
    """None where there is no such folder: nothing is to be done then. Raises `RootError`."""
    try:
        with files.held_folder(rule.root) as held:
            if not S_ISDIR(os.fstat(held).st_mode):
                raise RootError(f"{rule.root} is no folder")
            descriptor = os.open(".", FOLDER, dir_fd=held)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RootError(f"{rule.root}: {error.strerror or error}") from error
    try:
        real = os.readlink(f"/proc/self/fd/{descriptor}")
        mounts = _mounts(real)
        _check(rule, descriptor, real, mounts)
        _check_place(rule, real, limits)
        info = os.fstat(descriptor)
        below = (path for path in mounts if path.startswith(f"{real.rstrip('/')}/"))
        return Ground(descriptor, info.st_dev, frozenset(_identities(below)))
    except OSError as error:
        os.close(descriptor)
        raise RootError(f"{rule.root}: {error.strerror or error}") from error
    except RootError:
        os.close(descriptor)
        raise


def _check(rule: Cleanup, descriptor: int, real: str, mounts: list[str]) -> None:
    """Raises `RootError`. It may be reached by way of links, so what is asked is the folder itself."""
    info = os.fstat(descriptor)
    above = os.stat("..", dir_fd=descriptor)
    if (info.st_dev, info.st_ino) == (above.st_dev, above.st_ino) or real == "/":
        raise RootError(f"{rule.root} is the root of all", "name the scratch folder itself")
    if rule.root_is is not RootIs.HOME and (info.st_dev, info.st_ino) in set(_identities(_homes())):
        raise RootError(f"{rule.root} is the home of the account", "where that is meant, say `root_is: home`")
    if rule.root_is is RootIs.PLAIN and (info.st_dev != above.st_dev or real in mounts):
        raise RootError(f"{rule.root} is a mount point", "where that is meant, say `root_is: mount`")


def _check_place(rule: Cleanup, real: str, limits: Limits) -> None:
    """Where the way to a root leads: what git says of its name was checked before, and says nothing of links.
    Raises `RootError`."""
    told = rule.root if real == rule.root else f"{rule.root} leads to {real}, which"
    hint = "name the scratch folder itself"
    if real != rule.root and of_the_system(real):
        raise RootError(f"{told} belongs to the system", hint)
    around = (*limits.around, *(_homes() if rule.root_is is not RootIs.HOME else ()))
    for path in around:
        if holds(real, os.path.realpath(path)):
            raise RootError(f"{told} holds {path}", hint)
    for path in limits.inside:
        if holds(os.path.realpath(path), real):
            raise RootError(f"{told} is part of {path}", hint)


def _homes() -> list[str]:
    import pwd

    homes = [os.environ.get("HOME", "")]
    with suppress(KeyError):
        homes.append(pwd.getpwuid(os.geteuid()).pw_dir)
    return [home for home in homes if home]


def _identities(paths: Iterable[str]) -> list[tuple[int, int]]:
    found = []
    for path in paths:
        with suppress(OSError):
            info = os.stat(path)
            found.append((info.st_dev, info.st_ino))
    return found


def _mounts(real: str) -> list[str]:
    """Mount points at a path and below it. A mount of the same file system (`mount --bind`) shows here only."""
    found = []
    with open("/proc/self/mountinfo", "rb") as mounts:  # the kernel gives a page at a time
        lines = mounts.read().splitlines()
    for line in lines:
        path = os.fsdecode(line.split(b" ")[4])
        for escaped, plain in _ESCAPED:
            path = path.replace(escaped, plain)
        if path == real or path.startswith(f"{real.rstrip('/')}/"):
            found.append(path)
    return found


def free_of(place: str | int) -> Free | None:
    """Of the file system that a path or a descriptor is on; None where that cannot be told."""
    try:
        told = os.statvfs(place)
    except OSError:
        return None
    return Free(told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize, told.f_favail, told.f_files)
