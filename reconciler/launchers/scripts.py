"""What every launcher writes for a service, whatever its own description looks like: start script and environment."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.desired import Role, Shown
from reconciler.launchers import on_start, shim
from reconciler.launchers.base import Mode, Place, RenderedFile, ServiceSpec


def deployment(place: Place) -> str:
    """As in the marks and headers: SITE/ENVIRONMENT."""
    return f"{place.site}/{place.environment}"


def script_path(place: Place, service: ServiceSpec) -> str:
    return f"{place.paths['bin']}/{_file_name(service)}"


def env_path(place: Place, service: ServiceSpec) -> str:
    return f"{place.paths['config']}/env/{_file_name(service)}.env"


def pid_path(place: Place, service: ServiceSpec) -> str:
    """Where an instance notes its pid. The process that writes it knows no folder but this to be writable."""
    return f"{place.paths['run']}/{_file_name(service)}.pid"


def _file_name(service: ServiceSpec) -> str:
    return service.unit.removesuffix(".service")


def marks(place: Place, service: ServiceSpec) -> dict[str, str]:
    """The constant marks, and over those that would be inherited from a launcher's daemon, what they begin with."""
    instance = service.container is not None and service.container.mode is Mode.INSTANCE
    return {
        "RECONCILE_DEPLOYMENT": deployment(place),
        "RECONCILE_ROOT": place.paths["root"],
        "RECONCILE_SERVICE": service.name,
        "RECONCILE_DAEMON": "",
        "RECONCILE_PID": "1" if instance else "",
        "RECONCILE_SPEC": "",
    }


def script(place: Place, service: ServiceSpec, own: Mapping[str, str] | None = None) -> RenderedFile:
    """The shim. An instance under a launcher that must know its pid notes it in `pid_path`.

    `own`: marks that it sets itself, where the launcher has no description of the service to set them in, and
    finds an instance by them.
    """
    text = shim.render_shim(
        shim.Shim(
            deployment=deployment(place),
            root=place.paths["root"],
            service=service.name,
            unit=service.unit,
            component=service.component,
            version=service.version,
            spec=service.spec,
            command=service.command,
            prologue=service.prologue,
            exports=service.exports,
            env_file=env_path(place, service),
            container=service.container,
            pid_file="" if own else pid_path(place, service),
            marks=tuple((own or {}).items()),
            on_start=on_start.lines(service.name, service.on_start, on_start.folder(place.paths["run"]))
            if service.on_start.strip()
            else "",
            says_start=service.says_start,
        )
    )
    return RenderedFile(script_path(place, service), 0o700, encode(text), Role.SHIM, service.name)


def environment(place: Place, service: ServiceSpec) -> RenderedFile:
    """The service's own variables."""
    path, names = env_path(place, service), service.secrets
    content = _variables(place, service, service.env)
    if not names:
        return RenderedFile(path, 0o600, content, Role.ENV, service.name)
    without = tuple((name, "(secret)" if name in names else value) for name, value in service.env)
    shown = Shown(_variables(place, service, without), names)
    return RenderedFile(path, 0o600, content, Role.ENV, service.name, secret=True, shown=shown)


def _variables(place: Place, service: ServiceSpec, env: tuple[tuple[str, str], ...]) -> bytes:
    return encode(shim.render_env(deployment(place), place.paths["root"], service.unit, env))


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
