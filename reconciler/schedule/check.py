"""What every pass asks of a schedule that was installed: whether it still stands; and what puts it right.

Apart from the rest, so that a pass loads no more than this.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from time import monotonic

from reconciler import schedule
from reconciler.schedule.base import Finding, Look, ScheduleError, Trouble
from reconciler.schedule.record import Record, load

ANSWER = 10.0  # seconds that a pass waits for a table to be printed


class Check:
    """Asked when a pass begins and answered at its end, so that it takes no time of its own.

    Whoever makes one must call `findings` or `close`.
    """

    def __init__(self, path: str, host: str) -> None:
        self.record: Record | None = None
        self._look: Look | None = None
        self._known: list[Finding] = []
        try:
            self.record = load(path)
        except ScheduleError as error:
            self._known.append(Finding(Trouble.UNTOLD, str(error)))
        if self.record:
            self._begin(self.record, host)
        self._until = monotonic() + ANSWER

    def _begin(self, record: Record, host: str) -> None:
        if not is_here(record, host):
            self._known.append(Finding(Trouble.UNTOLD, f"it is installed on {record.host}, and this is {host}"))
            return
        self._known += _gone(record)
        self._look = schedule.kind(record.kind, record.program).look(record.entry)

    def findings(self) -> tuple[Finding, ...]:
        look, self._look = self._look, None
        return (*(look.finish(self._until) if look else ()), *self._known)

    def close(self) -> None:
        if self._look:
            self._look.close()
        self._look = None


def is_here(record: Record, host: str) -> bool:
    """Whether this host can tell. Slurm's tables are the same on every node."""
    return record.kind == "scrontab" or record.host == host


def _gone(record: Record) -> Iterator[Finding]:
    program = record.job.argv[0]
    if not os.access(program, os.X_OK):
        yield Finding(Trouble.PROGRAM_GONE, f"the program that it calls is gone: {program}")
    if record.config and not os.path.exists(record.config):
        yield Finding(Trouble.CONFIG_GONE, f"the agent's file that it names is gone: {record.config}")


def mend(record: Record, findings: Sequence[Finding]) -> None:
    """Write again what was written; and have the account linger where it must. Raises `ScheduleError`."""
    if any(finding.trouble is not Trouble.LINGER_OFF for finding in findings):
        schedule.kind(record.kind, record.program).install(record.entry)
    if any(finding.trouble is Trouble.LINGER_OFF for finding in findings):
        from reconciler.host.run import CommandFailed, run

        try:
            run(["loginctl", "enable-linger"], timeout=ANSWER)
        except CommandFailed as error:
            raise ScheduleError(str(error)) from error


def trim(path: str, most: int) -> None:
    """Put a log of more than so many bytes aside; the one that was aside before goes. Raises `OSError`."""
    if path and os.path.exists(path) and os.stat(path).st_size > most:
        os.replace(path, f"{path}.1")
