"""Where no rule of `cleanup` may lead on this host, whatever git says of its root."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from reconciler.agent.memory.store import Store
from reconciler.core.cleanup import holds
from reconciler.core.desired import Cleanup, Deployment, Manager

if TYPE_CHECKING:
    from reconciler.agent.config import Agent
    from reconciler.host.scratch.apart import Place
    from reconciler.host.scratch.root import Limits

_ENDS = frozenset(("socket", "pidfile"))  # of a launcher's address: files that its daemon makes


def limits_of(desired: Deployment, agent: Agent) -> Limits:
    """What is installed and remembered here, also of other deployments and of those that git has no more, and what
    the agent goes by. Raises `RootError` where it is not known what there is."""
    from reconciler.host.scratch.root import Limits

    made = {os.path.dirname(file.path) for file in desired.files}
    made |= {os.path.dirname(install.path) for install in desired.installs if install.path}
    made |= set(_ends(desired.managers))
    own = (agent.state_dir, *_inner(made, (desired.root,)), *agent.reads)
    around, inside = _remembered(desired, agent)
    return Limits((desired.root, *own, *around), (*own, *inside))


def _remembered(desired: Deployment, agent: Agent) -> tuple[list[str], list[str]]:
    """What inventories have: what a root may not hold, and what it may not lie in. Raises `RootError`."""
    from reconciler.host.scratch.root import RootError

    around, inside = [], [os.path.join(desired.root, ".reconcile")]
    for site in _names(agent.state_dir):
        store = Store(agent.state_dir, site)
        for environment in store.environments():
            is_own = (site, environment) == (desired.site, desired.environment)
            inventory, damage = store.inventory(environment, desired.root if is_own else "")
            if damage:
                hint = f"what {site}/{environment} has installed is not known until a pass has noted it anew"
                raise RootError(damage, f"{hint}, so nothing is removed")
            made = {os.path.dirname(path) for path in inventory.files} | set(_ends(inventory.managers))
            inner = _inner(made, inventory.roots)
            logs = (folder for one in inventory.managers for key, folder in one.address if key == "logs")
            around += [*inventory.roots, *inner, *logs]
            roots = [root for root in inventory.roots if root != desired.root] if not is_own else []
            inside += [*inner, *roots, *(os.path.join(root, ".reconcile") for root in inventory.roots)]
    return around, inside


def check_others(desired: Deployment, rule: Cleanup, place_of: Callable[[Cleanup], Place]) -> None:
    """What git says of the roots was compared by their names; where they lead may be one tree all the same.
    Raises `RootError` for a rule that would remove what another one keeps. `place_of`: of a rule's root."""
    if len(desired.cleanups) < 2:
        return
    from reconciler.core.problem import Origin
    from reconciler.desired.overlap import Sweep, overlaps
    from reconciler.host.scratch.root import RootError

    led = [one._replace(root=real) for one in desired.cleanups if (real := _real(one, place_of(one)))]
    if all(one in desired.cleanups for one in led):
        return
    for found in overlaps(Sweep(one, Origin("", 0, 0), "") for one in led):
        if found.wrong and found.taker == rule.name:
            raise RootError(found.message, found.hint)


def _real(rule: Cleanup, place: Place) -> str:
    """Where a root leads; empty where its file system does not answer: nothing of it goes then."""
    from reconciler.host.scratch.apart import apart
    from reconciler.host.scratch.root import RootError

    try:
        return apart(lambda _: os.path.realpath(rule.root), place)
    except RootError:
        return ""


def _names(folder: str) -> list[str]:
    with suppress(OSError):
        return sorted(os.listdir(folder))
    return []


def _ends(managers: Iterable[Manager]) -> Iterator[str]:
    """Folders of the sockets and pid files of daemons."""
    yield from (os.path.dirname(end) for one in managers for key, end in one.address if key in _ENDS)


def _inner(made: Iterable[str], roots: Iterable[str]) -> list[str]:
    """Without what holds a root: beside that there may be scratch folders."""
    return sorted(path for path in made if not any(holds(path, root) for root in roots))
