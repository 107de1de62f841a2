"""Slurm's queue as squeue prints it: which words are asked for, and how they are read. Pure.

`--format` is the same in all versions. The JSON is not: from 22.05 to 24.11 states became lists, and times objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from reconciler.core.reservations import Limits
from reconciler.launchers.slurm import limits

WHICH = ("SLURM_CONF", "SLURM_CLUSTERS")  # variables that say which Slurm is meant
OF_A_JOB = ("SLURM_", "SLURMD_")  # how variables begin that Slurm gives to what runs in a job
_MARK = "reconcile/1"  # what our comments begin with
_SEPARATOR = "\x1f"  # no name or comment has it
_NO_LEAST = "0:00"  # of a job without a least time, in 22.05 and 24.11
_FIELDS = ("%i", "%T", "%r", "%S", "%e", "%V", "%N", "%k", "%j")
_ENDED_WELL = ("COMPLETED", "CANCELLED", "PREEMPTED", "REVOKED")
_FINISHED = frozenset((*_ENDED_WELL, "BOOT_FAIL", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"))
_ENDING = frozenset(("COMPLETING", "STAGE_OUT"))
_ASLEEP = frozenset(("SUSPENDED", "STOPPED"))
_QUEUED = frozenset(("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"))


class Job(NamedTuple):
    """A job of this account's. Times are seconds since the epoch, 0 where Slurm does not know."""

    id: int
    name: str
    state: str  # in Slurm's words, such as PENDING
    reason: str  # why it waits, in Slurm's words
    start: float  # when it started; of one that waits, when Slurm expects it to
    end: float
    submitted: float
    node: str
    comment: str

    @property
    def finished(self) -> bool:
        return self.state in _FINISHED

    @property
    def queued(self) -> bool:
        """It waits for its turn."""
        return self.state in _QUEUED

    @property
    def ending(self) -> bool:
        """Its programs are being ended."""
        return self.state in _ENDING

    @property
    def sleeps(self) -> bool:
        """Somebody, or Slurm itself for another job, has stopped its programs where they are."""
        return self.state in _ASLEEP

    @property
    def alive(self) -> bool:
        """It has a node. A state in a word that is not known counts so: nothing is submitted beside it."""
        return not (self.finished or self.queued or self.ending)


class Mark(NamedTuple):
    """What the comment of a job of ours says."""

    deployment: str
    root: str  # a digest of it
    spec: str  # of the job: what it was submitted with

    def __str__(self) -> str:
        return f"{_MARK} {self.deployment} {self.root} {self.spec}"


def mark_of(job: Job) -> Mark | None:
    """None for a job that is not ours."""
    words = job.comment.split(" ")
    return Mark(*words[1:]) if len(words) == 4 and words[0] == _MARK else None


def argv(account: int) -> list[str]:
    """Asks for all jobs of an account, by its number; those that have just ended are among them."""
    return ["squeue", "--noheader", "--states=all", f"--user={account}", f"--format={_SEPARATOR.join(_FIELDS)}"]


def parse(printed: str) -> tuple[Job, ...]:
    """Raises ValueError for what cannot be understood: that is not "none".

    A job whose own name or comment has a line break in it is not ours, and makes lines that are none.
    """
    if printed and not printed.endswith("\n"):
        raise ValueError("squeue's answer broke off")
    rows = (line.split(_SEPARATOR) for line in printed.splitlines())
    return tuple(_job(row) for row in rows if len(row) == len(_FIELDS) and row[0].isdecimal())


def limits_argv(job: int) -> list[str]:
    """Asks for a job's time limit and its least time."""
    return ["squeue", "--noheader", f"--jobs={job}", "--Format=TimeLimit,MinTime"]


def parse_limits(printed: str) -> Limits:
    """Raises ValueError for what cannot be understood."""
    words = printed.split()
    if len(words) != 2:
        raise ValueError(f"squeue printed what is not two limits: {printed[:200]!r}")
    time, least = words
    return Limits(limits.parse(time), None if least == _NO_LEAST else limits.parse(least))


def _job(row: list[str]) -> Job:
    number, state, reason, start, end, submitted, node, comment, name = row
    comment = "" if comment == "(null)" else comment
    return Job(int(number), name, state, reason, _time(start), _time(end), _time(submitted), node, comment)


def _time(text: str) -> float:
    """`N/A`, or nothing at all, where it is not known."""
    return float(text) if text.isdecimal() else 0.0


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """What a command of Slurm's is called with. A pass that itself runs in a job would hand on that job's
    variables, and a person's settings would change what is printed."""
    foreign = ("SLURM_", "SBATCH_", "SQUEUE_", "SCANCEL_", "SALLOC_", "SRUN_")
    kept = {key: value for key, value in own.items() if key in WHICH or not key.startswith(foreign)}
    return {**kept, "LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"}  # seconds: the words are local time
