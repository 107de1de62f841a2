"""Asks Slurm: the question is sent at once and read later, so that other work is done while the controller answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
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

    def __init__(self, argv: Sequence[str], parse: Callable[[str], _T], seconds: float = SECONDS) -> None:
        """`parse` raises ValueError for what it does not understand."""
        self._argv, self._parse, self._seconds = list(argv), parse, seconds
        self._deadline = monotonic() + seconds
        self._running: Background | None = None
        self._found: list[_T] = []
        self._error = ""
        try:
            self._running = Background(self._argv, environment(os.environ))
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
        command = f"{self._argv[0]} {self._argv[1] if len(self._argv) > 1 else ''}".strip()
        if ended.late:
            self._error = f"{command}: no answer within {self._seconds:g} s"
        elif ended.code != 0:
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
