"""Finds, starts and stops the instances of one deployment.

To look, no program is run: what runs is in /proc, and Apptainer's records only tell of names that are
taken by somebody else. Apptainer itself runs when an instance is started, by its start script.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from reconciler.core.desired import Manager
from reconciler.core.observed import Process, State, Unit
from reconciler.core.problem import Gap
from reconciler.host import proc
from reconciler.host.marks import Instance
from reconciler.launchers.apptainer import claims, records
from reconciler.launchers.apptainer.records import Stand
from reconciler.launchers.apptainer.starts import Starts, output
from reconciler.launchers.apptainer.stops import Found, Stops, kill
from reconciler.launchers.apptainer.words import KEEPER, NAME, READY
from reconciler.launchers.base import Log, Look, Outcome

_EMPTY = "its service has ended, and left an empty instance"


class ApptainerBackend:
    """See `base.Backend`."""

    def __init__(self, manager: Manager) -> None:
        self._address = dict(manager.address)
        self._deployment = self._address["deployment"]
        self._known: dict[str, Found] | None = None  # ours that were seen; None: nobody has looked yet
        self._members: frozenset[int] = frozenset()  # processes of this deployment, below roots that it had too
        self._starts = Starts(self._address)
        self._stops = Stops(self._address["run"])
        self._settling: dict[str, Found | None] = {}  # started, and not up for long enough; None: not seen yet
        self._failed: dict[str, str] = {}  # why a start has failed

    @property
    def daemon(self) -> None:
        """There is none."""

    # ------------------------------------------------------------ looking

    def ask(self) -> None:
        """There is nobody to ask."""

    def answer(self, processes: Mapping[int, Process]) -> Look:
        self._members = frozenset(processes)
        self._known = self._ours(processes)
        units = {name: _unit(name, found) for name, found in self._known.items()}
        gaps: list[Gap] = []
        for configdir in self._configdirs():
            try:
                units |= self._taken(configdir)
            except OSError as error:
                gaps.append(Gap("launcher", NAME, f"{error.filename or configdir}: {error.strerror or error}"))
        claimed, missed = claims.read(self._address["bin"], self._deployment)
        return Look({(NAME, name): unit for name, unit in units.items()}, claimed, gaps=(*gaps, *missed))

    def _ours(self, processes: Mapping[int, Process]) -> dict[str, Found]:
        """By name, the instances of this launcher among the processes of this deployment."""
        found: dict[str, list[Found]] = {}
        for process in processes.values():
            one = _found(process) if process.mark is not None and process.mark.service else None
            if one is not None and self._is_ours(one):
                found.setdefault(one.box.name, []).append(one)
        return {name: ones[0] if len(ones) == 1 else self._recorded(name, ones) for name, ones in found.items()}

    def _recorded(self, name: str, ones: Sequence[Found]) -> Found:
        """Of several that bear one name, the one that Apptainer knows by it."""
        try:
            pid = records.read(self._configdir(name), name).pid
        except OSError:
            pid = 0
        return min(ones, key=lambda one: (one.pid != pid, one.started))

    def _is_ours(self, found: Found) -> bool:
        env = found.box.env
        member = env.get("RECONCILE_ROOT") == self._address["root"] or found.pid in self._members
        return member and self._is_of_deployment(found.box) and env.get(KEEPER) == NAME

    def _is_of_deployment(self, box: Instance) -> bool:
        return box.env.get("RECONCILE_DEPLOYMENT") == self._deployment

    def _taken(self, configdir: str) -> dict[str, Unit]:
        """Names that instances have which are not known to be ours. Raises `OSError`.

        One that another launcher keeps for this very deployment takes no name: it gives way to ours.
        """
        units: dict[str, Unit] = {}
        broken = set()
        for name in records.names(configdir):
            if name in (self._known or {}) or self._configdir(name) != configdir:
                continue
            record = records.read(configdir, name)
            if record.stand in (Stand.ALIVE, Stand.CLOSED):
                units |= self._alive(name, record.pid)
            elif record.stand is Stand.BROKEN:
                broken.add(name)
        if broken:  # their processes may live all the same
            for pid, name in records.first_processes():
                if name in broken and not records.is_elsewhere(configdir, pid):
                    units |= self._alive(name, pid)
        return units

    def _alive(self, name: str, pid: int) -> dict[str, Unit]:
        """Nothing where it has ended meanwhile, or where another launcher of this deployment keeps it."""
        process, box = proc.look(pid), proc.instance(pid)
        if process is None or box is None or (self._is_of_deployment(box) and box.env.get(KEEPER) != NAME):
            return {}
        return {name: Unit(NAME, name, State.RUNNING, pid, process.started)}

    def units(self, names: Sequence[str]) -> Mapping[str, Unit]:
        self._go_on()
        return {name: self._now(name) for name in names}

    def _now(self, name: str) -> Unit:
        if name in self._stops:
            return Unit(NAME, name, State.STOPPING, self._stops[name].pid, self._stops[name].started)
        if name in self._starts:
            return Unit(NAME, name, State.STARTING)
        if name in self._settling:
            self._settle(name)
        found = self._find(name)
        if name in self._failed and (found is None or proc.is_empty(found.pid)):
            return Unit(NAME, name, State.FATAL, found.pid if found else 0, detail=self._failed[name])
        if found is None:
            return Unit(NAME, name, State.ABSENT)
        unit = _unit(name, found)
        return unit._replace(state=State.STARTING) if name in self._settling else unit

    def _find(self, name: str) -> Found | None:
        """The instance that has this name, whoever's it is."""
        if self._known is None:
            self._known = self._ours(proc.scan(self._deployment)[0])
        found = self._known.get(name)
        if found is not None and found.alive:
            return found
        self._known.pop(name, None)
        record = self._record(name)
        process = proc.look(record.pid) if record.stand in (Stand.ALIVE, Stand.CLOSED) else None
        found = _found(process) if process else None
        if found is not None and self._is_ours(found):
            self._known[name] = found
        return found

    def _record(self, name: str) -> records.Record:
        try:
            return records.read(self._configdir(name), name)
        except OSError:  # starting will fail at it, and say why
            return records.Record(Stand.ABSENT)

    def process(self, unit: Unit) -> Process | None:
        return proc.look(unit.pid) if unit.pid else None

    def log(self, unit: str) -> Log:
        """The instance's two outputs, after what Apptainer itself said when it was started."""
        return Log(files=(output(self._address, unit), *records.logs(self._configdir(unit), unit)))

    def close(self) -> None:
        self._starts.close()

    def _configdir(self, name: str) -> str:
        return self._address.get(f"configdir {name}", self._address["configdir"])

    def _configdirs(self) -> Iterable[str]:
        return dict.fromkeys(value for key, value in self._address.items() if key.partition(" ")[0] == "configdir")

    # ------------------------------------------------------------ driving

    def reload(self) -> frozenset[str]:
        """There is nothing to read."""
        return frozenset()

    def add(self, units: Sequence[str]) -> Sequence[Outcome]:
        """A start script that is in place is all that an instance needs."""
        return [Outcome(unit) for unit in units]

    def remove(self, units: Sequence[str]) -> Sequence[Outcome]:
        return [Outcome(unit, self._attempt(self._remove, unit)) for unit in units]

    def _remove(self, name: str) -> str:
        found = self._find(name)
        if found is not None and self._is_ours(found):
            if not proc.is_empty(found.pid):
                return f"it runs (pid {found.pid})"
            kill(found)
        elif found is None:
            records.forget(self._configdir(name), name)
        self._stops.forget(name)
        self._failed.pop(name, None)
        return ""

    def start(self, units: Sequence[str]) -> Sequence[Outcome]:
        self._go_on()
        outcomes = [Outcome(unit, self._attempt(self._start, unit)) for unit in units]
        self._go_on()
        return outcomes

    def _start(self, name: str) -> str:
        if name in self._stops:
            return "it is still stopping"
        found, front = self._find(name), None
        if found is not None:
            if not self._is_ours(found):
                return self._refusal(name, found)
            if name in self._starts or not proc.is_empty(found.pid):
                return ""
            front = proc.keeper(found.pid)
            kill(found)
        records.forget(self._configdir(name), name)  # Apptainer would take a stranger that has its pid for it
        self._failed.pop(name, None)
        if name not in self._starts:
            self._starts.add(name, front)
        return ""

    def stop(self, units: Sequence[str]) -> Sequence[Outcome]:
        self._go_on()
        return [Outcome(unit, self._attempt(self._stop, unit)) for unit in units]

    def _stop(self, name: str) -> str:
        self._starts.drop(name)
        self._settling.pop(name, None)
        found = self._find(name)
        if found is None or name in self._stops:
            return ""
        if not self._is_ours(found):
            return self._refusal(name, found)
        self._stops.begin(name, found)
        return ""

    def _refusal(self, name: str, found: Found) -> str:
        env = found.box.env
        owner = f"belongs to deployment {env['RECONCILE_DEPLOYMENT']} in {env.get('RECONCILE_ROOT', '')}"
        whose = owner if env.get("RECONCILE_DEPLOYMENT") else "carries no mark of ours"
        return (
            f"the instance {name} (pid {found.pid}) {whose}: it was left alone; give the service another `name:`, or "
            f"end it with `apptainer instance stop {name}`"
        )

    def _attempt(self, verb: Callable[[str], str], name: str) -> str:
        try:
            return verb(name)
        except OSError as error:
            return f"{error.filename or name}: {error.strerror or error}"

    def _go_on(self) -> None:
        """What is under way goes on: scripts that ended are heard, others begin, and late ones are killed."""
        self._stops.poll()
        for name, failure in self._starts.poll().items():
            if failure:
                self._failed[name] = failure
            else:
                self._settling[name] = None

    def _settle(self, name: str) -> None:
        """Whether an instance that was started is up, has failed, or needs more time."""
        found = self._settling[name] or self._find(name)
        self._settling[name] = found
        needed = float(self._address.get(f"start_seconds {name}", READY))
        if found is None:
            self._failed[name] = "its start script ended well, and there is no instance of that name"
        elif not found.alive or proc.is_empty(found.pid):
            self._failed[name] = "its service ended as soon as it was started"
        elif time.time() - found.started < needed:
            return
        del self._settling[name]


def _found(process: Process) -> Found | None:
    box = proc.instance(process.pid)
    return Found(process.pid, process.started, box) if box is not None else None


def _unit(name: str, found: Found) -> Unit:
    if proc.is_empty(found.pid):
        return Unit(NAME, name, State.EXITED, found.pid, found.started, _EMPTY)
    return Unit(NAME, name, State.RUNNING, found.pid, found.started)
