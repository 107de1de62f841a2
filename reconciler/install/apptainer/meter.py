"""Tells a waiting person how far long work has got: not too often, and not at all where it is short."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from reconciler.install.base import BuildStopped

_PAUSE = 3.0  # seconds between two lines, and before the first
MEGABYTE = 1_000_000


class Meter:
    """Of one build. Every call of `heed` or `tell` ends the build where that is asked for: raises `BuildStopped`."""

    def __init__(
        self, what: str, progress: Callable[[str], None], asked_to_stop: Callable[[], bool], pause: float = _PAUSE
    ) -> None:
        self._what, self._progress, self._asked_to_stop, self._pause = what, progress, asked_to_stop, pause
        self._next = monotonic() + pause

    def heed(self) -> None:
        if self._asked_to_stop():
            raise BuildStopped(self._what)

    @property
    def is_due(self) -> bool:
        return monotonic() >= self._next

    def tell(self, doing: str, done: int, whole: int = 0) -> None:
        """Bytes that were done, and that there are in all where that is known."""
        self.heed()
        if not self.is_due:
            return
        self._next = monotonic() + self._pause
        share = f" of {_megabytes(whole)}, {100 * done // whole} %" if whole else ""
        self._progress(f"{self._what}: {doing}: {_megabytes(done)}{share}")


def _megabytes(count: int) -> str:
    return f"{count / MEGABYTE:,.0f} MB"
