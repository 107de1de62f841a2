"""cron: one line, with a few seconds of sleep before the pass."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from time import monotonic

from reconciler.host import procfs
from reconciler.host.background import Background
from reconciler.schedule import times
from reconciler.schedule.base import Asked, Entry, Job, ScheduleError, UnfitError
from reconciler.schedule.crontab import ANSWER, Crontab, environment

_LONGEST = 998  # characters of a line; cron leaves out one that is longer
_ESCAPED = {b"\r": b"\\r", b"\b": b"\\b"}
_DAEMONS = (b"cron", b"crond", b"busybox", b"anacron", b"fcron")


class Cron(Crontab):
    name = "cron"
    usual = "crontab"

    def lines(self, job: Job) -> list[str]:
        """Raises `UnfitError`. A `%` ends the command for cron unless there is a backslash before it."""
        line = f"{times.fields(job.minutes, job.offset)} {slept(job)}".replace("%", "\\%")
        if len(os.fsencode(line)) > _LONGEST:
            raise UnfitError(f"the line would be longer than the {_LONGEST} characters that cron reads")
        return [EXPLAINED, line]

    def exact(self) -> bytes:
        """Debian's `crontab -l` shows a carriage return and a backspace as a backslash and a letter, and would give
        them back so. What an editor is given is the table itself. Raises `ScheduleError`."""
        shown = self.read()
        if not any(escaped in shown for escaped in _ESCAPED.values()):
            return shown
        exact = self._edited()
        if exact != shown and _shown(exact) != shown:
            raise ScheduleError(
                f"`{self.program} -l` does not show the table as it is, so it cannot be written again: "
                "it has control characters in it. Take them out with `crontab -e`"
            )
        return exact

    def _edited(self) -> bytes:
        """The table as an editor gets it, one that only prints it."""
        try:
            child = Background([self.program, "-e"], {**environment(), "VISUAL": "cat", "EDITOR": "cat"})
        except OSError as error:
            raise ScheduleError(f"`{self.program}` cannot be started: {error.strerror or error}") from error
        return child.finish(monotonic() + ANSWER).out

    def ask(self, entry: Entry) -> Asked:
        """cron answers no question: when it runs next is reckoned."""
        begins = times.next_run(time.time(), entry.job.minutes, entry.job.offset)
        remark = "" if _daemon_runs() else "no cron daemon is seen on this host: nothing runs its crontabs"
        return Asked(
            next_run=time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(begins)), remarks=(remark,) * bool(remark)
        )


EXPLAINED = "# Kept by `reconcile schedule`: what stands between these two lines is replaced."


def slept(job: Job) -> str:
    """The command of a table, begun at the job's own second of the minute. Raises `UnfitError`."""
    for word in job.argv:
        if any(ord(character) < 32 or ord(character) == 127 for character in word):
            raise UnfitError(f"{word!r} has a control character in it, which no line of a crontab can hold")
    import shlex

    seconds = job.offset % 60
    return (f"sleep {seconds} && " if seconds else "") + shlex.join(job.argv)


def _shown(table: bytes) -> bytes:
    for character, escaped in _ESCAPED.items():
        table = table.replace(character, escaped)
    return table


def _daemon_runs() -> bool:
    """Also where that cannot be seen, as in a /proc that hides what others run."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    seen = False
    for pid in pids:
        with suppress(OSError):
            seen = seen or pid == 1
            if procfs.read_stat(pid).name in _DAEMONS:
                return True
    return not seen
