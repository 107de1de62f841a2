"""scrontab: an entry that Slurm makes a job of, again and again.

Slurm comments the entry out when its job is cancelled, before a maintenance say, and nobody is told. Options of
`#SCRON` lines hold for the one entry that follows them; jobs begin without HOME, so that all paths are whole.
A new entry comes to the beginning of the table: lines with options that somebody has left at its end would be ours.
"""

from __future__ import annotations

import os
from time import monotonic

from reconciler.host.background import Background
from reconciler.schedule import times
from reconciler.schedule.base import Asked, Entry, Finding, Job, Trouble, UnfitError
from reconciler.schedule.cron import EXPLAINED, slept
from reconciler.schedule.crontab import ANSWER, Crontab

_LIMIT = "01:00:00"  # of a pass; what it builds may take its time


class Scrontab(Crontab):
    name = "scrontab"
    usual = "scrontab"
    first = True

    def lines(self, job: Job) -> list[str]:
        """Raises `UnfitError`. Options that are given come last: the later one of two holds."""
        usual = (f"--job-name={_job_name(job)}", f"--time={_LIMIT}", f"--output={_pattern(job.log)}")
        options = [*usual, "--open-mode=append", *job.options]
        for option in options:
            if not option.isprintable() or not option.startswith("-"):
                raise UnfitError(f"`{option}` is no option of sbatch")
        line = f"{times.fields(job.minutes, job.offset, steps=False)} {slept(job)}"
        return [EXPLAINED, *(f"#SCRON {option}" for option in options), line]

    def ask(self, entry: Entry) -> Asked:
        """Which job Slurm holds for it, and when that begins."""
        name = _job_name(entry.job)
        argv = [os.path.join(os.path.dirname(self.program), "squeue"), "--noheader", "--me", f"--name={name}"]
        try:
            ended = Background([*argv, "--format=%T|%S|%r|%i"], {**os.environ, "LC_ALL": "C"}).finish(
                monotonic() + ANSWER
            )
        except OSError as error:
            return Asked(remarks=(f"{argv[0]} cannot be started: {error.strerror or error}",))
        if ended.late or ended.code:
            return Asked(
                (
                    Finding(
                        Trouble.UNTOLD, "squeue does not tell its job: " + ended.err.decode(errors="replace").strip()
                    ),
                )
            )
        jobs = ended.out.decode(errors="replace").splitlines()
        if not jobs:
            return Asked((Finding(Trouble.INACTIVE, f"Slurm holds no job {name} for it"),))
        state, begins, reason, number = jobs[0].split("|")
        why = f" ({reason})" if reason not in ("None", "BeginTime", "") else ""
        return Asked(next_run=begins if state == "PENDING" else "", remarks=(f"job {number} is {state}{why}",))


def _job_name(job: Job) -> str:
    return f"reconcile-{job.site}"


def _pattern(path: str) -> str:
    """A path as the pattern of a file's name. Raises `UnfitError`."""
    if any(character.isspace() or character in "\"'\\" for character in path):
        raise UnfitError(f"{path}: Slurm takes no path with blanks, quotes or backslashes for the output of a job")
    return path.replace("%", "%%")
