"""Puts `reconcile --once` on a schedule, and tells whether it still stands there.

One module per kind: `cron`, `scrontab`, and `timer` for a user timer of systemd. A further one is one module and one
line here.
"""

from __future__ import annotations

from importlib import import_module

from reconciler.schedule.base import Kind

# In the order in which one is chosen: what starts at boot and needs no mail first, Slurm where there is nothing else.
_KINDS = {"systemd": ("timer", "Timer"), "cron": ("cron", "Cron"), "scrontab": ("scrontab", "Scrontab")}
NAMES = tuple(_KINDS)


def kind(name: str, program: str = "") -> Kind:
    """`program` is that of its table, where it is known."""
    module, made = _KINDS[name]
    found = getattr(import_module(f"reconciler.schedule.{module}"), made)
    result: Kind = found(program) if program else found()
    return result
