"""Whether a commit can have changed a service at all, told without working out what it amounts to.

Most commits of such a repo bump another component. Compiling all sites at each of them takes half a second; this takes
a hundredth of that, and says no only where that is certain.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from reconciler.authoring.edit import Said, said
from reconciler.desired import Tree
from reconciler.desired.problems import Problems
from reconciler.desired.text import parse

# A version of another component reaches a service by this name only: `versions.web`, `versions['web']`.
_IN_LAYERS = re.compile(rb"\{[{%].*?[%}]\}", re.DOTALL)
_ASKED = re.compile(rb"""\bversions\b(?:\.([A-Za-z0-9_]+)|\[\s*["']([^"'\n]+)["']\s*\])?""")


def bumps_others_only(before: Tree, after: Tree, changed: Collection[str], components: Collection[str]) -> bool:
    """Nothing but versions has changed, of none of these components, and of none that a text of the repo asks for."""
    if not all(path.startswith("desired/") and path.endswith(".yaml") for path in changed):
        return False
    bumped: set[str] = set()
    for path in changed:
        old, new = _layer(before, path), _layer(after, path)
        if old is None or new is None:
            return False
        one, other = (layer.pop("versions", {}) for layer in (old, new))
        if old != new or not isinstance(one, dict) or not isinstance(other, dict):
            return False
        bumped |= {name for name in {*one, *other} if one.get(name) != other.get(name)}
    asked = _asked(after)
    return asked is not None and bumped.isdisjoint((*components, *asked))


def _layer(tree: Tree, path: str) -> dict[str, Said] | None:
    """None for one that cannot be read."""
    problems = Problems()
    layer = parse(tree.get(path, b""), path, problems)
    found = said(layer) if layer is not None and not len(problems) else None
    return found if isinstance(found, dict) else None


def _asked(tree: Tree) -> set[str] | None:
    """The components whose versions are asked for by name; None where it cannot be told which."""
    found = set()
    for path, text in tree.items():
        for part in _IN_LAYERS.findall(text) if path.startswith("desired/") else [text]:
            names = [dotted or quoted for dotted, quoted in _ASKED.findall(part)]
            if not all(names):
                return None
            found |= {name.decode(errors="replace") for name in names}
    return found
