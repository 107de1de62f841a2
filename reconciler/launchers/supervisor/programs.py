"""The programs of one supervisord: asks for their states, and starts, stops, takes up and forgets them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reconciler.core.observed import State, Unit
from reconciler.launchers.base import BackendError, Outcome
from reconciler.launchers.supervisor import rpc
from reconciler.launchers.supervisor.rpc import Endpoint

ALL = "supervisor.getAllProcessInfo"
_FEW = 100  # up to so many units are asked by name; supervisord describes 1000 slower than by the number

_STATES = {state.name: state for state in State} | {"UNKNOWN": State.UNKNOWN}


class Programs:
    """Speaks with a supervisord where it listens. Every verb raises `BackendError`, as in `base.Backend`."""

    def __init__(self, launcher: str, endpoint: Endpoint, seconds: float) -> None:
        """`launcher`: whose units they are told as. `seconds`: to wait for an answer."""
        self._launcher = launcher
        self._endpoint = endpoint
        self._seconds = seconds

    # ------------------------------------------------------------ looking

    def read(self, request: rpc.Request) -> dict[str, Unit]:
        """The answer to `ALL`, by name. Raises `RpcError`, `Fault`."""
        units = {}
        for info in rpc.read_infos(request.read()):
            if isinstance(info, rpc.Fault):
                raise info
            unit = unit_of(self._launcher, info)
            units[unit.name] = unit
        return units

    def units(self, names: Sequence[str]) -> dict[str, Unit]:
        """By name; an absent one has `State.ABSENT`."""
        found = self._few(names) if len(names) <= _FEW else self.all()
        return {name: found.get(name) or Unit(self._launcher, name, State.ABSENT) for name in names}

    def all(self) -> dict[str, Unit]:
        with self._told(ALL):
            return self.read(rpc.Request(self._endpoint, rpc.dumps(ALL), self._seconds))

    def _few(self, names: Sequence[str]) -> dict[str, Unit]:
        if not names:
            return {}
        calls: list[object] = [{"methodName": "supervisor.getProcessInfo", "params": [name]} for name in names]
        with self._told("supervisor.getProcessInfo"):
            request = rpc.Request(self._endpoint, rpc.dumps("system.multicall", calls), self._seconds)
            infos = rpc.read_infos(request.read())
            if len(infos) != len(names):
                raise rpc.RpcError("the answer has another number of processes")
            return {name: self._found(name, info) for name, info in zip(names, infos, strict=True)}

    def _found(self, name: str, info: rpc.Info | rpc.Fault) -> Unit:
        if not isinstance(info, rpc.Fault):
            return unit_of(self._launcher, info)
        if info.code == rpc.BAD_NAME:
            return Unit(self._launcher, name, State.ABSENT)
        raise info

    # ------------------------------------------------------------ driving

    def reload(self) -> frozenset[str]:
        """As `Backend.reload`."""
        try:
            answer = self.call("supervisor.reloadConfig")
        except rpc.Fault as fault:
            reason = fault.text.removeprefix("CANT_REREAD: ")
            raise BackendError(f"supervisord cannot read its configuration and uses nothing of it: {reason}") from None
        match answer:
            case [[list(_), list(changed), list(_)]]:
                return frozenset(map(str, changed))
        raise BackendError(f"supervisord answered reloadConfig with {answer!r}")

    def add(self, units: Sequence[str]) -> Sequence[Outcome]:
        return self._each("supervisor.addProcessGroup", units, fine=(rpc.ALREADY_ADDED,))

    def remove(self, units: Sequence[str]) -> Sequence[Outcome]:
        return self._each("supervisor.removeProcessGroup", units, fine=(rpc.BAD_NAME,))

    def stop(self, units: Sequence[str]) -> Sequence[Outcome]:
        # Never waiting: supervisord would answer a second later, and one after the other. What it does not know
        # is down: a killed pass may have removed a unit and left its files.
        return self._each("supervisor.stopProcess", units, False, fine=(rpc.NOT_RUNNING, rpc.BAD_NAME))

    def start(self, units: Sequence[str]) -> Sequence[Outcome]:
        """Each start is asked together with the state after it: of a unit that is still stopping supervisord
        says that it was started, and does nothing."""
        calls: list[tuple[str, rpc.Params]] = []
        for unit in units:
            calls += [("supervisor.startProcess", (unit, False)), ("supervisor.getProcessInfo", (unit,))]
        results = self._multicall("supervisor.startProcess", calls)
        return [Outcome(unit, _start_error(*pair)) for unit, pair in zip(units, _pairs(results), strict=True)]

    def _each(self, method: str, units: Sequence[str], *params: object, fine: tuple[int, ...]) -> list[Outcome]:
        results = self._multicall(method, [(method, (unit, *params)) for unit in units])
        return [
            Outcome(unit, result.text if isinstance(result, rpc.Fault) and result.code not in fine else "")
            for unit, result in zip(units, results, strict=True)
        ]

    def _multicall(self, method: str, calls: Sequence[tuple[str, rpc.Params]]) -> list[object]:
        with self._told(method):
            return list(rpc.multicall(self._endpoint, self._seconds, calls))

    def call(self, method: str, *params: object) -> object:
        """One request. Raises `Fault` where it is refused."""
        with self._told(method, pass_faults=True):
            return rpc.call(self._endpoint, self._seconds, method, *params)

    def _told(self, method: str, *, pass_faults: bool = False) -> _told:
        return _told(str(self._endpoint), method, pass_faults=pass_faults)


class _told:  # noqa: N801 - reads as a word
    """Turns what can go wrong with a request into a `BackendError` that says what was asked."""

    def __init__(self, place: str, method: str, *, pass_faults: bool) -> None:
        self._place, self._method, self._pass = place, method, pass_faults

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, rpc.Fault) and not self._pass:
            raise BackendError(f"supervisord refused {self._method}: {error.text}") from error
        if isinstance(error, rpc.RpcError):
            raise BackendError(f"supervisord at {self._place} was asked {self._method}: {error}") from error
        if isinstance(error, OSError):
            why = error.strerror or error
            raise BackendError(f"supervisord cannot be asked {self._method} at {self._place}: {why}") from error


# ---------------------------------------------------------------- reading answers


def unit_of(launcher: str, info: rpc.Info) -> Unit:
    """What supervisord says of one process."""
    name, group = str(info["name"]), str(info["group"])
    state = _STATES.get(str(info["statename"]), State.UNKNOWN)
    ended = state in (State.STOPPED, State.EXITED, State.FATAL, State.BACKOFF)
    return Unit(
        launcher=launcher,
        name=name if name == group else f"{group}:{name}",
        state=state,
        pid=int(info["pid"]),
        since=float(info["stop" if ended and info["stop"] else "start"]),
        detail=_detail(state, info),
    )


def _detail(state: State, info: rpc.Info) -> str:
    """supervisord's own words, where they say more than the state does."""
    if state is State.EXITED:
        return f"exit status {info['exitstatus']}"
    if state in (State.FATAL, State.BACKOFF):
        return str(info["spawnerr"] or info["description"])
    if state is State.STOPPED and not info["start"]:
        return "not started yet"
    return ""


def _pairs(results: Sequence[object]) -> Iterator[tuple[object, object]]:
    yield from zip(results[::2], results[1::2], strict=True)


def _start_error(started: object, after: object) -> str:
    """Whether a start was taken. What became of it is for `units` to tell: BACKOFF may follow in any case."""
    state: object = after.get("statename") if isinstance(after, Mapping) else ""
    if isinstance(started, rpc.Fault):
        return "" if started.code in (rpc.ALREADY_STARTED, rpc.SPAWN_ERROR) else started.text
    return "it is still stopping" if state == "STOPPING" else ""
