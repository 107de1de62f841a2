"""Starts under way: start scripts that run in the background, a few at a time, and what became of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from reconciler.host import detached, files, proc

_LEAST = 4  # characters of a value that is kept out of what is told; shorter ones say nothing


class _Waiting(NamedTuple):
    name: str
    front: tuple[int, float] | None  # the keeper of an instance of that name, which must have ended first


class Starts:
    """Every method returns at once."""

    def __init__(self, address: Mapping[str, str]) -> None:
        self._address = address
        self._parallel = int(address["parallel"])
        self._waiting: deque[_Waiting] = deque()
        self._running: dict[str, int] = {}  # by name, the pid of the start script

    def add(self, name: str, front: tuple[int, float] | None) -> None:
        self._waiting.append(_Waiting(name, front))

    def drop(self, name: str) -> None:
        """It is not to be started any more; one that is being started is left to `poll`."""
        self._waiting = deque(one for one in self._waiting if one.name != name)

    def __contains__(self, name: str) -> bool:
        return name in self._running or any(one.name == name for one in self._waiting)

    def poll(self) -> Mapping[str, str]:
        """Those that are over since the last time, with why they failed, empty where they did not; begin others."""
        over = {}
        for name, pid in list(self._running.items()):
            code = detached.ended(pid)
            if code is not None:
                del self._running[name]
                over[name] = self._failure(name, code)
        for _ in range(len(self._waiting)):
            if len(self._running) >= self._parallel:
                break
            one = self._waiting.popleft()
            if one.front is not None and proc.alive(*one.front):
                self._waiting.append(one)
            else:
                over |= self._begin(one.name)
        return over

    def _begin(self, name: str) -> Mapping[str, str]:
        """No address of a user bus is handed on: with one, Apptainer puts every instance into a control group by
        way of it, which is what fails when many start at once."""
        try:
            script = f"{self._address['bin']}/{name}"
            self._running[name] = detached.start([script], detached.environment(), self._output(name))
        except OSError as error:
            return {name: f"{error.filename or script} cannot be run: {error.strerror or error}"}
        return {}

    def _failure(self, name: str, code: int) -> str:
        if code == 0:
            return ""
        how = (
            f"its start script ended with exit status {code}" if code > 0 else f"signal {-code} ended its start script"
        )
        return f"{how}: {self._printed(name)}".removesuffix(": ")

    def _printed(self, name: str) -> str:
        """The end of what it printed, without the service's own variables."""
        from reconciler.host.run import tail

        try:
            text = tail(files.tail(self._output(name), 1 << 14))
        except OSError:
            return ""
        return redact(text, _values(f"{self._address['env']}/{name}.env"))

    def _output(self, name: str) -> str:
        return output(self._address, name)

    def close(self) -> None:
        """End what has not come to its end: nobody would hear of it any more."""
        detached.end(list(self._running.values()))
        self._running.clear()
        self._waiting.clear()


def output(address: Mapping[str, str], name: str) -> str:
    """Where all that a start script prints goes."""
    return f"{address['logs']}/{name}.start.log"


def redact(text: str, values: list[str]) -> str:
    """The text without these values, of which each line counts."""
    for line in sorted({line for value in values for line in value.splitlines()}, key=len, reverse=True):
        if len(line) >= _LEAST:
            text = text.replace(line, "…")
    return text


def _values(path: str) -> list[str]:
    """What a service's variables are set to; nothing where the file cannot be read."""
    import shlex

    try:
        words = shlex.split(files.read(path).decode(errors="surrogateescape"), comments=True)
    except (OSError, ValueError):
        return []
    return [word.partition("=")[2] for word in words]
