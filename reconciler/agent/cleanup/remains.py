"""What launchers have left of what is over, in a pass: a step for each thing that goes.

Rotated logs beyond their limit; pid files, sockets and notes of processes that have ended; Apptainer's records of this
host. Only what is noted as left by a launcher of this deployment's is looked at, by its name. What a launcher that git
wants takes away itself when it starts something is left to it.

Nothing goes while anything of the deployment cannot be seen, is blocked, waits, is held or is paused. A pass with
nothing to do lists two folders for it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from stat import S_ISREG

from reconciler.core import remains as rules
from reconciler.core.desired import Deployment, Leaves, Trace
from reconciler.core.inventory import Inventory
from reconciler.core.observed import Observed
from reconciler.core.outcome import Status
from reconciler.core.plan import Action, Phase, Plan, Step
from reconciler.core.problem import Gap

_OVER = {
    Leaves.PID: "its process has ended",
    Leaves.STOP: "its process has ended",
    Leaves.SOCKET: "nobody listens",
    Leaves.RECORD: "Apptainer's, of an instance that has ended",
}
_AT_ONCE = (Leaves.LOG, Leaves.JOBS)  # all files of one go in one step
_NOTE = r"[0-9]+\.json|started"  # as in `launchers.slurm.contact`
_YOUNG = 60.0  # seconds in which what is half-written may become whole

Seen = Mapping[str, os.stat_result]  # by path
_Names = tuple[frozenset[str], Mapping[str, rules.Numbered]]  # all of a folder, and those that end in a number
_Listed = dict[str, _Names]  # by folder


# As plain tuples: a pass with nothing to do pays for each named one.
Ended = tuple[Status, str, str, bool]  # how a step ended: message, hint, and whether it waits
_Going = tuple[Trace, Seen, bool]  # True: its process is there still, and this very plan ends it


class Remains:
    """Those of one deployment, in one pass."""

    def __init__(self, desired: Deployment, inventory: Inventory, others: Iterable[Deployment], *, held: bool) -> None:
        """`others`: what git wants besides on this host. `held`: something runs that git does not want any more."""
        self.desired, self._inventory, self._held = desired, inventory, held
        theirs = (trace for one in others if one.environment != desired.environment for trace in one.traces)
        self._former = rules.former(desired, inventory, theirs)
        self._observed: Observed | None = None
        self._clear = False
        self._going: dict[str, _Going] = {}  # by step

    # ------------------------------------------------------------ the plan

    def into(self, plan: Plan, observed: Observed) -> Plan:
        """The plan with what goes."""
        self._observed, self._going = observed, {}
        unsure = plan.waits or plan.blocked or plan.diff.gaps or observed.gaps or any(observed.shut.values())
        self._clear = not (unsure or self._held or self.desired.elsewhere)
        if not self._clear:
            return plan
        try:
            ending = {step.service for step in plan.steps if step.action is Action.RESTART and step.service}
            self._going = {f"clean:{one[0].leaves.value}:{path}": one for path, one in self._over(ending)}
        except OSError as error:
            self._clear = False
            what = f"{error.filename or self.desired.root}: {error.strerror or error}"
            gap = Gap("remains", "", f"what is left of what is over: {what}; none of it is removed")
            return plan._replace(diff=plan.diff._replace(gaps=(*plan.diff.gaps, gap)))
        steps = (Step(name, Action.CLEAN, "", self._told(one), Phase.REMAINS) for name, one in self._going.items())
        return plan._replace(steps=(*plan.steps, *steps))

    def _over(self, ending: set[str]) -> Iterator[tuple[str, _Going]]:
        """`ending`: services whose processes the plan ends to begin others. Raises `OSError`."""
        listed: _Listed = {}
        for trace in (*self.desired.traces, *self._former):
            found = self._gone(trace, listed)
            if not found and trace.leaves is Leaves.PID and trace.service in ending and trace in self._former:
                yield from ((path, (trace, {path: info}, True)) for path, info in _there(trace).items())
            elif trace.leaves in _AT_ONCE and found:
                yield trace.path, (trace, found, False)
            elif trace.leaves not in _AT_ONCE:
                yield from ((path, (trace, {path: info}, False)) for path, info in found.items())

    def _told(self, going: _Going) -> str:
        trace, paths, ends = going
        if trace.leaves is Leaves.JOBS:
            return f"{trace.path}: its jobs are over"
        first, *more = sorted(paths, key=_number)
        if trace.leaves is not Leaves.LOG:
            return f"{first}: {'its process ends' if ends else _OVER[trace.leaves]}"
        until = f" to .{_number(more[-1])}" if more else ""
        why = "nobody writes it any more" if trace in self._former else f"git keeps {trace.keep}"
        return f"{first}{until}: {why}"

    # ------------------------------------------------------------ what goes

    def _gone(self, trace: Trace, listed: _Listed) -> Seen:
        """What of a trace goes now. `listed`: folders that were listed before. Raises `OSError`."""
        if trace.leaves is Leaves.RECORD:
            return _record(trace) if trace in self._former else {}
        if trace.leaves is Leaves.JOBS:
            return _notes(trace.path) if trace in self._former and not self._may_speak(trace) else {}
        folder, _, name = trace.path.rpartition("/")
        names, numbered = _names(folder, listed)
        if trace.leaves is Leaves.LOG:
            return self._copies(trace, folder, numbered[name]) if name in numbered else {}
        going = [name] if name in names and (trace in self._former or trace.leaves is Leaves.STOP) else []
        if going and not trace.service and self._may_speak(trace):
            going = []
        going += numbered.get(name, {}).values() if trace.leaves is Leaves.SOCKET else ()
        return _dead(trace, going) if going else {}

    def _copies(self, trace: Trace, folder: str, numbered: rules.Numbered) -> Seen:
        rotated = rules.copies(numbered)
        if trace not in self._former:
            going = [] if rules.others_rotate(self._inventory) else rules.surplus(rotated, trace.keep)
        elif len(rotated) < 2 or self._may_speak(trace):
            return {}
        else:
            going = rules.old_copies(rotated, _spoke(trace.path, folder, rotated.values()), time.time())
        return _own_files(folder, going)

    def _may_speak(self, trace: Trace) -> bool:
        return self._observed is None or rules.may_speak(trace, self.desired, self._inventory, self._observed)

    # ------------------------------------------------------------ carrying it out

    def carry_out(self, step: Step, progress: Callable[[str], None], asked_to_stop: Callable[[], bool]) -> Ended:
        """Remove what a step says, as far as it is still what it was. Raises `OSError`."""
        from reconciler.host import files
        from reconciler.host.dead import unlink

        del progress, asked_to_stop
        trace, going, _ = self._going[step.id]
        folder = os.path.dirname(next(iter(going)))
        now = self._gone(trace, {})
        others = [path for path in going if path not in now and os.path.lexists(path)]
        removed: list[str] = []
        with suppress(FileNotFoundError), files.held_folder(folder) as held:
            for path in (path for path in going if path in now):
                gone = unlink(held, os.path.basename(path), going[path])
                (removed if gone else others).append(path)
        if trace.leaves in (Leaves.RECORD, Leaves.JOBS):
            with suppress(OSError):  # somebody keeps more in it
                os.rmdir(folder)
        if others:
            told = f"is used, or another one, since the plan was made: {', '.join(others)}"
            return Status.SKIPPED, told, "", False
        return Status.DONE, _freed(going, removed) if trace.leaves is Leaves.LOG else "", "", False

    # ------------------------------------------------------------ what stays noted

    def left(self) -> tuple[Trace, ...]:
        """Of what is left by what git no longer has, that of which something may still go. It is looked at now."""
        if not self._clear:
            return self._inventory.traces
        try:
            listed: _Listed = {}
            return tuple(trace for trace in self._former if _is_left(trace, listed))
        except OSError:
            return self._inventory.traces


def _is_left(trace: Trace, listed: _Listed) -> bool:
    if trace.leaves is Leaves.RECORD:
        return os.path.lexists(_record_path(trace))
    if trace.leaves is Leaves.JOBS:
        return bool(_notes(trace.path))
    folder, _, name = trace.path.rpartition("/")
    names, numbered = _names(folder, listed)
    if trace.leaves is Leaves.LOG:
        return len(rules.copies(numbered.get(name, {}))) > 1
    return name in names


def _names(folder: str, listed: _Listed) -> _Names:
    """What is in a folder; nothing where there is none. Raises `OSError`."""
    if folder not in listed:
        names: list[str] = []
        with suppress(FileNotFoundError, NotADirectoryError):
            names = os.listdir(folder)
        listed[folder] = (frozenset(names), rules.numbered(names))
    return listed[folder]


def _number(path: str) -> int:
    number = path.rpartition(".")[2]
    return int(number) if number.isdecimal() else 0


def _freed(going: Seen, removed: list[str]) -> str:
    """For the journal; of all else the step's own name says it."""
    from reconciler.core.cleanup import bytes_in_words

    size = bytes_in_words(sum(going[path].st_size for path in removed))
    return f"{len(removed)} {'copy' if len(removed) == 1 else 'copies'}, {size}"


def _spoke(path: str, folder: str, copies: Iterable[str]) -> float:
    """When the last word came, be it into a copy; 0.0 where nothing is there any more."""
    last = 0.0
    for one in (path, *(os.path.join(folder, name) for name in copies)):
        with suppress(FileNotFoundError):
            last = max(last, os.lstat(one).st_mtime)
    return last


def _own_files(folder: str, names: Iterable[str]) -> Seen:
    """Those of them that are plain files of this account's. Raises `OSError`."""
    found = {}
    for path in (os.path.join(folder, name) for name in names):
        with suppress(FileNotFoundError):
            info = os.lstat(path)
            if S_ISREG(info.st_mode) and info.st_uid == os.geteuid():
                found[path] = info
    return found


def _there(trace: Trace) -> Seen:
    """The file itself, where it can be told dead at all. Raises `OSError`."""
    from reconciler.host import dead

    folder, name = os.path.split(trace.path)
    return _own_files(folder, (name,)) if dead.is_local(folder) else {}


def _dead(trace: Trace, names: Iterable[str]) -> Seen:
    """Those of them that stand for a process of this host that has ended. Raises `OSError`."""
    from reconciler.host import dead, files

    folder, base = os.path.split(trace.path)
    found: dict[str, os.stat_result] = {}
    if not dead.is_local(folder):
        return found
    with files.held_folder(folder) as held:
        for name in names:
            path = os.path.join(folder, name)
            with suppress(FileNotFoundError):
                info = os.stat(name, dir_fd=held, follow_symlinks=False)
                if trace.leaves is Leaves.SOCKET:
                    over = dead.socket_file(held, name, dead.bound_as(path, whole=name == base))
                else:
                    over = (dead.pid_file if trace.leaves is Leaves.PID else dead.stop_note)(held, name)
                if over:
                    found[path] = info
    return found


def _notes(folder: str) -> Seen:
    """What jobs have left in their folder. Raises `OSError`."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return _own_files(folder, (name for name in names if re.fullmatch(_NOTE, name)))


def _record_path(trace: Trace) -> str:
    from reconciler.launchers.apptainer import records

    return records.path(trace.path, trace.name)


def _record(trace: Trace) -> Seen:
    """The record of this host, where nothing stands behind it. Raises `OSError`."""
    from reconciler.launchers.apptainer import records
    from reconciler.launchers.apptainer.records import Stand

    path = records.path(trace.path, trace.name)
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    stand = records.read(trace.path, trace.name).stand
    if stand is Stand.BROKEN and time.time() - info.st_mtime > _YOUNG:
        lives = any(name in (trace.name, "") for _, name in records.first_processes())
        return {} if lives else {path: info}
    return {path: info} if stand is Stand.STALE else {}
