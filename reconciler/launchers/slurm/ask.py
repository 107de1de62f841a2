"""Asks Slurm for its reservations: started now, read later, so that other work is done while the controller answers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from time import monotonic

from reconciler.core.reservations import Reservation
from reconciler.host.background import Background
from reconciler.launchers.base import BackendError
from reconciler.launchers.slurm.reservations import ARGV, TIME_FORMAT, parse

SECONDS = 20.0  # from the question on; a busy controller takes some of them
_SHOWN = 300  # characters of what it printed


class ReservationQuestion:
    """One question, which several may read the answer of. Whoever asks must call `answer` or `end`."""

    def __init__(self, seconds: float = SECONDS, env: Mapping[str, str] | None = None) -> None:
        """`env` is what the environment of the question is made from: this process's own, as a rule."""
        self._deadline = monotonic() + seconds
        self._seconds = seconds
        self._running: Background | None = None
        self._answer: tuple[Reservation, ...] = ()
        self._error = ""
        try:
            own = os.environ if env is None else env
            self._running = Background(_argv(own), {**own, "LC_ALL": "C", **TIME_FORMAT})
        except OSError as error:
            self._error = f"{ARGV[0]} cannot be started: {error.strerror or error}"

    def answer(self) -> tuple[Reservation, ...]:
        """All reservations; waits for them the first time. Raises `BackendError`: then nothing is known of them."""
        if self._running is not None:
            running, self._running = self._running, None
            self._read(running)
        if self._error:
            raise BackendError(self._error)
        return self._answer

    def _read(self, running: Background) -> None:
        ended = running.finish(self._deadline)
        said = (ended.err or ended.out).decode(errors="replace").strip()[-_SHOWN:]
        if ended.late:
            self._error = f"{' '.join(ARGV)} did not answer within {self._seconds:g} s"
        elif ended.code != 0:
            self._error = f"{' '.join(ARGV)}: {said or f'exit status {ended.code}'}"
        else:
            try:
                self._answer = parse(ended.out.decode(errors="replace"))
            except ValueError as error:
                self._error = f"{' '.join(ARGV)}: {error}"

    def end(self) -> None:
        """Where nobody wants the answer any more. Any number of times."""
        if self._running is not None:
            self._running.end()
            self._running = None
            self._error = "the pass ended before the reservations were read"


def _argv(env: Mapping[str, str]) -> list[str]:
    """The program is looked for where the environment says, which need not be this process's own."""
    places = (os.path.join(folder, ARGV[0]) for folder in env.get("PATH", os.defpath).split(":") if folder)
    return [next((path for path in places if os.access(path, os.X_OK)), ARGV[0]), *ARGV[1:]]
