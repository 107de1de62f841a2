"""Where the logs of a service are: from what is noted on this host, without the remote and without the lock."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from reconciler.agent.config import Agent, InvalidInput
from reconciler.agent.here import this_host
from reconciler.agent.memory.store import DamagedError, SourceState, Store
from reconciler.agent.workspace import Workspace
from reconciler.core.desired import Deployment, Manager, Unmanaged
from reconciler.core.inventory import Adopted, Inventory, Stage
from reconciler.core.problem import Origin, Problem
from reconciler.host.tail import CommandTail, FileTail, Tail
from reconciler.launchers import NAMES, by_hand, is_by_hand, launcher
from reconciler.launchers.base import Log
from reconciler.source import Mirror, SourceError


class ServiceLog(NamedTuple):
    """Where one service's output goes in one environment."""

    environment: str
    log: Log


class Found(NamedTuple):
    logs: tuple[ServiceLog, ...]  # at least one
    warnings: tuple[str, ...] = ()


def find_logs(agent: Agent, service: str) -> Found:
    """The logs of a service in the agent's environments. Raises `InvalidInput` for one that nobody knows here.

    Known are services that were applied, that git wants, and those gone from git whose files still lie there.
    A commit is compiled only where none of this answers.
    """
    search = _Search(agent)
    for logs in (search.known(service), search.left(service)):
        if logs:
            return Found(logs, search.warnings())
    search.compile()
    if logs := search.known(service):
        return Found(logs, search.warnings())
    raise InvalidInput([search.unknown(service)])


def known_services(agent: Agent) -> Mapping[str, frozenset[str]]:
    """By environment, the services that this host knows: applied here, or wanted by the last valid commit."""
    search = _Search(agent)
    search.compile()
    return {known.environment: frozenset(known.units()) for known in search.everywhere()}


def tails(log: Log, lines: int | None, *, follow: bool, bare: bool) -> Iterator[tuple[str, Tail]]:
    """Each part of a log with its name, from so many last lines on (None: all). `bare`: no remarks between them."""
    if log.command:
        argv = [*log.command, "--no-pager", f"--lines={'all' if lines is None else lines}"]
        argv += ["--follow"] * follow + ["--quiet"] * bare
        yield " ".join(log.command), CommandTail(argv, follow=follow)
    for path in log.files:
        yield path, FileTail(path, lines)


class _Known(NamedTuple):
    """What is known of an environment here: what was applied, and what git wants where that is at hand."""

    environment: str
    inventory: Inventory
    desired: Deployment | None = None

    def units(self) -> dict[str, tuple[str, str]]:
        """Launcher and unit by service. What was applied counts before what git wants since."""
        wanted = self.desired.services if self.desired else ()
        owned = self.inventory.services
        others = {one.name: (one.launcher, one.unit) for one in self._others()}
        return (
            others
            | {one.name: (one.launcher, one.unit) for one in wanted}
            | {name: (one.launcher, one.unit) for name, one in owned.items()}
            | {name: (one.launcher, one.unit) for name, one in self._by_hand().items()}
        )

    def _by_hand(self) -> Mapping[str, Adopted]:
        """Services that run as they were adopted."""
        return {name: one for name, one in self.inventory.adopted.items() if one.stage is Stage.TAKEN}

    def _others(self) -> list[Unmanaged]:
        """Services that others run under a launcher that is in use here."""
        others = self.desired.unmanaged if self.desired else ()
        return [one for one in others if one.unit and one.launcher in self.managers()]

    def managers(self) -> Mapping[str, Manager]:
        wanted = self.desired.managers if self.desired else ()
        return {manager.launcher: manager for manager in (*wanted, *self.inventory.managers, *self.inventory.by_hand)}

    def is_disabled(self, service: str) -> bool:
        return self.desired is not None and service in self.desired.disabled


class _Search:
    """One look at what the state directory knows of a site."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._store = Store(agent.state_dir, agent.site)
        self._damage: dict[str, str] = {}  # by environment; of the source under the empty name
        self._strange: set[str] = set()  # launchers that this reconcile does not know
        mirror = Mirror(agent.repo, agent.branch, self._store.mirror_folder(agent.repo), agent.timeout)
        self._workspace = Workspace(agent, self._store, mirror, this_host())
        self._source = self._read_source(mirror)
        wanted = agent.environments or self._source.environments
        self._deployments = self._workspace.kept(self._source.valid, wanted)
        self._known = self._recall(agent.environments or self._all())

    def _read_source(self, mirror: Mirror) -> SourceState:
        """What is remembered of the branch, or at least what the mirror has pinned."""
        try:
            state = self._store.source()
        except DamagedError as error:
            state, self._damage[""] = SourceState(), str(error)
        return state if state.valid else SourceState(valid=mirror.pinned(f"valid-{self._agent.site}"))

    def _all(self) -> list[str]:
        return sorted({*self._source.environments, *self._store.environments(), *self._deployments})

    def everywhere(self) -> list[_Known]:
        """Every environment, whichever the agent is told."""
        return self._recall(self._all())

    def _recall(self, environments: Iterable[str]) -> list[_Known]:
        known = []
        for name in environments:
            desired = self._deployments.get(name)
            recalled = self._store.inventory(name, desired.root if desired else "")
            if recalled.damage:
                self._damage[name] = recalled.damage
            known.append(_Known(name, recalled.inventory, desired))
        return known

    def compile(self) -> None:
        """Learn what git wants from the last valid commit, as far as it can be had here."""
        if self._deployments or not self._source.valid:
            return
        try:
            result = self._workspace.compile(self._source.valid)
        except SourceError as error:
            self._damage[""] = str(error)
            return
        self._deployments = {name: compiled.deployment for name, compiled in result.compiled.items()}
        self._known = self._recall(self._agent.environments or self._all())

    def known(self, service: str) -> tuple[ServiceLog, ...]:
        found: list[ServiceLog] = []
        for known in self._known:
            if service in (units := known.units()):
                name, unit = units[service]
                found += self._logs(known, name, unit)
        return tuple(found)

    def left(self, service: str) -> tuple[ServiceLog, ...]:
        """Of a service that was removed: files that still lie there, and the journal of one that git has disabled."""
        found: list[ServiceLog] = []
        for known in self._known if "/" not in service else ():
            for name in known.managers():
                unit = launcher(name).unit(service, known.environment, "") if name in NAMES else ""
                for one in self._logs(known, name, unit) if unit else ():
                    files = tuple(path for path in one.log.files if os.path.exists(path))
                    command = one.log.command if known.is_disabled(service) else ()
                    found += [one._replace(log=Log(files, command))] if files or command else []
        return tuple(found)

    def _logs(self, known: _Known, name: str, unit: str) -> Sequence[ServiceLog]:
        manager = known.managers().get(name)
        if is_by_hand(name) and manager is not None:
            return (ServiceLog(known.environment, by_hand(name, manager).log(unit)),)
        if name not in NAMES or manager is None:
            self._strange.add(name)
            return ()
        backend = launcher(name).backend(manager)
        try:
            return (ServiceLog(known.environment, backend.log(unit)),)
        finally:
            backend.close()

    def warnings(self) -> tuple[str, ...]:
        strange = (f"this reconcile cannot tell where the launcher {name} logs" for name in sorted(self._strange))
        return (*self._damage.values(), *strange)

    def unknown(self, service: str) -> Problem:
        """What is wrong with the question: nobody here knows this service, or this environment, or anything."""
        from reconciler.desired.problems import suggest

        everywhere = {known.environment: known.units() for known in self.everywhere()}
        names = {name for units in everywhere.values() for name in units}
        asked = self._agent.environments
        for environment in asked:
            if everywhere and environment not in everywhere:
                message = f"{self._agent.site} has no environment {environment} here"
                return Problem(Origin("--environment", 0, 0), message, suggest(environment, everywhere))
        if self._strange:
            return Problem(Origin("SERVICE", 0, 0), f"nobody can tell where {service} logs", "; ".join(self.warnings()))
        if not names:
            why = "; ".join(self.warnings()) or "no launcher is in use, or no pass has run with this state directory"
            message = f"no service of {self._agent.site} is known here: {why}"
            return Problem(
                Origin("SERVICE", 0, 0),
                message,
                "what was written before is below ROOT/logs; else `reconcile --once`, or another --state-dir than "
                f"{self._agent.state_dir}",
            )
        elsewhere = [environment for environment, units in everywhere.items() if service in units]
        hint = f"it is in {', '.join(elsewhere)}" if elsewhere else suggest(service, names)
        place = f"in {', '.join(asked)}" if asked else "here"
        return Problem(Origin("SERVICE", 0, 0), f"no service {service} {place}", hint)
