"""Plans that wait, or have waited, for approval: what is remembered of each, below the state directory.

A pass writes one when it meets it first, and not again. What is said of it later (approved, begun, carried out) is
added to it, whole or not at all, and never taken away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from reconciler.agent.holding.pausing import patiently
from reconciler.agent.memory.store import DamagedError, Store
from reconciler.core.approval import Item, Waiting
from reconciler.core.desired import Approval
from reconciler.host import files

_KEPT = 10  # of a deployment


class Record(NamedTuple):
    """What is remembered of one plan."""

    id: str
    commit: str  # that it was made at first
    at: float  # when, in seconds since the epoch
    wants: str
    items: tuple[Item, ...]
    lines: tuple[str, ...]
    approval: Approval | None = None  # said on the host, or found in git when it was begun
    begun: str = ""  # by which pass
    done: str = ""  # likewise
    ended: float = 0.0  # when it was carried out, in seconds since the epoch

    @property
    def is_open(self) -> bool:
        """It was approved and begun, and something of it may be left."""
        return self.approval is not None and bool(self.begun) and not self.done


class Plans:
    """The plans of one deployment."""

    def __init__(self, store: Store, environment: str) -> None:
        self._store, self._environment = store, environment
        self._folder = store.plans_folder(environment)

    def all(self) -> list[Record]:
        """Those that can be read, in the order in which they were made. What cannot be was never approved."""
        try:
            names = [name.removesuffix(".json") for name in os.listdir(self._folder) if name.endswith(".json")]
        except OSError:
            return []
        found = (self.get(name) for name in names)
        return sorted((record for record in found if record is not None), key=lambda one: (one.at, one.id))

    def get(self, name: str) -> Record | None:
        with suppress(DamagedError, KeyError, TypeError, ValueError):
            data = self._store.plan(self._environment, name)
            return _decoded(data) if data is not None else None
        return None

    def note(self, waiting: Waiting, commit: str) -> None:
        """Remember a plan that was met, unless it is known. Raises `OSError`, `Busy`."""
        known = self.get(waiting.id)
        if known is None:
            self._change(waiting, commit, lambda record: record)
            self._forget_oldest()

    def approve(self, waiting: Waiting, commit: str, approval: Approval) -> Record:
        """Raises `OSError`, `Busy`."""
        return self._change(waiting, commit, lambda record: record._replace(approval=approval, commit=commit))

    def begin(self, waiting: Waiting, commit: str, approval: Approval, run: str) -> None:
        """Before anything of it is done. Raises `OSError`, `Busy`."""
        self._change(waiting, commit, lambda record: record._replace(approval=approval, begun=record.begun or run))

    def end(self, name: str, run: str) -> None:
        """It was carried out, and the approval is used up. Raises `OSError`, `Busy`."""
        record = self.get(name)
        if record is not None and not record.done:
            waiting = Waiting(record.id, record.wants, record.items, record.lines)
            self._change(waiting, record.commit, lambda one: one._replace(done=run, ended=time.time()))

    def _change(self, waiting: Waiting, commit: str, how: Callable[[Record], Record]) -> Record:
        files.make_folder(self._folder, 0o700)
        with patiently(f"{self._folder}.lock"):
            known = self.get(waiting.id)
            new = Record(waiting.id, commit, time.time(), waiting.wants, waiting.items, waiting.lines)
            changed = how(known or new)
            if changed != known:
                self._store.save_plan(self._environment, waiting.id, _encoded(changed))
            return changed

    def _forget_oldest(self) -> None:
        """What may still count stays: what is open, and what was carried out last."""
        records = self.all()
        last = last_done(records)
        old = [one for one in records[:-1] if not one.is_open and one.id != last]
        for record in old[: max(len(records) - _KEPT, 0)]:
            with suppress(OSError):
                files.remove(os.path.join(self._folder, f"{record.id}.json"))


def last_done(records: list[Record]) -> str:
    """The id of the plan that was carried out last; empty where none was."""
    done = [record for record in records if record.done]
    return max(done, key=lambda one: one.ended).id if done else ""


def _encoded(record: Record) -> dict[str, Any]:
    return {**record._asdict(), "approval": record.approval._asdict() if record.approval else None}


def _decoded(data: dict[str, Any]) -> Record:
    approval = data["approval"]
    items = tuple(Item(*row) for row in data["items"])
    known = Record(**{**data, "items": items, "lines": tuple(data["lines"]), "approval": None})
    return known._replace(approval=Approval(**approval) if approval else None)
