"""What runs in the supervisord of a job: it tells passes on other nodes what runs, and starts the services at first.

supervisord loads it as one more interface for XML-RPC (`[rpcinterface:reconcile]`). Nobody but a process of the node
can read there what a service was started from, so this reads it. And a job may begin at any hour of the night:
its services start at once, in the order of `after`, unless the pass that has submitted it is there to do so. Only
those do that have run in a job before: one that moves here may still run where it was, and a pass has to end it first.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from supervisor import events
from supervisor.rpcinterface import SupervisorNamespaceRPCInterface
from supervisor.states import RUNNING_STATES, ProcessStates, SupervisorStates
from supervisor.xmlrpc import RPCError

from reconciler.host import proc
from reconciler.host.leftovers import Leftovers
from reconciler.launchers.slurm import contact
from reconciler.launchers.slurm.job import ID, KEY, PORT, UNTIL
from reconciler.launchers.slurm.queue import OF_A_JOB, WHICH

_PATIENCE = 300.0  # seconds after which what has not come up is left to the next pass
_COMING_UP = (ProcessStates.STARTING, ProcessStates.BACKOFF)


def make(supervisord: Any, **settings: str) -> Inside:
    """As supervisord calls it when it begins."""
    _be_no_job()
    return Inside(supervisord, settings)


class Inside:
    """Methods without an underscore can be called from outside, by whoever has the key."""

    def __init__(self, supervisord: Any, settings: Mapping[str, str]) -> None:
        self._supervisord = supervisord
        self._programs = SupervisorNamespaceRPCInterface(supervisord)
        self._spec = settings["spec"]
        self._folder = settings["folder"]
        self._order_path = settings["order"]
        self._order: dict[str, list[str]] = {}
        self._left: list[str] | None = None  # programs that are still to be started; None: that has not begun
        self._driven = False  # a pass does it
        self._began = time.time()
        self._busy = False
        self._leftovers = Leftovers(os.environ["RECONCILE_DEPLOYMENT"])
        events.subscribe(events.SupervisorRunningEvent, self._begin)
        events.subscribe(events.ProcessStateRunningEvent, self._is_up)
        events.subscribe(events.ProcessGroupRemovedEvent, self._is_gone)
        events.subscribe(events.Tick5Event, self._go_on)
        events.subscribe(events.Tick5Event, self._stay_known)

    # ------------------------------------------------------------ what passes ask

    def look(self) -> str:
        """All that a pass wants to know, as JSON.

        @return string result
        """
        return json.dumps(
            {
                "format": 1,
                "spec": self._spec,
                "job_spec": os.environ.get("RECONCILE_SPEC", ""),
                "pid": os.getpid(),
                "space": contact.space(),
                "node": os.uname().nodename,
                "booting": self._is_booting(),
                "units": [[info, _process(int(info["pid"]))] for info in self._programs.getAllProcessInfo()],
            }
        )

    def drive(self) -> bool:
        """A pass is there and starts what is to be started. False: that has begun without it.

        @return boolean result
        """
        self._driven = not self._is_booting() or self._left is None
        return self._driven

    def clear(self, mains: str) -> str:
        """End what services have left behind, without waiting: of these main processes, those of which nothing is left.

        @param string mains
        @return string result
        """
        gone = self._leftovers.gone(set(map(int, json.loads(mains))))
        self._leftovers.forget(gone)
        return json.dumps(sorted(gone))

    def restart(self, until: int) -> bool:
        """Begin anew with the configuration as it is now; up to this second a pass is expected to drive.

        @param int until
        @return boolean result
        """
        os.environ[UNTIL] = str(until)
        self._supervisord.options.mood = SupervisorStates.RESTARTING
        return True

    # ------------------------------------------------------------ beginning without a pass

    def _begin(self, _event: object) -> None:
        """supervisord listens now."""
        self._order = _read_order(self._order_path)
        self._note(contact.started(self._folder) & self._states().keys())  # others were taken away between two jobs
        try:
            contact.write(self._folder, _own_contact())
        except OSError as error:
            self._supervisord.options.logger.critical("reconcile: no pass will find this job: " + str(error))  # noqa: G003 - its own logger
        self._go_on(None)

    def _stay_known(self, _event: object) -> None:
        """The note may be gone, or spoilt: somebody has emptied the folder, another job of ours has begun beside this
        one, or the disk was full."""
        own, found = _own_contact(), None
        with suppress(OSError):
            found = contact.read(self._folder, own.job)
        if found != own:
            with suppress(OSError):
                contact.keep(self._folder, own)

    def _is_up(self, event: Any) -> None:
        self._note(contact.started(self._folder) | {event.process.config.name})
        self._go_on(event)

    def _is_gone(self, event: Any) -> None:
        self._note(contact.started(self._folder) - {event.group})

    def _note(self, names: set[str]) -> None:
        if names != contact.started(self._folder):
            with suppress(OSError):  # then the next pass starts what this job does not start by itself
                contact.note_started(self._folder, names)

    def _is_booting(self) -> bool:
        if self._driven or time.time() - self._began > _PATIENCE:
            return False
        return self._left is None or bool(self._due()) or any(state in _COMING_UP for state in self._states().values())

    def _go_on(self, _event: object) -> None:
        """Start what is next. An event may come while this starts something."""
        if self._driven or self._busy or time.time() < float(os.environ.get(UNTIL) or 0):
            return
        if time.time() - self._began > _PATIENCE:
            return
        if self._left is None:
            self._left = sorted(self._states().keys() & contact.started(self._folder))
        self._busy = True
        try:
            for name in self._due():
                self._left.remove(name)
                with suppress(RPCError):  # its state tells
                    self._programs.startProcess(name, False)
        finally:
            self._busy = False

    def _due(self) -> list[str]:
        """Of those that are left, the ones that need not wait for another one."""
        states = self._states()
        return [
            name
            for name in self._left or ()
            if all(states.get(other) in (None, ProcessStates.RUNNING) for other in self._order.get(name, ()))
            and states.get(name) not in RUNNING_STATES
        ]

    def _states(self) -> dict[str, int]:
        groups = self._supervisord.process_groups.values()
        return {name: process.get_state() for group in groups for name, process in group.processes.items()}


def _be_no_job() -> None:
    """Programs begin as under any other launcher. `sbatch` hands on all variables, and `srun` takes those of a job for
    options: a job that a service submits would have the memory, the processors and the nodes of this one besides its
    own, and its steps fail (22.05 and 24.11)."""
    os.environ[ID] = os.environ.get("SLURM_JOB_ID") or os.environ.get(ID, "0")
    for name in list(os.environ):
        if name.startswith(OF_A_JOB) and name not in WHICH:
            del os.environ[name]


def _read_order(path: str) -> dict[str, list[str]]:
    """After which others each program starts. Somebody may have edited it: what is wrong here would end the job."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    known = found.items() if isinstance(found, dict) else ()
    return {name: list(map(str, others)) for name, others in known if isinstance(others, list)}


def _own_contact() -> contact.Contact:
    return contact.Contact(
        int(os.environ[ID]),
        os.uname().nodename,
        contact.space(),
        int(os.environ[PORT]),
        os.environ[KEY],
    )


def _process(pid: int) -> list[object] | None:
    """What runs under this pid: pid, start, parent and mark."""
    with suppress(OSError):
        found = proc.look(pid) if pid else None
        if found is not None:
            return [found.pid, found.started, found.parent, list(found.mark) if found.mark else None]
    return None
