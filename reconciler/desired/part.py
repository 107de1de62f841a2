"""`account` and `host`: whose part of the desired state a service is. Several agents may share one repo."""

from __future__ import annotations

import re
from typing import NamedTuple

from reconciler.core.desired import Field
from reconciler.desired.ground import Facts, Ground
from reconciler.desired.nodes import Items
from reconciler.desired.read import Reader
from reconciler.desired.scope import Got

_ACCOUNT = r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?"
_HOST = r"[A-Za-z0-9*?\[\]!._-]+"


class Part(NamedTuple):
    """Who may run a service, and where. None given: anybody, anywhere."""

    accounts: tuple[Got, ...]
    places: tuple[Got, ...]  # hosts by name or pattern

    @property
    def hosts(self) -> tuple[str, ...]:
        """As the host calls itself: the domain counts for nothing, and capitals do not either."""
        return tuple(short(got.text) for got in self.places)

    def is_here(self, facts: Facts) -> bool:
        from fnmatch import fnmatchcase

        own = not self.accounts or facts.account in [got.text for got in self.accounts]
        return own and (not self.places or any(fnmatchcase(short(facts.host), host) for host in self.hosts))

    @property
    def told(self) -> str:
        """`as jtm on login[12] or login05`."""
        words = (("as", self.accounts), ("on", self.places))
        return " ".join(f"{word} {' or '.join(got.text for got in gots)}" for word, gots in words if gots)

    def fields(self) -> dict[str, Field]:
        """What is given, for people."""
        given = {"account": self.accounts, "host": self.places}
        return {
            key: Field(gots[0].text if len(gots) == 1 else [got.text for got in gots], gots[0].origin)
            for key, gots in given.items()
            if gots
        }


def part_of(ground: Ground, reader: Reader | None = None) -> Part:
    """A service's own words, else the deployment's. What cannot be an account or a host is told."""
    whole = Reader(ground.merged, "this deployment", ground.scope, ground.evaluator, ground.problems)
    reader = reader or whole
    part = Part(_words("account", _ACCOUNT, reader, whole), _words("host", _HOST, reader, whole))
    reader.sound = reader.sound and whole.sound
    return part


def _words(key: str, pattern: str, reader: Reader, whole: Reader) -> tuple[Got, ...]:
    one = reader if key in reader.node.entries else whole
    found = one.words(key)
    hint = "as `id -un` says it" if key == "account" else "a name such as login01, or a pattern such as login[12]"
    for got in found:
        if not re.fullmatch(pattern, got.text):
            one.tell(got.origin, f"`{key}` cannot be `{got.text[:80]}`", hint, rule=f"{key} {got.origin}")
    if not found and isinstance(one.node.entries.get(key), Items) and one.sound:
        one.tell(one.place(key), f"`{key}` names none", f"{hint}; or take it out", rule=f"{key} none")
    return tuple(found)


def short(host: str) -> str:
    return host.partition(".")[0].lower()
