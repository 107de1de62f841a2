"""Folders that are half removed by rules of `cleanup` that git no longer has: no pass comes to them any more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from stat import S_ISDIR
from typing import TYPE_CHECKING

from reconciler.agent.memory.store import Store
from reconciler.core.cleanup import holds
from reconciler.core.desired import Deployment

if TYPE_CHECKING:
    from reconciler.host.scratch.apart import Inside

MEND = "remove them, or have git say that rule again: a pass ends what one has begun"


def half_gone(desired: Deployment, store: Store) -> Iterator[str]:
    """A sentence for each such rule. What lies below the root of a rule that git has is left to that one."""
    path = store.names_path(desired.environment)
    if not os.path.exists(path):
        return
    from reconciler.host.scratch.apart import Place, apart
    from reconciler.host.scratch.names import begun
    from reconciler.host.scratch.root import RootError

    known = [rule.root for rule in desired.cleanups]
    rules: dict[str, dict[str, str]] = {}  # by rule, what folders are called by now, and what they were
    for rule, was, gone in begun(path):
        if not any(holds(root, was) for root in known):
            rules.setdefault(rule, {})[os.path.join(os.path.dirname(was), gone)] = was
    for rule, folders in rules.items():
        place = Place(os.path.commonpath(folders), store.scratch_mark(desired.environment, rule))
        try:
            left = apart(partial(_standing, folders, store.scratch_key()), place)
        except RootError as error:
            yield f"whether {rule} has left something half removed cannot be told: {error}"
            continue
        if left:
            many = "1 folder is" if len(left) == 1 else f"{len(left):,} folders are"
            first = f"{left[0]}, which was {folders[left[0]]}"
            yield f"cleanup.{rule} is no rule any more, and {many} left half removed: {first}"


def _standing(folders: Mapping[str, str], key: str, inside: Inside) -> list[str]:
    """Those that are still there, and have their name of us."""
    from reconciler.host.scratch.walk import name_of

    found = []
    for path in folders:
        inside.must_stop()
        try:
            info = os.lstat(path)
        except OSError:
            continue
        if S_ISDIR(info.st_mode) and os.path.basename(path) == name_of(key, info.st_ino):
            found.append(path)
    return found
