"""What Slurm says of a deployment's jobs and of its maintenance, and what it is told."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from reconciler.core.reservations import Reservation, Slot, adjust, decide, touching
from reconciler.launchers.base import BackendError, Shared
from reconciler.launchers.slurm import hostlist, limits, queue, reservations
from reconciler.launchers.slurm.query import Query
from reconciler.launchers.slurm.queue import Job
from reconciler.launchers.slurm.standing import Standing, Wanted, stand

Queue = Query[tuple[Job, ...]]


class Scheduler:
    """Asks for one deployment. Raises `BackendError` where Slurm does not answer."""

    def __init__(self, address: Mapping[str, str], wanted: Wanted, shared: Shared) -> None:
        self._address = address
        self.wanted = wanted
        self._shared = shared

    def ask(self) -> Queue:
        """The one question of a pass, for all of its deployments."""
        return self._shared.once("squeue", ask_queue)

    def standing(self, asked: Queue | None = None) -> Standing:
        """How the jobs stand: by this question, or by one that is sent now."""
        query = asked or ask_queue()
        try:
            return stand(query.answer(), self.wanted, time.time())
        finally:
            query.end()

    def slot(self) -> Slot:
        """Whether the job may be submitted now, and for how long."""
        return decide(self._reserved(), time.time(), *self._wants())

    def adjusted(self, job: Job) -> Slot | None:
        """What the limits of this job, which waits, have to become; None: it may wait with those that it has."""
        query = Query(queue.limits_argv(job.id), queue.parse_limits)
        try:
            reserved = self._reserved()
            return adjust(reserved, time.time(), *self._wants(), query.answer())
        finally:
            query.end()

    def _wants(self) -> tuple[int | None, float]:
        """The time limit, and the time before a maintenance in which nothing is submitted, in seconds."""
        return limits.parse(self._address["time"]), float(self._address["buffer"])

    def _reserved(self) -> tuple[Reservation, ...]:
        """What concerns the nodes of the job."""
        found = self._shared.once("reservations", lambda: Query(reservations.ARGV, reservations.parse)).answer()
        names = self._address["nodes"] or self._partition()
        nodes = frozenset(hostlist.expand(names)) if names else None
        return touching(found, nodes, self._address["partition"])

    def _partition(self) -> str:
        """The nodes of the job's partition, where one is named."""
        if not self._address["partition"]:
            return ""
        argv = ("sinfo", "--noheader", "--format=%N", f"--partition={self._address['partition']}")
        return ",".join(Query(argv, lambda printed: printed.split()).answer())


def ask_queue() -> Queue:
    return Query(queue.argv(os.getuid()), queue.parse)


def find(number: int) -> Job | None:
    """A job that is not over."""
    found = next((one for one in ask_queue().answer() if one.id == number), None)
    return None if found is None or found.finished else found


def tell(argv: list[str], stdin: str = "", env: Mapping[str, str] | None = None) -> str:
    """What a command of Slurm's printed."""
    from reconciler.host.detached import environment
    from reconciler.host.run import CommandFailed, run

    # A job inherits what sbatch is called with: the same from cron and from a login.
    kept = {key: value for key, value in os.environ.items() if key in (*queue.WHICH, "PATH")}
    try:
        done = run(argv, timeout=30.0, env={**environment(), **kept, **(env or {})}, stdin=stdin.encode())
    except CommandFailed as failed:
        raise BackendError(str(failed)) from failed
    return done.out.decode(errors="replace").strip()
