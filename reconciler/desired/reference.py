"""`!secret {file: /path}`: a secret that stands somewhere else, and that only the host which needs it gets.

Here it stays a reference. Where a value is needed to go on, in a template, it is a word that stands for it and
is another one for every reference, so that all can be checked on any machine. On the host that it is for, values
are given in with the facts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.core.problem import Origin
from reconciler.core.secret import Reference, Source
from reconciler.desired.nodes import Entries, Scalar
from reconciler.desired.problems import Problems, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = "secrets/"
_SOURCES = {source.value: source for source in Source}
_KEY = "key"


class Referred(Scalar):
    """The node of a reference, its words as they are written: they may be templates."""

    __slots__ = ("key", "source", "target")

    def __init__(self, node: Entries, source: Source, target: Scalar, key: Scalar | None) -> None:
        super().__init__(node.file, node.line, node.column, "", "", "'", True)
        self.source = source
        self.target = target
        self.key = key


def referred(node: Entries, problems: Problems) -> Entries | Scalar:
    """The reference that a mapping marked `!secret` is, or the mapping, all of whose values are secrets."""
    named = [name for name in node.entries if name in _SOURCES]
    if not named:
        return node
    first, *others = named
    source, target, key = _SOURCES[first], node.entries[first], node.entries.get(_KEY)
    for name in others:
        problems.add(node.places[name], f"`{name}` beside `{first}`: a secret is in one place", "keep one of them")
    for name in node.entries.keys() - _SOURCES.keys() - {_KEY}:
        hint = suggest(name, [*_SOURCES, _KEY], otherwise="mark the single values instead, if it is no reference")
        problems.add(node.places[name], f"unknown key `{name[:80]}` of a secret", hint)
    if key is not None and not (source.in_repo or source is Source.FILE):
        problems.add(node.places[_KEY], f"`key` is of files, and a secret of `{first}` is whole", "take it out")
    for name, part in ((first, target), (_KEY, key)):
        if part is not None and not (isinstance(part, Scalar) and isinstance(part.value, str) and part.text.strip()):
            what = "empty" if isinstance(part, Scalar) and not part.text.strip() else part.kind
            problems.add(part.origin, f"`{name}` of a secret must be text, this is {what}", "write it in quotes")
            return Scalar(node.file, node.line, node.column, "", "", "'", True)
    assert isinstance(target, Scalar)  # noqa: S101 - seen just above
    return Referred(node, source, target, key if isinstance(key, Scalar) else None)


def wrong(reference: Reference, tree: Mapping[str, bytes]) -> tuple[str, str]:
    """What stands against a reference, and how to mend it; or two times nothing."""
    source, target = reference.source, reference.target
    if source is Source.FILE and (not target.startswith("/") or "\n" in target):
        return f"the file of a secret must be an absolute path: `{target[:80]}`", "one of the repo is `age` or `sops`"
    if source is Source.ENV and not target.replace("_", "a").isalnum():
        return f"`{target[:80]}` is no name of a variable", "letters, digits and _"
    if source.in_repo and target not in tree:
        known = [name for name in tree if name.startswith(FOLDER)]
        return f"there is no file `{target[:80]}` in the repo", suggest(
            target, known, otherwise=f"encrypted files are below `{FOLDER}`"
        )
    return "", ""


def stand_in(reference: Reference, tree: Mapping[str, bytes]) -> str:
    """The word that stands for a secret where that is not to be had: another one for another secret, as far as git
    tells."""
    from reconciler.core.digest import digest, digest_of

    content = digest(tree[reference.target]) if reference.source.in_repo else ""
    return digest_of([reference.source.value, reference.target, reference.key, content])


def place(origin: Origin) -> str:
    return f"{origin.file}:{origin.line}:{origin.column}"
