"""`strategy` and `drain` of a service: how a new specification of it is rolled out, and what comes before a stop."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from reconciler.core.desired import Drain, ReplicaSet
from reconciler.desired.nodes import Entries
from reconciler.desired.read import Reader
from reconciler.desired.replicas import number_of
from reconciler.desired.schema import PERCENT
from reconciler.desired.scope import Got
from reconciler.desired.windows import span

_AT_ONCE = "25%"  # as with Kubernetes' Deployments, which go below what is wanted by so many
_DRAIN = "30s"
_OF_REPLICAS = ("canary", "max_unavailable")


class Rollout(NamedTuple):
    """What one service says of it. Where something of it is wrong, that has been told."""

    rollback: bool | None = None  # None: it does not say
    canary: bool = False
    at_once: str = _AT_ONCE  # a number or a percentage
    drain: Drain | None = None
    got: Mapping[str, Got] = {}  # what is said, for people

    def replica_set(self, name: str, services: tuple[str, ...]) -> ReplicaSet:
        """Of so many percent it is the whole number below, and one at least: else none could ever be changed."""
        count = len(services)
        most = count * int(self.at_once[:-1]) // 100 if self.at_once.endswith("%") else int(self.at_once)
        return ReplicaSet(name, services, self.canary, max(most, 1))


def rollout(service: str, reader: Reader) -> Rollout:
    """Which file a drain finds the service's variables in is not known here."""
    drain, got = _drain(service, reader)
    node = reader.node.get("strategy")
    if not isinstance(node, Entries):
        return Rollout(drain=drain, got=got)
    inner = Reader(node, f"{reader.label}.strategy", reader.scope, *reader.tools)
    rollback, canary = inner.flag("rollback", default=False), inner.flag("canary", default=False)
    at_once = _at_once(inner)
    for key in _OF_REPLICAS:
        if key in node.entries and not number_of(reader.node):
            inner.tell(inner.place(key), f"`{key}` of {inner.label} means nothing without `replicas`", "take it out")
    said = {"rollback": rollback, "canary": canary, "max_unavailable": at_once}
    got = {**got, **{f"strategy.{key}": value for key, value in said.items() if key in node.entries}}
    reader.sound = reader.sound and inner.sound
    wanted = bool(rollback.value) if "rollback" in node.entries else None
    return Rollout(wanted, bool(canary.value), at_once.text, drain, got)


def _at_once(reader: Reader) -> Got:
    got = reader.text("max_unavailable", _AT_ONCE)
    good = re.fullmatch(PERCENT, got.text) or re.fullmatch(r"[0-9]{1,6}", got.text)
    if good and int(got.text.rstrip("%")):
        return got
    if good:
        reader.tell(got.origin, f"`max_unavailable` of {reader.label} lets none be changed", "1 or more")
    elif reader.sound:  # in the words of `shape`, which has told of one that is no template
        node = reader.node.entries["max_unavailable"]
        reader.tell(
            got.origin,
            f"`max_unavailable` must be a number or a percentage, this is {node.kind}",
            'such as 3 or "30%"',
        )
    return got._replace(value=_AT_ONCE)


def _drain(service: str, reader: Reader) -> tuple[Drain | None, dict[str, Got]]:
    node = reader.node.get("drain")
    if not isinstance(node, Entries):
        return None, {}
    inner = Reader(node, f"{reader.label}.drain", reader.scope, *reader.tools)
    command, seconds = inner.text("command"), span(inner, "timeout", _DRAIN)
    if inner.sound and not command.text.strip():
        inner.tell(inner.place("command"), f"{inner.label} has no `command`", "say what is run")
    elif inner.sound and not seconds:
        inner.tell(inner.place("timeout"), f"`timeout` of {inner.label} leaves no time", "write 90s, 30m, 8h or 2d")
    got = {"drain.command": command, "drain.timeout": inner.text("timeout", _DRAIN)}
    reader.sound = reader.sound and inner.sound
    return Drain(service, command.text.strip(), float(seconds), env_file=""), got
