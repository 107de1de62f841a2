"""Which service of git a program is that runs by hand, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from reconciler.adopt import compare, running
from reconciler.adopt.found import Found, Source
from reconciler.core.desired import Compiled, Service
from reconciler.core.inventory import Adopted, Inventory, Stage
from reconciler.core.problem import Origin, Problem
from reconciler.host import twins


class Differing(Enum):
    """What becomes of a service that runs otherwise than git says."""

    WAIT = "wait"  # it goes on, and a plan says what would restart, once a person approves that
    KEEP = "keep"  # it goes on as if it were the same, until git says something new of it
    WRITE = "write"  # git is made to say what runs


class Fate(Enum):
    """What becomes of a program that git has a service for."""

    SAME = "same"
    ADOPTED = "adopted"  # it was before
    WAITS = "waits"
    KEPT = "kept"
    WRITTEN = "written"
    DOWN = "down"  # it does not run: what runs is started by a pass, and never twice
    ALONE = "alone"  # git says that it is not to run here, or not by us


_NOTED = frozenset({Fate.SAME, Fate.WAITS, Fate.KEPT, Fate.WRITTEN, Fate.DOWN})


class Wishes(NamedTuple):
    """What a person has said of it."""

    names: Mapping[str, str] = {}  # by program or unit, the service
    differing: Differing = Differing.WAIT


class Matched(NamedTuple):
    """One program, and the service that it is."""

    service: str
    found: Found
    fate: Fate
    differs: tuple[str, ...] = ()
    version: str = ""  # of what runs
    why: str = ""

    @property
    def is_noted(self) -> bool:
        return self.fate in _NOTED

    @property
    def is_written(self) -> bool:
        return self.fate is Fate.WRITTEN

    def note(self, source: Source, service: Service) -> Adopted:
        found = self.found
        written = self.is_written
        return Adopted(
            source.by_hand, found.unit, found.start, service.spec, service.launch,
            service.version if written else self.version, found.pid, found.started,
            Stage.LEFT if self.fate is Fate.DOWN else Stage.OFFERED,
            () if written else self.differs, self.fate is Fate.WAITS,
        )  # fmt: skip


class CannotMatch(Exception):  # noqa: N818 - it says what is so
    """Something stands against it, so nothing of it is done."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        super().__init__()
        self.problems = tuple(problems)


def named(source: Source, wishes: Wishes) -> Source:
    """With the names that a person has given. Raises `CannotMatch`."""
    short = [short_name(one.unit) for one in source.found]
    units = {name: one.unit for name, one in zip(short, source.found, strict=True) if short.count(name) == 1}
    units |= {one.unit: one.unit for one in source.found}
    unknown = sorted(name for name in wishes.names if name not in units)
    if unknown:
        hint = f"known: {', '.join(sorted(one.unit for one in source.found))}"
        raise CannotMatch(_problem(f"--as {name}", f"{source.place} has no program {name}", hint) for name in unknown)
    given = {units[name]: service for name, service in wishes.names.items()}
    found = (one._replace(name=given[one.unit], given=True) if one.unit in given else one for one in source.found)
    return source._replace(found=tuple(found))


def short_name(unit: str) -> str:
    """Of a program, without its group; of a unit, without what kind it is."""
    return unit.rpartition(":")[2].removesuffix(".service")


def match(git: Compiled | None, source: Source, wishes: Wishes, known: Inventory) -> tuple[Matched, ...]:
    """Those programs that git has a service for. Raises `CannotMatch`."""
    if git is None:
        return ()
    pairs = [(service, one) for one in source.found if (service := _service_of(git, one))]
    problems = [*_twice(source, pairs), *_unlike(git, source, pairs)]
    services = {service.name: service for service in git.deployment.services}
    for name, one in pairs:
        against = _against(source, name, one, known) if name in services else None
        problems += [against] if against else []
    if problems:
        raise CannotMatch(problems)
    ground = _Ground(git, services, source, wishes, known)
    matched = tuple(_matched(ground, name, one) for name, one in pairs)
    unwritable = [one for one in matched if one.is_written and one.found.unwritable]
    if unwritable:
        hint = "leave out `--differing write`: it waits then, as it runs, until somebody approves the restart"
        raise CannotMatch(
            _problem(source.place, f"{one.found.unit} cannot be written down: {one.found.unwritable}", hint)
            for one in unwritable
        )
    return matched


def versions_of(git: Compiled, matched: Sequence[Matched]) -> dict[str, str]:
    """By component, the version that all of its services run, where git wants another one: a line says that."""
    found = {one.service: one.version for one in matched if one.found.pid}
    components: dict[str, set[str]] = {}
    for service in git.deployment.services:
        components.setdefault(service.component, set()).add(found.get(service.name, compare.VERSION))
    wanted = {service.component: service.version for service in git.deployment.services}
    alike = {name: min(versions) for name, versions in components.items() if len(versions) == 1}
    return {name: one for name, one in alike.items() if one and one not in (compare.VERSION, wanted[name])}


def _service_of(git: Compiled, one: Found) -> str:
    """By the name that a person gave, its own, or the one that git gives the unit; empty where git has none."""
    deployment = git.deployment
    every = {service.name for service in deployment.services} | deployment.disabled.keys()
    every |= {other.name for other in deployment.others}
    if one.given or one.name in every:
        return one.name if one.name in every else ""
    own, bare = one.unit.rpartition(":")[2], short_name(one.unit).removesuffix(f"-{deployment.environment}")
    units = {str(fields["name"].value): service for service, fields in git.fields.items() if "name" in fields}
    return units.get(own, "") or (bare if bare in every else "")


def _twice(source: Source, pairs: Sequence[tuple[str, Found]]) -> Iterator[Problem]:
    for name in sorted({name for name, _ in pairs}):
        units = [one.unit for service, one in pairs if service == name]
        if len(units) > 1:
            hint = "choose by their names after CONF, or say with --as PROGRAM=SERVICE what each of them is"
            yield _problem(source.place, f"{' and '.join(units)} would both be service {name}", hint)


def _unlike(git: Compiled, source: Source, pairs: Sequence[tuple[str, Found]]) -> Iterator[Problem]:
    """What git does not have by that name, and has by another one: a pass would start it once more."""
    taken = {name for name, _ in pairs}
    units = {one.unit for _, one in pairs}
    free = [service for service in git.deployment.services if service.name not in taken]
    commands = {one.name: twins.command(git.fields[one.name], git.deployment.root) for one in free}
    for one in source.found:
        if one.unit in units or one.given or not one.pid:
            continue
        now = running.look(one.pid, one.started).argv
        like = next((name for name, command in commands.items() if twins.is_alike(now, command)), "")
        if like:
            short = short_name(one.unit)
            hint = f"say `--as {short}={like}`; or `--as {short}={one.name}` where it is another one"
            yield _problem(source.place, f"{one.unit} does what {like} of git is to do", hint)


def _against(source: Source, name: str, one: Found, known: Inventory) -> Problem | None:
    """What keeps a program from being the service that git has."""
    noted, owned = known.adopted.get(name), known.services.get(name)
    if one.why_not:
        hint = f"mend that first: a pass would start {name} of git beside it; or, where it is another one, say "
        hint += f"`--as {short_name(one.unit)}=OTHER-NAME`"
        return _problem(source.place, f"{one.unit} cannot become service {name}: {one.why_not}", hint)
    other = next((key for key, it in known.adopted.items() if _is(it, source, one) and key != name), "")
    if other:
        return _problem(source.place, f"{one.unit} was adopted as service {other} already", "")
    if one.off:
        return None
    if noted is not None and noted.stage is not Stage.LEFT and not _is(noted, source, one):
        hint = "stop one of them"
        return _problem(source.place, f"{name} was adopted already as {noted.unit}, and {one.unit} runs too", hint)
    by_hand = noted is not None and noted.stage is not Stage.LEFT
    if owned is not None and owned.spec and not by_hand:
        hint = "stop that one, and take its section out: it is a second one"
        return _problem(source.place, f"{name} runs under reconcile already, and {one.unit} runs too", hint)
    return None


def _is(noted: Adopted, source: Source, one: Found) -> bool:
    return (noted.launcher, noted.unit) == (source.by_hand, one.unit)


class _Ground(NamedTuple):
    git: Compiled
    services: Mapping[str, Service]
    source: Source
    wishes: Wishes
    known: Inventory


def _matched(ground: _Ground, name: str, one: Found) -> Matched:
    service, noted = ground.services.get(name), ground.known.adopted.get(name)
    if service is None:
        disabled = ground.git.deployment.disabled.get(name)
        why = f"git says `enabled: false` ({disabled})" if disabled else "git says that it is not this agent's to run"
        return Matched(name, one, Fate.ALONE, why=why)
    if one.off:
        there = noted is not None and noted.stage is Stage.LEFT
        return Matched(name, one, Fate.ADOPTED if there else Fate.DOWN, why=one.off)
    if noted is not None and _is(noted, ground.source, one) and noted.is_of(service) and not noted.differs:
        return Matched(name, one, Fate.ADOPTED, version=noted.version)
    found = compare.compare(one, running.look(one.pid, one.started), compare.wanted(ground.git, service))
    fates = {Differing.WAIT: Fate.WAITS, Differing.KEEP: Fate.KEPT, Differing.WRITE: Fate.WRITTEN}
    fate = fates[ground.wishes.differing] if found.differs else Fate.SAME
    if fate is Fate.WRITTEN and found.in_files:
        why = "no layer can say what stands in its files: change the template, or the files"
        return Matched(name, one, Fate.WAITS, found.differs, found.version, why)
    return Matched(name, one, fate, found.differs, found.version)


def _problem(place: str, message: str, hint: str) -> Problem:
    return Problem(Origin(place, 0, 0), message, hint)
