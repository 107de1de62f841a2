"""`reconcile adopt`: what runs by hand becomes a layer in a work tree, and a note of which process counts as what.

The note is inert until git has the services: a pass that does not know them does nothing for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from reconciler.adopt.describe import Described, Home, describe, parts, secret_path
from reconciler.adopt.found import Source
from reconciler.adopt.layer import CannotAdd, Parts, added, names, service_at
from reconciler.agent.alone import alone
from reconciler.agent.config import Agent, InvalidInput
from reconciler.agent.here import Host
from reconciler.agent.store import Store, root_lock_path
from reconciler.core.desired import Compiled, Manager
from reconciler.core.inventory import Adopted, Inventory, Stage
from reconciler.core.problem import Origin, Problem
from reconciler.desired import Facts, Tree, compile_site, read_folder
from reconciler.host import files

_STUB = "# Values of this environment on every site.\n"


class Target(NamedTuple):
    """Where it is to come in."""

    environment: str
    folder: str  # a work tree of the desired-state repo
    root: str  # the deployment's, where no layer says it; else empty


class Adoption(NamedTuple):
    """What is to be written, and what is told of it."""

    environment: str
    root: str
    source: Source
    described: tuple[Described, ...]
    layers: Mapping[str, str]  # path in the repo -> its new text
    secrets: Mapping[str, str]  # path on this host -> its content, which is never shown
    adopted: Mapping[str, Adopted]  # by service
    others: tuple[str, ...]  # services that git has here besides


def prepare(agent: Agent, host: Host, target: Target, source: Source) -> Adoption:
    """Everything but the writing. Raises `InvalidInput`, `UnreadableFolder`.

    A program that cannot be described as a service so that it is understood in the same way is described as one that
    others run.
    """
    environment, folder = target.environment, target.folder
    tree = read_folder(folder) if os.path.isdir(os.path.join(folder, "desired")) else {}
    writer = _Writer(agent, host, environment, tree)
    effective, new_root = writer.find_root(target.root)
    known = _known(tree, agent.site, environment)
    refused: dict[str, str] = {}
    home = Home(effective, host.account)
    while True:
        described = describe(source, home, refused)
        _refuse_clash(known, parts(described, ""), writer.path)
        layers = writer.layers(parts(described, new_root))
        compiled, problems = writer.compile(layers)
        found = _refusals(described, layers[writer.path], writer.path, compiled, problems)
        others = _others_names(source, described, compiled) if not found else {}
        if not found and not others:
            break
        home = home._replace(units={**home.units, **others})
        if problems and not found.keys() - refused.keys():
            raise InvalidInput(problems)
        refused |= found
    if compiled is None:
        raise InvalidInput(problems)
    if compiled.deployment.elsewhere:
        hint = "run it as that account, on that host"
        _refuse(writer.path, f"git wants services of this deployment {compiled.deployment.whose}, not here", hint)
    secrets = {secret_path(effective, one.name): one.private for one in described if one.private}
    theirs = {service.name for service in compiled.deployment.services}
    besides = tuple(sorted(theirs - {one.name for one in described}))
    noted = _notes(source, described, compiled)
    return Adoption(environment, effective, source, tuple(described), layers, secrets, noted, besides)


def _others_names(source: Source, described: Sequence[Described], compiled: Compiled | None) -> dict[str, str]:
    """By service, another name for the unit that it would get, where somebody else's has that. A supervisord of the
    deployment's own has no other units."""
    if source.launcher != "systemd" or compiled is None:
        return {}
    from reconciler.adopt.units import known

    mine = {one.name for one in described if one.taken}
    units = {service.name: service.unit for service in compiled.deployment.services if service.name in mine}
    taken = known(sorted(units.values()))
    return {name: f"{unit.removesuffix('.service')}-reconcile" for name, unit in units.items() if unit in taken}


def write(agent: Agent, adoption: Adoption, folder: str) -> None:
    """Secrets, then the note, then the layers. Raises `Busy`, `InvalidInput`, `OSError`."""
    store = Store(agent.state_dir, agent.site)
    store.prepare()
    with alone(store.lock_path()):
        recalled = store.inventory(adoption.environment, adoption.root)
        if recalled.damage:
            _refuse(store.environment_path(adoption.environment), recalled.damage, "`reconcile --once` mends it")
        noted = _with_notes(recalled.inventory, adoption)
        files.make_folder(adoption.root, 0o755)
        files.make_folder(os.path.dirname(root_lock_path(adoption.root)), 0o700)
        with alone(root_lock_path(adoption.root)):
            for path, content in adoption.secrets.items():
                files.make_folder(os.path.dirname(path), 0o700)
                files.write(path, content.encode("utf-8", "surrogateescape"), 0o600)
            store.save_inventory(adoption.environment, adoption.root, noted)
    for path, text in adoption.layers.items():
        target = os.path.join(folder, path)
        files.make_folder(os.path.dirname(target), 0o755)
        files.write(target, text.encode(), 0o644)


def _with_notes(inventory: Inventory, adoption: Adoption) -> Inventory:
    source = adoption.source
    manager = Manager(source.by_hand, "", source.address)
    taken = {name: one for name, one in inventory.adopted.items() if one.stage is not Stage.OFFERED}
    mine = {(one.launcher, one.unit): name for name, one in taken.items()}
    new = {(one.launcher, one.unit) for one in adoption.adopted.values()}
    clash = sorted(mine[unit] for unit in new & mine.keys())
    if clash:
        _refuse(source.place, f"{', '.join(clash)} of it was adopted already", "name those that are to be adopted")
    before = next((one for one in inventory.by_hand if one.launcher == source.by_hand), manager)
    if before != manager and any(one.launcher == source.by_hand for one in taken.values()):
        other = dict(before.address).get("conf", before.launcher)
        hint = "one environment takes in one supervisord: give this one an environment of its own"
        _refuse(source.place, f"{adoption.environment} has adopted services of {other} already", hint)
    others = tuple(one for one in inventory.by_hand if one.launcher != source.by_hand)
    return inventory._replace(adopted={**inventory.adopted, **adoption.adopted}, by_hand=(*others, manager))


def _notes(source: Source, described: Iterable[Described], compiled: Compiled) -> dict[str, Adopted]:
    services = {service.name: service for service in compiled.deployment.services}
    noted = {}
    for one in described:
        if one.runs:
            service, found = services[one.name], one.found
            noted[one.name] = Adopted(
                source.by_hand, found.unit, found.start, service.spec, service.launch, service.version,
                found.pid, found.started,
            )  # fmt: skip
    return noted


# ---------------------------------------------------------------- the layers


class _Writer:
    """The work tree as it would be."""

    def __init__(self, agent: Agent, host: Host, environment: str, tree: Tree) -> None:
        self.agent, self.host, self.environment, self.tree = agent, host, environment, tree
        self.path = f"desired/sites/{agent.site}.{environment}.yaml"
        self._stubs = self._missing()

    def _missing(self) -> dict[str, str]:
        site, environment = f"desired/sites/{self.agent.site}.yaml", f"desired/environments/{self.environment}.yaml"
        stubs = {}
        if environment not in self.tree:
            others = [path for path in self.tree if path.startswith("desired/sites/") and path not in (site, self.path)]
            if others:
                hint = f"make {environment} yourself: every site without a list of `environments` gets it with that"
                _refuse(environment, f"there is no environment {self.environment} yet, and there are other sites", hint)
            stubs[environment] = _STUB
        if site not in self.tree:
            stubs[site] = f"environments: [{self.environment}]\n"
        return stubs

    def find_root(self, given: str) -> tuple[str, str]:
        """The root of the deployment, and what a layer has to say for it: nothing where one does.

        Raises `InvalidInput`.
        """
        compiled, problems = self.compile(self._stubs)
        if compiled is not None:
            there = compiled.deployment.root
            if given and os.path.abspath(given) != there:
                _refuse("--root", f"git says {there} for this deployment", "leave the option out, or change git")
            return there, ""
        if not given:
            rootless = any("root" in problem.message for problem in problems)
            hint = "say it with --root FOLDER: below it reconcile keeps what it writes"
            if rootless:
                _refuse("--root", f"no layer says `paths.root` of {self.agent.site} {self.environment}", hint)
            raise InvalidInput(problems)
        return os.path.abspath(given), os.path.abspath(given)

    def layers(self, more: Parts) -> dict[str, str]:
        """Every file that is another one then. Raises `InvalidInput`."""
        text = self.tree.get(self.path, b"").decode("utf-8", "replace")
        try:
            return {**self._stubs, self.path: added(text, more)}
        except CannotAdd as cannot:
            hint = "take that out of it, or put in what `--dry-run` prints by hand"
            _refuse(self.path, f"nothing is added to it: {cannot}", hint)

    def compile(self, layers: Mapping[str, str]) -> tuple[Compiled | None, tuple[Problem, ...]]:
        host, tree = self.host, {**self.tree, **{path: text.encode() for path, text in layers.items()}}
        facts = Facts(host.name, host.account, "", host.home, self.agent.sources, here=True)
        result = compile_site(tree, self.agent.site, [self.environment], facts, "")
        return result.compiled.get(self.environment) if not result.problems else None, result.problems


def _refusals(
    described: Sequence[Described], text: str, path: str, compiled: Compiled | None, problems: Sequence[Problem]
) -> dict[str, str]:
    """By unit, why it cannot be a service. Raises `InvalidInput` for what is wrong elsewhere."""
    units = {one.name: one.found.unit for one in described if one.taken}
    found: dict[str, str] = {}
    for problem in problems:
        name = service_at(text, problem.origin.line) if problem.origin.file == path else ""
        if name not in units:
            raise InvalidInput(problems)
        found[units[name]] = f"reconcile refuses it: {problem.message}"
    if compiled is not None:
        for one in described:
            fields = {key: field.value for key, field in compiled.fields.get(one.name, {}).items()}
            if one.runs and not _survives(one, fields):
                found[one.found.unit] = "it does not survive being written down"
    return found


def _survives(one: Described, fields: Mapping[str, object]) -> bool:
    """What is read again is what was found, to the letter."""
    from reconciler.adopt.words import command

    found = one.found
    env = {key: value for key, value in found.env.items() if key not in one.secrets}
    read = {key.removeprefix("env."): value for key, value in fields.items() if key.startswith("env.")}
    return fields.get("command") == command(found.argv, found.directory) and read == env


def _known(tree: Tree, site: str, environment: str) -> dict[str, set[str]]:
    """What the layers of the deployment have by now, by key at the top level."""
    found: dict[str, set[str]] = {}
    layers = ("defaults", f"environments/{environment}", f"sites/{site}", f"sites/{site}.{environment}")
    for path in (f"desired/{name}.yaml" for name in layers):
        try:
            there = names(tree.get(path, b"").decode("utf-8", "replace"))
        except CannotAdd as cannot:
            _refuse(path, str(cannot), "`reconcile validate` tells more")
        for key, values in there.items():
            found.setdefault(key, set()).update(values)
    return found


def _refuse_clash(known: Mapping[str, set[str]], more: Parts, path: str) -> None:
    """Two meanings of one name would be merged key by key."""
    mine = {
        "services": {entry.name for entry in more.services},
        "components": set(more.components),
        "versions": set(more.versions),
    }
    clash = sorted(f"{key}.{name}" for key, values in mine.items() for name in values & known.get(key, set()))
    if clash:
        clash = [one for one in clash if one.startswith("services.")] or clash
        shown = ", ".join(clash[:5]) + (f" and {len(clash) - 5} more" if len(clash) > 5 else "")
        _refuse(path, f"git has {shown} already", "name the programs that are to be adopted, without those")


def _refuse(place: str, message: str, hint: str) -> NoReturn:
    raise InvalidInput([Problem(Origin(place, 0, 0), message, hint)])
