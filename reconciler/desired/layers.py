"""The layers of a repo: which files there are, what each of them says, and what they say together."""

from __future__ import annotations

import re
from collections.abc import Iterable

from reconciler.core.problem import Origin
from reconciler.desired import shape
from reconciler.desired.folder import Tree
from reconciler.desired.nodes import Entries, Items, Scalar, merge
from reconciler.desired.problems import Problems, suggest
from reconciler.desired.text import parse

DEFAULTS = "desired/defaults.yaml"
_ENVIRONMENT = re.compile(r"desired/environments/([A-Za-z0-9][A-Za-z0-9_-]*)\.yaml")
_SITE = re.compile(r"desired/sites/([A-Za-z0-9][A-Za-z0-9_-]*)\.yaml")
# What an agent keeps in its state directory beside the folders of sites, and beside those of environments.
_OWN_OF_SITES = frozenset(("mirrors", "salt"))
_OWN_OF_ENVIRONMENTS = frozenset(("lock", "printed"))
_BOTH = re.compile(r"desired/sites/([A-Za-z0-9][A-Za-z0-9_-]*)\.([A-Za-z0-9][A-Za-z0-9_-]*)\.yaml")


def site_file(site: str) -> str:
    return f"desired/sites/{site}.yaml"


def environment_file(environment: str) -> str:
    return f"desired/environments/{environment}.yaml"


Parsed = dict[str, tuple[Entries | None, Problems]]


class Layers:
    """The layer files of one repo, each read and checked once.

    `parsed` is what was read of the same repo for other sites: most layers are the same for all of them.
    """

    def __init__(self, tree: Tree, problems: Problems, parsed: Parsed | None = None) -> None:
        self._tree = tree
        self._problems = problems
        self._read: dict[str, Entries | None] = {}
        self._parsed: Parsed = {} if parsed is None else parsed

    def sites(self) -> list[str]:
        """All sites by name."""
        return sorted(match[1] for path in self._tree if (match := _SITE.fullmatch(path)))

    def all_environments(self) -> list[str]:
        return sorted(match[1] for path in self._tree if (match := _ENVIRONMENT.fullmatch(path)))

    def environments(self, site: str) -> list[str]:
        """The environments that a site has; those that exist nowhere are told and left out."""
        layer = self.layer(site_file(site))
        said = layer.get("environments") if layer else None
        known = self.all_environments()
        if not isinstance(said, Items):
            return known
        found = []
        for node in said.items:
            if isinstance(node, Scalar) and node.text in known:
                found.append(node.text)
            elif isinstance(node, Scalar):
                hint = suggest(node.text, known, otherwise=f"add {environment_file(node.text[:40])}")
                self._problems.add(node.origin, f"there is no environment `{node.text[:80]}`", hint)
        return sorted(set(found))

    def usable(self, site: str, environments: Iterable[str]) -> None:
        """Tell names that would meet something else in an agent's state directory."""
        taken = [(site, site_file(site))] if site in _OWN_OF_SITES else []
        taken += [(name, environment_file(name)) for name in environments if name in _OWN_OF_ENVIRONMENTS]
        for name, path in taken:
            message = f"`{name}` is a name that reconcile uses itself"
            self._problems.add(Origin(path, 0, 0), message, "give it another name")

    def layer(self, path: str) -> Entries | None:
        """What one file says; None where it is missing or cannot be read, which is told."""
        if path not in self._read:
            if path not in self._parsed:
                self._parsed[path] = self._parse(path)
            self._read[path], found = self._parsed[path]
            self._problems.take(found)
        return self._read[path]

    def _parse(self, path: str) -> tuple[Entries | None, Problems]:
        """What is wrong with it is true of the file, whatever uses it."""
        content, problems = self._tree.get(path), Problems()
        layer = None if content is None else parse(content, path, problems)
        if layer is not None:
            shape.check(layer, problems, of_site=bool(_SITE.fullmatch(path)))
        return layer, problems

    def readable(self, site: str, environment: str) -> bool:
        """Every layer of one deployment could be read; what is wrong with one that could not is told."""
        return all(self.layer(path) is not None for path in layers_of(site, environment) if path in self._tree)

    def merged(self, site: str, environment: str) -> Entries:
        """What all layers say together of one deployment."""
        layers = [layer for layer in map(self.layer, layers_of(site, environment)) if layer is not None]
        self._blanks(layers)
        return merge(layers)

    def of(self, site: str, environment: str) -> list[Entries]:
        """The layers of one deployment that can be read, each of which wins over those before it."""
        return [layer for layer in map(self.layer, layers_of(site, environment)) if layer is not None]

    def _blanks(self, layers: Iterable[Entries]) -> None:
        """A key with nothing below it takes away what the layers before it say: hardly ever what was meant."""
        seen: set[str] = set()
        for layer in layers:
            for name, node in layer.entries.items():
                if name in seen and isinstance(node, Scalar) and node.text == "" and not node.quoted:
                    message = f"nothing stands below `{name}`, which takes away all that the layers before it say"
                    self._problems.add(layer.places[name], message, "take the line out, or write `null` if it is meant")
            seen |= layer.entries.keys()

    def versioned(self, site: str, environments: Iterable[str]) -> None:
        """Tell every version that no component of any layer of the repo answers to: a bump with a slip of the pen."""
        paths = [DEFAULTS, site_file(site)]
        for environment in environments:
            paths += (environment_file(environment), f"desired/sites/{site}.{environment}.yaml")
        if any(self.layer(path) is None for path in paths if path in self._tree):
            return  # the file that cannot be read may have it
        known = self._components(paths)
        for layer in filter(None, map(self.layer, paths)):
            for name in layer.section("versions"):
                if name not in known and name not in (known := self._components(self._paths())):
                    self._problems.add(
                        _place(layer, name), f"a version of an unknown component `{name[:80]}`", suggest(name, known)
                    )

    def _paths(self) -> list[str]:
        return sorted(path for path in self._tree if path.startswith("desired/") and path.endswith(".yaml"))

    def _components(self, paths: Iterable[str]) -> set[str]:
        """The components of some layers; of files that are not checked otherwise nothing is told."""
        found: set[str] = set()
        for path in paths:
            layer = self._read[path] if path in self._read else parse(self._tree.get(path, b""), path, Problems())
            found |= set(layer.section("components")) if layer else set()
        return found

    def strays(self, site: str = "") -> None:
        """Tell layer files that nothing reads; with `site`, not those of other sites."""
        for path in self._tree:
            if (
                path.startswith("desired/")
                and path.endswith((".yaml", ".yml"))
                and not self._belongs_elsewhere(path, site)
            ):
                self._stray(path)

    def _belongs_elsewhere(self, path: str, site: str) -> bool:
        match = _BOTH.fullmatch(path)
        return bool(site and match and match[1] != site)

    def _stray(self, path: str) -> None:
        origin = Origin(path, 0, 0)
        if both := _BOTH.fullmatch(path):
            if both[1] not in self.sites():
                hint = suggest(both[1], self.sites(), otherwise=f"add {site_file(both[1])}")
                self._problems.add(origin, f"there is no site `{both[1]}`", hint)
            if both[2] not in self.all_environments():
                hint = suggest(both[2], self.all_environments(), otherwise=f"add {environment_file(both[2])}")
                self._problems.add(origin, f"there is no environment `{both[2]}`", hint)
        elif path != DEFAULTS and not _ENVIRONMENT.fullmatch(path) and not _SITE.fullmatch(path):
            places = "desired/defaults.yaml, environments/ENV.yaml, sites/SITE.yaml and sites/SITE.ENV.yaml are read"
            self._problems.add(origin, "no layer has this name, so nothing reads it", places)


def layers_of(site: str, environment: str) -> tuple[str, ...]:
    """The files of one deployment, each of which wins over those before it."""
    return (DEFAULTS, environment_file(environment), site_file(site), f"desired/sites/{site}.{environment}.yaml")


def _place(layer: Entries, name: str) -> Origin:
    versions = layer.get("versions")
    return versions.places[name] if isinstance(versions, Entries) else layer.origin
