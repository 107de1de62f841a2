"""`reconcile adopt`: what runs by hand becomes a layer in a work tree, and a note of which process counts as what.

The note is inert until git has the services: a pass that does not know them does nothing for it. Where git has them by
another specification than was noted, they wait for a person.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, NoReturn

from reconciler.adopt import words
from reconciler.adopt.describe import Described, Home, Over, describe, describe_over, parts, secret_path
from reconciler.adopt.found import Source
from reconciler.adopt.layer import CannotAdd, Entry, Parts, added, names, service_at
from reconciler.adopt.matching import CannotMatch, Differing, Fate, Matched, Wishes, match, named, versions_of
from reconciler.agent.alone import alone
from reconciler.agent.config import Agent, InvalidInput
from reconciler.agent.here import Host
from reconciler.agent.memory.store import Store, root_lock_path
from reconciler.core.desired import Compiled, Manager, Role
from reconciler.core.inventory import Adopted, Inventory, Stage
from reconciler.core.problem import Origin, Problem
from reconciler.desired import Facts, Tree, compile_site, read_folder
from reconciler.host import files, twins

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
    described: tuple[Described, ...]  # programs that git had no service for
    matched: tuple[Matched, ...]  # programs that it has one for
    versions: Mapping[str, str]  # by component: what git is made to want, as that is what runs
    layers: Mapping[str, str]  # path in the repo -> its new text
    secrets: Mapping[str, str]  # path on this host -> its content, which is never shown
    adopted: Mapping[str, Adopted]  # by service
    others: Mapping[str, int]  # services that git has here besides -> pid of what seems to be it by hand; 0: none


class _Draft(NamedTuple):
    """The work tree with what is described in it."""

    described: tuple[Described, ...]
    layers: Mapping[str, str]
    compiled: Compiled


def prepare(agent: Agent, host: Host, target: Target, source: Source, wishes: Wishes) -> Adoption:
    """Everything but the writing. Raises `InvalidInput`, `UnreadableFolder`.

    A program that git has a service for is compared with that. Any other is described as one; or as one that others
    run, where it cannot be described so that it is understood in the same way.
    """
    environment, folder = target.environment, target.folder
    tree = read_folder(folder) if os.path.isdir(os.path.join(folder, "desired")) else {}
    writer = _Writer(agent, host, environment, tree)
    effective, new_root, git = writer.find_root(target.root)
    _refuse_elsewhere(git, writer.path)
    noted = Store(agent.state_dir, agent.site).inventory(environment, effective).inventory
    source = source._replace(by_hand=_launcher(noted, source))
    try:
        source = named(source, wishes)
        matched = match(git, source, wishes, noted)
        if git is not None and wishes.differing is Differing.WRITE:
            git = writer.say_versions(git, versions_of(git, matched))
            matched = match(git, source, wishes, noted)
    except CannotMatch as cannot:
        raise InvalidInput(cannot.problems) from cannot
    draft = _Drafting(writer, source, matched, git, Home(effective, host.account)).draft(new_root)
    _refuse_elsewhere(draft.compiled, writer.path)
    _refuse_its_files(draft.compiled, source)
    services = {service.name: service for service in draft.compiled.deployment.services}
    secrets = {secret_path(effective, one.name): one.private for one in draft.described if one.private}
    known = {one.service for one in matched}
    adopted = _notes(source, [one for one in draft.described if one.name not in known], draft.compiled)
    adopted |= {one.service: one.note(source, services[one.service]) for one in matched if one.is_noted}
    new = tuple(one for one in draft.described if one.name not in known)
    pids = {one.found.pid for one in matched} | {one.found.pid for one in new}
    others = _others(draft.compiled, noted, {*known, *(one.name for one in new)}, pids)
    return Adoption(
        environment=environment,
        root=effective,
        source=source,
        described=new,
        matched=matched,
        versions=writer.versions,
        layers=draft.layers,
        secrets=secrets,
        adopted=adopted,
        others=others,
    )


def _launcher(known: Inventory, source: Source) -> str:
    """What its daemon is noted as: each has a name of its own, and keeps it."""
    kind, conf = source.by_hand, source.address[0]
    mine = next((one.launcher for one in known.by_hand if conf in one.address and one.launcher.startswith(kind)), "")
    taken = {one.launcher for one in known.by_hand}
    return mine or words.unlike(kind, taken)


def _others(compiled: Compiled, known: Inventory, covered: set[str], pids: set[int]) -> dict[str, int]:
    """Services that a pass starts as soon as it comes, and what seems to do their work by now."""
    ours = known.adopted.keys() | {name for name, owned in known.services.items() if owned.spec}
    left = [one for one in compiled.deployment.services if one.name not in covered | ours]
    root = compiled.deployment.root
    commands = {one.name: twins.command(compiled.fields[one.name], root) for one in left}
    pids = pids | {one.pid for one in known.adopted.values()}
    return dict.fromkeys(sorted(commands), 0) | twins.find(commands, pids)


def _refuse_elsewhere(compiled: Compiled | None, path: str) -> None:
    if compiled is not None and compiled.deployment.elsewhere:
        hint = "run it as that account, on that host"
        _refuse(path, f"git wants services of this deployment {compiled.deployment.whose}, not here", hint)


def _refuse_its_files(compiled: Compiled, source: Source) -> None:
    """What a service is started under when it leaves must not be written over what the others run under still."""
    theirs = {value for _, value in source.address if value.startswith("/")}
    ours = {file.path for file in compiled.deployment.files if file.role is not Role.CONFIG}
    ours |= {value for manager in compiled.deployment.managers for _, value in manager.address}
    clash = sorted(theirs & ours)
    if clash:
        hint = "say `paths.config`, `paths.run` or the `socket` of supervisor otherwise in git, until all have left it"
        _refuse(clash[0], "it is of the daemon that is to be adopted, and git would put its own there", hint)


class _Drafting:
    """Describes until it is understood as it is meant."""

    def __init__(
        self, writer: _Writer, source: Source, matched: Sequence[Matched], git: Compiled | None, home: Home
    ) -> None:
        known = {one.found.unit for one in matched}
        self.writer, self.git, self.matched = writer, git, matched
        self.new = source._replace(found=tuple(one for one in source.found if one.unit not in known))
        self.home = home._replace(units=_free_names(source, matched, git))
        self.layers_have = _known(writer.tree, writer.agent.site, writer.environment)

    def draft(self, root: str) -> _Draft:
        """`root`: that the layer is to say. Raises `InvalidInput`."""
        refused: dict[str, str] = {}
        while True:
            described = [*describe(self.new, self.home, refused), *self._over()]
            more = parts(described, root)
            _refuse_clash(self.layers_have, more, self.writer.path, {one.service for one in self.matched})
            layers = self.writer.layers(more._replace(services=(*more.services, *self._renamed(described))))
            compiled, problems = self.writer.compile(layers)
            text = layers.get(self.writer.path, "")
            found = _refusals(described, text, self.writer.path, compiled, problems)
            self._refuse_over(found)
            others = _others_names(self.new, described, compiled) if not found else {}
            if compiled is not None and not found and not others:
                return _Draft(tuple(described), layers, compiled)
            self.home = self.home._replace(units={**self.home.units, **others})
            if not others and not found.keys() - refused.keys():
                raise InvalidInput(problems)
            refused |= found

    def _over(self) -> Iterator[Described]:
        written = [one for one in self.matched if one.is_written]
        taken = set(self.layers_have.get("components", ())) | {one.component for one in self.new.found}
        git = self.git.fields if self.git is not None else {}
        for one in written:
            component = words.unlike(f"{one.service}-by-hand", taken)
            taken.add(component)
            fields = git[one.service]
            env = frozenset(key.removeprefix("env.") for key in fields if key.startswith("env."))
            over = Over(one.service, env, component, bool(fields["prologue"].value))
            yield describe_over(self.new, one.found, self.home, over)

    def _renamed(self, described: Sequence[Described]) -> Iterator[Entry]:
        """Services that only need another name for their unit."""
        said = {one.name for one in described}
        yield from (Entry(name, {"name": unit}) for name, unit in self.home.units.items() if name not in said)

    def _refuse_over(self, found: Mapping[str, str]) -> None:
        over = {one.found.unit for one in self.matched}
        against = sorted(found.keys() & over)
        if against:
            hint = "leave out `--differing write`"
            _refuse(self.writer.path, f"{against[0]} cannot be written down: {found[against[0]]}", hint)


def _free_names(source: Source, matched: Sequence[Matched], git: Compiled | None) -> dict[str, str]:
    """By service, another name for a unit that git would call as the one is called that runs by hand: both are there
    for a while."""
    if source.launcher != "systemd" or git is None:
        return {}
    mine = {one.service: one.found.unit for one in matched if one.fate is not Fate.ALONE}
    taken = [one for one in git.deployment.services if one.launcher == "systemd" and mine.get(one.name) == one.unit]
    return {one.name: f"{one.unit.removesuffix('.service')}-reconcile" for one in taken}


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
            if noted != recalled.inventory:
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
    new = {(one.launcher, one.unit): name for name, one in adoption.adopted.items()}
    clash = sorted(mine[unit] for unit in new.keys() & mine.keys() if mine[unit] != new[unit])
    if clash:
        _refuse(source.place, f"{', '.join(clash)} of it was adopted already", "name those that are to be adopted")
    if _launcher(inventory, source) != source.by_hand:
        _refuse(source.place, "something else was adopted meanwhile", "run it again")
    others = tuple(one for one in inventory.by_hand if one.launcher != source.by_hand)
    managers = (*others, manager) if adoption.adopted else inventory.by_hand
    new_notes = {name: _as_noted(inventory.adopted.get(name), one) for name, one in adoption.adopted.items()}
    return inventory._replace(adopted={**inventory.adopted, **new_notes}, by_hand=managers)


def _as_noted(before: Adopted | None, now: Adopted) -> Adopted:
    """The same again stays as far as it has come."""
    return before if before is not None and before._replace(stage=now.stage) == now else now


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
        self._stubs = self._missing()  # what is written whatever else is
        self.versions: Mapping[str, str] = {}

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

    def find_root(self, given: str) -> tuple[str, str, Compiled | None]:
        """The root of the deployment, what a layer has to say for it, which is nothing where one does, and what git
        wants by now, where that can be told. Raises `InvalidInput`.
        """
        compiled, problems = self.compile(self._stubs)
        if compiled is not None:
            there = compiled.deployment.root
            if given and os.path.abspath(given) != there:
                _refuse("--root", f"git says {there} for this deployment", "leave the option out, or change git")
            return there, "", compiled
        if not given:
            rootless = any("root" in problem.message for problem in problems)
            hint = "say it with --root FOLDER: below it reconcile keeps what it writes"
            if rootless:
                _refuse("--root", f"no layer says `paths.root` of {self.agent.site} {self.environment}", hint)
            raise InvalidInput(problems)
        root = os.path.abspath(given)
        return root, root, self.compile(self.layers(Parts({}, {}, (), {"root": words.literal(root)})))[0]

    def say_versions(self, git: Compiled, versions: Mapping[str, str]) -> Compiled:
        """What git would want with these, which the layer has from now on; where it says others, or they are none that
        it could have, it stays."""
        try:
            text = added(self._text(), Parts(versions, {}, ())) if versions else ""
        except CannotAdd:
            return git
        compiled, _ = self.compile({**self._stubs, self.path: text}) if text else (None, ())
        if compiled is None:
            return git
        self.tree = {**self.tree, self.path: text.encode()}
        self._stubs = {**self._stubs, self.path: text}
        self.versions = versions
        return compiled

    def _text(self) -> str:
        return self.tree.get(self.path, b"").decode("utf-8", "replace")

    def layers(self, more: Parts) -> dict[str, str]:
        """Every file that is another one then. Raises `InvalidInput`."""
        text = self._text()
        try:
            new = added(text, more) if any(more) else text
        except CannotAdd as cannot:
            hint = "take that out of it, or put in what `--dry-run` prints by hand"
            _refuse(self.path, f"nothing is added to it: {cannot}", hint)
        return {**self._stubs, **({self.path: new} if new != text else {})}

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
    found = one.found
    env = {key: value for key, value in found.env.items() if key not in one.secrets}
    read = {key.removeprefix("env."): value for key, value in fields.items() if key.startswith("env.")}
    return fields.get("command") == words.command(found.argv, found.directory) and read == env


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


def _refuse_clash(known: Mapping[str, set[str]], more: Parts, path: str, matched: set[str]) -> None:
    """Two meanings of one name would be merged key by key. `matched`: services that are meant to be."""
    mine = {
        "services": {entry.name for entry in more.services} - matched,
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
