"""Which command is waited for before which service is stopped. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.core.desired import Deployment, Drain
from reconciler.core.inventory import Inventory, Owned

_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def drains(desired: Deployment, inventory: Inventory) -> Mapping[str, Drain]:
    """By service: as git says it now, and of what git no longer has, as it was applied last."""
    found = {drain.service: drain for drain in desired.drains}
    wanted = {service.name for service in desired.services}
    gone = {name: owned for name, owned in inventory.services.items() if name not in wanted}
    return {**found, **{drain.service: drain for drain in _of_gone(gone, inventory)}}


def _of_gone(gone: Mapping[str, Owned], inventory: Inventory) -> Iterator[Drain]:
    for name, owned in gone.items():
        command, timeout = (str(owned.fields.get(f"drain.{key}", "")) for key in ("command", "timeout"))
        if command and timeout[:-1].isdecimal() and timeout[-1] in _UNIT:
            ending = f"/env/{owned.unit.removesuffix('.service')}.env"
            env_file = next((path for path in sorted(inventory.files) if path.endswith(ending)), "")
            yield Drain(name, command.strip(), float(int(timeout[:-1]) * _UNIT[timeout[-1]]), env_file)
