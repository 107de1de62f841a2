"""Lazy evaluation: every value is worked out when it is first asked for, once, and cycles are told.

While a value is worked out it stands on a stack. What it asks for marks it: a value that was made
from a secret is itself one, however many steps lie between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum, auto
from typing import NamedTuple

from reconciler.core.problem import Origin
from reconciler.core.secret import HIDDEN, Reference, Revealed, Secret
from reconciler.desired.nodes import Entries, Items, Node, Scalar
from reconciler.desired.problems import Failed, Problems
from reconciler.desired.reference import Referred, place, stand_in, wrong
from reconciler.desired.rendering import Broken, plain
from reconciler.desired.shape import is_secret_name, is_template
from reconciler.desired.templates import Templates

MAX_CHAIN = 40  # values that need one another


class _State(Enum):
    NEW = auto()
    RUNNING = auto()
    DONE = auto()
    FAILED = auto()


class Lazy:
    """A value to be worked out by `make`. `tainted`: it is a secret, or made from one. `secrets`: those that stand
    elsewhere and that it is made from."""

    __slots__ = ("label", "make", "origin", "secrets", "state", "tainted", "value")

    def __init__(self, label: str, origin: Origin, make: Callable[[], object], *, secret: bool = False) -> None:
        self.label = label
        self.origin = origin
        self.make = make
        self.state = _State.NEW
        self.tainted = secret
        self.secrets: frozenset[Secret] = frozenset()
        self.value: object = None


class Got(NamedTuple):
    """A value that was worked out, where it was written, and whether it may be shown."""

    value: object
    origin: Origin
    secret: bool = False
    secrets: frozenset[Secret] = frozenset()  # that stand elsewhere, and that it is made from

    @property
    def text(self) -> str:
        return self.value if isinstance(self.value, str) else str(self.value)


class Table(Mapping[str, object]):
    """Values by name, each worked out when it is asked for."""

    __slots__ = ("_evaluator", "_keys", "_make", "_memo")

    def __init__(self, evaluator: Evaluator, keys: Iterable[str], make: Callable[[str], object]) -> None:
        self._evaluator = evaluator
        self._keys = dict.fromkeys(keys)
        self._make = make
        self._memo: dict[str, object] = {}

    def __getitem__(self, key: str) -> object:
        part = self.part(key)
        return self._evaluator.force(part) if isinstance(part, Lazy) else part

    def part(self, key: str) -> object:
        """The value as it is held: a `Lazy` where it takes work. Raises `KeyError`."""
        if key in self._memo:
            return self._memo[key]
        if key not in self._keys:
            raise KeyError(key)
        part = self._memo[key] = self._make(key)
        return part

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return repr(plain(self))


class Scope:
    """The names that a string may use: its own ones, then those of the deployment, then the vars."""

    __slots__ = ("_deployment", "_evaluator", "_own", "vars")

    def __init__(
        self, evaluator: Evaluator, own: Mapping[str, object], deployment: Scope | None, variables: Table
    ) -> None:
        self._evaluator = evaluator
        self._own = own
        self._deployment = deployment
        self.vars = variables

    def within(self, own: Mapping[str, object]) -> Scope:
        """This scope with more names."""
        return Scope(self._evaluator, own, self, self.vars)

    def find(self, name: str, default: object = None) -> object:
        """The value of a name, worked out; `default` where there is no such name. Raises `Failed`."""
        if name in self._own:
            part = self._own[name]
            return self._evaluator.force(part) if isinstance(part, Lazy) else part
        if self._deployment is not None:
            return self._deployment.find(name, default)
        return self.vars.get(name, default)

    def names(self) -> set[str]:
        own = set(self._own) | set(self.vars)
        return own | self._deployment.names() if self._deployment else own


class Evaluator:
    """Works values out for one deployment."""

    def __init__(self, templates: Templates, problems: Problems, revealed: Revealed = HIDDEN) -> None:
        self._templates = templates
        self._problems = problems
        self._revealed = revealed
        self._stack: list[Lazy] = []

    def force(self, lazy: Lazy) -> object:
        """The value. Raises `Failed` where it cannot be had; the problem is told once."""
        if lazy.state is _State.NEW:
            self._work_out(lazy)
        elif lazy.state is _State.RUNNING:
            self._cycle(lazy)
        if lazy.state is not _State.DONE:
            raise Failed
        if lazy.tainted:
            self._taint(lazy.secrets)
        return lazy.value

    def _work_out(self, lazy: Lazy) -> None:
        lazy.state = _State.RUNNING
        self._stack.append(lazy)
        try:
            self._limit(lazy)
            lazy.value = lazy.make()
            lazy.state = _State.DONE
        finally:
            if lazy.state is _State.RUNNING:
                lazy.state = _State.FAILED
            self._stack.pop()

    def _limit(self, lazy: Lazy) -> None:
        if len(self._stack) > MAX_CHAIN:
            self._problems.add(
                lazy.origin, f"more than {MAX_CHAIN} values need one another in a row", "make the chain shorter"
            )
            raise Failed

    def _taint(self, secrets: frozenset[Secret] = frozenset()) -> None:
        if self._stack:
            self._stack[-1].tainted = True
            self._stack[-1].secrets |= secrets

    def _cycle(self, lazy: Lazy) -> None:
        chain = self._stack[self._stack.index(lazy) :]
        first = min(range(len(chain)), key=lambda index: (chain[index].origin, chain[index].label))
        labels = [link.label for link in chain[first:] + chain[:first]]
        words = " -> ".join([*labels, labels[0]])
        self._problems.add(
            chain[first].origin, f"`{labels[0]}` needs itself: {words}", "give one of them a value of its own"
        )

    # ------------------------------------------------------------ what was written

    def text(self, node: Scalar, scope: Scope, label: str, *, secret: bool = False) -> Got:
        """A string as it is in the end. Raises `Failed`."""
        secret = secret or node.secret
        if not isinstance(node, Referred) and not is_template(node.text):
            return Got(node.text, node.origin, secret)
        lazy = Lazy(label, node.origin, lambda: self._string(node, scope), secret=secret)
        value = self.force(lazy)
        return Got(value, node.origin, lazy.tainted, lazy.secrets)

    def file(self, name: str, scope: Scope, origin: Origin) -> str:
        """The text that a file template gives. Raises `Failed`."""
        return self._rendered(lambda: self._templates.file(name, scope), origin, "")

    def _string(self, node: Scalar, scope: Scope) -> str:
        if isinstance(node, Referred):
            return self._secret(node, scope)
        return self._rendered(lambda: self._templates.string(node.text, scope), node.origin, node.style)

    def _secret(self, node: Referred, scope: Scope) -> str:
        """What a reference leads to, or the word that stands for it here."""
        words = Lazy("the place of a secret", node.origin, lambda: self._words(node, scope))
        reference = self.force(words)
        if not isinstance(reference, Reference):
            raise Failed
        against = wrong(reference, self._templates.tree)
        if words.tainted:
            against = ("where a secret is cannot itself be a secret: it would show", "use no secret in it")
        if against[0]:
            self._problems.add(node.target.origin, *against)
            raise Failed
        self._taint(frozenset((Secret(reference, place(node.origin)),)))
        value = self._revealed.get(reference)
        return stand_in(reference, self._templates.tree) if value is None else value

    def _words(self, node: Referred, scope: Scope) -> Reference:
        target, key = (
            self._string(part, scope) if is_template(part.text) else part.text
            for part in (node.target, node.key or _EMPTY)
        )
        return Reference(node.source, target, key)

    def _rendered(self, render: Callable[[], str], origin: Origin, style: str) -> str:
        try:
            return render()
        except Broken as broken:
            hidden = self._stack[-1].tainted and broken.quotes
            message = "the template fails; why is not shown, as a secret is in it" if hidden else broken.message
            self._problems.add(_inside(origin, broken, style), message, "" if hidden else broken.hint)
            raise Failed from None  # the cause may quote a secret

    def value(self, node: Node, scope: Scope, label: str, *, secret: bool) -> object:
        """Anything that was written, as templates see it."""
        if node.secret:
            self._taint()
        if isinstance(node, Scalar):
            worked_out = isinstance(node, Referred) or (isinstance(node.value, str) and is_template(node.text))
            return self._string(node, scope) if worked_out else node.value
        if isinstance(node, Items):
            return [
                self.value(item, scope, f"{label}[{index}]", secret=secret) for index, item in enumerate(node.items)
            ]
        return self.table(node, scope, f"{label}.", secret=secret or node.secret) if isinstance(node, Entries) else None

    def table(self, node: Entries, scope: Scope | Callable[[], Scope], prefix: str, *, secret: bool) -> Table:
        """A mapping as templates see it; what lies below a secret name is secret."""

        def make(key: str) -> object:
            part = node.entries[key]
            hidden = secret or part.secret or is_secret_name(key)
            if isinstance(part, Scalar) and not hidden and not is_template(part.text):
                return part.value
            within = scope if isinstance(scope, Scope) else scope()
            if isinstance(part, Entries):
                return self.table(part, within, f"{prefix}{key}.", secret=hidden)
            return Lazy(
                prefix + key, part.origin, lambda: self.value(part, within, prefix + key, secret=hidden), secret=hidden
            )

        return Table(self, node.entries, make)


_EMPTY = Scalar("", 0, 0, "", "", "'", False)


def _inside(origin: Origin, broken: Broken, style: str) -> Origin:
    """Where in a file a template broke: in its own file, or some lines into a block of a layer."""
    if broken.file:
        return Origin(broken.file, broken.line, 1 if broken.line else 0)
    if style == "|" and broken.line:
        return Origin(origin.file, origin.line + broken.line, 1)
    return origin
