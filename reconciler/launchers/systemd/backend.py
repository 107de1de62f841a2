"""Asks and drives systemd for the units of one deployment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from reconciler.core.desired import Manager
from reconciler.core.observed import Process, State, Unit
from reconciler.core.problem import Gap
from reconciler.host import files, proc
from reconciler.host.background import Background
from reconciler.host.child import Ended
from reconciler.launchers.base import BackendError, DaemonControl, Log, Look, Outcome
from reconciler.launchers.systemd import show
from reconciler.launchers.systemd.control import LINGER, Control, account, blocks_of, incomplete
from reconciler.launchers.systemd.drift import Around, drift
from reconciler.launchers.systemd.folder import Folders, OwnFile, clear
from reconciler.launchers.systemd.show import NAME, PROPERTIES, Block, Now, untold

_ANSWER = 30.0  # seconds to wait for systemctl; a daemon-reload runs every generator


class SystemdBackend:
    """See `base.Backend`. One `systemctl` for each request; `runtime` and `linger` are there for tests."""

    def __init__(self, manager: Manager, seconds: float = _ANSWER, runtime: str = "", linger: str = LINGER) -> None:
        address = dict(manager.address)
        self._seconds = seconds
        self._deployment, self._root = address["deployment"], address["root"]
        self._wanted = address["wanted"].split()
        self._control = Control(address["scope"], seconds, runtime, linger)
        self._folders = Folders(address, self._control.runtime)
        self._files: dict[str, OwnFile] = {}
        self._gaps: tuple[Gap, ...] = ()
        self._question: Background | None = None
        self._asked: frozenset[str] | None = None  # None: nothing was asked yet
        self._refused = ""  # why nothing could be asked

    @property
    def daemon(self) -> DaemonControl | None:
        return None

    # ------------------------------------------------------------ looking

    def ask(self) -> None:
        self.close()
        self._files, self._gaps = self._folders.ours()
        self._asked = frozenset((*self._wanted, *self._files))
        self._refused = self._control.problem()
        if self._asked and not self._refused:
            self._begin(self._asked)

    def _begin(self, names: Iterable[str]) -> None:
        try:
            self._question = self._control.begin(self._control.show_argv(sorted(names)))
        except OSError as error:
            self._refused = f"systemctl cannot be started: {error.strerror or error}"

    def answer(self, processes: Mapping[int, Process]) -> Look:
        if self._asked is None:
            self.ask()
        asked, self._asked = self._asked or frozenset(), None
        blocks, now = self._read(asked), Now(time.time(), time.monotonic())
        unasked = _kept_unasked(processes, blocks, asked)
        if unasked and not self._refused:
            self._begin(unasked)
            blocks |= {name: block for name, block in self._read(unasked).items() if self._is_marked(block)}
        # That of a second clone of the site, below a root of its own, is no description of ours.
        claimed = {(NAME, name): file.path for name, file in self._files.items() if file.root == self._root}
        warning = self._control.linger_warning()
        look = Look({}, claimed, gaps=self._gaps, warnings=(warning,) if warning else ())
        if not self._refused:
            return look._replace(units=self._all_units(blocks, processes, now))
        if asked or unasked:
            return look._replace(gaps=(*self._gaps, Gap("launcher", NAME, self._refused)))
        return look  # an account that has nothing here needs no manager

    def _is_marked(self, block: Block) -> bool:
        """Its main process was started with our marks: a process of ours may also be in somebody else's unit."""
        try:
            main = proc.look(show.number(block, "MainPID"))
        except OSError:
            return False
        return main is not None and main.mark is not None and main.mark.deployment == self._deployment

    def _read(self, names: Iterable[str]) -> dict[str, Block]:
        """Await the answer about these units. Where there is none, or not the whole one, `_refused` says why."""
        question, self._question = self._question, None
        if question is None:
            return {}
        ended = question.finish(time.monotonic() + self._seconds)
        self._refused = self._failure(ended)
        if self._refused:
            return {}
        blocks = blocks_of(ended.out, names)
        if missing := untold(blocks, names, PROPERTIES):
            self._refused = incomplete(missing)
            return {}
        return self._folders.all_as_ours(blocks)

    def _failure(self, ended: Ended) -> str:
        """Why an answer is none, or nothing."""
        said = ended.err.decode(errors="replace").strip()
        if ended.late:
            return f"systemctl did not answer in {self._seconds:g} s" + (f": {said}" if said else "")
        if not ended.code:
            return ""
        return self._control.unreachable(said) or f"systemctl show failed: {said or f'exit status {ended.code}'}"

    def _all_units(
        self, blocks: Mapping[str, Block], processes: Mapping[int, Process], now: Now
    ) -> dict[tuple[str, str], Unit]:
        """Those that are there; with their drift where they are ours."""
        around = self._around(self._files)
        found = {}
        for name, block in blocks.items():
            unit = self._unit(block, self._files.get(name), now, processes)
            if name in self._files or unit.pid in processes:
                unit = unit._replace(drift=tuple(drift(block, around(name))))
            if unit.state is not State.ABSENT:
                found[NAME, name] = unit
        return found

    def _around(self, files: Mapping[str, OwnFile]) -> Callable[[str], Around]:
        """What stands on disk around each unit, now."""
        folders, laid, enabled = self._folders, self._folders.laid(), self._folders.enabled()
        return lambda name: Around(files.get(name), laid.get(name, ()), folders.by_hand, name in enabled)

    def _unit(
        self, block: Block, file: OwnFile | None, now: Now, processes: Mapping[int, Process] | None = None
    ) -> Unit:
        unit = show.unit(block, now)
        if unit.state is State.RUNNING and file is not None:
            return _as_started(unit, file, now, processes or {})
        if unit.pid and file is None and processes and unit.pid not in processes:
            return unit._replace(pid=_main_of(unit.name, processes) or unit.pid)
        if unit.state in (State.STOPPED, State.EXITED) and self._is_forgotten(block, file):
            return unit._replace(state=State.ABSENT)
        return unit

    def _is_forgotten(self, block: Block, file: OwnFile | None) -> bool:
        """It is down and its file is gone: systemd has only not noticed."""
        fragment = block.get("FragmentPath", "")
        return file is None and fragment.startswith(f"{self._folders.units}/") and not os.path.lexists(fragment)

    def units(self, names: Sequence[str]) -> Mapping[str, Unit]:
        blocks, now = self._show(names), Now(time.time(), time.monotonic())
        found = {name: self._unit(blocks[name], self._own_file(name), now) for name in names if name in blocks}
        return {name: found.get(name) or Unit(NAME, name, State.ABSENT) for name in names}

    def _show(self, names: Sequence[str]) -> dict[str, Block]:
        return self._folders.all_as_ours(self._control.show(names))

    def _is_read(self, block: Block) -> bool:
        """systemd has it from where people write to, which a mask or a transient unit there may hide."""
        return os.path.dirname(block.get("FragmentPath", "")) in self._folders.by_hand

    def _own_file(self, unit: str) -> OwnFile | None:
        try:
            return self._folders.own_file(unit)
        except OSError:
            return None

    def process(self, unit: Unit) -> Process | None:
        return proc.look(unit.pid) if unit.pid else None

    def log(self, unit: str) -> Log:
        """An instance's own output is in files of Apptainer; why it could not be started is in the journal."""
        command = ("journalctl", self._control.word, "-u", unit)
        own = file.own if (file := self._own_file(unit)) else {}
        if "Instance" not in own:
            return Log(command=command)
        path = f"{own['Folder']}/instances/logs/{os.uname().nodename}/{account()}/{own['Instance']}"
        return Log(files=(f"{path}.out", f"{path}.err"), command=command)

    def close(self) -> None:
        if self._question is not None:
            self._question.end()
        self._question, self._asked = None, None

    # ------------------------------------------------------------ driving

    def reload(self) -> frozenset[str]:
        """None runs from another description afterwards that its process does not show: its marks tell."""
        said = self._control.order("daemon-reload")
        if said:
            raise BackendError(f"systemd could not read its unit files anew: {said}")
        # It may report success after having failed (systemd#43001).
        ours, _ = self._folders.ours()
        properties = ("Id", "Names", "LoadState", "FragmentPath", "NeedDaemonReload")
        blocks = self._folders.all_as_ours(self._control.show(sorted(ours), properties))
        if blocks and not any(map(self._is_read, blocks.values())):
            where, instead = self._folders.units, next(iter(blocks.values())).get("FragmentPath", "")
            raise BackendError(
                f"{where} is none of the folders that systemd reads units from"
                + (f", it has {instead}" if instead else "")
                + "; it goes by the home of its account: is HOME another one?"
            )
        old = [name for name, block in blocks.items() if block.get("NeedDaemonReload") == "yes"]
        if old:
            raise BackendError(f"systemd said that it had read its unit files anew, and has not: {', '.join(old)}")
        return frozenset()

    def add(self, units: Sequence[str]) -> Iterable[Outcome]:
        errors = self._clear(units)
        if self._any_stale(units):
            self.reload()
        enabled = self._folders.enabled()
        missing = [unit for unit in units if unit not in enabled and unit not in errors]
        # systemd reads its files anew with it, so that the target holds the unit in memory: of one that nothing
        # holds, it forgets how it ended.
        errors |= {one.unit: one.error for one in self._control.each("enable", (), missing)}
        return [Outcome(unit, errors.get(unit, "")) for unit in units]

    def _clear(self, units: Sequence[str]) -> dict[str, str]:
        """Clear what was laid beside units; the errors by unit."""
        errors, laid = {}, self._folders.laid()
        for unit in units:
            try:
                clear(laid.get(unit, ()))
            except OSError as error:
                errors[unit] = f"{error.filename}: {error.strerror}"
        return errors

    def _any_stale(self, units: Sequence[str]) -> bool:
        """Whether systemd goes by something else than what stands on disk now."""
        blocks = self._show(units)
        files = {name: file for name in blocks if (file := self._own_file(name))}
        around = self._around(files)
        return any(True for name in blocks for _ in drift(blocks[name], around(name)._replace(is_enabled=True)))

    def remove(self, units: Sequence[str]) -> Iterable[Outcome]:
        outcomes = self._control.each("disable", ("--no-reload",), units, fine="does not exist")
        outcomes = [self._forgotten(outcome) for outcome in outcomes]
        # Until then the target that wanted them holds them in memory, and they could still be started.
        self._control.order("daemon-reload")
        self._control.each("reset-failed", (), units)  # it complains of what it has forgotten already
        return outcomes

    def _forgotten(self, outcome: Outcome) -> Outcome:
        """systemctl leaves the link of a unit whose file is gone, and nobody else knows of an instance's pid file."""
        try:
            self._folders.forget(outcome.unit)
            if pid_file := self._pid_file(outcome.unit):
                files.remove(pid_file)
        except OSError as error:
            return Outcome(outcome.unit, f"{error.filename}: {error.strerror}")
        return outcome

    def _pid_file(self, unit: str) -> str:
        """As its own unit file names it, and not as somebody may have edited that."""
        path = file.own.get("PidFile", "") if (file := self._own_file(unit)) else ""
        return path if path.endswith(f"/{unit.removesuffix('.service')}.pid") else ""

    def start(self, units: Sequence[str]) -> Iterable[Outcome]:
        # So that earlier starts, those of passes too, do not count: systemd refuses what starts too often.
        self._control.each("reset-failed", (), units)
        # In mode `fail` systemd refuses what it is still stopping; else it would wait with the start.
        return self._control.each("start", ("--no-block", "--job-mode=fail"), units)

    def stop(self, units: Sequence[str]) -> Iterable[Outcome]:
        return self._control.each("stop", ("--no-block",), units, fine="not loaded")


# ---------------------------------------------------------------- reading answers


def _as_started(unit: Unit, file: OwnFile, now: Now, processes: Mapping[int, Process]) -> Unit:
    """To systemd a unit runs as soon as it has forked; here only when it has stayed up for so long.

    Of an instance the first process is what counts, and that is there a little later. It is there before its pid
    file is, and must not be taken for one that nobody keeps.
    """
    own, pid = file.own, unit.pid
    if "PidFile" in own:
        pid = _instance_pid(own["PidFile"]) or _main_of(unit.name, processes)
    seconds = own.get("StartSeconds", "")
    young = now.epoch - unit.since < (float(seconds) if seconds.isdecimal() else 1.0)
    return unit._replace(state=State.STARTING if young or not pid else State.RUNNING, pid=pid)


def _instance_pid(pid_file: str) -> int:
    """The first process of an instance; 0 while there is none. The file is taken away before each start."""
    try:
        with open(pid_file, encoding="ascii") as file:
            pid = int(file.read())
    except (OSError, ValueError):
        return 0
    return pid if _is_first_of_instance(pid) else 0


def _main_of(name: str, processes: Mapping[int, Process]) -> int:
    """The main process of ours in a unit's control group, or 0."""
    mains = (pid for pid, process in processes.items() if process.mark is not None and process.mark.service)
    return next((pid for pid in mains if _unit_of(pid) == name), 0)


def _kept_unasked(processes: Mapping[int, Process], blocks: Mapping[str, Block], asked: frozenset[str]) -> set[str]:
    """Units that keep a process of ours and were not asked for: their files were deleted by hand."""
    kept = {show.number(block, "MainPID") for block in blocks.values()}
    managers: dict[int, bool] = {}
    found = set()
    for pid, process in processes.items():
        if pid in kept or process.mark is None or not process.mark.service:
            continue
        if process.parent not in managers:
            managers[process.parent] = _is_systemd(process.parent)
        if managers[process.parent] or _is_first_of_instance(pid):
            found.add(_unit_of(pid))
    return found - asked - {""}


def _is_systemd(pid: int) -> bool:
    return _name(pid) == "systemd"


def _is_first_of_instance(pid: int) -> bool:
    return _name(pid) == "appinit"


def _name(pid: int) -> str:
    """What the kernel calls a process; nothing where there is none."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


def _unit_of(pid: int) -> str:
    """The service unit whose control group a process is in, or nothing."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            paths = [
                line.rstrip("\n").split(":", 2)[2] for line in file if line.startswith("0:") or ":name=systemd:" in line
            ]
    except OSError:
        return ""
    names = {path.rpartition("/")[2] for path in paths}
    return next((name for name in names if name.endswith(".service") and not name.startswith("user@")), "")
