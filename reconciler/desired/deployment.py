"""One deployment compiled: from what its layers say to what a pass compares with the host."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from reconciler import launchers
from reconciler.core.desired import Compiled, Elsewhere, Manager, Policy, Prune, Role
from reconciler.core.problem import Origin
from reconciler.core.secret import Secret
from reconciler.desired import checks, cleanup
from reconciler.desired.assembly import MANUAL, Parts, Ready, Run, assemble, retentions
from reconciler.desired.checks import Use, Uses
from reconciler.desired.component import Components
from reconciler.desired.ground import ConfigFile, Facts, Ground, Wanted
from reconciler.desired.health import of_deployment
from reconciler.desired.nodes import Entries, Scalar
from reconciler.desired.part import Part, part_of
from reconciler.desired.problems import Problems
from reconciler.desired.reached import Installed
from reconciler.desired.read import Reader
from reconciler.desired.schema import LAYER
from reconciler.desired.scope import Got
from reconciler.desired.service import Draft, drafts, options, spec_of
from reconciler.desired.templates import Templates
from reconciler.desired.unmanaged import Seen, traces, unmanaged
from reconciler.desired.windows import windows
from reconciler.launchers.base import Place

_OF_A_DAEMON = frozenset(("pidfile", "socket"))  # that it makes itself: two daemons at one end each other
_PLACES = frozenset(("socket", "unit_folder"))  # settings of launchers that say where something goes


class Made(NamedTuple):
    """What became of a deployment. `compiled` is None where something of it is wrong."""

    compiled: Compiled | None
    uses: Uses


def compile_deployment(wanted: Wanted, templates: Templates, problems: Problems) -> Made:
    """Evaluate, check and render; whatever is wrong is among `problems` afterwards."""
    ground = Ground(wanted, templates, problems)
    folders = ground.folders()
    files = ground.config_files()
    others = unmanaged(ground)
    components = Components(ground)
    services = drafts(ground, components, others)
    checks.references(services, wanted.merged.section("files"), others, problems)
    twice = checks.names_on_host(services, problems)
    whole = part_of(ground)
    away = _away(services, wanted.facts)
    policy = _policy(ground)._replace(windows=windows(ground))
    verifies = of_deployment(ground)
    cleanups = cleanup.rules(ground, folders) if wanted.merged.get("cleanup") else ()
    ready = _ready(ground, {n: draft for n, draft in services.items() if n not in twice and n not in away}, files)
    runs = _render(ground, folders, ready) if len(folders) == len(ground.paths) else []
    uses = _uses(ground, folders, files, services, runs)
    uses = uses._replace(
        sweeps=cleanup.sweeps(cleanups, ground, whole.hosts),
        installed=_installed(folders, wanted.environment, [whole, *(draft.part for draft in services.values())]),
    )
    _visible(ground, others, services)
    if not len(problems):
        sound = {name for name, one in others.items() if one.sound} | {n for n, one in away.items() if one.sound}
        _complete(ground, services, ready, runs, sound)
    if len(problems):  # be it of another deployment: with any problem nothing is applied
        return Made(None, uses)
    spare = _spare(ground, folders, runs)
    theirs = tuple(_elsewhere(draft, wanted, folders, files) for draft in away.values())
    if not services and wanted.facts.here and not whole.is_here(wanted.facts):
        theirs = (Elsewhere("", whole.told, (), ()),)
    own = _own_files(files, services, away)
    parts = Parts(folders, own, services, ready, runs, spare, policy, others, theirs, verifies, ground.sets.members)
    compiled = assemble(wanted, parts)
    compiled = compiled._replace(deployment=compiled.deployment._replace(retentions=retentions(components)))
    return Made(cleanup.with_rules(compiled, cleanups, ground), uses)


def _away(services: Mapping[str, Draft], facts: Facts) -> dict[str, Draft]:
    """Those that are not for this account on this host, where that counts."""
    return {n: one for n, one in services.items() if facts.here and not one.part.is_here(facts)}


def _own_files(
    files: Mapping[str, ConfigFile], services: Mapping[str, Draft], away: Mapping[str, Draft]
) -> dict[str, ConfigFile]:
    """Without those that only services elsewhere read: what is in them is not this account's to know."""
    theirs = {got.text for one in away.values() for got in one.files}
    ours = {got.text for name, one in services.items() if name not in away for got in one.files}
    return {name: file for name, file in files.items() if name not in theirs - ours}


def _elsewhere(
    draft: Draft, wanted: Wanted, folders: Mapping[str, str], files: Mapping[str, ConfigFile]
) -> Elsewhere:
    """All that it may be called and have on disk from when it was this account's."""
    names, paths = traces(draft.name, draft.got["name"].text, wanted.environment, folders)
    read = tuple(files[got.text].path for got in draft.files)
    return Elsewhere(draft.name, draft.part.told, names, (*paths, *read))


def _visible(ground: Ground, others: Mapping[str, Seen], services: Mapping[str, Draft]) -> None:
    """What is to be seen under a launcher with a daemon of the deployment's own needs that daemon; and no service of
    ours may have its name there."""
    own = {draft.launcher for draft in services.values() if draft.enabled}
    names = {(draft.launcher, draft.unit): draft for draft in services.values() if draft.unit}
    for one in others.values():
        if one.launcher == "supervisor" and one.launcher not in own:
            message = f"no supervisord runs here in which service `{one.name}`, which others run, could be seen"
            ground.problems.add(one.origin, message, "say `process: PATTERN`, or `launcher: systemd`")
        if one.unit and (draft := names.get((one.launcher, one.unit))) is not None:
            message = f"services `{one.name}` and `{draft.name}` have one name on the host: `{one.unit}`"
            ground.problems.add(one.origin, message, "give one of them another `name`")


def _complete(
    ground: Ground,
    services: Mapping[str, Draft],
    ready: Mapping[str, Ready],
    runs: list[Run],
    others: Collection[str],
) -> None:
    """Tell what was left out without a word: a service that is missing here would be removed from the host."""
    rendered = {run.name for run in runs}
    for name in ground.merged.section("services"):
        draft = services.get(name)
        if name in others:
            continue
        if draft is None or name not in ready or (draft.enabled and draft.launcher not in rendered):
            ground.problems.add(ground.merged.section("services")[name].origin, f"service `{name}` cannot be compiled")


def _ready(
    ground: Ground, services: Mapping[str, Draft], files: Mapping[str, ConfigFile]
) -> dict[str, Ready]:
    """All sound services, disabled ones among them: they are told of like the others."""
    found = {}
    for name, draft in services.items():
        if draft.sound and draft.component and all(got.text in files for got in draft.files):
            own = [files[got.text] for got in draft.files]
            spec = spec_of(draft, draft.component, own, ground.wanted)
            found[name] = Ready(draft, draft.component, own, spec)
    return found


# ---------------------------------------------------------------- launchers


def _render(ground: Ground, folders: dict[str, str], ready: Mapping[str, Ready]) -> list[Run]:
    """What the launchers of the enabled services make of them. Unfit services are told and left out."""
    runs = []
    enabled = [one for one in ready.values() if one.draft.enabled]
    for name in sorted({one.draft.launcher for one in enabled}):
        settings, sound = _settings(ground, name)
        place = _place(ground, folders, settings)
        launcher = launchers.launcher(name)
        own = [one for one in enabled if one.draft.launcher == name and _fits(ground, place, one)]
        if sound and _fits_place(ground, place, name):
            port = settings.get("port", Got("", _section(ground, name)))
            socket = settings.get("socket", Got("", _run_folder(ground)))
            rendering = launcher.render(place, [one.spec for one in own])
            given = frozenset[Secret]().union(*(got.secrets for got in settings.values()))
            runs.append(Run(name, rendering, port.origin, socket.origin, given))
    return runs


def _place(ground: Ground, folders: Mapping[str, str], settings: Mapping[str, Got]) -> Place:
    values = {key: got.value for key, got in settings.items()}
    return Place(ground.wanted.site, ground.wanted.environment, folders, values, ground.wanted.facts.home)


def _spare(ground: Ground, folders: Mapping[str, str], runs: list[Run]) -> tuple[Manager, ...]:
    """How the launchers would be reached that nothing here uses: what an earlier release left there is looked for."""
    used = {run.name for run in runs}
    others = (launchers.launcher(name) for name in launchers.NAMES if name not in used)
    managers = (other.render(_place(ground, folders, _settings(ground, other.name)[0]), []).manager for other in others)
    return tuple(manager for manager in managers if not manager.is_daemon)


def _settings(ground: Ground, launcher: str) -> tuple[dict[str, Got], bool]:
    node = ground.merged.get(launcher)
    inner = node if isinstance(node, Entries) else Entries("default", 0, 0)
    reader = Reader(inner, launcher, ground.scope, ground.evaluator, ground.problems)
    found = options(launcher, "settings", node, reader)
    for key in _PLACES & found.keys():
        if against := ground.outside(found[key].text) if found[key].text.startswith("/") else None:
            reader.tell(found[key].origin, f"`{key}` of {launcher} {against[0]}", against[1])
    return found, reader.sound


def _section(ground: Ground, launcher: str) -> Origin:
    node = ground.merged.get(launcher)
    return node.origin if node else ground.path_origin("root")


def _run_folder(ground: Ground) -> Origin:
    """Where it was written: of its own, or by the root that it is below."""
    return ground.path_origin("run" if "run" in ground.merged.section("paths") else "root")


def _fits(ground: Ground, place: Place, one: Ready) -> bool:
    against = launchers.launcher(one.draft.launcher).check(place, one.spec)
    if against:
        origin = _about(one.draft, against.removeprefix(f"{one.draft.launcher}: "))
        ground.problems.add(origin, f"service `{one.draft.name}`: {against}", rule=f"check {one.draft.name}")
    return not against


def _about(draft: Draft, against: str) -> Origin:
    """Where that was written which a launcher's sentence begins with or names; else where the service was."""
    word = against.split(maxsplit=1)[0].rstrip(":")
    named = {**draft.options, "command": draft.got["command"], "instance": draft.container.get("mode")}
    if word in draft.env:
        return draft.env[word].origin
    got = named.get(word) or next((got for key, got in named.items() if got and f"Apptainer {key}" in against), None)
    return got.origin if got and got.origin.line else draft.origin


def _fits_place(ground: Ground, place: Place, name: str) -> bool:
    against = launchers.launcher(name).check_settings(place)
    if against:
        ground.problems.add(_section(ground, name), against, rule=f"check {name}")
    return not against


# ---------------------------------------------------------------- what it takes of the host


def _uses(
    ground: Ground,
    folders: Mapping[str, str],
    files: Mapping[str, ConfigFile],
    services: Mapping[str, Draft],
    runs: list[Run],
) -> Uses:
    here = ground.wanted.environment
    enabled = [draft for draft in services.values() if draft.enabled]
    ports = [
        Use(got.text, f"`{draft.name}`", got.origin, here, draft.part.hosts)
        for draft in enabled
        for got in draft.ports.values()
    ]
    ports += [Use(str(port), f"launcher {run.name}", run.port, here) for run in runs for port in run.rendering.ports]
    paths = [Use(file.path, f"file `{file.name}`", file.origin, here) for file in files.values()]
    for run in runs:
        for made in run.rendering.files:
            if made.role is Role.UNIT and launchers.launcher(run.name).account_wide:
                continue  # two of them would have one name, which is told as such
            who = f"{made.role.value} of `{made.service}`" if made.service else f"launcher {run.name}"
            origin = services[made.service].origin if made.service in services else run.port
            paths.append(Use(made.path, who, origin, here))
        address = dict(run.rendering.manager.address)
        paths += [Use(address[key], f"{key} of {run.name}", run.socket, here) for key in _OF_A_DAEMON if key in address]
    roots = [Use(folders["root"], "root", ground.path_origin("root"), here)] if "root" in folders else []
    return Uses(ports, paths, roots, list(_names(enabled, here)), [], [])


def _installed(folders: Mapping[str, str], here: str, parts: list[Part]) -> list[Installed]:
    """What no rule of another deployment may reach, on each host that a service of this one may be on."""
    everywhere = not all(part.hosts for part in parts)
    hosts = () if everywhere else tuple(sorted({host for part in parts for host in part.hosts}))
    return [Installed(folder, name, here, hosts) for name, folder in folders.items()]


def _names(enabled: list[Draft], here: str) -> Iterator[Use]:
    """Names that an account has once on a host, whatever the deployment: units, and instances of Apptainer."""
    for draft in enabled:
        if draft.launcher and launchers.launcher(draft.launcher).account_wide:
            yield Use(f"{draft.launcher} {draft.unit}", f"`{draft.name}`", checks.name_origin(draft), here)
        if draft.instance:
            yield Use(f"instance {draft.instance}", f"`{draft.name}`", draft.origin, here)


# ---------------------------------------------------------------- the result


def _policy(ground: Ground) -> Policy:
    node = ground.merged.get("policy")
    if not isinstance(node, Entries):
        return Policy()
    reader = Reader(node, "policy", ground.scope, ground.evaluator, ground.problems)
    keys = LAYER.keys["policy"].keys
    prune = reader.word("prune", keys["prune"], Prune.TRUE.value).text.lower()
    return _removals(ground)._replace(
        keep_schedule=reader.flag("keep_schedule", default=False).value is True,
        manual=reader.word("sync", keys["sync"], "automatic").text == MANUAL,
        self_heal=reader.flag("self_heal", default=True).value is True,
        prune=Prune(prune) if prune else Prune.TRUE,  # a word that is none of them was told
    )


def _removals(ground: Ground) -> Policy:
    node = ground.merged.get("policy")
    part = node.get("max_removals") if isinstance(node, Entries) else None
    if part is None or not isinstance(node, Entries):
        return Policy()
    if isinstance(part, Scalar) and part.text.endswith("%"):
        percent = part.text[:-1]
        return Policy(0, int(percent)) if percent.isdigit() else Policy()
    reader = Reader(node, "policy", ground.scope, ground.evaluator, ground.problems)
    got = reader.integer(part, "max_removals", 0)
    return Policy(got.value, 0) if got and isinstance(got.value, int) else Policy()
