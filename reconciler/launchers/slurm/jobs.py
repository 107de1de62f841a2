"""Submits, renews, replaces and ends the job of one deployment; see `base.DaemonControl`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from reconciler.core.desired import Manager
from reconciler.launchers.base import BackendError, NotYet
from reconciler.launchers.slurm import contact, job, limits, queue, words
from reconciler.launchers.slurm.carrier import Carrier
from reconciler.launchers.slurm.queue import Job
from reconciler.launchers.slurm.scheduler import Scheduler, find, tell
from reconciler.launchers.slurm.standing import Standing

_PATIENCE = 20.0  # seconds that a pass waits for a job that it has submitted: most begin at once
_END = 60.0  # seconds that a cancelled job may take to end, its services being down
_CLEAR = 15.0  # seconds that children may take which services have left, after SIGTERM and SIGKILL
_POLL, _LONGEST_POLL = 0.1, 1.0


class JobControl:
    """To the core it is a daemon that is started, renewed, restarted and stopped."""

    def __init__(self, manager: Manager, scheduler: Scheduler, carrier: Carrier) -> None:
        self._address: Mapping[str, str] = dict(manager.address)
        self._spec, _, self._conf_spec = manager.spec.partition(".")
        self._scheduler = scheduler
        self._carrier = carrier
        self.described: frozenset[str] | None = None  # programs, when no job was seen and nothing was written yet

    def reached_at(self) -> str:
        return self._carrier.reached_at()

    def leaves_nothing(self, mains: Collection[int]) -> Collection[int]:
        return self._carrier.clear(mains)

    def start_daemon(self, progress: Callable[[str], None]) -> None:
        standing = self._scheduler.standing()
        if standing.job is None and standing.next is None:
            self._submit(standing, progress)
        self._await(progress)

    def renew_daemon(self, progress: Callable[[str], None]) -> None:
        standing = self._scheduler.standing()
        if standing.renew:
            self._submit(standing, progress)

    def adjust_daemon(self, progress: Callable[[str], None]) -> None:
        """A job that has begun meanwhile is left alone: its owner may shorten it, and never give it its time back."""
        waits = self._scheduler.standing().next
        slot = self._scheduler.adjusted(waits) if waits else None
        if waits is None or slot is None:
            return
        tell(job.adjustment(waits.id, slot.time, slot.least))
        least = "" if slot.least is None else f", or {limits.write(slot.least)} if it has to wait"
        progress(f"job {waits.id} asks for {limits.write(slot.time)}{least}")

    def restart_daemon(self, pid: int, seconds: float, progress: Callable[[str], None]) -> None:
        """Another supervisord in the same job where that is enough; else another job. That one is in the queue before
        the old one ends: if Slurm does not take it, the old one goes on."""
        standing = self._scheduler.standing()
        carrier = standing.job
        if carrier is not None and standing.spec == self._spec and self._carrier.meet(carrier).job_spec == self._spec:
            self._begin_anew(seconds, progress)
            return
        if standing.next is None:
            self._submit(standing, progress)
        if carrier is not None and carrier.id == pid:
            self.stop_daemon(pid, seconds)
        self._await(progress)

    def _begin_anew(self, seconds: float, progress: Callable[[str], None]) -> None:
        progress("supervisord begins anew")
        mains = self._mains()
        until = time.monotonic() + seconds + _PATIENCE
        self._carrier.call("reconcile.restart", int(time.time() + seconds + _PATIENCE))
        while True:
            try:
                inside = self._carrier.look()
            except BackendError:
                inside = None
            if inside is not None and inside.spec == self._conf_spec:
                break
            if time.monotonic() > until:
                raise BackendError(f"supervisord did not begin anew:\n{words.last_words(self._address['log'])}")
            time.sleep(_POLL)
        self._clear(mains)
        self._drive()

    def _mains(self) -> set[int]:
        return {unit.pid for unit in self._carrier.look().units.values() if unit.pid}

    def _clear(self, mains: set[int]) -> None:
        """Wait until nothing is left of them on the node of the job."""
        until = time.monotonic() + _CLEAR
        with suppress(BackendError):  # what cannot be asked cannot end them
            while mains and time.monotonic() < until:
                mains -= self._carrier.clear(mains)
                time.sleep(_POLL if mains else 0)

    def stop_daemon(self, pid: int, seconds: float) -> None:
        """Cancel a job of ours. Its services are stopped first, each with the time that it needs: Slurm would give
        them half a minute."""
        found = find(pid)
        if found is None:
            return
        own, theirs = self._scheduler.wanted.mark, queue.mark_of(found)
        if theirs is None or (theirs.deployment, theirs.root) != (own.deployment, own.root):
            raise BackendError(f"job {pid} is not one of {self._address['root']}: it was left alone")
        if found.alive:
            self._stop_services(found, seconds)
        tell(["scancel", str(pid)])
        until, pause = time.monotonic() + _END, _POLL
        while find(pid) is not None:
            if time.monotonic() > until:
                raise BackendError(f"job {pid} was cancelled, and has not ended after {_END:g} s")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_POLL)
        self._carrier.forget(pid)

    def _stop_services(self, carrier: Job, seconds: float) -> None:
        """As far as it goes: whatever stands in the way, Slurm ends what is left."""
        until = time.monotonic() + seconds
        try:
            running = {name for name, unit in self._carrier.meet(carrier).units.items() if not unit.state.down}
            mains = self._mains()
            self._carrier.programs.stop(sorted(running))
            while time.monotonic() < until and running:
                time.sleep(_POLL)
                running &= {name for name, unit in self._carrier.look().units.items() if not unit.state.down}
            self._clear(mains)
        except BackendError:
            return

    def _submit(self, standing: Standing, progress: Callable[[str], None]) -> None:
        """Two passes on two hosts may do so at one time: each then takes all but the first away."""
        slot = self._scheduler.slot()
        if slot.held:
            raise NotYet(words.held(slot))
        self._forget_others()
        after = standing.others(self._scheduler.wanted.name)
        argv = job.submission(self._address, self._spec, slot.time, slot.least, after)
        stamp = int(time.time() + _PATIENCE)
        printed = tell(argv, stdin=job.script(self._address, sys.executable), env={job.UNTIL: str(stamp)})
        progress(f"submitted job {printed.partition(';')[0]}")
        for one in self._scheduler.standing().surplus:
            tell(["scancel", str(one.id)])

    def _forget_others(self) -> None:
        """What was taken away while no job ran may run elsewhere: if it comes back, the job does not start it."""
        if self.described is None:
            return
        folder = self._address["contacts"]
        try:
            contact.forget_started(folder, contact.started(folder) - self.described)
        except OSError as error:
            raise BackendError(f"{error.filename}: {error.strerror}") from error

    def _await(self, progress: Callable[[str], None]) -> None:
        """Until the job begins and its supervisord answers. Raises `NotYet` where that takes too long for a pass."""
        until, pause = time.monotonic() + _PATIENCE, _POLL
        while True:
            standing = self._scheduler.standing()
            if standing.job is not None and self._has_begun(standing.job):
                self._drive()
                return
            if standing.job is None and standing.next is None and standing.ending is None:
                said = words.last_words(self._address["output"])
                raise BackendError(f"did not start: the job ended as soon as it began:\n{said}")
            if time.monotonic() > until:
                waits = words.waiting(standing.next) if standing.next else f"job {self._address['job']} begins"
                raise NotYet(waits)
            progress(words.waiting(standing.next) if standing.next else "the job begins")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_POLL)

    def _has_begun(self, carrier: Job) -> bool:
        try:
            self._carrier.meet(carrier)
        except BackendError:
            return False
        return True

    def _drive(self) -> None:
        if self._carrier.call("reconcile.drive") is not True:
            raise NotYet("the job has begun, and starts its services itself")
