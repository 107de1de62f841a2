"""Asks and drives the supervisord of one deployment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from stat import S_ISSOCK

from reconciler.core.desired import Manager
from reconciler.core.observed import DaemonState, Process, Unit
from reconciler.core.problem import Gap
from reconciler.host import proc
from reconciler.launchers.base import BackendError, DaemonControl, Log, Look, Outcome
from reconciler.launchers.supervisor import rpc, sections, starting
from reconciler.launchers.supervisor.programs import ALL, Programs

NAME = "supervisor"

_ANSWER = 10.0  # seconds to wait for an answer
_POLL = 0.02  # seconds between two looks


class SupervisorBackend:
    """See `base.Backend`. Every request has a connection of its own, so nothing is held between two."""

    def __init__(self, manager: Manager, seconds: float = _ANSWER) -> None:
        self._spec = manager.spec
        self._address = dict(manager.address)
        self._socket = self._address["socket"]
        self._endpoint = rpc.Endpoint(self._socket)
        self._programs = Programs(NAME, self._endpoint, seconds)
        self._seconds = seconds
        self._request: rpc.Request | None = None
        self._refused: OSError | None = None

    @property
    def daemon(self) -> DaemonControl:
        return self

    # ------------------------------------------------------------ looking

    def ask(self) -> None:
        self.close()
        self._refused = None
        try:
            self._request = rpc.Request(self._endpoint, rpc.dumps(ALL), self._seconds)
        except OSError as error:
            self._refused = error

    def answer(self, processes: Mapping[int, Process]) -> Look:
        if self._request is None and (self._refused is None or self._has_come_up(processes)):
            self.ask()
        request, self._request = self._request, None
        claimed, copies, gaps = sections.read(NAME, self._address["units"], self._address["deployment"])
        if request is None:
            return self._unanswered(claimed, gaps, processes)._replace(copies=copies)
        peer = _process(request.peer.pid, processes)
        problem = _stranger(request.peer) or self._other_owner(peer, processes)
        daemon = DaemonState(running=False) if problem else _daemon_state(request.peer.pid, peer)
        try:
            units = {} if problem else self._programs.read(request)
        except rpc.RpcError as error:
            problem, units = str(error), {}
        except rpc.Fault as fault:
            shutting = fault.code == rpc.SHUTDOWN_STATE
            problem, units = "it is shutting down" if shutting else f"it refused to answer: {fault.text}", {}
        finally:
            request.close()
        if problem:
            gaps = (*gaps, self._gap(f"supervisord (pid {request.peer.pid}) at {self._socket}: {problem}"))
        named = {(NAME, name): unit for name, unit in units.items()}
        return Look(named, claimed, copies, daemon=daemon, gaps=gaps)

    def _unanswered(
        self, claimed: dict[tuple[str, str], str], gaps: tuple[Gap, ...], processes: Mapping[int, Process]
    ) -> Look:
        """Nobody listens: no daemon, unless one of ours lives.

        One that was started from another configuration may listen elsewhere: that is known without asking it.
        """
        pid = self._living_daemon(processes)
        why = self._refused
        nobody = isinstance(why, FileNotFoundError | ConnectionRefusedError | NotADirectoryError)
        if pid and nobody and self._is_of_another_spec(processes[pid]):
            return Look({}, claimed, daemon=_daemon_state(pid, processes[pid]), gaps=gaps)
        if pid:
            message = f"supervisord runs (pid {pid}) but does not answer at {self._socket}; if that stays so, end it"
        elif nobody:
            return Look({}, claimed, gaps=gaps)
        else:
            message = f"{self._socket} cannot be asked: {why.strerror if why else ''}"
        daemon = _daemon_state(pid, processes[pid]) if pid else DaemonState(running=False)
        return Look({}, claimed, daemon=daemon, gaps=(*gaps, self._gap(message)))

    def _living_daemon(self, processes: Mapping[int, Process]) -> int:
        for pid, process in processes.items():
            if self._is_daemon(process) and proc.alive(pid, process.started):
                return pid
        return 0

    def _has_come_up(self, processes: Mapping[int, Process]) -> bool:
        """Whether a daemon of ours lives. One that a killed pass has only just started is waited for."""
        pid = self._living_daemon(processes)
        while pid and self._is_starting(processes[pid]) and not self._is_of_another_spec(processes[pid]):
            time.sleep(_POLL)
        return pid != 0

    def _is_starting(self, daemon: Process) -> bool:
        """It writes its pid file when it listens; the one of an earlier daemon was removed before it was started."""
        young = time.time() - daemon.started < starting.SECONDS
        return young and proc.alive(daemon.pid, daemon.started) and not os.path.exists(self._address["pidfile"])

    def _is_of_another_spec(self, daemon: Process) -> bool:
        return daemon.mark is not None and daemon.mark.spec not in ("", self._spec)

    def _is_daemon(self, process: Process | None) -> bool:
        mark = process.mark if process else None
        own = (self._address["deployment"], self._address["root"], "")
        return (
            mark is not None
            and (mark.deployment, mark.root, mark.service) == own
            and mark.daemon in ("", NAME)  # the job of another launcher has a supervisord too
        )

    def _other_owner(self, daemon: Process | None, ours: Mapping[int, Process]) -> str:
        """Whose the daemon is, where its mark says that it is not ours: two deployments name one socket.

        One without a mark was started by hand, and one of `ours` may be of a root that the deployment had before.
        """
        mark = daemon.mark if daemon else None
        if daemon is None or mark is None or not mark.deployment or daemon.pid in ours or self._is_daemon(daemon):
            return ""
        return f"it belongs to deployment {mark.deployment} in {mark.root}; give one of them another `paths.run`"

    def units(self, names: Sequence[str]) -> Mapping[str, Unit]:
        return self._programs.units(names)

    def process(self, unit: Unit) -> Process | None:
        return proc.look(unit.pid) if unit.pid else None

    def log(self, unit: str) -> Log:
        return Log(files=(f"{self._address['logs']}/{unit}.log",))

    def close(self) -> None:
        if self._request is not None:
            self._request.close()
            self._request = None

    def _gap(self, message: str) -> Gap:
        return Gap("launcher", NAME, message)

    # ------------------------------------------------------------ driving

    def reload(self) -> frozenset[str]:
        return self._programs.reload()

    def add(self, units: Sequence[str]) -> Sequence[Outcome]:
        return self._programs.add(units)

    def remove(self, units: Sequence[str]) -> Sequence[Outcome]:
        return self._programs.remove(units)

    def stop(self, units: Sequence[str]) -> Sequence[Outcome]:
        return self._programs.stop(units)

    def start(self, units: Sequence[str]) -> Sequence[Outcome]:
        return self._programs.start(units)

    # ------------------------------------------------------------ the daemon itself

    def start_daemon(self, progress: Callable[[str], None]) -> None:
        if self._answers() or (self._has_come_up(proc.scan(self._address["deployment"])[0]) and self._answers()):
            return
        self._refuse_second()
        self._clear_stale()
        progress("starting supervisord")
        pid = starting.spawn(self._address, self._spec)
        self._await(pid)

    def _answers(self) -> bool:
        try:
            request = rpc.Request(self._endpoint, rpc.dumps("supervisor.getState"), self._seconds)
        except OSError:
            return False
        try:
            rpc.loads(request.read())
        except (rpc.RpcError, rpc.Fault) as error:
            raise BackendError(f"{self._socket} is in use, but no supervisord can be asked there: {error}") from None
        owner = self._other_owner(_process(request.peer.pid, {}), {})
        if owner:
            raise BackendError(f"supervisord (pid {request.peer.pid}) at {self._socket}: {owner}; it was left alone")
        return True

    def _refuse_second(self) -> None:
        processes, _ = proc.scan(self._address["deployment"])
        pid = self._living_daemon(processes)
        if pid:
            raise BackendError(
                f"supervisord runs already (pid {pid}) and does not answer at {self._socket}; look into "
                f"{self._address['log']}, end that process, and the next pass starts another"
            )

    def _clear_stale(self) -> None:
        folder = os.path.dirname(self._socket)
        try:
            if folder != os.path.dirname(self._address["pidfile"]):
                starting.private_folder(folder)
            with suppress(FileNotFoundError):
                if not S_ISSOCK(os.lstat(self._socket).st_mode):
                    raise BackendError(f"{self._socket} is no socket; move it away, or name another `socket` in git")
            for path in (self._socket, self._address["pidfile"]):
                with suppress(FileNotFoundError):
                    os.unlink(path)
        except OSError as error:
            raise BackendError(f"{error.filename}: {error.strerror}, so supervisord cannot be started") from error

    def _await(self, pid: int) -> None:
        until = time.monotonic() + starting.SECONDS
        while not self._answers():
            if proc.look(pid) is None:
                raise BackendError(f"supervisord ended while it started:\n{self._last_words()}")
            if time.monotonic() > until:
                raise BackendError(
                    f"supervisord (pid {pid}) does not answer after {starting.SECONDS:g} s:\n{self._last_words()}"
                )
            time.sleep(_POLL)

    def _last_words(self) -> str:
        """What it wrote: to its standard error before it has a log, then to the log."""
        tails = [starting.last_lines(path) for path in (starting.errors_path(self._address), self._address["log"])]
        return "\n".join(tail for tail in tails if tail) or f"it wrote nothing; see {self._address['log']}"

    def stop_daemon(self, pid: int, seconds: float) -> None:
        """Its programs first and all at once: left to itself, supervisord stops one after the other."""
        import signal

        daemon = proc.look(pid)
        if daemon is None:
            return
        mark = daemon.mark
        others = mark is not None and mark.deployment not in ("", self._address["deployment"])
        if others or (not self._is_daemon(daemon) and self._peer() != pid):
            raise BackendError(f"process {pid} is not the supervisord of {self._address['root']}: it was left alone")
        until = time.monotonic() + seconds
        self._stop_all(until)
        services = [process for process in proc.scan(self._address["deployment"])[0].values() if process.parent == pid]
        proc.signal_process(pid, daemon.started, signal.SIGTERM)
        if not self._ends(daemon, max(until - time.monotonic(), 1.0)):
            proc.signal_process(pid, daemon.started, signal.SIGKILL)
            for process in services:
                proc.kill_group(process.pid, process.started, 0.0)
            if not proc.wait_gone([(pid, daemon.started)], 5.0):
                raise BackendError(f"supervisord (pid {pid}) is still there after SIGKILL")

    def restart_daemon(self, pid: int, seconds: float, progress: Callable[[str], None]) -> None:
        self.stop_daemon(pid, seconds)
        self.start_daemon(progress)

    def renew_daemon(self, progress: Callable[[str], None]) -> None:
        """It goes on until somebody ends it."""

    def adjust_daemon(self, progress: Callable[[str], None]) -> None:
        """It never waits for its turn."""

    def leaves_nothing(self, mains: Collection[int]) -> Collection[int]:
        """It runs here, where its processes are seen to."""
        return mains

    def reached_at(self) -> str:
        return ""

    def _ends(self, daemon: Process, seconds: float) -> bool:
        """Whether it ends in time. It looks at signals once a second, or when somebody asks it something."""
        until = time.monotonic() + seconds
        while not proc.wait_gone([(daemon.pid, daemon.started)], _POLL):
            if time.monotonic() > until:
                return False
            self._peer()
        return True

    def _peer(self) -> int:
        """The pid of the process that listens; 0 where none does."""
        try:
            request = rpc.Request(self._endpoint, rpc.dumps("supervisor.getState"), self._seconds)
        except OSError:
            return 0
        request.close()
        return request.peer.pid

    def _stop_all(self, until: float) -> None:
        """As far as it goes: whatever stands in the way, the signal follows. Each question wakes supervisord."""
        try:
            running = [unit.name for unit in self._programs.all().values() if not unit.state.down]
            self.stop(running)
            while time.monotonic() < until and any(not unit.state.down for unit in self.units(running).values()):
                time.sleep(_POLL)
        except BackendError:
            return


# ---------------------------------------------------------------- reading answers


def _process(pid: int, known: Mapping[int, Process]) -> Process | None:
    """The process that listens, marked or not: somebody may have started it by hand."""
    if pid not in known:
        with suppress(OSError):
            return proc.look(pid)
    return known.get(pid)


def _daemon_state(pid: int, process: Process | None) -> DaemonState:
    if process is None:
        return DaemonState(running=True, pid=pid)
    return DaemonState(running=True, pid=pid, started=process.started, spec=process.mark.spec if process.mark else "")


def _stranger(peer: rpc.Peer) -> str:
    return "" if peer.uid in (os.geteuid(), 0) else f"it belongs to another account (uid {peer.uid})"
