"""`replicas` of a service: one entry of the layers that stands for NAME-1, NAME-2 and so on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from reconciler.desired.nodes import Entries, Node
from reconciler.desired.problems import Problems
from reconciler.desired.scope import Got

MOST = 1000  # of one service: more are a slip of the pen


class Replica(Entries):
    """The mapping of a service once more, for one of its replicas."""

    __slots__ = ("number", "whose")

    def __init__(self, node: Entries, whose: str, number: int) -> None:
        super().__init__(node.file, node.line, node.column, secret=node.secret)
        self.entries, self.places = node.entries, node.places
        self.whose = whose
        self.number = number  # from 1


class Sets(NamedTuple):
    """The layers with each replica as a service of its own, and which those are."""

    merged: Entries
    members: Mapping[str, tuple[str, ...]]  # by the name of the entry

    def named(self, got: Got) -> list[Got]:
        """A service's name, or those of all its replicas."""
        return [got._replace(value=name) for name in self.members.get(got.text, (got.text,))]


def name_of(service: str, number: int) -> str:
    return f"{service}-{number}"


def expanded(merged: Entries, count: Callable[[str, Entries], int | None], problems: Problems) -> Sets:
    """`count`: how many there are to be of a service; None where it has no `replicas`, or is not managed here."""
    services = merged.get("services")
    if not isinstance(services, Entries):
        return Sets(merged, {})
    counted = {name: count(name, node) for name, node in services.entries.items() if isinstance(node, Entries)}
    members = {
        name: tuple(name_of(name, number) for number in range(1, wanted + 1))
        for name, wanted in counted.items()
        if wanted is not None
    }
    if not members:
        return Sets(merged, {})
    whole = _copy(merged)
    whole.entries["services"] = _services(services, members, problems)
    return Sets(whole, members)


def _services(services: Entries, members: Mapping[str, tuple[str, ...]], problems: Problems) -> Entries:
    found = _copy(services)
    for name in members:
        found.entries.pop(name)
    for name, replicas in members.items():
        node = services.entries[name]
        for number, replica in enumerate(replicas, 1):
            if replica in found.entries:
                message = f"service `{replica}` is there twice: it is replica {number} of `{name}` too"
                problems.add(services.places.get(replica, node.origin), message, "give it another name")
            elif isinstance(node, Entries):
                found.entries[replica] = Replica(node, name, number)
                found.places[replica] = services.places.get(name, node.origin)
    return found


def _copy(node: Entries) -> Entries:
    made = Entries(node.file, node.line, node.column, secret=node.secret)
    made.entries, made.places = dict(node.entries), dict(node.places)
    return made


def number_of(node: Node) -> int:
    """Which replica a service is; 0 where it is none."""
    return node.number if isinstance(node, Replica) else 0
