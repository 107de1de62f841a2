"""What a component may be installed from: patterns of the repo's own policy, and of the agent that follows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from reconciler.desired.ground import Ground
from reconciler.desired.nodes import Entries
from reconciler.desired.read import Reader
from reconciler.desired.scope import Got

_KEYS = ("requirement", "source")
# What ends one part of an address and begins another: `*` must not reach over it.
_WITHIN = r"[^\s/?#@\\]*"
_ACROSS = r"[^\s?#@\\]*"
_UP = re.compile(r"(^|[/\\])(\.|%2e){2}([/\\]|$)", re.IGNORECASE)


def is_allowed(text: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns matches the whole text, in which nothing leads upwards.

    `*` stands for any letters but blanks, `/`, `?`, `#`, `@` and backslashes, `**` for slashes too. So no option can
    hide in it, and no other host.
    """
    return not _UP.search(text) and any(_expression(pattern).fullmatch(text) for pattern in patterns)


def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*?)", pattern)
    return re.compile("".join({"*": _WITHIN, "**": _ACROSS}.get(part) or re.escape(part) for part in parts))


def check_sources(ground: Ground, name: str, shown: Mapping[str, Got], reader: Reader) -> None:
    """Tell where a component would be installed from elsewhere than allowed."""
    node = ground.merged.get("policy")
    lists = {"`sources` of this host's agent": ground.wanted.facts.sources} if ground.wanted.facts.sources else {}
    if isinstance(node, Entries) and node.get("sources") is not None:
        policy = Reader(node, "policy", ground.scope, ground.evaluator, ground.problems)
        lists["`policy.sources`"] = tuple(got.text for got in policy.names("sources"))
    for key, got in shown.items() if lists else ():
        for whose, patterns in lists.items():
            if key in _KEYS and got.text and not is_allowed(got.text, patterns):
                message = f"component `{name}`: its {key} `{_told(got.text)}` matches no pattern of {whose}"
                reader.tell(got.origin, message, "allowed: " + (", ".join(patterns) or "nothing"))


def _told(text: str) -> str:
    from reconciler.install.requirement import redact

    return redact(text)[:200]
