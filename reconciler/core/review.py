"""Why something changes, and what changes in the files: what a report says beyond the plan itself."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from reconciler.core.change import Change, Kind
from reconciler.core.desired import Compiled, Deployment, File, Role, Shown
from reconciler.core.inventory import Inventory
from reconciler.core.observed import Observed
from reconciler.core.problem import Origin

CONTEXT = 3  # unchanged lines that are shown around a change, as `diff -u` does
MAX_LINES = 5000  # of one file: what is longer is told by its digest


class Intent(Enum):
    """Who asked for a change, as users of Puppet know it."""

    NONE = ""
    INTENTIONAL = "intentional"  # a commit
    CORRECTIVE = "corrective"  # drift: somebody or something changed the host
    ROLLBACK = "rollback"  # reconcile: what the commit asked for failed, and what was healthy before comes back


class Who(NamedTuple):
    """The commit that wrote a line."""

    commit: str = ""  # empty: it is not known, or not committed yet
    author: str = ""
    subject: str = ""
    when: float = 0.0  # seconds since the epoch


NOBODY = Who()


class Cause(NamedTuple):
    """A value of the desired state that changed."""

    key: str  # as in a layer: "vars.log_level"; or the path of a template
    old: str | None  # as written; None: it is new
    new: str | None  # None: it is taken away
    origin: Origin
    secret: bool = False  # neither value is shown
    who: Who = NOBODY


class Delta(NamedTuple):
    """A rendered file that changes. No digest of it is told: what a secret was made of could be guessed by it."""

    name: str  # below ROOT where it is there
    role: Role
    services: tuple[str, ...]
    word: str  # "new", "changed", "removed"
    lines: tuple[str, ...] = ()  # of a unified diff, without its heading
    hidden: str = ""  # why no lines are shown
    modes: tuple[int, int] = (0, 0)

    @property
    def counts(self) -> tuple[int, int]:
        """Lines that come, and lines that go."""
        return sum(line[:1] == "+" for line in self.lines), sum(line[:1] == "-" for line in self.lines)

    @property
    def told(self) -> object:
        """What makes it the same change in two deployments: the lines around it may differ."""
        edits = tuple(line for line in self.lines if line[:1] in "+-")
        return self.name, self.role, self.services, self.word, edits, self.hidden, self.modes


class Why(NamedTuple):
    """Of one deployment; by service where something is one service's, else under an empty name."""

    causes: Mapping[str, tuple[Cause, ...]] = {}
    intents: Mapping[str, Intent] = {}
    since: Mapping[str, float] = {}  # of drift, seconds since the epoch
    deltas: tuple[Delta, ...] = ()


# ---------------------------------------------------------------- a commit, or drift


def intent(
    change: Change, desired: Deployment, inventory: Inventory, back: Container[str] = frozenset()
) -> Intent:
    """Drift is what differs though git still says what was last applied. `back`: services that are wanted as they were
    before something failed."""
    if change.kind is Kind.KEEP or not change.managed:
        return Intent.NONE
    asked = Intent.ROLLBACK if change.service in back else Intent.INTENTIONAL
    owned = inventory.services.get(change.renamed_from or change.service)
    service = next((one for one in desired.services if one.name == change.service), None)
    if owned is None or service is None or change.renamed_from:
        stray = owned is None and service is None
        return Intent.CORRECTIVE if stray else asked
    last = (owned.spec, owned.launch, owned.launcher, owned.unit)
    if last != (service.spec, service.launch, service.launcher, service.unit):
        return asked
    before = {manager.launcher: manager.spec for manager in inventory.managers}
    other = any(
        m.launcher == service.launcher and before.get(m.launcher, m.spec) != m.spec for m in desired.managers
    )
    return asked if other and change.restarts else Intent.CORRECTIVE


def drift_since(change: Change, observed: Observed, files: Sequence[tuple[File, float]]) -> float:
    """Since when it differs, as far as the host tells: the state of its unit, or the last change of a file of it."""
    unit = observed.units.get(change.unit)
    if change.state.down and unit is not None and unit.since:
        return unit.since
    return max((changed for file, changed in files if change.service in file.services), default=0.0)


# ---------------------------------------------------------------- files


_Pair = tuple[File | None, File | None]
_SECRET = "secret: not shown"  # noqa: S105 - what is told instead of one


class Texts:
    """Unified diffs. Equal pairs, of which many deployments have the same, are worked out once."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], tuple[tuple[str, ...], str]] = {}

    def deltas(self, old: Compiled | None, new: Compiled | None) -> Iterator[Delta]:
        """Every rendered file that differs between two states of a deployment."""
        before, after = _files(old), _files(new)
        roots = {side.deployment.root for side in (old, new) if side}
        root = roots.pop() if len(roots) == 1 else ""
        for name in sorted({*before, *after}):
            one, other = before.get(name), after.get(name)
            if one and other and (one.digest, one.mode) == (other.digest, other.mode):
                continue
            texts = _shown(old, one, root), _shown(new, other, root)
            yield self._delta(name, (one, other), texts)

    def _delta(self, name: str, pair: _Pair, texts: tuple[Shown | None, Shown | None]) -> Delta:
        one, other = pair
        file = other or one
        assert file is not None  # noqa: S101 - a pair has one of the two
        lines, hidden = self._told(pair, texts)
        modes = (one.mode if one else 0, other.mode if other else 0)
        word = "changed" if all(modes) else "new" if modes[1] else "removed"
        if word == "changed" and not lines and not hidden and modes[0] == modes[1]:
            hidden = "only the marks of its process"
        return Delta(name, file.role, file.services, word, lines, hidden, modes)

    def _told(self, pair: _Pair, texts: tuple[Shown | None, Shown | None]) -> tuple[tuple[str, ...], str]:
        """The lines, or why there are none. What is a secret on one side only stands on the other in plain words."""
        before, after = texts
        if before is None or after is None or (all(pair) and before.without != after.without):
            return (), _SECRET
        lines, hidden = self._lines(before.content, after.content)
        return lines, hidden or ("" if lines or not after.without else _SECRET)

    def _lines(self, old: bytes, new: bytes) -> tuple[tuple[str, ...], str]:
        if (old, new) not in self._known:
            self._known[old, new] = unified(old, new)
        return self._known[old, new]


def _files(compiled: Compiled | None) -> dict[str, File]:
    """By name below the root: a deployment that moves has the same files as before."""
    if compiled is None:
        return {}
    root = compiled.deployment.root
    return {below(root, file.path): file for file in compiled.deployment.files}


def _shown(compiled: Compiled | None, file: File | None, root: str) -> Shown | None:
    """What there is to show; None where that is nothing, as a secret is in it."""
    if compiled is None or file is None:
        return Shown(b"", frozenset())
    plain = Shown(compiled.contents.get(file.path, b""), frozenset())
    found = compiled.shown.get(file.path) if file.secret else plain
    return found._replace(content=_content(compiled, file, found.content, root)) if found is not None else None


def _content(compiled: Compiled, file: File, content: bytes, root: str) -> bytes:
    """Without the root, which is another one in each deployment, and without the marks."""
    if file.role is Role.CONFIG:
        return content.replace(root.encode() + b"/", b"ROOT/") if root else content
    import re

    # Marks follow from all that a service is made of, secrets among it.
    marks = {mark for one in compiled.deployment.services for mark in (one.spec, one.launch)}
    marks |= {manager.spec for manager in compiled.deployment.managers}
    content = re.sub(rb"\b[0-9a-f]{32}\b", lambda found: b"..." if found[0].decode() in marks else found[0], content)
    content = content.replace(compiled.deployment.id.encode(), b"SITE/ENV")
    return content.replace(root.encode(), b"ROOT") if root else content


def below(root: str, path: str) -> str:
    return "ROOT" + path.removeprefix(root) if path.startswith(f"{root}/") else path


def unified(old: bytes, new: bytes) -> tuple[tuple[str, ...], str]:
    """The lines of a unified diff; or none, and why."""
    from difflib import unified_diff

    try:
        before, after = _lines_of(old.decode("utf-8")), _lines_of(new.decode("utf-8"))
    except UnicodeDecodeError:
        return (), "binary: not shown"
    if len(before) + len(after) > MAX_LINES:
        return (), "too long: not shown"
    return tuple(list(unified_diff(before, after, lineterm="", n=CONTEXT))[2:]), ""


def _lines_of(text: str) -> list[str]:
    lines = text.split("\n")
    return [*lines, "\\ No newline at end of file"] if lines[-1] else lines[:-1]
