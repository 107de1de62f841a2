"""Asks Slurm: the question is sent at once and read later, so that other work is done while the controller answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Generic, TypeVar

from reconciler.host.background import Background
from reconciler.launchers.base import BackendError
from reconciler.launchers.slurm.queue import environment

SECONDS = 20.0  # from the question on; a busy controller takes some of them
_SHOWN = 400  # characters of what it printed

_T = TypeVar("_T")


class Query(Generic[_T]):
    """One command of Slurm's, whose answer several may read. Whoever asks must call `answer` or `end`."""

    def __init__(
        self,
        argv: Sequence[str],
        parse: Callable[[str], _T],
        seconds: float = SECONDS,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`parse` raises ValueError for what it does not understand. `env`: this process's own, as a rule."""
        self._argv, self._parse, self._seconds = list(argv), parse, seconds
        self._deadline = monotonic() + seconds
        self._running: Background | None = None
        self._found: list[_T] = []
        self._error = ""
        own = os.environ if env is None else env
        try:
            self._running = Background([_program(argv[0], own), *argv[1:]], environment(own))
        except OSError as error:
            self._error = f"{argv[0]} cannot be started: {error.strerror or error}"

    def answer(self) -> _T:
        """What it said; waits for it the first time. Raises `BackendError`: then nothing is known."""
        if self._running is not None:
            running, self._running = self._running, None
            self._read(running)
        if self._error:
            raise BackendError(self._error)
        return self._found[0]

    def _read(self, running: Background) -> None:
        ended = running.finish(self._deadline)
        said = (ended.err or ended.out).decode(errors="replace").strip()[-_SHOWN:]
        command = " ".join(word for word in self._argv if not word.startswith("-"))
        if ended.late:
            self._error = f"{command}: no answer within {self._seconds:g} s"
        elif ended.code != 0 or b"error:" in ended.err:  # of an account that it does not know it lists nothing, with 0
            self._error = f"{command}: {said or f'exit status {ended.code}'}"
        else:
            try:
                self._found.append(self._parse(ended.out.decode(errors="replace")))
            except ValueError as error:
                self._error = f"{command}: {error}"

    def end(self) -> None:
        """Where nobody wants the answer any more. Any number of times."""
        if self._running is not None:
            self._running.end()
            self._running = None
            self._error = "nobody waited for the answer"


def _program(name: str, env: Mapping[str, str]) -> str:
    """On that environment's PATH: what starts it looks at this process's own. Raises `OSError`."""
    for folder in env.get("PATH", "").split(":"):
        path = f"{folder}/{name}"
        if folder and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(2, "it is not on the PATH", name)
