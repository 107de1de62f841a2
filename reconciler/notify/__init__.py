"""Tells people and other programs what passes did: one module for each way. What is news is decided in the core."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from reconciler.notify.base import Receiver, Undelivered

__all__ = ["KINDS", "Receiver", "Undelivered", "way"]

# Each kind of receiver lives in the module named here and is imported when something is to be told.
KINDS = {"slack": "chat", "mattermost": "chat", "webhook": "webhook", "mail": "mail", "command": "command"}


def way(kind: str) -> Callable[..., None]:
    """How a receiver of this kind is told: called with the `Receiver` and the `Message`. Raises `Undelivered`."""
    send: Callable[..., None] = import_module(f"reconciler.notify.{KINDS[kind]}").send
    return send
