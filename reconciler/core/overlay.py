"""One commit laid over another: some services as they were, and all others as git wants them now. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.desired import Compiled, Deployment, File, Install, Manager, Role
from reconciler.core.problem import Gap


def overlay(
    wanted: Deployment, before: Deployment, names: frozenset[str], daemons: frozenset[str] = frozenset()
) -> Deployment:
    """`wanted`, with some services and all that is theirs as they were `before`. Their order stays that of `wanted`:
    only there is it known to have no circle. Replicas that were not there before are not there again.

    `daemons`: launchers whose daemon is as it was too, all of whose services are among these."""
    was = {service.name: service for service in before.services}
    services = tuple(
        was[one.name]._replace(after=one.after) if one.name in names else one
        for one in wanted.services
        if one.name not in names or one.name in was
    )
    kept = tuple(service.install for service in services if service.name not in names)
    old = tuple(service.install for service in services if service.name in names)
    return wanted._replace(
        folders=tuple(sorted({**dict(before.folders), **dict(wanted.folders)}.items())),
        services=services,
        files=_files(wanted, before, names, daemons),
        managers=_managers(wanted, before, daemons),
        installs=_installs(wanted.installs, kept, before.installs, old),
        notes=tuple(
            sorted(
                (
                    *(one for one in wanted.notes if one.name not in names),
                    *(one for one in before.notes if one.name in names),
                )
            )
        ),
        watches=(
            *(one for one in wanted.watches if one.service not in names),
            *(one for one in before.watches if one.service in names),
        ),
        verifies=(
            *(one for one in wanted.verifies if one.service not in names),
            *(one for one in before.verifies if one.service in names),
        ),
        sets=tuple(
            one._replace(canary=False, proved=True) if names.intersection(one.services) else one for one in wanted.sets
        ),
        drains=(
            *(one for one in wanted.drains if one.service not in names),
            *(one for one in before.drains if one.service in names),
        ),
        traces=tuple(
            sorted(
                (
                    *(one for one in wanted.traces if one.service not in names),
                    *(one for one in before.traces if one.service in names),
                ),
                key=lambda one: one.key,
            )
        ),
        secrets=tuple(dict.fromkeys((*wanted.secrets, *before.secrets))),
        gaps=_gaps(wanted, before, names),
    )


def _gaps(wanted: Deployment, before: Deployment, names: frozenset[str]) -> tuple[Gap, ...]:
    """Secrets that cannot be had: those of then where these services need them, and of now all others."""
    theirs = {file.path for file in before.files if names.intersection(file.services)}
    now = (gap for gap in wanted.gaps if gap.subject not in theirs)
    return tuple(dict.fromkeys((*now, *(gap for gap in before.gaps if gap.subject in theirs))))


def _managers(wanted: Deployment, before: Deployment, daemons: frozenset[str]) -> tuple[Manager, ...]:
    was = {manager.launcher: manager for manager in before.managers if manager.launcher in daemons}
    return tuple(was.get(manager.launcher, manager) for manager in wanted.managers)


def _of_daemons(before: Deployment, daemons: frozenset[str]) -> dict[str, File]:
    """By path, what these are started from: their address names it."""
    managers = (one for one in before.managers if one.launcher in daemons)
    named = {value for one in managers for _, value in one.address}
    return {file.path: file for file in before.files if file.role is Role.DAEMON and file.path in named}


def _files(
    wanted: Deployment, before: Deployment, names: frozenset[str], daemons: frozenset[str]
) -> tuple[File, ...]:
    """Those of the other services, and those of these as they were. What else nobody reads is git's as it is now."""
    found = {file.path: kept for file in wanted.files if (kept := _without(file, names)) is not None}
    for file in before.files:
        users = names.intersection(file.services)
        if users:
            others = found[file.path].services if file.path in found else ()
            found[file.path] = file._replace(services=tuple(sorted({*others, *users})))
    found |= _of_daemons(before, daemons)
    return tuple(found[path] for path in sorted(found))


def _without(file: File, names: frozenset[str]) -> File | None:
    """A file without some of its readers; None where nobody else reads it."""
    left = tuple(name for name in file.services if name not in names)
    return file._replace(services=left) if left or not file.services else None


def _installs(
    now: Sequence[Install], kept: Sequence[str], before: Sequence[Install], old: Sequence[str]
) -> tuple[Install, ...]:
    """Both commits may have one and the same; where it was built otherwise, all that run it go back."""
    found = {one.id: one for one in now if one.id in kept} | {one.id: one for one in before if one.id in old}
    return tuple(sorted(found.values()))


def overlay_compiled(
    wanted: Compiled, before: Compiled, names: frozenset[str], daemons: frozenset[str] = frozenset()
) -> Compiled:
    """The same, with the contents of files and the effective values."""
    deployment = overlay(wanted.deployment, before.deployment, names, daemons)
    theirs = {file.path for file in before.deployment.files if names.intersection(file.services)}
    theirs |= _of_daemons(before.deployment, daemons).keys()
    sources = {file.path: (before if file.path in theirs else wanted).contents for file in deployment.files}
    contents = {path: found[path] for path, found in sources.items() if path in found}  # without what is a gap
    fields = {name: (before if name in names else wanted).fields.get(name, {}) for name in wanted.fields}
    return Compiled(deployment, contents, fields, tuple(sorted({*wanted.hidden, *before.hidden})))


# ---------------------------------------------------------------- what cannot be had apart


def changed_daemons(wanted: Deployment, before: Deployment, names: frozenset[str]) -> frozenset[str]:
    """Launchers of some services whose daemon is not the same in both commits."""
    was = {manager.launcher: manager.spec for manager in before.managers}
    now = {manager.launcher: manager.spec for manager in wanted.managers if manager.is_daemon}
    mine = {service.launcher for service in wanted.services if service.name in names}
    return frozenset(name for name in mine & was.keys() & now.keys() if was[name] != now[name])


def together(
    wanted: Deployment, before: Deployment, names: frozenset[str], daemons: frozenset[str] = frozenset()
) -> frozenset[str]:
    """Some services, the other replicas of each, and all that read a file or run an install of theirs that is not
    the same in both commits; and all that run under these daemons."""
    here = {service.name for service in wanted.services}
    bonds = [users & here for users in (*_changed_files(wanted, before), *_changed_installs(wanted, before))]
    bonds += [frozenset(one.services) for one in wanted.sets]
    bonds += [frozenset(one.name for one in wanted.services if one.launcher == daemon) for daemon in sorted(daemons)]
    group = set(names)
    while more := [users for users in bonds if users & group and not users <= group]:
        group.update(*more)
    return frozenset(group)


def _changed_files(wanted: Deployment, before: Deployment) -> list[frozenset[str]]:
    old = {file.path: file for file in before.files}
    return [
        frozenset((*file.services, *old[file.path].services))
        for file in wanted.files
        if file.path in old and not _same_file(file, old[file.path])
    ]


def _same_file(one: File, other: File) -> bool:
    return (one.digest, one.mode) == (other.digest, other.mode)


def _changed_installs(wanted: Deployment, before: Deployment) -> list[frozenset[str]]:
    """A version is in one place only: another build of the very same one cannot be beside it."""
    old = {install.id: install for install in before.installs}
    changed = {one.id for one in wanted.installs if one.id in old and one.digest != old[one.id].digest}
    services = (*wanted.services, *before.services)
    return [frozenset(service.name for service in services if service.install == name) for name in sorted(changed)]
