"""What git lets reconcile remove, in the words of the layers, and how that differs between two commits. Pure.

What such a rule removes is gone, so a change of one is told before it is merged, though no step comes of it at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from reconciler.core.desired import Age, Cleanup, Deployment, Retention, Sort

_WHEN = frozenset({"schedule", "zone", "minutes", "entries"})  # keys that say when it goes, and not what

_LESS = frozenset({"older_than", "keep"})  # numbers of which a larger one removes less


class RuleChange(NamedTuple):
    """A rule for what is removed, in two commits."""

    name: str  # as in a layer: "cleanup.inputs", "components.site"
    word: str  # "new", "changed", "removed"
    about: str  # a root, or what it is for
    keys: tuple[tuple[str, str, str], ...]  # key, before, after; empty: it is not said

    @property
    def is_risky(self) -> bool:
        """It may remove what the earlier commit would have left."""
        return self.word != "removed" and not all(_is_safe(*told) for told in self.keys)

    @property
    def sign(self) -> str:
        return {"new": "+", "changed": "~", "removed": "-"}[self.word]

    def __str__(self) -> str:
        if self.word == "removed":
            return f"{self.name} removes nothing any more {self.about}"
        if self.word == "new":
            return f"{self.name} is new {self.about}: " + ", ".join(f"{key} {after}" for key, _, after in self.keys)
        said = ", ".join(f"{key} {before or '(none)'} -> {after or '(none)'}" for key, before, after in self.keys)
        return f"{self.name} {self.about}: {said}" + ("; it may remove more" if self.is_risky else "")


def _is_safe(key: str, before: str, after: str) -> bool:
    return key in _WHEN or (key in _LESS and before != "" and after != "" and int(after) > int(before))


def rule_changes(old: Deployment | None, new: Deployment | None) -> tuple[RuleChange, ...]:
    """Of `cleanup` and of `keep`, by name."""
    before, after = _rules(old), _rules(new)
    return tuple(_compared(before, after))


def _compared(before: Mapping[str, _Rule], after: Mapping[str, _Rule]) -> Iterator[RuleChange]:
    for name in sorted({*before, *after}):
        one, other = before.get(name), after.get(name)
        if other is None:
            assert one is not None  # noqa: S101 - one of the two has it
            yield RuleChange(name, "removed", one.about, ())
            continue
        words = one.words if one is not None else {}
        keys = [key for key in dict.fromkeys((*other.words, *words)) if words.get(key, "") != other.words.get(key, "")]
        if one is None or keys:
            told = tuple((key, words.get(key, ""), other.words.get(key, "")) for key in keys)
            yield RuleChange(name, "new" if one is None else "changed", other.about, told)


class _Rule(NamedTuple):
    about: str
    words: Mapping[str, str]  # by key


def _rules(deployment: Deployment | None) -> dict[str, _Rule]:
    if deployment is None:
        return {}
    found = {f"cleanup.{rule.name}": _Rule(f"below {rule.root}", words_of(rule)) for rule in deployment.cleanups}
    return found | {
        f"components.{rule.component}": _Rule("among its old versions", _kept(rule)) for rule in deployment.retentions
    }


def words_of(rule: Cleanup) -> dict[str, str]:
    """What a rule says, by the keys of a layer; of what may be left out, only what is not the default."""
    free = f"{rule.free_percent}%" if rule.free_percent else str(rule.free_bytes) if rule.free_bytes else ""
    words = {
        "root": rule.root,
        "older_than": str(rule.days),
        "min_depth": str(rule.min_depth),
        "max_depth": str(rule.max_depth) if rule.max_depth else "",
        "type": rule.sort.value if rule.sort is not Sort.ANY else "",
        "age": rule.age.value if rule.age is not Age.SELF else "",
        "exclude": ", ".join(rule.exclude),
        "schedule": rule.cron,
        "zone": rule.zone,
        "free_below": free,
        "in_use.command": rule.in_use_command,
        "in_use.file": rule.in_use_file,
        "root_is": rule.root_is.value,
        "minutes": str(rule.minutes) if rule.minutes != Cleanup._field_defaults["minutes"] else "",
        "entries": str(rule.entries) if rule.entries else "",
    }
    return {key: word for key, word in words.items() if word}


def _kept(rule: Retention) -> dict[str, str]:
    return {"keep": str(rule.keep)} | ({"keep_bytes": str(rule.size)} if rule.size >= 0 else {})
