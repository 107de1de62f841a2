"""An observer that is told nothing with a known secret in it, whatever a program has printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from reconciler.core.outcome import StepResult
from reconciler.core.plan import Step

if TYPE_CHECKING:
    from reconciler.agent.secrets.mask import Mask
    from reconciler.apply.executor import Watcher


class Masked:
    """Stands between who carries a plan out and who tells of it."""

    def __init__(self, inner: Watcher, secrets: Sequence[str]) -> None:
        self._inner = inner
        self._secrets = secrets
        self._mask: Mask | None = None

    def begins(self, step: Step) -> None:
        self._inner.begins(step)

    def progress(self, step: Step, line: str) -> None:
        self._inner.progress(step, self._masked(line))

    def ended(self, step: Step, result: StepResult) -> None:
        self._inner.ended(step, self._told(result))

    def waits(self) -> None:
        self._inner.waits()

    def mask_all(self, results: Iterable[StepResult]) -> tuple[StepResult, ...]:
        """What became of the steps, to be kept and reported."""
        return tuple(map(self._told, results))

    def _told(self, result: StepResult) -> StepResult:
        return result._replace(message=self._masked(result.message), hint=self._masked(result.hint))

    def _masked(self, text: str) -> str:
        if not text or not self._secrets:
            return text
        if self._mask is None:
            from reconciler.agent.secrets.mask import Mask

            self._mask = Mask(self._secrets)
        return self._mask(text)
