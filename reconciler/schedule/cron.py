"""cron: one line, with a few seconds of sleep before the pass."""

from __future__ import annotations

import os
import shlex
import time
from contextlib import suppress

from reconciler.host import procfs
from reconciler.schedule import times
from reconciler.schedule.base import Asked, Entry, Job, UnfitError
from reconciler.schedule.crontab import Crontab

_LONGEST = 998  # characters of a line; cron leaves out one that is longer
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
    seconds = job.offset % 60
    return (f"sleep {seconds} && " if seconds else "") + shlex.join(job.argv)


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
