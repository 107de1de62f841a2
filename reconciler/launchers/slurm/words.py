"""How the jobs of a deployment are told to people."""

from __future__ import annotations

import time

from reconciler.core.reservations import Slot
from reconciler.host import files
from reconciler.launchers.slurm.queue import Job, Mark, mark_of

_LINES = 15  # of a log that are told


def place(carrier: Job) -> str:
    """Where it runs, and until when."""
    until = f", until {clock(carrier.end)}" if carrier.end else ""
    return f"job {carrier.id} on {carrier.node}{until}"


def waiting(job: Job) -> str:
    """Since when, and why Slurm holds it."""
    since = f" since {clock(job.submitted)}" if job.submitted else ""
    expected = f"; Slurm expects it to start at {clock(job.start)}" if job.start else ""
    return f"job {job.id} is {job.state.lower()}{since} ({job.reason}){expected}"


def held(slot: Slot) -> str:
    """Until when no job is submitted; empty where one may be."""
    if not slot.held:
        return ""
    return f"no job is submitted before {clock(slot.held_until)}, the end of the maintenance {slot.because}"


def adjusted(job: Job, slot: Slot) -> str:
    """Why a job that waits gets other limits. Without the limits themselves, which are others with every minute."""
    if slot.because:
        return f"the time limit of job {job.id}, which waits, is fitted to the maintenance {slot.because}"
    return f"job {job.id}, which waits, was shortened for a maintenance and gets its time back"


def strange(stranger: Job, own: Mark, root: str) -> str:
    """That a job has the name that ours would have, and what to do."""
    mark = mark_of(stranger)
    if mark is not None and mark.deployment == own.deployment:
        return (
            f"job {stranger.id} carries this deployment below another root than {root}: "
            f"`scancel --batch --signal=TERM {stranger.id}` ends it, each of its services with the time that it needs, "
            "and the next pass submits ours"
        )
    return (
        f"job {stranger.id} has the name {stranger.name} and not our mark: end it (scancel {stranger.id}), or give "
        "ours another name with `slurm: {job: ...}`"
    )


def clock(moment: float) -> str:
    """As people read it: today only the time of day."""
    at = time.localtime(moment)
    today = at[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", at)


def last_words(path: str) -> str:
    """What a log ends with."""
    try:
        printed = "\n".join(files.tail(path, 4096).decode(errors="replace").splitlines()[-_LINES:])
    except OSError:
        return f"see {path}"
    return printed if printed.strip() else f"nothing is in {path}"
