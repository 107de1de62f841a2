"""The launcher `apptainer`: each service an instance of its own, for hosts without supervisord and systemd.

Nothing keeps such a service but the loop itself: one that ends is started again by the next pass. There is
no description of it besides its start script, which therefore sets all marks itself; a person who runs
the script by hand starts the very same instance.

This module is the pure half; `backend` looks at instances, starts and stops them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from reconciler.core.desired import Leaves, Manager, Trace
from reconciler.core.digest import digest_of
from reconciler.launchers import on_start, scripts, shim
from reconciler.launchers.apptainer.words import FEW, KEEPER, NAME, READY, STOP
from reconciler.launchers.base import Backend, Mode, Option, Place, RenderedFile, Rendering, ServiceSpec, Shared

_INSTANCE = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"  # what Apptainer allows, but for what would be an option or a folder
_LONGEST = 200  # characters of a name, of which files are named

_ROUND = 5.0  # seconds after which as many as may start at once have made room for others
_PROLOGUE = 60.0  # seconds that loading modules may take where file systems are slow

_SETTINGS = {
    "parallel": Option(
        int, f"instances that are started at once ({FEW}): dozens can be too many (apptainer#3607)", minimum=1
    ),
}

_SERVICE_OPTIONS = {
    "start_seconds": Option(int, "seconds that it must stay up to count as started (1)", minimum=0),
}


class Apptainer:
    """The pure half; see `base.Launcher`."""

    name: str = NAME
    service_options: Mapping[str, Option] = _SERVICE_OPTIONS
    settings: Mapping[str, Option] = _SETTINGS
    account_wide: bool = True
    mode: Mode | None = Mode.INSTANCE

    def unit(self, service: str, environment: str, name: str) -> str:
        """The name of the instance itself. An ending that generated files would lose is not part of it."""
        return (name or f"{service}-{environment}").removesuffix(".service")

    def render(self, place: Place, services: Sequence[ServiceSpec]) -> Rendering:
        """All that is written for these services. What `check` refuses must not come here."""
        files: list[RenderedFile] = []
        launch = {}
        for service in services:
            marks = _marks(place, service)
            launch[service.name] = marks["RECONCILE_LAUNCH"]
            files += (scripts.script(place, service, marks), scripts.environment(place, service))
        return Rendering(
            files=tuple(files),
            launch=launch,
            ready_seconds={service.name: _ready_seconds(place, service, len(services)) for service in services},
            manager=_manager(place, services),
            traces=tuple(trace for service in services for trace in _traces(place, service)),
        )

    def check_settings(self, place: Place) -> str:  # noqa: ARG002 - whatever is set is fine
        """What stands against instances in this deployment, or nothing."""
        return ""

    def check(self, place: Place, service: ServiceSpec) -> str:  # noqa: ARG002 - other launchers need the place
        """What stands against this service, or nothing."""
        box = service.container
        if box is None:
            return (
                "apptainer: there is no image to make an instance of; its component needs `install: apptainer-sif` or "
                "`install: apptainer-docker`, or the service another launcher"
            )
        if box.instance != service.unit:
            return (
                f"apptainer: container.instance {box.instance!r} differs from the name {service.unit!r}; with this "
                f"launcher both are one: write `name: {box.instance}` in place of it"
            )
        if not re.fullmatch(_INSTANCE, service.unit) or len(service.unit) > _LONGEST:
            return (
                f"apptainer: {service.unit!r} cannot be an instance's name: use letters, digits and _ . -, at most "
                f"{_LONGEST} of them, the first one a letter, digit or _"
            )
        return _check_signal(service.stop_signal) or shim.check(service.command, service.env)

    def backend(self, manager: Manager, shared: Shared | None = None) -> Backend:  # noqa: ARG002 - it asks nothing that others ask too
        from reconciler.launchers.apptainer.backend import ApptainerBackend

        return ApptainerBackend(manager)


def _check_signal(name: str) -> str:
    import signal

    return "" if hasattr(signal, f"SIG{_signal(name)}") else f"apptainer: there is no signal {name!r}"


def _signal(name: str) -> str:
    return name.upper().removeprefix("SIG")


def _start_seconds(service: ServiceSpec) -> int:
    return int(str(service.options.get("start_seconds", 1)))


def _ready_seconds(place: Place, service: ServiceSpec, count: int) -> float:
    """How long it may take: it waits for its turn, and counts as started when its start script has ended."""
    rounds = math.ceil(count / _parallel(place))
    before = (_PROLOGUE if service.prologue.strip() else 0.0) + (on_start.LIMIT if service.on_start.strip() else 0.0)
    return _start_seconds(service) + (rounds - 1) * _ROUND + before


def _parallel(place: Place) -> int:
    return int(str(place.settings.get("parallel") or FEW))


def _configdir(service: ServiceSpec) -> str:
    return service.container.configdir if service.container else ""


def _traces(place: Place, service: ServiceSpec) -> tuple[Trace, ...]:
    """The note of a stop, and what Apptainer itself notes."""
    return (
        Trace(Leaves.STOP, f"{place.paths['run']}/{service.unit}.stop", NAME, service.name, service.unit),
        Trace(Leaves.RECORD, _configdir(service), NAME, service.name, service.unit),
    )


def _marks(place: Place, service: ServiceSpec) -> dict[str, str]:
    """All constant marks. How it is to be stopped is one: it then holds for what runs, whatever git says by now."""
    marks = scripts.marks(place, service)
    del marks["RECONCILE_SPEC"]  # the start script sets it, and sees by it that it has begun once before
    marks[KEEPER] = NAME
    marks[STOP] = f"{_signal(service.stop_signal)} {math.ceil(service.stop_seconds)}"
    return marks | {"RECONCILE_LAUNCH": digest_of([service.unit, _configdir(service), marks])}


def _manager(place: Place, services: Sequence[ServiceSpec]) -> Manager:
    """No daemon. The address says where things are, and of each unit what is not as usual."""
    paths, usual = place.paths, f"{place.home}/.apptainer"
    address = {
        "deployment": scripts.deployment(place),
        "root": paths["root"],
        "bin": paths["bin"],
        "env": f"{paths['config']}/env",
        "run": paths["run"],
        "logs": paths["logs"],
        "configdir": usual,
        "parallel": str(_parallel(place)),
    }
    for service in services:
        if _configdir(service) != usual:
            address[f"configdir {service.unit}"] = _configdir(service)
        if _start_seconds(service) != READY:
            address[f"start_seconds {service.unit}"] = str(_start_seconds(service))
    return Manager(NAME, "", tuple(address.items()))


LAUNCHER = Apptainer()
