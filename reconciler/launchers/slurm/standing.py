"""What the jobs of one deployment are to each other: which carries the services, which follows it, which must go. Pure.

There is to be one job. Slurm lets no two of a name run at once (`--dependency=singleton`), but any number wait. A job
that waits beside one that runs is wanted only where it is to follow it: the running one's time is nearly over, or it
was submitted with other resources. A job of ours is known by its mark, whatever it is called.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from reconciler.launchers.slurm.queue import Job, Mark, mark_of


class Wanted(NamedTuple):
    """What git wants of the job."""

    name: str
    mark: Mark
    renew: float  # seconds before its end at which its successor is submitted


class Standing(NamedTuple):
    """How the jobs of one deployment stand."""

    job: Job | None = None  # that carries the services
    next: Job | None = None  # that waits for its turn, as git wants it
    ending: Job | None = None  # whose programs are being ended
    surplus: tuple[Job, ...] = ()  # ours, and too many
    strangers: tuple[Job, ...] = ()  # that have the name, and not our mark
    renew: bool = False  # nothing follows the job, and its time is nearly over

    @property
    def spec(self) -> str:
        """Of the job that carries the services."""
        mark = mark_of(self.job) if self.job else None
        return mark.spec if mark else ""

    @property
    def is_queued(self) -> bool:
        """Nothing of ours runs or ends, whatever waits."""
        return self.job is None and self.ending is None

    def others(self, name: str) -> tuple[int, ...]:
        """Those that still run under another name, so that Slurm would start one of this name beside them."""
        return tuple(job.id for job in (self.job, self.ending) if job is not None and job.name != name)


def stand(jobs: Iterable[Job], wanted: Wanted, now: float) -> Standing:
    """Of several that run, the one that has run longest is kept; of several that wait, the first."""
    every = sorted(job for job in jobs if not job.finished)  # in the order in which they were submitted
    ours = [job for job in every if _is_ours(job, wanted.mark)]
    alive = sorted((job for job in ours if job.alive), key=lambda job: (job.start or now, job.id))
    queued = [job for job in ours if job.queued]
    job = alive[0] if alive else None
    fitting = [each for each in queued if mark_of(each) == wanted.mark]
    wants_next = job is None or mark_of(job) != wanted.mark or _ends_soon(job, wanted, now)
    following = fitting[0] if fitting and wants_next else None
    return Standing(
        job=job,
        next=following,
        ending=next((each for each in ours if each.ending), None),
        surplus=(*alive[1:], *(each for each in queued if each is not following)),
        strangers=tuple(each for each in every if each.name == wanted.name and each not in ours),
        renew=job is not None and following is None and mark_of(job) == wanted.mark and wants_next,
    )


def _is_ours(job: Job, mark: Mark) -> bool:
    found = mark_of(job)
    return found is not None and (found.deployment, found.root) == (mark.deployment, mark.root)


def _ends_soon(job: Job, wanted: Wanted, now: float) -> bool:
    return job.end > 0 and job.end - now <= wanted.renew
