"""Rules of `cleanup` that reach what another deployment of the site has installed, which may be on the same host.

What lies below another one's `paths.root` is that one's to clean up, its scratch folders too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from reconciler.core.cleanup import holds
from reconciler.desired.overlap import Overlap, Sweep, meet

_HINT = "name a folder that holds nothing of that, with {{ environment }} in it where each has its own"


class Installed(NamedTuple):
    """One of the folders of a deployment."""

    path: str
    name: str  # among its `paths`
    environment: str
    hosts: tuple[str, ...] = ()  # on which it is; empty: any


def reached(sweeps: Iterable[Sweep], installed: Sequence[Installed]) -> Iterator[Overlap]:
    """Of each rule the first thing of each other deployment that it would remove, in part at least."""
    for sweep in sweeps:
        told = {sweep.environment}
        for one in installed:
            if one.environment not in told and (how := _how(sweep.rule.root, one)):
                told.add(one.environment)
                what = f"{how} what {one.environment} has installed (paths.{one.name}, {one.path})"
                message = f"the root of cleanup `{sweep.rule.name}` {what}"
                key = f"reached {sweep.rule.name} {one.name}"
                yield Overlap(sweep.origin, message, _HINT, key, wrong=meet(sweep.hosts, one.hosts))


def _how(root: str, one: Installed) -> str:
    if holds(root, one.path):
        return "holds"
    return "lies in" if holds(one.path, root) else ""
