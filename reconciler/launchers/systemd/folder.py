"""Looks at the folders that systemd reads: which unit files are ours, and what was laid beside them by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from reconciler.core.problem import Gap
from reconciler.launchers.shim import owner_of
from reconciler.launchers.systemd import unit_file

_SIZE = 1 << 16  # bytes of a unit file that are read; ours have one or two thousand
_SUFFIX = ".service"
_NULL = "/dev/null"
_BACK = 1.0  # seconds by which the times of a file differ when it was moved here, or its time was set


class OwnFile(NamedTuple):
    """A unit file that says that it is this deployment's."""

    path: str
    text: str
    root: str  # by its header; another one than today's may be a second clone's
    was_put_back: bool  # its time of modification is older than its arrival: systemd does not notice such a file

    @property
    def own(self) -> Mapping[str, str]:
        """What reconcile has noted in it for itself."""
        start = self.text.find(f"\n[{unit_file.OWN}]\n")
        return unit_file.read(self.text[start:]).get(unit_file.OWN, {}) if start >= 0 else {}


class Folders:
    """The folders of one manager. `runtime` is the account's runtime folder; /run for the system's."""

    def __init__(self, address: Mapping[str, str], runtime: str) -> None:
        self.units, self.config = address["units"], address["config"]
        self._deployment = address["deployment"]
        self._links = f"{self.config}/{address['wanted_by']}.wants"
        kind = "system" if address["scope"] == "system" else "user"
        # Where people, `systemctl edit`, `set-property`, `mask` and `systemd-run` write. What packages and the
        # host's administrators lay elsewhere for an account's services is theirs.
        self.by_hand = tuple(
            dict.fromkeys(
                (
                    self.units,
                    self.config,
                    f"{self.config}.control",
                    f"{runtime}/systemd/{kind}",
                    f"{runtime}/systemd/{kind}.control",
                    f"{runtime}/systemd/transient",
                )
            )
        )

    def ours(self) -> tuple[dict[str, OwnFile], tuple[Gap, ...]]:
        """By unit, the files of this deployment; and what could not be read."""
        found: dict[str, OwnFile] = {}
        gaps: list[Gap] = []
        try:
            names = [entry.name for entry in os.scandir(self.units) if entry.is_file(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            return {}, ()
        except OSError as error:
            return {}, (Gap("launcher", "systemd", f"{self.units} cannot be listed: {error.strerror}"),)
        for name in names:
            if not name.endswith(_SUFFIX) or name.startswith("."):
                continue
            try:
                file = self.own_file(name)
            except OSError as error:
                path = f"{self.units}/{name}"
                gaps.append(Gap("file", path, f"{path} cannot be read: {error.strerror}"))
                continue
            if file is not None:
                found[name] = file
        return found, tuple(gaps)

    def own_file(self, unit: str) -> OwnFile | None:
        """The file of this unit, if it is this deployment's. Raises `OSError`."""
        path = f"{self.units}/{unit}"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            info = os.fstat(descriptor)
            text = os.read(descriptor, _SIZE).decode(errors="surrogateescape")
        finally:
            os.close(descriptor)
        owner = owner_of(text)
        if owner is None or owner.unit != unit or owner.deployment != self._deployment:
            return None
        if "@" in unit:  # a template, which is no unit: no name of ours has that
            return None
        return OwnFile(path, text, owner.root, info.st_ctime - info.st_mtime > _BACK)

    def all_as_ours(self, blocks: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
        return {name: self._as_ours(block) for name, block in blocks.items()}

    def _as_ours(self, block: Mapping[str, str]) -> Mapping[str, str]:
        """The properties with paths as they are spelled here: systemd may know the home by another name."""
        folder = os.path.dirname(block.get("FragmentPath", ""))
        if folder in ("", self.units) or not _is_same(folder, self.units):
            return block
        paths = ("FragmentPath", "DropInPaths")
        return {**block, **{key: block.get(key, "").replace(f"{folder}/", f"{self.units}/") for key in paths}}

    # ------------------------------------------------------------ what starts it at boot

    def enabled(self) -> frozenset[str]:
        """The units that their target starts. systemd itself remembers this until it reads its files anew."""
        return frozenset(_names(self._links))

    def forget(self, unit: str) -> None:
        """Take away the link that starts it at boot. Raises `OSError`."""
        with suppress(FileNotFoundError):
            os.unlink(f"{self._links}/{unit}")

    # ------------------------------------------------------------ what was laid beside it

    def laid(self) -> Mapping[str, Sequence[str]]:
        """By unit, the drop-ins and masks that people have laid beside its file.

        systemd does not notice such a folder that was made after it had read its files.
        """
        found: dict[str, list[str]] = {}
        for folder in self.by_hand:
            for name in _names(folder):
                unit = name.removesuffix(".d")
                if unit.endswith(_SUFFIX):
                    found.setdefault(unit, []).extend(self._laid(folder, name))
        return found

    def _laid(self, folder: str, name: str) -> Iterator[str]:
        path = f"{folder}/{name}"
        if name.endswith(".d"):
            yield from (f"{path}/{one}" for one in sorted(_names(path)) if one.endswith(".conf"))
        elif folder != self.units and _is_mask(path):
            yield path


def clear(paths: Sequence[str]) -> None:
    """Take masks away, and move drop-ins aside. Raises `OSError`."""
    for path in paths:
        if _is_mask(path):
            os.unlink(path)
        else:
            os.rename(path, _aside(path))


def _is_same(folder: str, other: str) -> bool:
    try:
        return os.path.samefile(folder, other)
    except OSError:
        return False


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _is_mask(path: str) -> bool:
    try:
        return os.readlink(path) == _NULL
    except OSError:
        return False


def _aside(path: str) -> str:
    """A free name beside it that systemd does not read."""
    number, aside = 1, f"{path}.orig"
    while os.path.lexists(aside):
        number, aside = number + 1, f"{path}.orig.{number}"
    return aside
