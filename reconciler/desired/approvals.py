"""`approvals/SITE.ENV.yaml`: plans of one deployment that whoever merges it approves, by their ids."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from reconciler.core.desired import Approval
from reconciler.core.problem import Origin
from reconciler.desired.folder import Tree
from reconciler.desired.nodes import Scalar
from reconciler.desired.problems import Problems, suggest
from reconciler.desired.text import parse

_FOLDER = "approvals/"
_ID = re.compile("[0-9a-f]{32}")


def approvals_file(site: str, environment: str) -> str:
    return f"{_FOLDER}{site}.{environment}.yaml"


def approvals(tree: Tree, site: str, environment: str, problems: Problems) -> tuple[Approval, ...]:
    """Those of a deployment, with what is said of each. What is wrong with one is told, and nothing is compiled."""
    path = approvals_file(site, environment)
    content = tree.get(path)
    where, problems.where = problems.where, ""
    entries = parse(content, path, problems) if content is not None else None
    found = []
    for name, node in entries.entries.items() if entries is not None else ():
        place = entries.places[name] if entries is not None else Origin(path, 0, 0)
        if not _ID.fullmatch(name):
            hint = "32 letters and digits, as `reconcile approve` lists them"
            problems.add(place, f"`{name[:80]}` is not the whole id of a plan", hint)
        elif not isinstance(node, Scalar) or not (node.value is None or isinstance(node.value, str)):
            problems.add(node.origin, f"what is said of a plan is text, this is {node.kind}", "say why, in quotes")
        else:
            found.append(Approval(name, "" if node.value is None else node.text, place=str(place)))
    problems.where = where
    return tuple(found)


def strays(tree: Tree, known: Collection[tuple[str, str]], site: str, problems: Problems) -> None:
    """Tell files below `approvals/` that nothing reads; with `site`, not those of other sites."""
    expected = [approvals_file(*one) for one in known]
    for path in _below(tree):
        other = bool(site) and not path.startswith(f"{_FOLDER}{site}.")
        if path not in expected and not other:
            hint = suggest(path, expected, otherwise="name it SITE.ENV.yaml")
            problems.add(Origin(path, 0, 0), "there is no deployment of this name, so nothing reads it", hint)


def _below(tree: Tree) -> Iterable[str]:
    return sorted(path for path in tree if path.startswith(_FOLDER))
