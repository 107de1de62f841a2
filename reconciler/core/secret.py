"""Secrets that git only refers to: where they are, what is made of them, and their values where a pass has got them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from reconciler.core.digest import keyed


class Source(Enum):
    """What holds a secret."""

    FILE = "file"  # a private file of the host
    ENV = "env"  # a variable of the environment that reconcile itself runs in
    COMMAND = "command"  # lines for bash, which print it
    AGE = "age"  # a file of the repo, encrypted with age
    SOPS = "sops"  # a file of the repo, encrypted with SOPS

    @property
    def of_environment(self) -> bool:
        return self is Source.ENV

    @property
    def in_repo(self) -> bool:
        """Its file comes with the commit, so it cannot change without one."""
        return self in (Source.AGE, Source.SOPS)


class Reference(NamedTuple):
    """Where a secret is. No part of it is itself one."""

    source: Source
    target: str  # a path, the name of a variable, a command
    key: str = ""  # with dots, of what is in a mapping; empty: all of it

    def __str__(self) -> str:
        """For people, in one line: `file /etc/x`."""
        first, *more = self.target.strip().splitlines() or [""]
        return f"{self.source.value} {first[:200]}{' …' if more else ''}" + (f" {self.key}" if self.key else "")


class Secret(NamedTuple):
    """A reference, and where in the layers it is written: FILE:LINE:COLUMN."""

    reference: Reference
    place: str


class Use(NamedTuple):
    """What one secret goes into. Where it cannot be had, these cannot be made, and all else can."""

    secret: Secret
    paths: tuple[str, ...]  # of files
    launchers: tuple[str, ...]  # whose daemon is given it


class Revealed:
    """Values by reference. Nothing that shows one by accident, such as an error or a log, shows what is in it."""

    __slots__ = ("_keys", "_values")

    def __init__(
        self, values: Mapping[Reference, str] | None = None, keys: Mapping[str, str] | None = None
    ) -> None:
        """`keys`: by environment, what the digests that name a secret's content are keyed with."""
        self._values = dict(values or {})
        self._keys = dict(keys or {})

    def get(self, reference: Reference) -> str | None:
        """The secret; None where it is not to be had, or not here."""
        return self._values.get(reference)

    def digest(self, environment: str, content: bytes) -> str:
        """What stands for content with such a secret in it where others may see it: in the name of a specification."""
        return keyed(self._keys.get(environment, ""), content)

    def __repr__(self) -> str:
        return f"<{len(self._values)} secrets>"


HIDDEN = Revealed()  # all of them are, as on every machine that only compiles
