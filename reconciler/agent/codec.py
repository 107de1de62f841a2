"""The compiled form of a deployment, and the inventory, as JSON.

A commit never changes, so what was parsed, merged, validated and rendered from it is kept, without any
content that may hold a secret: digests are all that a pass without changes needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.core.model import (
    Adopted,
    Ask,
    Deployment,
    Elsewhere,
    File,
    Install,
    Inventory,
    Manager,
    Note,
    Opens,
    Origin,
    Owned,
    Policy,
    Probe,
    Role,
    Service,
    Stage,
    Unmanaged,
    Verify,
    Watch,
    Window,
)

_ROLES = {role.value: role for role in Role}


def encode_deployment(deployment: Deployment) -> dict[str, Any]:
    return {
        **deployment._asdict(),
        "installs": [_without_login(install) for install in deployment.installs],
        "files": [file._replace(role=file.role.value) for file in deployment.files],  # type: ignore[arg-type]
        "policy": deployment.policy._replace(windows=tuple(map(_plain_window, deployment.policy.windows))),
        "disabled": {name: list(origin) for name, origin in deployment.disabled.items()},
        "watches": [one._replace(probes=tuple(map(_plain_probe, one.probes))) for one in deployment.watches],
        "verifies": [one._replace(probe=_plain_probe(one.probe)) for one in deployment.verifies],
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
    )


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


def _plain_window(window: Window) -> Window:
    return window._replace(opens=window.opens.value)  # type: ignore[arg-type]


def _policy(row: list[Any]) -> Policy:
    policy = Policy(*row)
    return policy._replace(windows=tuple(map(_window, policy.windows)))


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


def encode_inventory(inventory: Inventory) -> dict[str, Any]:
    return {
        **inventory._asdict(),
        "services": {name: owned._asdict() for name, owned in sorted(inventory.services.items())},
        "files": dict(sorted(inventory.files.items())),
        "adopted": {name: _plain_adopted(one) for name, one in sorted(inventory.adopted.items())},
    }


def decode_inventory(data: Mapping[str, Any]) -> Inventory:
    """Raises `KeyError`, `TypeError` or `ValueError` for anything but what `encode_inventory` gave."""
    return Inventory(
        services={name: Owned(**row) for name, row in data["services"].items()},
        files=dict(data["files"]),
        managers=tuple(map(_manager, data["managers"])),
        roots=tuple(data["roots"]),
        pending={name: (pid, started) for name, (pid, started) in data["pending"].items()},
        notes=tuple(data.get("notes", ())),  # an earlier release knew of none
        adopted={name: _adopted(row) for name, row in data.get("adopted", {}).items()},
        by_hand=tuple(map(_manager, data.get("by_hand", ()))),
    )


def _plain_adopted(one: Adopted) -> dict[str, Any]:
    return one._replace(stage=one.stage.value)._asdict()  # type: ignore[arg-type]


def _adopted(row: Mapping[str, Any]) -> Adopted:
    one = Adopted(**row)
    return one._replace(stage=Stage(one.stage))
