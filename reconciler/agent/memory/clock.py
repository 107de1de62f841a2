"""Starts of processes that were noted before the clock of this host was set, as the clock has them now.

The kernel counts starts from the boot, so an instant that was worked out under another clock is off by as much as that
clock was. What is noted is when this host booted as the clock had it then: it moves with the clock, and with it alone.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from reconciler.core.inventory import Inventory
from reconciler.host.proc import SAME_START, boot_id
from reconciler.host.procfs import boot

_SET = SAME_START / 2  # seconds; less is no other start, and must not make an inventory differ from what was noted


def now() -> list[object]:
    """What to note beside starts: which boot this is, and when it was; empty where that cannot be told."""
    with suppress(OSError):
        return [boot_id(), boot()]
    return []


def translated(inventory: Inventory, noted: Any) -> Inventory:
    """With the starts of this boot as the clock has them now. `noted`: what `now` gave when it was saved."""
    try:
        name, booted = noted
        with suppress(OSError):
            by = boot() - booted
            if abs(by) > _SET and name == boot_id():
                return _moved(inventory, by)
    except (TypeError, ValueError):  # of an earlier release, which has noted none
        pass
    return inventory


def _moved(inventory: Inventory, by: float) -> Inventory:
    services = {
        name: owned._replace(started=owned.started + by) if owned.pid else owned
        for name, owned in inventory.services.items()
    }
    pending = {name: (pid, started + by) for name, (pid, started) in inventory.pending.items()}
    adopted = {name: one._replace(started=one.started + by) for name, one in inventory.adopted.items()}
    return inventory._replace(services=services, pending=pending, adopted=adopted)
