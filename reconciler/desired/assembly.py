"""What a deployment with nothing against it amounts to: services, files and all that is known of each. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from reconciler.core.desired import (
    Compiled,
    Deployment,
    Drain,
    Elsewhere,
    File,
    Guard,
    Install,
    Manager,
    Note,
    Policy,
    ReplicaSet,
    Retention,
    Role,
    Service,
    Verify,
    Watch,
)
from reconciler.core.digest import digest
from reconciler.core.problem import Origin
from reconciler.core.secret import Secret
from reconciler.desired.component import Component, Components
from reconciler.desired.ground import ConfigFile, Wanted
from reconciler.desired.rollout import Rollout
from reconciler.desired.service import Draft, fields_of, mount_source, program_to_check
from reconciler.desired.unmanaged import Seen, described, fields
from reconciler.desired.uses import uses
from reconciler.launchers import on_start
from reconciler.launchers.base import Rendering, ServiceSpec

_FOLDERS = (("root", 0o755), ("bin", 0o755), ("config", 0o750), ("logs", 0o750), ("run", 0o700))
MANUAL = "manual"  # `sync`
_BELOW = 0o750  # folders inside of those, that some file needs


class Ready(NamedTuple):
    """A service with nothing against it, and its component and files."""

    draft: Draft
    component: Component
    files: list[ConfigFile]
    spec: ServiceSpec


class Run(NamedTuple):
    """A launcher of this deployment and what it rendered."""

    name: str
    rendering: Rendering
    port: Origin  # where the port of its daemon was written
    socket: Origin  # where it was written where the daemon's socket goes
    secrets: frozenset[Secret]  # that its daemon is given


class Parts(NamedTuple):
    """All parts of a deployment with nothing against it."""

    folders: Mapping[str, str]
    files: Mapping[str, ConfigFile]
    services: Mapping[str, Draft]
    ready: Mapping[str, Ready]
    runs: list[Run]
    spare: tuple[Manager, ...]
    policy: Policy
    others: Mapping[str, Seen]
    elsewhere: tuple[Elsewhere, ...]
    verifies: tuple[Verify, ...]
    sets: Mapping[str, tuple[str, ...]]  # replicas, by what they are replicas of


def assemble(wanted: Wanted, parts: Parts) -> Compiled:
    folders, runs = parts.folders, parts.runs
    enabled = {name: one for name, one in parts.ready.items() if one.draft.enabled}
    theirs = {one.name for one in parts.elsewhere}
    disabled = {name: draft for name, draft in parts.services.items() if not draft.enabled and name not in theirs}
    rendered, contents = _files(parts.files, enabled, runs)
    ours = {name: draft for name, draft in parts.services.items() if name not in theirs}
    deployment = Deployment(
        site=wanted.site,
        environment=wanted.environment,
        commit=wanted.commit,
        root=folders["root"],
        folders=_folders(folders, [file.path for file in rendered]),
        services=_services(enabled, runs),
        files=rendered,
        installs=_installs(enabled),
        managers=tuple(run.rendering.manager for run in runs),
        spare_managers=parts.spare,
        disabled={name: draft.got["enabled"].origin for name, draft in disabled.items()},
        policy=parts.policy,
        notes=tuple(sorted(_notes(folders["run"], enabled, runs))),
        traces=tuple(sorted((one for run in runs for one in run.rendering.traces), key=lambda one: one.key)),
        unmanaged=tuple(described(one, wanted.environment, folders) for one in parts.others.values()),
        elsewhere=parts.elsewhere,
        watches=tuple(_watches(enabled, rendered)),
        verifies=tuple(sorted((*parts.verifies, *_verifies(enabled, rendered)), key=lambda one: one.id)),
        rollbacks=_rollbacks(enabled),
        drains=tuple(_drains(enabled, rendered)),
        sets=tuple(_sets(enabled, parts.sets)),
        syncs={n: draft.got["sync"].text == MANUAL for n, draft in sorted(ours.items()) if draft.got["sync"].text},
        guards={name: found for name, draft in sorted(ours.items()) if (found := _guards(draft, parts))}
        | {name: () for name, draft in sorted(disabled.items()) if not draft.guarded.guards},
        secrets=uses(_secrets(parts, enabled, rendered)),
    )
    salt = wanted.facts.salt
    told = {name: fields_of(one.draft, one.component, one.files, salt) for name, one in parts.ready.items()}
    told |= {name: fields(one) for name, one in parts.others.items()}
    hidden = {got.text for one in enabled.values() for got in one.draft.env.values() if got.secret}
    parts_shown = ((part.path, part.shown) for run in runs for part in run.rendering.files)
    shown = {path: found for path, found in parts_shown if found is not None}
    return Compiled(deployment, contents, told, tuple(sorted(hidden)), shown)


def _secrets(
    parts: Parts, enabled: Mapping[str, Ready], files: tuple[File, ...]
) -> Iterator[tuple[frozenset[Secret], str, str]]:
    """What secrets that stand elsewhere go into: a file, or a launcher's daemon with its files."""
    yield from ((file.secrets, file.path, "") for file in parts.files.values() if file.secrets)
    for name, path in _env_files(files).items():
        given = frozenset[Secret]().union(*(got.secrets for got in enabled[name].draft.env.values()))
        options = frozenset[Secret]().union(*(got.secrets for got in enabled[name].draft.options.values()))
        if given:
            yield given, path, ""
        for unit in files if options else ():
            if unit.role is Role.UNIT and name in unit.services:
                yield options, unit.path, ""
    for run in parts.runs:
        for made in run.rendering.files if run.secrets else ():
            if not made.service:
                yield run.secrets, made.path, run.name


def _services(enabled: Mapping[str, Ready], runs: list[Run]) -> tuple[Service, ...]:
    made = []
    renderings = {run.name: run.rendering for run in runs}
    for name, one in enabled.items():
        rendering = renderings[one.draft.launcher]
        spec, install = one.spec, one.component.install
        made.append(
            Service(
                name=name,
                unit=spec.unit,
                component=spec.component,
                version=spec.version,
                launcher=one.draft.launcher,
                group=spec.group,
                spec=spec.spec,
                launch=rendering.launch[name],
                install=install.id if install else "",
                after=tuple(got.text for got in one.draft.after),
                ready_seconds=rendering.ready_seconds[name],
                stop_seconds=spec.stop_seconds,
                program=program_to_check(spec),
                prologue=spec.prologue,
                mounted=tuple(filter(None, map(mount_source, spec.container.mounts))) if spec.container else (),
            )
        )
    return tuple(made)


def _files(
    files: Mapping[str, ConfigFile], enabled: Mapping[str, Ready], runs: list[Run]
) -> tuple[tuple[File, ...], dict[str, bytes]]:
    users: dict[str, list[str]] = {}
    for name, one in enabled.items():
        for own in one.files:
            users.setdefault(own.name, []).append(name)
    made = []
    contents = {}
    for file in files.values():
        used = tuple(users.get(file.name, ()))
        made.append(File(file.path, file.mode, file.digest, Role.CONFIG, used, file.name, file.secret))
        contents[file.path] = file.content
    for part in (part for run in runs for part in run.rendering.files):
        used = (part.service,) if part.service else ()
        name = os.path.basename(part.path)
        made.append(File(part.path, part.mode, digest(part.content), part.role, used, name, part.secret))
        contents[part.path] = part.content
    return tuple(sorted(made, key=lambda file: file.path)), contents


def _notes(run: str, enabled: Mapping[str, Ready], runs: list[Run]) -> Iterator[Note]:
    """Those that starts may leave: of services with `on_start`, and of what launchers start besides."""
    for name, one in enabled.items():
        if one.spec.on_start.strip():
            yield on_start.note(name, run, private=_is_private(one))
    for each in runs:
        yield from each.rendering.notes


def _watches(enabled: Mapping[str, Ready], files: tuple[File, ...]) -> Iterator[Watch]:
    """How services are asked, with what is known of each by now."""
    variables = _env_files(files)
    for name, one in enabled.items():
        if one.draft.asked.watch is not None:
            yield one.draft.asked.watch._replace(private=_is_private(one), env_file=variables.get(name, ""))


def _verifies(enabled: Mapping[str, Ready], files: tuple[File, ...]) -> Iterator[Verify]:
    variables = _env_files(files)
    for name, one in enabled.items():
        for verify in one.draft.asked.verifies:
            yield verify._replace(private=_is_private(one), env_file=variables.get(name, ""))


def _rollbacks(enabled: Mapping[str, Ready]) -> dict[str, bool]:
    said = {name: one.draft.rollout.rollback for name, one in enabled.items()}
    return {name: wanted for name, wanted in said.items() if wanted is not None}


def _drains(enabled: Mapping[str, Ready], files: tuple[File, ...]) -> Iterator[Drain]:
    variables = _env_files(files)
    for name, one in enabled.items():
        if one.draft.rollout.drain is not None:
            yield one.draft.rollout.drain._replace(env_file=variables.get(name, ""))


def _sets(enabled: Mapping[str, Ready], sets: Mapping[str, tuple[str, ...]]) -> Iterator[ReplicaSet]:
    """Also of those of which there is none: what is gone of it was meant to go."""
    for name, services in sorted(sets.items()):
        own = tuple(service for service in services if service in enabled)
        said = enabled[own[0]].draft.rollout if own else Rollout()
        yield said.replica_set(name, own)
def _guards(draft: Draft, parts: Parts) -> tuple[Guard, ...]:
    """With the file that its variables stand in, also of one that is disabled by now and runs still."""
    private = _is_private(parts.ready[draft.name])
    path = f"{parts.folders['config']}/env/{draft.unit.removesuffix('.service')}.env"
    return tuple(guard._replace(private=private, env_file=path) for guard in draft.guarded.guards)


def _env_files(files: tuple[File, ...]) -> dict[str, str]:
    return {name: file.path for file in files if file.role is Role.ENV for name in file.services}


def _is_private(one: Ready) -> bool:
    """It was given a secret, so what it prints may hold one."""
    return _has_secret(one.draft) or any(file.secret for file in one.files)


def _has_secret(draft: Draft) -> bool:
    return any(got.secret for got in draft.env.values())


def _installs(enabled: Mapping[str, Ready]) -> tuple[Install, ...]:
    found = (one.component.install for one in enabled.values())
    return tuple(sorted({install for install in found if install is not None}))


def retentions(components: Components) -> tuple[Retention, ...]:
    """Of components that a service names, be it a disabled one: what git wants of those is known."""
    return tuple(
        Retention(name, one.install.method, one.install.path, max(one.keep, 0), one.keep_bytes)
        for name, one in components.known().items()
        if one.install is not None and one.install.path and (one.keep >= 0 or one.keep_bytes >= 0)
    )


def _folders(folders: Mapping[str, str], files: list[str]) -> tuple[tuple[str, int], ...]:
    """The folders to be made, outer ones first. Those of images and installs are their builders' business."""
    modes = {folders[name]: mode for name, mode in reversed(_FOLDERS)}
    known = tuple(folder + "/" for folder in folders.values())
    for path in files:
        folder = os.path.dirname(path)
        while folder not in modes and (folder + "/").startswith(known):
            modes[folder] = _BELOW
            folder = os.path.dirname(folder)
    return tuple(sorted(modes.items()))
