"""Which line sets the version of a component, for which deployments, and which one is to be edited.

The line that sets it is edited where its layer is the one of just those that were asked for. Otherwise a line is added
to that one: what others get, now or later, must not change with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from reconciler.authoring.edit import set_version
from reconciler.authoring.refused import Refused, refused
from reconciler.core.problem import Origin, Problem
from reconciler.desired import Tree
from reconciler.desired.layers import DEFAULTS, Layers, environment_file, site_file
from reconciler.desired.nodes import Entries, Node, Scalar, empty
from reconciler.desired.problems import Problems, suggest


class Scope(NamedTuple):
    """The deployments that a change is for."""

    environment: str = ""  # empty: all
    site: str = ""  # empty: all

    @property
    def layer(self) -> str:
        """The file that is for these deployments and no others."""
        if self.environment and self.site:
            return f"desired/sites/{self.site}.{self.environment}.yaml"
        if self.site:
            return site_file(self.site)
        return environment_file(self.environment) if self.environment else DEFAULTS

    @property
    def options(self) -> str:
        """As they are given on the command line."""
        given = (("--environment", self.environment), ("--site", self.site))
        return " ".join(f"{option} {name}" for option, name in given if name)

    def has(self, pair: Pair) -> bool:
        return self.site in ("", pair.site) and self.environment in ("", pair.environment)

    def __str__(self) -> str:
        parts = [f"in {self.environment}"] * bool(self.environment) + [f"on {self.site}"] * bool(self.site)
        return " ".join(parts) or "everywhere"


class Pair(NamedTuple):
    """A deployment by its names."""

    site: str
    environment: str

    @property
    def layers(self) -> tuple[str, ...]:
        """Its layers; each wins over those before it."""
        both = f"desired/sites/{self.site}.{self.environment}.yaml"
        return DEFAULTS, environment_file(self.environment), site_file(self.site), both


class Bumped(NamedTuple):
    """A change of one version."""

    content: Mapping[str, bytes]  # by file; empty where nothing is to be changed
    lines: tuple[str, ...]  # what it changes: "desired/environments/dev.yaml:4: 2.8.1 -> 2.8.2"
    notes: tuple[str, ...]  # what a person should know of it


class Versions:
    """The versions of a repo as its layers set them."""

    def __init__(self, tree: Tree) -> None:
        """Raises `Refused` for layers that cannot be read: the line that counts may stand there."""
        self.tree = tree
        problems = Problems()
        self.layers = Layers(tree, problems)
        self.pairs = [Pair(site, name) for site in self.layers.sites() for name in self.layers.environments(site)]
        for path in sorted({path for pair in self.pairs for path in pair.layers}):
            self.layers.layer(path)
        if len(problems):
            raise Refused(problems.told(1))

    def components(self) -> set[str]:
        layers = filter(None, (self.layers.layer(path) for pair in self.pairs for path in pair.layers))
        return {name for layer in layers for name in (*layer.section("versions"), *layer.section("components"))}

    def check(self, scope: Scope, components: Iterable[str], option: str = "--environment") -> None:
        """Raises `Refused` for names that the repo does not have. `option`: by which the environment was named."""
        environments, sites, known = self.layers.all_environments(), self.layers.sites(), self.components()
        wrong = []
        if scope.environment and scope.environment not in environments:
            wrong.append(_unknown(option, "environment", scope.environment, environments))
        if scope.site and scope.site not in sites:
            wrong.append(_unknown("--site", "site", scope.site, sites))
        wrong += [self._no_component(name, known) for name in components if name not in known]
        if not wrong and not any(map(scope.has, self.pairs)):
            has = self.layers.environments(scope.site)
            hint = f"it has {', '.join(has) or 'none'}"
            wrong.append(
                Problem(Origin(option, 0, 0), f"site {scope.site} has no {scope.environment}", hint)
                if scope.site
                else Problem(Origin(option, 0, 0), f"no site has {scope.environment}")
            )
        if wrong:
            raise Refused(wrong)

    def _no_component(self, name: str, known: Iterable[str]) -> Problem:
        """Whoever reads `status` knows the names of services."""
        problem = _unknown("COMPONENT", "component", name, known)
        layers = filter(None, (self.layers.layer(path) for pair in self.pairs for path in pair.layers))
        for service in filter(None, (layer.section("services").get(name) for layer in layers)):
            said = service.get("component") if isinstance(service, Entries) else None
            if isinstance(said, Scalar) and said.text in known:
                return problem._replace(hint=f"`{name}` is a service of `{said.text}`: `reconcile bump {said.text}`")
        return problem

    def users(self, scope: Scope, component: str) -> list[Pair]:
        """The deployments that have the component. Raises `Refused` where none does."""
        found = [pair for pair in self.pairs if scope.has(pair) and self._has(pair, component)]
        if not found:
            raise refused("COMPONENT", f"there is no {component} {scope}")
        return found

    def _has(self, pair: Pair, component: str) -> bool:
        said = [layer.section("components").get(component) for layer in self._of(pair)]
        given = [node for node in said if node is not None]
        return bool(given and not empty(given[-1])) or self.setter(pair, component) is not None

    def _of(self, pair: Pair) -> list[Entries]:
        return [layer for layer in map(self.layers.layer, pair.layers) if layer is not None]

    def setter(self, pair: Pair, component: str) -> Scalar | None:
        """The value that counts for a deployment; None where none does."""
        said: Node | None = None
        for layer in self._of(pair):
            said = layer.section("versions").get(component, said)
            if isinstance(layer.get("versions"), Scalar):
                said = None  # `versions: null` takes all away
        return said if isinstance(said, Scalar) and not empty(said) else None

    def text(self, pair: Pair, component: str) -> str:
        """What is written, which may be a template; empty for none."""
        found = self.setter(pair, component)
        return found.text if found else ""


def _unknown(place: str, kind: str, name: str, known: Iterable[str]) -> Problem:
    return Problem(Origin(place, 0, 0), f"there is no {kind} `{name[:80]}`", suggest(name, known))


def bump(versions: Versions, component: str, version: str, scope: Scope) -> Bumped:
    """Set a version in the right line. Raises `Refused`."""
    versions.check(scope, [component])
    users = versions.users(scope, component)
    file = _file(versions, component, scope)
    above = [pair for pair in users if _wins_over(versions, pair, component, file)]
    reached = [pair for pair in users if pair not in above]
    notes = tuple(_kept(versions, above, component, version, scope))
    if not reached:
        message = f"every deployment {scope} sets {component} itself, so a line here would change nothing"
        raise refused(file, message, "; ".join(notes[:3]))
    old = sorted({versions.text(pair, component) for pair in reached})
    if old == [version]:
        return Bumped({}, (), notes)
    content = set_version(versions.tree.get(file, b""), file, component, version)
    line = f"{_line(content, file, component)}: {', '.join(old) or 'none'} -> {version}"
    return Bumped({file: content}, (line,), notes)


def _file(versions: Versions, component: str, scope: Scope) -> str:
    own = versions.layers.layer(scope.layer)
    if scope == Scope() and (own is None or component not in own.section("versions")):
        hint = _where(versions, component)
        raise refused("--environment", f"{component} is not set for all environments at once", hint)
    return scope.layer


def _where(versions: Versions, component: str) -> str:
    """The options by which the lines that set it are reached."""
    found = {_scope_of(pair, setter.file) for pair in versions.pairs if (setter := versions.setter(pair, component))}
    environments = sorted(one.environment for one in found if not one.site)
    sites = sorted(one.site for one in found if not one.environment)
    ways = [f"--environment: {', '.join(environments)}"] * bool(environments)
    ways += [f"--site: {', '.join(sites)}"] * bool(sites)
    ways += [one.options for one in sorted(found) if one.environment and one.site][:3]
    every = ", ".join(versions.layers.all_environments())
    return f"give {'; or '.join(ways) or f'--environment: {every}'}"


def _scope_of(pair: Pair, file: str) -> Scope:
    """The deployments that a layer of this one is for."""
    _, environment, site, both = pair.layers
    return Scope(pair.environment if file in (environment, both) else "", pair.site if file in (site, both) else "")


def _wins_over(versions: Versions, pair: Pair, component: str, file: str) -> bool:
    """A later layer of this deployment than `file` sets the version."""
    setter = versions.setter(pair, component)
    return setter is not None and file in pair.layers and pair.layers.index(setter.file) > pair.layers.index(file)


def _kept(versions: Versions, above: Iterable[Pair], component: str, version: str, scope: Scope) -> Iterable[str]:
    """The deployments that set a version of their own."""
    for pair in above:
        setter = versions.setter(pair, component)
        if setter is not None and setter.text != version:
            own = _scope_of(pair, setter.file)
            how = Scope(scope.environment or own.environment, scope.site or own.site).options
            where = f"{pair.site} {pair.environment}" if not scope.environment else pair.site
            yield f"{where} keeps {component} {setter.text} ({setter.origin}); {how} changes that"


def _line(content: bytes, file: str, component: str) -> Origin:
    from reconciler.desired.text import parse

    layer = parse(content, file, Problems())
    return layer.section("versions")[component].origin if layer else Origin(file, 0, 0)


def promoted(versions: Versions, component: str, scope: Scope) -> tuple[str, Pair]:
    """The version of a component in some deployments, as it is written, and one of them. Raises `Refused` where they
    differ."""
    versions.check(scope, [component], "--from")
    found: dict[str, list[Pair]] = {}
    for pair in versions.users(scope, component):
        if text := versions.text(pair, component):
            found.setdefault(text, []).append(pair)
    if len(found) == 1:
        ((text, pairs),) = found.items()
        return text, pairs[0]
    if not found:
        raise refused("COMPONENT", f"{component} has no version {scope}")
    told = "; ".join(f"{text} on {', '.join(sorted(pair.site for pair in pairs))}" for text, pairs in found.items())
    raise refused("--from", f"{component} has several versions {scope}: {told}", "choose one of the sites with --site")
