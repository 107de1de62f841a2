"""Reads what `systemctl show` prints. Pure.

It prints a block of `Property=value` lines for every unit that was named, known or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from reconciler.core.observed import State, Unit

NAME = "systemd"

Block = Mapping[str, str]  # a unit's properties

PROPERTIES = (
    "Id",
    "Names",
    "LoadState",
    "LoadError",
    "ActiveState",
    "SubState",
    "Result",
    "Job",
    "MainPID",
    "ExecMainCode",
    "ExecMainStatus",
    # microseconds of the monotonic clock; the same names without it are local time, in words
    "ExecMainStartTimestampMonotonic",
    "ExecMainExitTimestampMonotonic",
    "ActiveExitTimestampMonotonic",
    "StateChangeTimestampMonotonic",
    "NeedDaemonReload",
    "FragmentPath",
    "DropInPaths",
    # what a unit file is compared with
    "Type",
    "ExecStart",
    "ExecStartPre",
    "ExecStartPost",
    "Environment",
    "EnvironmentFiles",
    "Restart",
    "KillMode",
    "KillSignal",
    "TimeoutStopUSec",
)

# Without these nothing is known of a unit. systemctl tells them of one that is not there, too.
_NEEDED = ("LoadState", "ActiveState", "MainPID", "NeedDaemonReload")

_EXITED = "1"  # CLD_EXITED in ExecMainCode; all else is a signal
_NO_EXEC = "203"  # systemd's own exit status for a program that cannot be executed

_ACTIVE = {
    "active": State.RUNNING,
    "reloading": State.RUNNING,
    "refreshing": State.RUNNING,
    "activating": State.STARTING,
    "deactivating": State.STOPPING,
    "failed": State.FATAL,
    "inactive": State.STOPPED,
}

_RESULTS = {
    "timeout": "took too long and was killed",
    "watchdog": "did not report to systemd's watchdog",
    "oom-kill": "was killed for its memory",
    "resources": "systemd could not prepare it",
    "protocol": "did not report as its type asks",
}


class Now(NamedTuple):
    """One instant by both clocks, in seconds."""

    epoch: float
    monotonic: float

    def of(self, block: Block, name: str) -> float:
        """A property in microseconds of the monotonic clock as seconds since the epoch; 0 where it never was."""
        microseconds = number(block, name)
        return round(self.epoch - self.monotonic + microseconds / 1e6, 2) if microseconds else 0.0


def parse(printed: str) -> list[Block]:
    """The blocks in the order in which they were printed; those without a name are left out.

    An empty line parts them, and may also be in a command, which is printed as it is: they all begin alike.
    """
    blocks: list[Block] = []
    first = printed.partition("=")[0] + "="
    for text in f"\n\n{printed}".split(f"\n\n{first}")[1:]:
        lines = (line.partition("=") for line in f"{first}{text}".split("\n"))
        block: Block = {key: value for key, equals, value in lines if equals}
        if block.get("Id"):
            blocks.append(block)
    return blocks


def by_name(blocks: Iterable[Block], names: Iterable[str]) -> dict[str, Block]:
    """The blocks of these units. One that goes by several names (`Alias=`) is told by each of those asked for."""
    found: dict[str, Block] = {}
    wanted = frozenset(names)
    for block in blocks:
        for name in wanted.intersection((block["Id"], *block.get("Names", "").split())):
            found[name] = block if block["Id"] == name else {**block, "Id": name}
    return found


def untold(blocks: Mapping[str, Block], names: Iterable[str], properties: Sequence[str]) -> str:
    """What was asked and is not in the answer, or nothing: whoever takes that for absence stops what runs."""
    needed = [name for name in _NEEDED if name in properties]
    for name in names:
        block = blocks.get(name)
        if block is None:
            return name
        for key in needed:
            if not block.get(key) or (key == "MainPID" and not block[key].isdecimal()):
                return f"{key} of {name}"
    return ""


def number(block: Block, name: str) -> int:
    text = block.get(name, "")
    return int(text) if text.isdecimal() else 0


def unit(block: Block, now: Now) -> Unit:
    """What systemd says of a unit, without its drift."""
    state = _state(block)
    ran = "ExecMainStartTimestampMonotonic" if state is State.RUNNING else "StateChangeTimestampMonotonic"
    return Unit(
        launcher=NAME,
        name=block["Id"],
        state=state,
        pid=number(block, "MainPID") if state is not State.BACKOFF else 0,
        since=now.of(block, ran),
        detail=_detail(state, block),
    )


def _state(block: Block) -> State:
    active, sub, load = block.get("ActiveState"), block.get("SubState", ""), block.get("LoadState")
    if active in ("inactive", "failed") and number(block, "Job"):
        return State.STARTING  # what was asked for is in systemd's queue, and has not begun
    if active == "active" and sub == "exited":
        return State.EXITED
    if active == "activating" and sub.startswith("auto-restart"):
        return State.BACKOFF
    if active == "failed" and load == "not-found":
        return State.ABSENT  # neither a file nor a process: a memory of systemd's, which is in nobody's way
    if active == "failed" and _was_asked_to_stop(block):
        return State.STOPPED
    if active != "inactive":
        return _ACTIVE.get(active or "", State.UNKNOWN)
    if load == "not-found":
        return State.ABSENT
    if load in ("bad-setting", "error"):
        return State.FATAL
    return State.EXITED if _ended_by_itself(block) else State.STOPPED


def _ended(block: Block) -> int:
    return number(block, "ExecMainExitTimestampMonotonic")


def _was_asked_to_stop(block: Block) -> bool:
    """Its end came after systemd had begun to stop it, and not the other way round."""
    return 0 < number(block, "ActiveExitTimestampMonotonic") < _ended(block)


def _ended_by_itself(block: Block) -> bool:
    return _ended(block) > 0 and not _was_asked_to_stop(block)


def _detail(state: State, block: Block) -> str:
    """systemd's own words, where they say more than the state does."""
    if state is State.STOPPED and not _ended(block):
        return "not started yet"
    if block.get("LoadState") in ("bad-setting", "error") and state is State.FATAL:
        return block.get("LoadError", "").partition(" ")[2].strip('"') or "its unit file cannot be read"
    if state not in (State.EXITED, State.FATAL, State.BACKOFF) and block.get("ActiveState") != "failed":
        return ""
    if state is State.FATAL and _has_given_up(block):
        return f"start-limit-hit: ended too often, last with {_end(block)}" if _ended(block) else "start-limit-hit"
    result = block.get("Result", "")
    return _RESULTS.get(result) or (_end(block) if _ended(block) else result)


def _has_given_up(block: Block) -> bool:
    """What is to be started again is down only when it was started too often. The result is of its last end then."""
    return block.get("Result") == "start-limit-hit" or block.get("Restart") in ("always", "on-failure")


def _end(block: Block) -> str:
    """How its main process ended."""
    status = block.get("ExecMainStatus", "")
    if block.get("ExecMainCode") != _EXITED:
        return f"killed by signal {status}"
    why = " (its program could not be executed)" if status == _NO_EXEC else ""
    return f"exit status {status}{why}"
