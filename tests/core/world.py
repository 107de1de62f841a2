"""Desired states made straight from a few words: what the core is given, without any repo or template."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from reconciler.core.desired import (
    Compiled,
    Deployment,
    Field,
    File,
    Install,
    Manager,
    Policy,
    Role,
    Service,
    Unmanaged,
)
from reconciler.core.digest import digest, digest_of
from reconciler.core.problem import Origin
from tests.core.managers import UNIT_FOLDER, Keeping, keeping

NO_DAEMON = ("apptainer", "systemd")
READY, STOP = 1.0, 10.0  # seconds that every service declares


class Svc(NamedTuple):
    """One service as a person would write it."""

    name: str
    component: str = "app"
    launcher: str = "supervisor"
    command: str = "run"
    env: str = ""
    files: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    option: str = ""  # part of the launcher's description
    enabled: bool = True
    unit: str = ""
    managed: bool = True

    @property
    def unit_name(self) -> str:
        return self.unit or self.name


class World(NamedTuple):
    """One deployment as a person would write it."""

    services: tuple[Svc, ...] = ()
    versions: Mapping[str, str] = {}  # by component
    files: Mapping[str, str] = {}  # contents of shared files, by name
    daemon: str = ""  # setting of every launcher's daemon
    root: str = "/r"
    policy: Policy = Policy()
    environment: str = "dev"

    def version(self, component: str) -> str:
        return self.versions.get(component, "1")

    def with_service(self, name: str, **change: Any) -> World:
        changed = tuple(s._replace(**change) if s.name == name else s for s in self.services)
        return self._replace(services=changed)

    def without(self, *names: str) -> World:
        return self._replace(services=tuple(s for s in self.services if s.name not in names))


def world(*services: Svc | str, **parts: Any) -> World:
    made = tuple(Svc(service) if isinstance(service, str) else service for service in services)
    return World(made, **parts)


def build(desired: World) -> Compiled:
    """Everything that the compiler of the desired state would give for it."""
    contents: dict[str, bytes] = {}
    files: list[File] = []
    services: list[Service] = []
    fields: dict[str, dict[str, Field]] = {}
    installs: dict[str, Install] = {}
    launchers: set[str] = set()

    def add(path: str, content: str, role: Role, users: tuple[str, ...], *, mode: int = 0o600) -> None:
        contents[path] = content.encode()
        name = path.rpartition("/")[2]
        files.append(File(path, mode, digest(contents[path]), role, users, name, secret=False))

    enabled = [svc for svc in desired.services if svc.enabled and svc.managed]
    for name, content in desired.files.items():
        users = tuple(svc.name for svc in enabled if name in svc.files)
        add(f"{desired.root}/config/{name}", f"{name}: {content}", Role.CONFIG, users, mode=0o640)
    for svc in enabled:
        launchers.add(svc.launcher)
        install = _install(desired, svc.component)
        if install:
            installs[install.id] = install
        service = _service(desired, svc, install.id if install else "")
        services.append(service)
        fields[svc.name] = _fields(desired, svc)
        owner = {"deployment": f"site/{desired.environment}", "service": svc.name, "root": desired.root}
        shim = {**owner, "spec": service.spec, "version": service.version, "component": svc.component}
        described = keeping(svc.launcher) is not Keeping.INSTANCES
        shim |= {} if described else {"launch": service.launch}
        shim_path = f"{desired.root}/bin/{service.unit}"
        unit = {**owner, "unit": service.unit, "launch": service.launch, "shim": shim_path}
        add(shim_path, json.dumps(shim), Role.SHIM, (svc.name,), mode=0o700)
        add(f"{desired.root}/env/{service.unit}", json.dumps([svc.name, svc.env]), Role.ENV, (svc.name,))
        if described:
            add(f"{_folder(desired.root, svc.launcher)}/{service.unit}", json.dumps(unit), Role.UNIT, (svc.name,))
    managers = tuple(_manager(desired, launcher) for launcher in sorted(launchers))
    for manager in managers:
        if manager.is_daemon:
            add(dict(manager.address)["conf"], f"{manager.launcher}: {desired.daemon}", Role.DAEMON, ())
    deployment = Deployment(
        site="site",
        environment=desired.environment,
        commit="c0ffee",
        root=desired.root,
        folders=(),
        services=tuple(sorted(services)),
        files=tuple(sorted(files)),
        installs=tuple(sorted(installs.values())),
        managers=managers,
        disabled={
            svc.name: Origin("desired/sites/site.yaml", 7, 5)
            for svc in desired.services
            if svc.managed and not svc.enabled
        },
        policy=desired.policy,
        spare_managers=tuple(_manager(desired, launcher) for launcher in NO_DAEMON if launcher not in launchers),
        unmanaged=tuple(sorted(_unmanaged(desired, svc) for svc in desired.services if not svc.managed)),
    )
    return Compiled(deployment, contents, fields)


def _unmanaged(desired: World, svc: Svc) -> Unmanaged:
    names = tuple((launcher, svc.unit_name) for launcher in ("apptainer", "second", "supervisor", "systemd"))
    files = (f"{desired.root}/bin/{svc.unit_name}", f"{desired.root}/env/{svc.unit_name}")
    return Unmanaged(svc.name, svc.component, svc.launcher, svc.unit_name, "", "", names, files)


def _folder(root: str, launcher: str) -> str:
    return UNIT_FOLDER if keeping(launcher) is Keeping.ACCOUNT else f"{root}/config/{launcher}"


def _install(desired: World, component: str) -> Install | None:
    if component.startswith("plain"):
        return None
    name = f"{component}-{desired.version(component)}"
    path = f"{desired.root}/venvs/{name}"
    method = "apptainer-sif" if component.startswith("image") else "venv"
    return Install(name, component, desired.version(component), method, digest_of(name), path, name, "", "")


def _service(desired: World, svc: Svc, install: str) -> Service:
    version = desired.version(svc.component)
    used = {name: desired.files.get(name) for name in svc.files}
    return Service(
        name=svc.name,
        unit=svc.unit_name,
        component=svc.component,
        version=version,
        launcher=svc.launcher,
        group=svc.component,
        spec=digest_of([svc.name, svc.component, version, svc.command, svc.env, used, desired.root]),
        launch=digest_of([svc.name, svc.unit_name, svc.option, desired.root]),
        install=install,
        after=svc.after,
        ready_seconds=READY,
        stop_seconds=STOP,
        program=svc.command.split()[0],
        prologue="",
    )


def _fields(desired: World, svc: Svc) -> dict[str, Field]:
    values: dict[str, object] = {
        "component": svc.component,
        "command": svc.command,
        "env.MODE": svc.env,
        "after": list(svc.after),
        "files": list(svc.files),
        f"{svc.launcher}.option": svc.option,
        "name": svc.unit_name,
    }
    values |= {f"file.{name}": digest_of(desired.files.get(name)) for name in svc.files}
    fields = {key: Field(value, Origin("desired/defaults.yaml", 3, 1)) for key, value in values.items()}
    origin = Origin(f"desired/environments/{desired.environment}.yaml", 2, 3)
    return {"version": Field(desired.version(svc.component), origin), **fields}


def _manager(desired: World, launcher: str) -> Manager:
    own = keeping(launcher).own
    address = (
        *((("conf", f"{desired.root}/config/{launcher}d.conf"),) if own else ()),
        ("units", _folder(desired.root, launcher)),
        ("root", desired.root),
        ("deployment", f"site/{desired.environment}"),
    )
    return Manager(launcher, digest_of([launcher, desired.daemon]) if own else "", address)
