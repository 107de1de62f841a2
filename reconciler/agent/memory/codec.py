"""The compiled form of a deployment, and the inventory, as JSON.

A commit never changes, so what was parsed, merged, validated and rendered from it is kept, without any
content that may hold a secret: digests are all that a pass without changes needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from reconciler.core.desired import (
    Age,
    Approval,
    Ask,
    Cleanup,
    Deployment,
    Drain,
    Elsewhere,
    File,
    Guard,
    Install,
    Leaves,
    Manager,
    Note,
    Opens,
    Policy,
    Probe,
    Prune,
    ReplicaSet,
    Retention,
    Role,
    RootIs,
    Service,
    Sort,
    Trace,
    Unmanaged,
    Verify,
    Watch,
    Window,
)
from reconciler.core.inventory import Adopted, Inventory, Owned, Stage
from reconciler.core.problem import Origin

if TYPE_CHECKING:
    from reconciler.core.secret import Use

_ROLES = {role.value: role for role in Role}
_LEAVES = {leaves.value: leaves for leaves in Leaves}


def encode_deployment(deployment: Deployment) -> dict[str, Any]:
    return {
        **deployment._asdict(),
        "installs": [_without_login(install) for install in deployment.installs],
        "files": [file._replace(role=file.role.value) for file in deployment.files],  # type: ignore[arg-type]
        "policy": _plain_policy(deployment.policy),
        "disabled": {name: list(origin) for name, origin in deployment.disabled.items()},
        "watches": [one._replace(probes=tuple(map(_plain_probe, one.probes))) for one in deployment.watches],
        "verifies": [one._replace(probe=_plain_probe(one.probe)) for one in deployment.verifies],
        "secrets": list(map(_plain_use, deployment.secrets)),
        "cleanups": list(map(_plain_cleanup, deployment.cleanups)),
        "traces": list(map(_plain_trace, deployment.traces)),
    }


def _without_login(install: Install) -> Install:
    """Nothing is built from the kept form, so the address in it needs no user and password."""
    if "@" not in install.source:
        return install
    from reconciler.install.requirement import redact

    return install._replace(source=redact(install.source))


def decode_deployment(data: Mapping[str, Any]) -> Deployment:
    """Raises `KeyError`, `TypeError` or `ValueError` for anything but what `encode_deployment` gave."""
    return Deployment(
        site=data["site"],
        environment=data["environment"],
        commit=data["commit"],
        root=data["root"],
        folders=tuple((path, mode) for path, mode in data["folders"]),
        services=tuple(map(_service, data["services"])),
        files=tuple(map(_file, data["files"])),
        installs=tuple(Install(*row) for row in data["installs"]),
        managers=tuple(map(_manager, data["managers"])),
        disabled={name: Origin(*row) for name, row in data["disabled"].items()},
        policy=_policy(data["policy"]),
        spare_managers=tuple(map(_manager, data["spare_managers"])),
        notes=tuple(Note(*row) for row in data["notes"]),
        unmanaged=tuple(map(_unmanaged, data["unmanaged"])),
        elsewhere=tuple(map(_elsewhere, data.get("elsewhere", ()))),
        watches=tuple(map(_watch, data["watches"])),
        verifies=tuple(map(_verify, data["verifies"])),
        rollbacks=dict(data.get("rollbacks", {})),
        drains=tuple(Drain(*row) for row in data.get("drains", ())),
        sets=tuple(map(_set, data.get("sets", ()))),
        syncs=dict(data["syncs"]),
        guards={name: _guards(rows) for name, rows in data["guards"].items()},
        approvals=tuple(Approval(*row) for row in data["approvals"]),
        secrets=tuple(map(_use, data.get("secrets", ()))),
        cleanups=tuple(map(_cleanup, data.get("cleanups", ()))),
        retentions=tuple(Retention(*row) for row in data.get("retentions", ())),
        traces=tuple(map(_trace, data.get("traces", ()))),
    )


def _plain_use(use: Use) -> list[Any]:
    (source, target, key), place = use.secret.reference, use.secret.place
    return [source.value, target, key, place, use.paths, use.launchers]


def _use(row: list[Any]) -> Use:
    from reconciler.core.secret import Reference, Secret, Source, Use

    source, target, key, place, paths, launchers = row
    return Use(Secret(Reference(Source(source), target, key), place), tuple(paths), tuple(launchers))


def _plain_probe(probe: Probe) -> Probe:
    return probe._replace(ask=probe.ask.value)  # type: ignore[arg-type]


def _probe(row: Iterable[Any]) -> Probe:
    probe = Probe(*row)
    return probe._replace(ask=Ask(probe.ask))


def _watch(row: list[Any]) -> Watch:
    watch = Watch._make(row)
    return watch._replace(probes=tuple(map(_probe, watch.probes)))


def _verify(row: list[Any]) -> Verify:
    verify = Verify._make(row)
    return verify._replace(probe=_probe(verify.probe))


def _set(row: list[Any]) -> ReplicaSet:
    one = ReplicaSet._make(row)
    return one._replace(services=tuple(one.services))


def _plain_cleanup(rule: Cleanup) -> Cleanup:
    plain = {"sort": rule.sort.value, "age": rule.age.value, "root_is": rule.root_is.value}
    return rule._replace(**plain)  # type: ignore[arg-type]


def _cleanup(row: Iterable[Any]) -> Cleanup:
    rule = Cleanup(*row)
    sort, age, root_is = Sort(rule.sort), Age(rule.age), RootIs(rule.root_is)
    return rule._replace(exclude=tuple(rule.exclude), sort=sort, age=age, root_is=root_is)


def _plain_trace(trace: Trace) -> Trace:
    return trace._replace(leaves=trace.leaves.value)  # type: ignore[arg-type]


def _trace(row: Iterable[Any]) -> Trace:
    leaves, *others = row
    return Trace(_LEAVES[leaves], *others)


def _plain_window(window: Window) -> Window:
    return window._replace(opens=window.opens.value)  # type: ignore[arg-type]


def _plain_policy(policy: Policy) -> Policy:
    plain = tuple(map(_plain_window, policy.windows))
    return policy._replace(windows=plain, prune=policy.prune.value)  # type: ignore[arg-type]


def _policy(row: list[Any]) -> Policy:
    policy = Policy(*row)
    return policy._replace(windows=tuple(map(_window, policy.windows)), prune=Prune(policy.prune))


def _guards(rows: Iterable[Iterable[Any]]) -> tuple[Guard, ...]:
    return tuple(Guard(*row) for row in rows)


def _window(row: Iterable[Any]) -> Window:
    window = Window(*row)
    return window._replace(opens=Opens(window.opens), services=tuple(window.services))


def _service(row: list[Any]) -> Service:
    service = Service._make(row)
    return service._replace(after=tuple(service.after), mounted=tuple(service.mounted))


def _unmanaged(row: list[Any]) -> Unmanaged:
    one = Unmanaged._make(row)
    return one._replace(names=tuple((launcher, unit) for launcher, unit in one.names), files=tuple(one.files))


def _elsewhere(row: list[Any]) -> Elsewhere:
    one = Elsewhere._make(row)
    return one._replace(names=tuple((launcher, unit) for launcher, unit in one.names), files=tuple(one.files))


def _file(row: list[Any]) -> File:
    path, mode, digest, role, services, name, secret = row
    return File(path, mode, digest, _ROLES[role], tuple(services), name, secret)


def _manager(row: list[Any]) -> Manager:
    launcher, spec, address = row
    return Manager(launcher, spec, tuple((key, value) for key, value in address))


def _owned(row: Mapping[str, Any]) -> Owned:
    return Owned(**{**row, "guards": _guards(row.get("guards", ()))})  # an earlier release knew of none


def encode_inventory(inventory: Inventory) -> dict[str, Any]:
    return {
        **inventory._asdict(),
        "services": {name: owned._asdict() for name, owned in sorted(inventory.services.items())},
        "files": dict(sorted(inventory.files.items())),
        "adopted": {name: _plain_adopted(one) for name, one in sorted(inventory.adopted.items())},
        "traces": list(map(_plain_trace, inventory.traces)),
    }


def decode_inventory(data: Mapping[str, Any]) -> Inventory:
    """Raises `KeyError`, `TypeError` or `ValueError` for anything but what `encode_inventory` gave."""
    return Inventory(
        services={name: _owned(row) for name, row in data["services"].items()},
        files=dict(data["files"]),
        managers=tuple(map(_manager, data["managers"])),
        roots=tuple(data["roots"]),
        pending={name: (pid, started) for name, (pid, started) in data["pending"].items()},
        notes=tuple(data.get("notes", ())),  # an earlier release knew of none
        adopted={name: _adopted(row) for name, row in data.get("adopted", {}).items()},
        by_hand=tuple(map(_manager, data.get("by_hand", ()))),
        traces=tuple(map(_trace, data.get("traces", ()))),
    )


def _plain_adopted(one: Adopted) -> dict[str, Any]:
    plain: dict[str, Any] = one._replace(stage=one.stage.value)._asdict()  # type: ignore[arg-type]
    unsaid = () if one.differs or one.waits else ("differs", "waits")  # an earlier release knows neither
    return {key: value for key, value in plain.items() if key not in unsaid}


def _adopted(row: Mapping[str, Any]) -> Adopted:
    one = Adopted(**row)
    return one._replace(stage=Stage(one.stage), differs=tuple(one.differs))
