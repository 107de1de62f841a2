"""What the rules of `cleanup` need of this host. Nothing is changed, and no tree is walked through."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import islice

from reconciler.agent.cleanup.halves import MEND, half_gone
from reconciler.agent.cleanup.limits import check_others, limits_of
from reconciler.agent.cleanup.scratch import place_of
from reconciler.agent.config import Agent
from reconciler.agent.memory.store import Store
from reconciler.core.checked import Checked, error, ok, warning
from reconciler.core.cleanup import holds
from reconciler.core.desired import Cleanup, Deployment
from reconciler.host.detached import environment
from reconciler.host.scratch.apart import Inside, apart
from reconciler.host.scratch.root import FOLDER, Ground, RootError, open_root
from reconciler.host.scratch.used import told, ways

_ABOUT = "cleanup"
_SAMPLE = 50  # folders that are looked at
_LISTED = 1000  # entries of one
_DEEPEST = 20


def examine_rules(desired: Deployment, agent: Agent, store: Store) -> Iterator[Checked]:
    """Each root can be opened and removed from, and what is in use can be told."""
    where = desired.environment
    for rule in desired.cleanups:
        look, place = partial(_opened, desired, rule, agent), place_of(rule, store, where)
        try:
            check_others(desired, rule, lambda one: place_of(one, store, where))
            yield apart(look, place)
            if rule.in_use_command or rule.in_use_file:
                lines = told(rule, environment()) if rule.in_use_command else None  # it has a time limit of its own
                yield apart(partial(_used, where, rule, lines), place)
        except RootError as failed:
            yield error(where, _ABOUT, f"{rule.name}: {failed}", failed.hint)
    for left in half_gone(desired, store):
        yield warning(where, _ABOUT, left, MEND)


def _opened(desired: Deployment, rule: Cleanup, agent: Agent, _: Inside) -> Checked:
    """Raises `RootError`."""
    where, ground = desired.environment, open_root(rule, limits_of(desired, agent))
    if ground is None:
        return warning(where, _ABOUT, f"{rule.name}: {rule.root} is not there", "nothing is removed until it is")
    try:
        return _removable(where, rule, ground)
    finally:
        os.close(ground.descriptor)


def _removable(where: str, rule: Cleanup, ground: Ground) -> Checked:
    """By the first of the folders that hold what may go: there may be millions."""
    shut, seen = [], 0
    for path, is_open in _holders(ground.descriptor, "", min(rule.min_depth - 1, _DEEPEST), [_SAMPLE]):
        seen += 1
        shut += [] if is_open else [path or "."]
    if not shut:
        return ok(where, _ABOUT, f"{rule.name}: {rule.root} can be removed from")
    first = ", ".join(shut[:3]) + (", …" if len(shut) > 3 else "")
    told = f"{rule.name}: this account cannot remove from {len(shut)} of {seen} folders below {rule.root}: {first}"
    verdict = error if len(shut) == seen else warning
    return verdict(where, _ABOUT, told, "what is in them stays, and is told each time")


def _holders(folder: int, path: str, levels: int, left: list[int]) -> Iterator[tuple[str, bool]]:
    """Folders so many levels down, and whether this account may list them and remove from them; some of them only."""
    wanted = os.R_OK | os.X_OK | (0 if levels else os.W_OK)
    may = os.access(".", wanted, dir_fd=folder, effective_ids=True)
    if not levels or not may:
        left[0] -= 1
        yield path, may
        return
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in islice(entries, _LISTED):
            if left[0] <= 0:
                return
            if not entry.is_dir(follow_symlinks=False):
                continue
            try:
                inner = os.open(entry.name, FOLDER, dir_fd=folder)
            except OSError:
                left[0] -= 1
                yield f"{path}/{entry.name}".lstrip("/"), False
                continue
            try:
                yield from _holders(inner, f"{path}/{entry.name}".lstrip("/"), levels - 1, left)
            finally:
                os.close(inner)


def _used(where: str, rule: Cleanup, lines: tuple[str, ...] | None, _: Inside) -> Checked:
    """`lines`: what the command has told; None: a file does. Raises `RootError`."""
    lines = told(rule, {}) if lines is None else lines
    counted = f"{rule.name}: {len(lines)} line{'s' * (len(lines) != 1)} of what is in use"
    elsewhere = [line for line in lines if line.strip().startswith("/") and not _is_below(line, rule.root)]
    if elsewhere and len(elsewhere) == len(lines):
        return warning(where, _ABOUT, f"{counted}, none of them below {rule.root}: {elsewhere[0]!r}", "so none counts")
    return ok(where, _ABOUT, counted)


def _is_below(line: str, root: str) -> bool:
    return any(holds(root, way) or holds(way, root) for way in ways(line, root))
