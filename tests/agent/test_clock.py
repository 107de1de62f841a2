"""A clock that is set changes when everything has started, and nothing that is noted counts as another one for it."""

from __future__ import annotations

import pytest

from reconciler.agent.memory import clock, inventory
from reconciler.core.inventory import Adopted, Inventory, Owned, Stage
from reconciler.core.observed import Process
from reconciler.host.procfs import boot
from tests.core.world import Svc, build, world


def test_all_that_is_noted_of_starts_moves_with_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    owned = Owned("web", "supervisor", "s", "l", "1.0", pid=7, started=100.0)
    by_hand = Adopted("adopted-supervisor", "web", "d", "s", "l", "1.0", pid=7, started=100.0, stage=Stage.TAKEN)
    noted = Inventory({"web": owned}, pending={"web": (7, 100.0)}, adopted={"web": by_hand})
    now = clock.now()
    booted = boot()
    monkeypatch.setattr("reconciler.agent.memory.clock.boot", lambda: booted + 3600.0)
    moved = clock.translated(noted, now)
    starts = [moved.services["web"].started, moved.pending["web"][1], moved.adopted["web"].started]
    assert starts == pytest.approx([3700.0] * 3, abs=1.0)


def test_a_clock_that_is_slewed_makes_nothing_another_one() -> None:
    """Milliseconds come and go with it."""
    compiled = build(world(Svc("web")))
    desired, service = compiled.deployment, compiled.deployment.services[0]
    one = Adopted("adopted-supervisor", "web", "d", service.spec, service.launch, "1.0", 7, 100.0, Stage.TAKEN)
    owned = Owned(service.unit, service.launcher, service.spec, service.launch, service.version)
    files = {file.path: file.digest for file in desired.files}
    kept = Inventory({"web": owned}, files, desired.managers, (desired.root,), adopted={"web": one})
    assert inventory.is_current(kept, desired, {}, {"web": Process(7, 100.004, None)})
    assert not inventory.is_current(kept, desired, {}, {"web": Process(7, 107.0, None)})
