"""`reconcile approve`: a person lets a plan through. It takes no lock of a pass: the next one finds what was said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from reconciler.agent.config import Agent, InvalidInput
from reconciler.agent.here import Host
from reconciler.agent.holding.approving import since
from reconciler.agent.holding.plans import Plans, Record
from reconciler.agent.memory.store import Store
from reconciler.core.approval import Gate
from reconciler.core.desired import Approval
from reconciler.core.problem import Origin, Problem
from reconciler.core.report import PassReport

_FEWEST, _WHOLE = 4, 32  # letters of an id
_LONGEST_REASON = 300  # characters


class Found(NamedTuple):
    """A plan that an id names: the one that waits now, or one of before and why it cannot be approved any more."""

    environment: str
    record: Record
    gate: Gate | None  # of what waits there now
    stale: tuple[str, ...] = ()


def waiting(report: PassReport) -> dict[str, Gate]:
    """By environment, what waits or was approved and has not been carried out."""
    return {one.plan.environment: one.gate for one in report.deployments if one.gate is not None}


def find(agent: Agent, report: PassReport, name: str) -> Found | None:
    """What an id, or the beginning of one, names here. Raises `InvalidInput` where that is not one plan."""
    if not _FEWEST <= len(name) <= _WHOLE or set(name) - set("0123456789abcdef"):
        hint = f"{_FEWEST} to {_WHOLE} letters and digits, as `reconcile approve` lists them"
        raise InvalidInput([Problem(Origin("ID", 0, 0), f"`{name[:80]}` is no id of a plan", hint)])
    found = list(_named(agent, report, name))
    if len(found) > 1:
        listed = ", ".join(sorted(one.record.id for one in found))
        raise InvalidInput([Problem(Origin("ID", 0, 0), f"`{name}` names more than one plan", f"give more: {listed}")])
    return found[0] if found else None


def _named(agent: Agent, report: PassReport, name: str) -> Iterator[Found]:
    """What waits may not have been met by a pass yet."""
    store, gates = Store(agent.state_dir, agent.site), waiting(report)
    for deployment in report.deployments:
        environment, gate = deployment.plan.environment, deployment.gate
        now = gate.waiting if gate is not None else None
        records = {record.id: record for record in Plans(store, environment).all()}
        if now is not None and now.id not in records:
            records[now.id] = Record(now.id, report.commit, time.time(), now.wants, now.items, now.lines)
        for record in records.values():
            if record.id.startswith(name):
                same = now is not None and record.id == now.id
                stale = () if same else since(record, now, report.commit)
                yield Found(environment, record, gates.get(environment), stale)


def approve(agent: Agent, host: Host, report: PassReport, found: Found, reason: str) -> Record:
    """Let through what waits. Raises `InvalidInput`, `OSError`, `Busy`."""
    assert found.gate is not None  # noqa: S101 - it is what waits
    said = Approval(found.record.id, _plain(reason), host.account, host.name, time.time())
    store = Store(agent.state_dir, agent.site)
    store.prepare()
    return Plans(store, found.environment).approve(found.gate.waiting, report.commit, said)


def _plain(reason: str) -> str:
    """In one line, without anything that a terminal would obey."""
    told = " ".join("".join(letter if letter.isprintable() else " " for letter in reason).split())
    if len(told) > _LONGEST_REASON:
        wrong = f"has more than {_LONGEST_REASON} characters"
        raise InvalidInput([Problem(Origin("--reason", 0, 0), wrong, "say it in a sentence")])
    return told
