"""Rules of `cleanup` that reach one tree: of one deployment, and of all deployments of a site, which share its host.

What lies in both trees goes by the rule that comes first. Where one keeps what the other removes, whoever wrote the
careful one is deceived: that is wrong. Any other overlap may be meant, and is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from reconciler.core.cleanup import Kept, Stay, holds
from reconciler.core.desired import Age, Cleanup, Sort
from reconciler.core.globs import is_of_paths, path_of
from reconciler.core.problem import Origin


class Sweep(NamedTuple):
    """One rule of one deployment."""

    rule: Cleanup
    origin: Origin  # of its root
    environment: str
    hosts: tuple[str, ...] = ()  # on which it is; empty: any


class Overlap(NamedTuple):
    """Two rules that both want what lies below one folder."""

    origin: Origin
    message: str
    hint: str
    rule: str  # the same for all pairs that the same lines make
    wrong: bool
    taker: str = ""  # where it is wrong, the rule that removes what the other one keeps


def meet(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """They may be on one host: two patterns may mean the same, two names do not."""
    apart = one and other and not any(set("*?[") & set(host) for host in (*one, *other))
    return not apart or not set(one).isdisjoint(other)


def overlaps(sweeps: Iterable[Sweep]) -> Iterator[Overlap]:
    """Each rule with those around it, or at its own root."""
    around: list[Sweep] = []
    for sweep in sorted(sweeps, key=lambda one: (f"{one.rule.root}/", one.origin, one.environment)):
        while around and not holds(around[-1].rule.root, sweep.rule.root):
            around.pop()
        yield from (_overlap(outer, sweep) for outer in around if _reaches(outer.rule, sweep.rule.root))
        around.append(sweep)


def _reaches(rule: Cleanup, root: str) -> bool:
    """Whether what a rule removes may be a folder in its tree, hold it, or lie in it."""
    parts = _parts(rule.root, root)
    paths = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    kept = Kept(rule)
    if any(kept.stays(path.rpartition("/")[2], path) is Stay.ALL for path in paths):
        return False
    return rule.sort is not Sort.FILE or not rule.max_depth or rule.max_depth > len(parts)


def _parts(outer: str, inner: str) -> list[str]:
    return [part for part in inner[len(outer) :].split("/") if part]


def _overlap(outer: Sweep, inner: Sweep) -> Overlap:
    is_same = outer.rule.root == inner.rule.root
    clash = _clash(outer, inner, is_same=is_same)
    if clash and not meet(outer.hosts, inner.hosts):
        clash = None
    origin = max(outer.origin, inner.origin)
    key = f"overlap {min(outer.origin, inner.origin)}"
    hint = _hint(outer, inner)
    if clash:
        return Overlap(origin, clash.message, clash.hint or hint, key, wrong=True, taker=clash.taker)
    first, second = f"cleanup {_named(outer, inner)}", f"cleanup {_named(inner, outer)}"
    does = f"and {second} both clean up" if is_same else f"also cleans up the root of {second},"
    message = f"{first} {does} {inner.rule.root}: what is in it goes by the one that comes first"
    return Overlap(origin, message, hint, key, wrong=False)


def _named(one: Sweep, other: Sweep) -> str:
    return f"`{one.rule.name}`" + (f" of {one.environment}" if one.environment != other.environment else "")


def _hint(outer: Sweep, inner: Sweep) -> str:
    if path := "/".join(_parts(outer.rule.root, inner.rule.root)):
        return f'if each is to have its own, say `exclude: ["{path}/"]` in {_named(outer, inner)}'
    if outer.environment != inner.environment:
        return "put {{ environment }} into `root`"
    return "make one rule of the two, or name another root"


class _Clash(NamedTuple):
    taker: str
    message: str
    hint: str = ""


def _clash(outer: Sweep, inner: Sweep, *, is_same: bool) -> _Clash | None:
    """What the outer one removes of the inner one's, though that keeps it; None where nothing."""
    for one, other in ((outer, inner), (inner, outer)):
        if other.rule.in_use_command + other.rule.in_use_file and _used(one.rule) != _used(other.rule):
            hint = "" if one.environment != other.environment else f"give both one `in_use`, or {_hint(outer, inner)}"
            said = f"{_removes(one, other)} what `in_use` of {_named(other, one)} keeps"
            return _Clash(one.rule.name, said, hint)
    for one, other in ((outer, inner), (inner, outer))[: 1 + is_same]:
        if lost := _lost(one, other):
            return _Clash(one.rule.name, f"{_removes(one, other)} {lost}")
    return None


def _removes(one: Sweep, other: Sweep) -> str:
    """The folder is the one that both reach."""
    return f"cleanup {_named(one, other)} removes below {max(one.rule.root, other.rule.root, key=len)}"


def _used(rule: Cleanup) -> tuple[str, str]:
    return rule.in_use_command, rule.in_use_file


def _lost(one: Sweep, other: Sweep) -> str:
    """What a rule removes that another one keeps for a while, or by a pattern."""
    quick, slow, name = one.rule, other.rule, _named(other, one)
    above = "/".join(_parts(quick.root, slow.root))
    if not {_from(above, pattern) for pattern in slow.exclude} <= set(quick.exclude):
        return f"what `exclude` of {name} keeps"
    if slow.age is Age.NEWEST and quick.age is Age.SELF and Sort.FILE not in (quick.sort, slow.sort):
        return f"by the date of a folder itself, where {name} goes by the newest file in it"
    if quick.days < slow.days and (above or _alike(quick, slow)):
        return f"after {quick.days} days, which {name} keeps for {slow.days}"
    return ""


def _from(above: str, pattern: str) -> str:
    """A pattern of paths counts from the root on, one of names wherever it stands."""
    return f"{above}/{path_of(pattern)}" if above and is_of_paths(pattern) else pattern


def _alike(one: Cleanup, other: Cleanup) -> bool:
    """Whether an entry of one root can go by either."""
    sorts = one.sort is other.sort or Sort.ANY in (one.sort, other.sort)
    first, last = max(one.min_depth, other.min_depth), min(one.max_depth or 1001, other.max_depth or 1001)
    return sorts and first <= last
