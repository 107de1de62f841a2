"""What must fit together: among the services of one deployment, and among all that one host holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from reconciler.core.problem import Origin
from reconciler.desired.overlap import Overlap, Sweep, meet, overlaps
from reconciler.desired.problems import Problems, suggest
from reconciler.desired.reached import Installed, reached
from reconciler.desired.service import Draft


class Use(NamedTuple):
    """Somebody's use of something that only one can have on a host."""

    what: str  # the port, the path, the name
    who: str
    origin: Origin
    environment: str
    hosts: tuple[str, ...] = ()  # on which it is; empty: any


class Uses(NamedTuple):
    """What one deployment takes of its host."""

    ports: list[Use]
    paths: list[Use]
    roots: list[Use]
    names: list[Use]
    sweeps: list[Sweep]
    installed: list[Installed]


def references(
    services: Mapping[str, Draft], files: Iterable[str], others: Collection[str], problems: Problems
) -> None:
    """Every file and every `after` that a service names is there, and no service waits for itself. `others`: services
    that others run, which may be waited for."""
    known = list(files)
    for draft in services.values():
        for got in draft.files:
            if got.text not in known:
                hint = suggest(got.text, known, otherwise="declare it under `files`")
                problems.add(got.origin, f"unknown file `{got.text[:80]}`", hint)
        _after(draft, services, others, problems)
    _cycles(services, problems)


def _after(draft: Draft, services: Mapping[str, Draft], others: Collection[str], problems: Problems) -> None:
    for got in draft.after:
        other = services.get(got.text)
        if got.text in others:
            continue
        if other is None:
            problems.add(got.origin, f"unknown service `{got.text[:80]}` in `after`", suggest(got.text, services))
        elif draft.enabled and not other.enabled:
            hint = "enable it, or take it out of `after`"
            problems.add(got.origin, f"`{draft.name}` starts after `{other.name}`, which is disabled", hint)


def _cycles(services: Mapping[str, Draft], problems: Problems) -> None:
    """Each cycle once. Without recursion: a chain may be as long as there are services."""
    state: dict[str, int] = {}  # 1: on the way, 2: done
    for start in services:
        way: list[tuple[str, list[str]]] = [] if start in state else [(start, _next(start, services))]
        if way:
            state[start] = 1
        while way:
            name, left = way[-1]
            if not left:
                state[name] = 2
                way.pop()
                continue
            other = left.pop()
            if other not in state:
                state[other] = 1
                way.append((other, _next(other, services)))
            elif state[other] == 1:
                names = [step for step, _ in way]
                _cycle(names[names.index(other) :], services, problems)


def _next(name: str, services: Mapping[str, Draft]) -> list[str]:
    return [got.text for got in reversed(services[name].after) if got.text in services]


def _cycle(names: list[str], services: Mapping[str, Draft], problems: Problems) -> None:
    first = names.index(min(names))
    names = names[first:] + names[:first]
    words = " -> ".join([*names, names[0]])
    origin = services[names[0]].lists["after"]
    problems.add(origin, f"`{names[0]}` starts after itself: {words}", "take one of them out of `after`")


def names_on_host(services: Mapping[str, Draft], problems: Problems) -> set[str]:
    """No two services of a launcher have one name. Returns those whose name another one has."""
    seen: dict[tuple[str, str], Draft] = {}
    twice = set()
    for draft in services.values():
        if not draft.unit or not draft.launcher:
            continue
        other = seen.setdefault((draft.launcher, draft.unit), draft)
        if other is not draft:
            twice.add(draft.name)
            origin, place = _later(name_origin(draft), name_origin(other))
            message = (
                f"services `{other.name}` and `{draft.name}` have one name on the host: `{draft.unit}` (see {place})"
            )
            problems.add(origin, message, "give one of them another `name`")
    return twice


def name_origin(draft: Draft) -> Origin:
    """Where a service's name on the host was written; of a default one, where the service was."""
    return draft.got["name"].origin if draft.got["name"].origin.line else draft.origin


def _later(one: Origin, other: Origin) -> tuple[Origin, Origin]:
    """The later place first: that is where somebody added what does not fit."""
    return (one, other) if one >= other else (other, one)


def on_host(uses: Iterable[Uses], problems: Problems) -> None:
    """Tell what two of the deployments of a site both take. They share its host."""
    every = list(uses)
    ports = [use for one in every for use in one.ports]
    paths = [use for one in every for use in one.paths]
    _twice(ports, "port {} is used twice", "give one of them another port", problems)
    _twice(paths, "two files have one path, {}", "give one of them another path", problems)
    names = [use for one in every for use in one.names]
    _twice(names, "the name {} is used twice", "put {{ environment }} into it", problems)
    _roots([use for one in every for use in one.roots], problems)
    for found in swept(every):
        if found.wrong:
            problems.add(found.origin, found.message, found.hint, rule=found.rule)


def swept(uses: Sequence[Uses]) -> Iterator[Overlap]:
    """What rules of `cleanup` would remove of what another one keeps, or another deployment has."""
    sweeps = [sweep for one in uses for sweep in one.sweeps]
    yield from overlaps(sweeps)
    yield from reached(sweeps, [place for one in uses for place in one.installed])


def _twice(uses: list[Use], words: str, hint: str, problems: Problems) -> None:
    seen: dict[str, list[Use]] = {}
    for use in uses:
        other = next((one for one in seen.setdefault(use.what, []) if meet(one.hosts, use.hosts)), None)
        seen[use.what].append(use)
        if other is not None:
            origin, place = _later(use.origin, other.origin)
            both = f"by {other.who} in {other.environment} and by {use.who} in {use.environment}"
            see = f" (see {place})" if place != origin else ""
            problems.add(origin, f"{words.format(use.what)}: {both}{see}", hint, rule=f"{words} {use.who}")


def _roots(uses: list[Use], problems: Problems) -> None:
    """Of two roots, none is the other or lies inside of it: what cleans up one would clean up both."""
    ordered = sorted(uses, key=lambda use: use.what + "/")
    for outer, inner in pairwise(ordered):
        if (inner.what + "/").startswith(outer.what + "/"):
            how = "have one root" if inner.what == outer.what else "have one root inside of the other"
            message = f"environments {outer.environment} and {inner.environment} {how}: {outer.what}"
            problems.add(inner.origin, message, "put {{ environment }} into `paths.root`", rule="one root")
