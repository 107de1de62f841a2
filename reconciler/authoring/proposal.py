"""A change of the repo before it is committed: what it sets, why, and what it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reconciler.authoring.refused import Refused, refused
from reconciler.authoring.versions import Scope, Versions, bump, promoted
from reconciler.desired import Facts, Tree, compile_site, validate
from reconciler.desired.shape import is_template


class Proposal(NamedTuple):
    """What is to be committed. Without any content there is nothing to do."""

    branch: str  # that it is committed on, unless another is asked for
    subject: str
    lines: tuple[str, ...]  # of the message below the subject
    content: Mapping[str, bytes | None]  # by file; None: it goes
    notes: tuple[str, ...] = ()  # for the person, not for the message

    @property
    def message(self) -> str:
        return "\n\n".join(filter(None, (self.subject, "\n".join(self.lines)))) + "\n"

    def applied(self, tree: Tree) -> Tree:
        return applied(tree, self.content)


def applied(tree: Tree, content: Mapping[str, bytes | None]) -> Tree:
    """The files with a change made."""
    both = {**tree, **content}
    return {path: text for path, text in both.items() if text is not None}


def check(proposal: Proposal, tree: Tree, facts: Facts) -> None:
    """Raises `Refused` where the repo would not be valid with it."""
    problems = validate(proposal.applied(tree), facts)
    if problems:
        raise Refused(problems)


def bumped(tree: Tree, component: str, version: str, scopes: Sequence[Scope]) -> Proposal:
    """One component to a version, in one or more environments. Raises `Refused`."""
    made = _made(tree, [(component, version, scope) for scope in scopes])
    where = _where(scopes)
    branch = branch_name("bump", component, version, *_words(scopes))
    return made._replace(branch=branch, subject=f"Bump {component} to {version} {where}")


def promote(tree: Tree, components: Sequence[str], source: Scope, target: Scope, facts: Facts) -> Proposal:
    """The versions that one environment has, to another. Raises `Refused`."""
    versions = Versions(tree)
    wanted = [(name, _version(versions, name, source, facts), target) for name in components]
    versions.check(target, components, "--to")
    made = _made(tree, wanted)
    words = [word for name, version, _ in wanted for word in (name, version)]
    told = ", ".join(f"{name} {version}" for name, version, _ in wanted)
    what = f"Promote {told} from {source.environment} to {target.environment}"
    site = f" on {target.site}" if target.site else ""
    return made._replace(branch=branch_name("promote", *words, *_words([target])), subject=what + site)


def _version(versions: Versions, component: str, source: Scope, facts: Facts) -> str:
    """As it is written; one that a template works out, as that comes out."""
    text, pair = promoted(versions, component, source)
    if not is_template(text):
        return text
    result = compile_site(versions.tree, pair.site, [pair.environment], facts)
    if result.problems:
        raise Refused(result.problems)
    services = result.compiled[pair.environment].deployment.services
    found = sorted({service.version for service in services if service.component == component})
    if not found:
        raise refused("COMPONENT", f"the version of {component} is worked out ({text}), and no service there has it")
    return found[0]


def _made(tree: Tree, wanted: Sequence[tuple[str, str, Scope]]) -> Proposal:
    """All of these versions, one after the other, in one change."""
    content: dict[str, bytes | None] = {}
    lines: list[str] = []
    notes: list[str] = []
    for component, version, scope in wanted:
        made = bump(Versions(applied(tree, content)), component, version, scope)
        if not made.content:
            notes.append(f"{component} is {version} {scope} already")
        content |= made.content
        lines += made.lines
        notes += made.notes
    return Proposal("", "", tuple(lines), content, tuple(dict.fromkeys(notes)))


def _where(scopes: Sequence[Scope]) -> str:
    if len(scopes) == 1:
        return str(scopes[0])
    names = ", ".join(scope.environment for scope in scopes)
    return str(scopes[0]._replace(environment=names))


def _words(scopes: Sequence[Scope]) -> list[str]:
    words = [scope.environment for scope in scopes] + [scopes[0].site]
    return [word for word in words if word]


_LONGEST = 120  # characters of a branch's name
_FREE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-")


def branch_name(kind: str, *words: str) -> str:
    """`bump/site-2.8.2-dev`: the same change gets the same name, and git takes it."""
    plain = "".join(letter if letter in _FREE else "-" for letter in "-".join(words))
    while ".." in plain:
        plain = plain.replace("..", ".")
    plain = plain.strip(".-")[:_LONGEST].rstrip(".-")
    return f"{kind}/{plain.removesuffix('.lock') or 'change'}"
