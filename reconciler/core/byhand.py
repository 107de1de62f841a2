"""Which services still run as they were adopted (`reconcile adopt`), and which of those wait for a person.

See `adopted.py`, which says what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.change import UnitName
from reconciler.core.desired import Deployment, Service
from reconciler.core.inventory import Adopted, Inventory, Stage
from reconciler.core.observed import Observed, Unit


class ByHand:
    """Which services still run as they were adopted. Most deployments have none."""

    def __init__(self, desired: Deployment, observed: Observed, inventory: Inventory) -> None:
        wanted = {service.name for service in desired.services}
        # What was only offered is nobody's until git has it: a pass from before must not take it for an orphan.
        known = {
            name: one for name, one in inventory.adopted.items() if name in wanted or one.stage is not Stage.OFFERED
        }
        self.adopted: Mapping[str, Adopted] = known
        self.units = {UnitName(one.launcher, one.unit): name for name, one in known.items()}
        self.kept: dict[str, Unit] = {}  # by service
        self.waiting: dict[str, Unit] = {}  # by service: it becomes what git says once a person has approved that
        self.unseen: dict[str, str] = {}  # by service, why what it runs under cannot be asked
        self._resting: set[UnitName] = set()
        if known:
            self._look(desired, observed)

    def _look(self, desired: Deployment, observed: Observed) -> None:
        blind = {gap.subject: gap.message for gap in observed.gaps if gap.scope == "launcher"}
        for service in desired.services:
            one = self.adopted.get(service.name)
            if one is None or one.stage is Stage.LEFT:
                continue
            own = observed.units.get((service.launcher, service.unit))
            unit = observed.units.get((one.launcher, one.unit))
            if one.launcher in blind:
                self.unseen[service.name] = blind[one.launcher]
            elif unit is not None and unit.state.alive and not (own is not None and own.state.alive):
                if is_asked_for(one, service):
                    self.waiting[service.name] = unit
                elif one.is_of(service) and not unit.drift:
                    self.kept[service.name] = unit
        down = {name for name in self.units if not (unit := observed.units.get(name)) or unit.state.down}
        self._resting = down.union(UnitName(unit.launcher, unit.name) for unit in self.kept.values())

    def settles(self, service: str) -> bool:
        """Nothing is to be made ready for it, nor can anything be."""
        return service in self.kept or service in self.unseen

    def rests(self, name: UnitName) -> bool:
        """A unit made by hand that is in nobody's way: it is kept, or it does not run. Its maker may keep the rest."""
        return name in self._resting


def is_asked_for(one: Adopted, service: Service) -> bool:
    """A person is to approve that it becomes what git says: nobody has asked for that yet.

    What was adopted as something else than git says now was written for git, and is not there yet, or came otherwise.
    Once it was taken, whoever says something new of it in git has asked.
    """
    if one.stage is Stage.LEFT:
        return False
    if one.stage is Stage.OFFERED:
        return one.waits or not one.is_of(service)
    return one.waits and one.is_of(service)
