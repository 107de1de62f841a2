"""What the desired state of a repo amounts to, deployment by deployment, so that two commits can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from reconciler.authoring.versions import Pair
from reconciler.core.desired import Deployment
from reconciler.core.digest import digest
from reconciler.core.problem import Origin
from reconciler.desired import Facts, Tree, compile_site, sites
from reconciler.desired.layers import DEFAULTS, site_file

_NOWHERE = Origin("", 0, 0)
_UNKNOWN: Mapping[str, Deployment] = {}  # by its identity


class Repo(NamedTuple):
    """All deployments of some sites at one commit, and the sites that are not valid there."""

    deployments: Mapping[Pair, Deployment]
    broken: frozenset[str]


_REMEMBERED = 100  # sites with their files: a walk through a long history must not keep all of it


class Compiler:
    """Compiles each site once for the same files, however many commits in a row have them."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._known: dict[tuple[str, str], Mapping[str, Deployment] | None] = {}

    def repo(self, tree: Tree, only: Iterable[str] = ()) -> Repo:
        """All sites, or only some of them."""
        chosen = set(only)
        found: dict[Pair, Deployment] = {}
        broken = set()
        for site in sites(tree):
            if chosen and site not in chosen:
                continue
            deployments = self._site(tree, site)
            if deployments is None:
                broken.add(site)
            else:
                found |= {Pair(site, name): one for name, one in deployments.items()}
        return Repo(found, frozenset(broken))

    def _site(self, tree: Tree, site: str) -> Mapping[str, Deployment] | None:
        key = (site, _digest(tree, site))
        known = self._known.pop(key, _UNKNOWN)  # the one that was asked for last stands last
        if known is _UNKNOWN:
            result = compile_site(tree, site, None, self._facts)
            compiled = {name: _bare(one.deployment) for name, one in result.compiled.items()}
            known = None if result.problems else compiled
            if len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
        self._known[key] = known
        return known


def _digest(tree: Tree, site: str) -> str:
    """Of all files that a site's deployments can depend on."""
    own = (site_file(site), f"desired/sites/{site}.")
    common = (DEFAULTS, "desired/environments/", "templates/")
    parts = [f"{path}\0{digest(tree[path])}" for path in sorted(tree) if path.startswith((*own, *common))]
    return digest("\n".join(parts).encode())


def _bare(deployment: Deployment) -> Deployment:
    """Without the places in files, which move with every line above them."""
    return deployment._replace(disabled=dict.fromkeys(deployment.disabled, _NOWHERE))


# ---------------------------------------------------------------- of one service


def of_service(deployment: Deployment | None, name: str) -> object:
    """All that makes one service what it is; None where the deployment does not have it."""
    if deployment is None:
        return None
    parts = (
        [one for one in deployment.services if one.name == name],
        [one for one in deployment.others if one.name == name],
        [one for one in deployment.watches if one.service == name],
        [one for one in deployment.verifies if one.service == name],
        [one for one in deployment.files if name in one.services],
        name in deployment.disabled,
    )
    return parts if any(parts) else None


def names(deployment: Deployment | None) -> set[str]:
    """The services of a deployment, be they disabled or run by others."""
    if deployment is None:
        return set()
    others = {one.name for one in deployment.others}
    return {one.name for one in deployment.services} | others | set(deployment.disabled)
