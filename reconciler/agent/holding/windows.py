"""What a pass may not do now: by `policy.windows`, with the clocks of their zones and one question to Slurm for all
deployments, and by the pauses that people have opened on this host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from reconciler.agent.memory.store import DamagedError
from reconciler.core.desired import Deployment, Opens, Window
from reconciler.core.observed import Pause, Shut
from reconciler.core.problem import Gap

if TYPE_CHECKING:
    from reconciler.core.reservations import Maintenance, Reservation
    from reconciler.core.windows import Sky
    from reconciler.launchers.slurm.query import Query


class Holding(NamedTuple):
    """What holds a deployment now."""

    shut: Mapping[str, Shut | None]
    pauses: tuple[Pause, ...] = ()
    gaps: tuple[Gap, ...] = ()


class Windows:
    """Tells what a pass may not do now. Without any window or pause it costs nothing.

    `ignored`: the windows that git says count for nothing; a pause always counts.
    """

    def __init__(self, *, ignored: bool = False, pauses: Callable[[], tuple[Pause, ...]] = tuple) -> None:
        self.ignored = ignored
        self._pauses = pauses
        self._question: Query[tuple[Reservation, ...]] | None = None

    def ask(self, deployments: Iterable[Deployment]) -> None:
        """Begin to ask Slurm for its reservations, where a window of these depends on them."""
        windows = (window for deployment in deployments for window in deployment.policy.windows)
        needed = any(window.opens is Opens.MAINTENANCE for window in windows)
        if needed and self._question is None and not self.ignored:
            from reconciler.launchers.slurm.query import Query
            from reconciler.launchers.slurm.reservations import ARGV, parse

            self._question = Query(ARGV, parse)

    def holding(self, desired: Deployment, now: float) -> Holding:
        """What holds a deployment now. What cannot be told holds, and is a gap."""
        shut, gaps = self._shut(desired, now)
        try:
            pauses = tuple(pause for pause in self._pauses() if pause.holds(desired.environment, now))
        except DamagedError as error:
            why = f"what is paused cannot be told, so all of it is: {error}; `reconcile resume` ends that"
            return Holding({"": Shut(why, holds_all=True, paused=True)}, (), (*gaps, Gap("pause", "", why)))
        if not pauses:
            return Holding(shut, (), gaps)
        from reconciler.core.pauses import over
        from reconciler.host.calendar import offset_of

        return Holding(over(shut, pauses, now, offset_of("")), pauses, gaps)

    def _shut(self, desired: Deployment, now: float) -> tuple[Mapping[str, Shut | None], tuple[Gap, ...]]:
        windows = desired.policy.windows
        if self.ignored or not windows:
            return {}, ()
        from reconciler.core.windows import shut

        try:
            sky = self._sky(windows, now)
        except ValueError as error:  # a zone that this host has forgotten since the commit was compiled
            why = f"policy.windows cannot be told, so all of it holds: {error}"
            return {"": Shut(f"held ({why})")}, (Gap("window", desired.environment, why),)
        gaps = (Gap("window", desired.environment, sky.unknown),) if sky.unknown else ()
        return shut(windows, sky), gaps

    def _sky(self, windows: Iterable[Window], now: float) -> Sky:
        from reconciler.core.windows import Sky
        from reconciler.host.calendar import offset_of

        offsets = {zone: offset_of(zone) for zone in {"", *(window.zone for window in windows)}}
        asking = [window for window in windows if window.opens is Opens.MAINTENANCE]
        reservations, unknown = self._reservations() if asking else ((), "")
        ahead = {} if unknown else {window.name: _ahead(window, reservations, now) for window in asking}
        return Sky(now, offsets, ahead, unknown)

    def _reservations(self) -> tuple[tuple[Reservation, ...], str]:
        """What Slurm has answered, or why it cannot be known."""
        from reconciler.launchers.base import BackendError

        if self._question is None:
            return (), "Slurm was not asked for its reservations"
        try:
            return self._question.answer(), ""
        except BackendError as error:
            return (), f"the reservations of Slurm cannot be told, so what depends on them is held: {error}"

    def close(self) -> None:
        if self._question is not None:
            self._question.end()


def _ahead(window: Window, reservations: Iterable[Reservation], now: float) -> Maintenance | None:
    from reconciler.core.reservations import next_maintenance, touching
    from reconciler.launchers.slurm.hostlist import expand

    nodes = frozenset(expand(window.nodes)) if window.nodes else None
    return next_maintenance(touching(reservations, nodes, window.partition), now, window.seconds)
