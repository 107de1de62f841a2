"""What runs of a service, for who asks about that: under the name that it has now, or under one that it had before.

A plan is about the unit that git names. While that is not there yet, what was adopted, moved or renamed still runs.
"""

from __future__ import annotations

from reconciler.core.change import Change, UnitName
from reconciler.core.inventory import Inventory
from reconciler.core.observed import Observed, State


def as_it_runs(change: Change, observed: Observed, inventory: Inventory) -> Change:
    """With the unit that it runs as, where that is not the one that git names."""
    if change.state is not State.ABSENT or not change.managed:
        return change
    for name in _before(change.renamed_from or change.service, inventory):
        unit = observed.units.get(name)
        if unit is not None and unit.state.alive:
            return change._replace(unit=name, state=unit.state, detail=unit.detail)
    return change


def _before(service: str, inventory: Inventory) -> list[UnitName]:
    known = (inventory.adopted.get(service), inventory.services.get(service))
    return [UnitName(one.launcher, one.unit) for one in known if one is not None]
