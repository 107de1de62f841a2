"""All deployments of a site, or of a repo, and what is wrong with any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reconciler.core.batches import told_together
from reconciler.core.desired import Approval, Compiled
from reconciler.core.problem import Origin, Problem
from reconciler.desired import checks
from reconciler.desired.approvals import approvals, strays
from reconciler.desired.deployment import Made, compile_deployment
from reconciler.desired.folder import Tree
from reconciler.desired.ground import Facts, Wanted
from reconciler.desired.layers import Layers, Parsed, site_file
from reconciler.desired.problems import Problems, suggest
from reconciler.desired.rendering import Broken
from reconciler.desired.templates import Templates


class Result(NamedTuple):
    """Deployments by environment, and what is wrong. With any problem there is none: nothing of it may be applied."""

    compiled: Mapping[str, Compiled]
    problems: tuple[Problem, ...]


class _Repo(NamedTuple):
    """What all deployments of a repo are compiled with."""

    tree: Tree
    layers: Layers
    templates: Templates
    facts: Facts
    problems: Problems
    commit: str


def sites(tree: Tree) -> list[str]:
    """The sites of a repo."""
    return Layers(tree, Problems()).sites()


def environments(tree: Tree, site: str) -> list[str]:
    """The environments of a site, as far as its file can be read."""
    return Layers(tree, Problems()).environments(site)


def compile_site(tree: Tree, site: str, environments: Sequence[str] | None, facts: Facts, commit: str = "") -> Result:
    """The deployments of a site; of all its environments without a choice of them."""
    return Compiler(tree, facts, commit).site(site, environments)


class Compiler:
    """Any site of one commit. What sites share is read once."""

    def __init__(self, tree: Tree, facts: Facts, commit: str = "") -> None:
        self.tree, self.facts, self.commit = tree, facts, commit
        self._templates = Templates(tree)
        self._parsed: Parsed = {}

    def layers(self, problems: Problems | None = None) -> Layers:
        """What is wrong with them is added to `problems`."""
        return Layers(self.tree, Problems() if problems is None else problems, self._parsed)

    def site(self, site: str, environments: Sequence[str] | None = None, *, alone: bool = False) -> Result:
        """The deployments of a site; of all its environments without a choice of them.

        The others are compiled too, as they share the host: their ports, files and roots must fit. With `alone` they
        are not, where only what a commit said is asked for, and not whether it can be applied.
        """
        problems = Problems()
        layers = self.layers(problems)
        repo = _Repo(self.tree, layers, self._templates, self.facts, problems, self.commit)
        if site not in layers.sites():
            there = f"there is {', '.join(layers.sites()[:12])}; or " if layers.sites() else ""
            hint = suggest(site, layers.sites(), otherwise=f"{there}add {site_file(site)}")
            problems.add(Origin(site_file(site), 0, 0), f"there is no site `{site[:80]}`", hint, asked=True)
            return Result({}, problems.told(1))
        layers.strays(site)
        strays(self.tree, [(site, name) for name in layers.environments(site)], site, problems)
        made = _site(repo, site, environments if alone else None)
        wanted = list(made) if environments is None else list(environments)
        known = layers.environments(site)
        for name in wanted:
            if name not in known:
                hint = suggest(name, known, otherwise=f"it has {', '.join(known) or 'none'}")
                message = f"site `{site}` has no environment `{name[:80]}`"
                problems.add(Origin(site_file(site), 0, 0), message, hint, asked=True)
        found = {name: one.compiled for name, one in made.items() if name in wanted and one.compiled is not None}
        return Result({} if len(problems) else found, problems.told(len(made)))


def validate(tree: Tree, facts: Facts) -> tuple[Problem, ...]:
    """Everything that is wrong with a repo: all sites, all environments, all templates, each thing once."""
    return examine(tree, facts).problems


class Examined(NamedTuple):
    """What there is to say of a repo."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]  # it is valid, and does something else than whoever wrote it may think


def examine(tree: Tree, facts: Facts) -> Examined:
    """The same with what is no problem, and is to be told all the same."""
    problems, warnings = Problems(), Problems()
    layers = Layers(tree, problems)
    templates = Templates(tree)
    repo = _Repo(tree, layers, templates, facts, problems, "")
    layers.strays()
    strays(tree, [(site, name) for site in layers.sites() for name in layers.environments(site)], "", problems)
    for environment in layers.all_environments():
        layers.layer(f"desired/environments/{environment}.yaml")
    _parse(templates, problems)
    if not layers.sites():
        problems.add(Origin("desired/sites", 0, 0), "the repo has no site", "add desired/sites/SITE.yaml")
    deployments = 0
    for site in layers.sites():
        made = _site(repo, site)
        deployments += len(made)
        for environment, one in made.items():
            if one.compiled is not None:
                warnings.where = f"{site}/{environment}"
                _warn(one.compiled, warnings)
        warnings.where = ""
        for found in checks.swept([one.uses for one in made.values()]):
            if not found.wrong:
                warnings.add(found.origin, found.message, found.hint, rule=found.rule)
    return Examined(problems.told(deployments), warnings.told(deployments))


def _warn(compiled: Compiled, warnings: Problems) -> None:
    """Of each canary that counts for nothing."""
    sets = {one.name: one for one in compiled.deployment.sets}
    for found in told_together(compiled.deployment):
        fields = compiled.fields[sets[found.name].services[0]]
        verb = "restarts" if len(found.after) == 1 else "restart"
        message = (
            f"`canary` of {found.name} counts for nothing when {found.shared} changes: {', '.join(found.after)}, which "
            f"it comes after, {verb} with it, and all replicas at once"
        )
        hint = "give one of them another component, and so a version of its own, or take out `after` or `canary`"
        warnings.add(fields["strategy.canary"].origin, message, hint)


def _parse(templates: Templates, problems: Problems) -> None:
    for name in sorted(templates.known()):
        try:
            templates.check(name) if name.endswith(".j2") else None
        except Broken as broken:
            problems.add(Origin(broken.file, broken.line, 1 if broken.line else 0), broken.message, broken.hint)


def _site(repo: _Repo, site: str, only: Sequence[str] | None = None) -> dict[str, Made]:
    """Those of all environments, unless only some are asked for."""
    layers, problems = repo.layers, repo.problems
    made = {}
    names = layers.environments(site)
    if not names:
        message = f"site `{site}` has no environment"
        problems.add(Origin(site_file(site), 0, 0), message, "add desired/environments/ENV.yaml")
    layers.usable(site, names)
    layers.versioned(site, names)
    for environment in names:
        if only is not None and environment not in only:
            continue
        if not layers.readable(site, environment):
            continue  # what it lacks may stand in the file that cannot be read
        problems.where = f"{site}/{environment}"
        wanted = Wanted(site, environment, repo.commit, layers.merged(site, environment), repo.facts)
        approved = approvals(repo.tree, site, environment, problems)
        made[environment] = _approving(compile_deployment(wanted, repo.templates, problems), approved)
        problems.where = ""
    checks.on_host([one.uses for one in made.values()], problems)
    return made


def _approving(made: Made, approved: tuple[Approval, ...]) -> Made:
    if made.compiled is None or not approved:
        return made
    deployment = made.compiled.deployment._replace(approvals=approved)
    return made._replace(compiled=made.compiled._replace(deployment=deployment))
