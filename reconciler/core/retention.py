"""Which old versions of a component go from a host. Pure: what stands and what is needed in, a verdict out.

The newest stay, by when they were last used or, never used since, finished: as many as `keep` says, and beyond these
as many as fit into `keep_bytes` with all that are newer. What is needed stays besides, and nothing else of it is
asked here: that nothing holds it open is looked at where it is removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from reconciler.core.desired import Retention

GONE = ".reconcile-gone-"  # how an entry is called from the instant on at which it is being removed


class Stored(NamedTuple):
    """One finished version as it stands on a host, made by reconcile."""

    path: str
    component: str
    version: str
    used: float  # seconds since the epoch
    size: int = 0  # bytes

    @property
    def id(self) -> str:
        """As that of an `Install`."""
        return f"{self.component}-{self.version}"


class Needed(NamedTuple):
    """What must stay, whoever needs it: git, what runs, what a rollback goes back to, another deployment."""

    paths: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()  # any build of that component and version
    versions: frozenset[str] = frozenset()  # of any component: whose it is was not noted

    def has(self, one: Stored) -> bool:
        return one.path in self.paths or one.id in self.ids or one.version in self.versions

    def __or__(self, other: object) -> Needed:
        if not isinstance(other, Needed):
            return NotImplemented
        return Needed(self.paths | other.paths, self.ids | other.ids, self.versions | other.versions)


def newest_first(rule: Retention, stored: Iterable[Stored], needed: Needed) -> list[Stored]:
    """The old versions of a component. Those that are needed now are used now."""
    old = [one for one in stored if one.component == rule.component and one.path != rule.place]
    return sorted(old, key=lambda one: (needed.has(one), one.used, one.path), reverse=True)


def surplus(rule: Retention, stored: Iterable[Stored], needed: Needed) -> list[Stored]:
    """Those that go, the oldest first."""
    stored = list(stored)
    total = sum(one.size for one in stored if one.path == rule.place)
    found = []
    for count, one in enumerate(newest_first(rule, stored, needed)):
        total += one.size
        if count >= rule.keep and (rule.size < 0 or total > rule.size) and not needed.has(one):
            found.append(one)
    return found[::-1]


def left_behind(rule: Retention, stored: Iterable[Stored], needed: Needed) -> list[Stored]:
    """Those that are needed and look older than one that is not: that they are used now is to be noted."""
    old = newest_first(rule, stored, needed)
    latest = max((one.used for one in old if not needed.has(one)), default=0.0)
    return [one for one in old if needed.has(one) and one.used <= latest]
