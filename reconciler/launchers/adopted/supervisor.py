"""Programs of a supervisord that somebody else has set up."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from reconciler.core.desired import Manager
from reconciler.core.digest import digest_of
from reconciler.core.observed import Process, State, Unit
from reconciler.core.problem import Gap
from reconciler.host import proc
from reconciler.launchers.adopted import OTHERWISE, ByHand
from reconciler.launchers.base import Backend, BackendError, Log, Look, Outcome, Shared
from reconciler.launchers.supervisor import rpc
from reconciler.launchers.supervisor.programs import ALL, Programs

NAME = "adopted-supervisor"
CONFIGS = "supervisor.getAllConfigInfo"

_START = ("command", "directory", "uid")  # what makes a process another one
_ANSWER = 10.0  # seconds to wait for an answer
_STOP = 10.0  # seconds between the signals to what no supervisord keeps any more
_NOBODY = (FileNotFoundError, ConnectionRefusedError, NotADirectoryError)


class AdoptedSupervisor(ByHand):
    """See `base.Backend`."""

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        address = dict(manager.address)
        self._launcher = manager.launcher
        self._conf = address["conf"]
        self._place = address["socket"]
        self._login = address.get("login", "")  # the section of `conf` with a name and a password
        self._request: rpc.Request | None = None
        self._refused: OSError | None = None

    # ------------------------------------------------------------ looking

    def ask(self) -> None:
        self.close()
        self._refused = None
        try:
            self._request = rpc.Request(self._endpoint(), rpc.dumps(ALL), _ANSWER)
        except OSError as error:
            self._refused = error

    def answer(self, processes: Mapping[int, Process]) -> Look:  # noqa: ARG002 - nothing here has our mark
        if self._request is None and self._refused is None:
            self.ask()
        request, self._request = self._request, None
        if request is None:
            if isinstance(self._refused, _NOBODY):
                return Look({(self._launcher, name): unit for name, unit in self._alone(self.noted).items()})
            why = self._refused.strerror if self._refused else ""
            return self._gap(f"it cannot be asked: {why}")
        try:
            if request.peer.pid and request.peer.uid not in (os.geteuid(), 0):
                return self._gap(f"it belongs to another account (uid {request.peer.uid})")
            found = self._programs().read(request)
            units = self._known(found, self.noted)
        except (rpc.RpcError, rpc.Fault, BackendError) as error:
            return self._gap(str(error))
        finally:
            request.close()
        named = {(self._launcher, name): unit for name, unit in units.items() if unit.state is not State.ABSENT}
        return Look(named, warnings=self._warnings(units))

    def _gap(self, why: str) -> Look:
        told = f"the supervisord of {self._conf} at {self._place}: {why}"
        return Look(gaps=(Gap("launcher", self._launcher, told),))

    def units(self, names: Sequence[str]) -> Mapping[str, Unit]:
        try:
            return self._known(self._programs().units(names), names)
        except BackendError as error:
            if isinstance(error.__cause__, _NOBODY):
                return self._alone(names)
            raise

    def _known(self, found: Mapping[str, Unit], names: Sequence[str] | Mapping[str, object]) -> dict[str, Unit]:
        """Those of `names`. How it is started is asked for where the process is another one than was noted."""
        units = {name: found.get(name) or Unit(self._launcher, name, State.ABSENT) for name in names}
        running = [name for name, unit in units.items() if unit.pid and name in self.noted]
        others = [name for name in running if not self.noted[name].is_same(units[name].pid)]
        starts = self.starts() if others else {}
        for name in others:
            if starts.get(name) != self.noted[name].start:
                units[name] = units[name]._replace(drift=(OTHERWISE,))
        return units

    def _alone(self, names: Sequence[str] | Mapping[str, object]) -> dict[str, Unit]:
        """No supervisord runs there. What one has left behind when it was killed goes on all the same."""
        found = {}
        for name in names:
            known = self.noted.get(name)
            if known is not None and proc.alive(known.pid, known.started):
                detail = "its supervisord has ended"
                found[name] = Unit(self._launcher, name, State.RUNNING, known.pid, known.started, detail)
            else:
                found[name] = Unit(self._launcher, name, State.STOPPED, detail="its supervisord does not run")
        return found

    def starts(self) -> dict[str, str]:
        """By unit, a digest of all that supervisord tells of how it is started. Raises `BackendError`."""
        try:
            configs = self._programs().call(CONFIGS)
        except rpc.Fault as fault:
            raise BackendError(f"supervisord refused {CONFIGS}: {fault.text}") from fault
        return start_digests(configs)

    def _warnings(self, units: Mapping[str, Unit]) -> tuple[str, ...]:
        """Of what has left: its next start would bring that back."""
        down = sorted(name for name, unit in units.items() if unit.state.down and unit.state is not State.ABSENT)
        if not down:
            return ()
        one = len(down) == 1
        told = (
            f"{', '.join(down)} of {self._conf} {'runs' if one else 'run'} under reconcile now: take "
            f"{'its section' if one else 'their sections'} out of that file, or its supervisord starts "
            f"{'it' if one else 'them'} again with itself"
        )
        return (told,)

    # ------------------------------------------------------------ driving

    def stop(self, units: Sequence[str]) -> Sequence[Outcome]:
        found = self.units(units)
        alone = {name for name, unit in found.items() if unit.pid and self._is_alone(unit)}
        for name in alone:
            known = self.noted[name]
            proc.kill_group(known.pid, known.started, _STOP)
        kept = [name for name in units if name not in alone and not found[name].state.down]
        stopped = {outcome.unit: outcome for outcome in (self._programs().stop(kept) if kept else ())}
        return [stopped.get(name, Outcome(name)) for name in units]

    def _is_alone(self, unit: Unit) -> bool:
        return unit.detail == "its supervisord has ended"

    def remove(self, units: Sequence[str]) -> Sequence[Outcome]:
        """Its section is not ours to take away."""
        return [Outcome(unit) for unit in units]

    def log(self, unit: str) -> Log:
        try:
            configs = self._programs().call(CONFIGS)
        except (rpc.Fault, BackendError):
            return Log()
        infos = [info for info in _infos(configs) if _unit(info) == unit]
        named = [str(info.get(key)) for info in infos for key in ("stdout_logfile", "stderr_logfile")]
        return Log(files=tuple(path for path in dict.fromkeys(named) if path.startswith("/")))

    def close(self) -> None:
        if self._request is not None:
            self._request.close()
            self._request = None

    # ------------------------------------------------------------ where it listens

    def _programs(self) -> Programs:
        try:
            return Programs(self._launcher, self._endpoint(), _ANSWER)
        except OSError as error:
            raise BackendError(f"{error.filename}: {error.strerror}") from None

    def _endpoint(self) -> rpc.Endpoint:
        return endpoint(self._place, *(login_of(self._conf, self._login) if self._login else ()))


def backend(manager: Manager, shared: Shared | None = None) -> Backend:  # noqa: ARG001 - it asks nothing that others ask too
    return AdoptedSupervisor(manager)


def endpoint(place: str, username: str = "", password: str = "") -> rpc.Endpoint:
    """`place`: the path of a socket, or HOST:PORT."""
    if place.startswith("/"):
        return rpc.Endpoint(place, username=username, password=password)
    host, _, port = place.rpartition(":")
    return rpc.Endpoint("", host or "127.0.0.1", int(port), username, password)


def start_digests(configs: object) -> dict[str, str]:
    """By unit, of the answer to `CONFIGS`. Logs are left out: supervisord may name them anew with each start."""
    return {_unit(info): digest_of([info.get(key) for key in _START]) for info in _infos(configs)}


def _infos(configs: object) -> list[dict[str, object]]:
    return [info for info in configs if isinstance(info, dict)] if isinstance(configs, list) else []


def _unit(info: Mapping[str, object]) -> str:
    name, group = str(info.get("name")), str(info.get("group"))
    return name if name == group else f"{group}:{name}"


def login_of(conf: str, section: str) -> tuple[str, str]:
    """Never noted anywhere else: read where its owner keeps it. Raises `OSError`."""
    from configparser import Error, RawConfigParser

    parser = RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
    try:
        with open(conf, encoding="utf-8", errors="surrogateescape") as file:
            parser.read_file(file)
        username, password = (parser.get(section, key, fallback="") for key in ("username", "password"))
        return username.replace("%%", "%"), password.replace("%%", "%")
    except (Error, OSError) as error:  # not as an error of the socket, which would mean that nobody listens there
        why = error.strerror if isinstance(error, OSError) else str(error).partition("\n")[0]
        raise OSError(22, f"cannot be read: {why}", conf) from error
