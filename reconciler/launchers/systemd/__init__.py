"""The launcher `systemd`: services as units of the account's own manager, `systemctl --user`, or of the system's.

A unit file holds nothing that changes with a version: its program is the shim, which carries that. So a
bump is a plain restart of one unit, and systemd need not read anything anew.

This module is the pure half; `backend` talks to systemd. Everything works with systemd 239 and later: no
`Type=exec`, no `append:`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from reconciler.core.desired import Leaves, Manager, Role, Trace
from reconciler.core.digest import digest_of
from reconciler.host.detached import SERVICE_PATH
from reconciler.launchers import scripts, shim
from reconciler.launchers.base import (
    Backend,
    Container,
    Mode,
    Option,
    Place,
    RenderedFile,
    Rendering,
    ServiceSpec,
    Shared,
)
from reconciler.launchers.systemd import instance, unit_file

NAME = "systemd"

SUFFIX = ".service"

# Patterns are compiled where they are used: a pass with nothing to do renders nothing.
_UNIT = r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.service"
_TARGET = r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.target"
_LONGEST = 255  # characters of a unit's name
_OCTAL = r"0?[0-7]{3}"
_SIZE = r"\d+[KMGT]?|\d+%|infinity"
_PERCENT = r"\d+%"

_SETTINGS = {
    "scope": Option(
        str,
        "whose manager: the account's own (user) or, for a site with root, the host's (system)",
        choices=("user", "system"),
    ),
    "unit_folder": Option(str, "where the unit files are (~/.config/systemd/user; /etc/systemd/system)"),
    "wanted_by": Option(str, "the target that starts them at boot (default.target; multi-user.target)"),
}

_SERVICE_OPTIONS = {
    "start_seconds": Option(int, "seconds that it must stay up to count as started (1)", minimum=0),
    "restart": Option(
        str, "when systemd starts it again after it ended by itself (always)", choices=("always", "on-failure", "no")
    ),
    "restart_sec": Option(int, "seconds before it is started again (1)", minimum=0),
    "start_limit_burst": Option(int, "starts within start_limit_interval before systemd gives up (4)", minimum=1),
    "start_limit_interval": Option(
        int, "seconds in which starts are counted (10; 0: systemd never gives up)", minimum=0
    ),
    "umask": Option(str, 'of the service, like "027"'),
    "limit_nofile": Option(int, "files that it may have open", minimum=3),
    "memory_max": Option(str, 'memory above which it is ended, like "2G" or "20%"'),
    "cpu_quota": Option(str, 'share of one CPU, like "150%"'),
    "nice": Option(int, "priority, from -20 (first) to 19 (last); below 0 needs root", minimum=-20),
}

# Options that are written as they are given.
_GIVEN = {
    "umask": "UMask",
    "limit_nofile": "LimitNOFILE",
    "memory_max": "MemoryMax",
    "cpu_quota": "CPUQuota",
    "nice": "Nice",
}


class Systemd:
    """The pure half; see `base.Launcher`."""

    name: str = NAME
    service_options: Mapping[str, Option] = _SERVICE_OPTIONS
    settings: Mapping[str, Option] = _SETTINGS
    account_wide: bool = True
    mode: Mode | None = None

    def unit(self, service: str, environment: str, name: str) -> str:
        if not name:
            return f"{service}-{environment}{SUFFIX}"
        return name if name.endswith(SUFFIX) else name + SUFFIX

    def render(self, place: Place, services: Sequence[ServiceSpec]) -> Rendering:
        """Everything that systemd needs for these services. What `check` refuses must not come here."""
        files: list[RenderedFile] = []
        launch = {}
        for service in services:
            launch[service.name] = _launch(place, service)
            files += (_unit_file(place, service, launch[service.name]), scripts.script(place, service))
            files.append(scripts.environment(place, service))
        return Rendering(
            files=tuple(files),
            launch=launch,
            ready_seconds={service.name: float(_start_seconds(service)) for service in services},
            manager=_manager(place, services),
            traces=tuple(trace for service in services for trace in _traces(place, service)),
        )

    def check_settings(self, place: Place) -> str:
        """What stands against the settings and paths, or nothing."""
        wanted_by = _wanted_by(place)
        if not re.fullmatch(_TARGET, wanted_by):
            return f"systemd: wanted_by {wanted_by!r} is not the name of a target, like 'default.target'"
        return _check_paths(place)

    def check(self, place: Place, service: ServiceSpec) -> str:  # noqa: ARG002 - other launchers need the place
        """What stands against this service, or nothing."""
        if not re.fullmatch(_UNIT, service.unit):
            return f"systemd: {service.unit!r} cannot be a unit's name here: use letters, digits and _ . -"
        if len(service.unit) > _LONGEST:
            return f"systemd: {service.unit[:40]}... is longer than the {_LONGEST} characters of a unit's name"
        return _check_options(service) or _check_instance(service) or shim.check(service.command, service.env)

    def backend(self, manager: Manager, shared: Shared | None = None) -> Backend:  # noqa: ARG002 - it asks nothing that others ask too
        from reconciler.launchers.systemd.backend import SystemdBackend

        return SystemdBackend(manager)


def is_system(place: Place) -> bool:
    """The host's manager, not the account's."""
    return place.settings.get("scope") == "system"


def _wanted_by(place: Place) -> str:
    return str(place.settings.get("wanted_by") or ("multi-user.target" if is_system(place) else "default.target"))


def _config(place: Place) -> str:
    """Where the manager looks first among the folders for people. XDG_CONFIG_HOME is not asked: cron has none."""
    return "/etc/systemd/system" if is_system(place) else f"{place.home}/.config/systemd/user"


def _unit_folder(place: Place) -> str:
    return str(place.settings.get("unit_folder") or _config(place))


def _check_paths(place: Place) -> str:
    folder = _unit_folder(place)
    if not folder.startswith(("/", "~")) or folder.endswith("/"):
        return f"systemd: unit_folder {folder!r} is not an absolute path without a `/` at its end"
    for name, path in (("unit_folder", folder), ("paths.root", place.paths["root"]), ("paths.run", place.paths["run"])):
        problem = unit_file.check_text(path)
        if problem:
            return f"systemd: {name} {path!r} {problem}"
    problem = unit_file.check_program(place.paths["bin"])
    return problem and f"systemd: paths.bin {place.paths['bin']!r} {problem}"


def _check_options(service: ServiceSpec) -> str:
    options = service.options
    for key, pattern, example in (
        ("umask", _OCTAL, "027"),
        ("memory_max", _SIZE, "2G"),
        ("cpu_quota", _PERCENT, "150%"),
        ("nice", r"-?1?\d|-20", "5"),
    ):
        if key in options and not re.fullmatch(pattern, str(options[key])):
            return f"systemd: {key} {str(options[key])!r} is not valid; write it like {example!r}"
    import signal

    if not hasattr(signal, _signal(service.stop_signal)):
        return f"systemd: there is no signal {service.stop_signal!r}"
    return ""


def _check_instance(service: ServiceSpec) -> str:
    box = _instance(service)
    problem = box and unit_file.check_text(box.configdir)
    return f"systemd: Apptainer's folder {box.configdir!r} {problem}" if box and problem else ""


def _signal(name: str) -> str:
    return name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"


def _manager(place: Place, services: Sequence[ServiceSpec]) -> Manager:
    """How systemd is asked, and for what: a name that git wants may be taken by somebody else's unit."""
    address = (
        ("scope", "system" if is_system(place) else "user"),
        ("units", _unit_folder(place)),
        ("config", _config(place)),
        ("wanted_by", _wanted_by(place)),
        ("root", place.paths["root"]),
        ("deployment", scripts.deployment(place)),
        ("wanted", " ".join(service.unit for service in services)),
    )
    return Manager(NAME, "", address)


# ---------------------------------------------------------------- one unit


def _start_seconds(service: ServiceSpec) -> int:
    return int(str(service.options.get("start_seconds", 1)))


def _instance(service: ServiceSpec) -> Container | None:
    """The container, where it goes to the background."""
    box = service.container
    return box if box is not None and box.mode is Mode.INSTANCE else None


def _traces(place: Place, service: ServiceSpec) -> tuple[Trace, ...]:
    """What an instance leaves: how systemd's shell knows it, and what Apptainer itself notes."""
    box = _instance(service)
    if box is None:
        return ()
    return (
        Trace(Leaves.PID, scripts.pid_path(place, service), NAME, service.name, service.unit),
        Trace(Leaves.RECORD, box.configdir, NAME, service.name, box.instance),
    )


def _marks(place: Place, service: ServiceSpec) -> dict[str, str]:
    """The environment that the shim begins with; what the manager has of its own comes besides."""
    return {"PATH": SERVICE_PATH, "LANG": "C.UTF-8", **scripts.marks(place, service)}


def _options(place: Place, service: ServiceSpec) -> dict[str, list[tuple[str, str]]]:
    """All that systemd goes by but the program and its environment."""
    given = service.options
    unit = [
        ("StartLimitBurst", str(given.get("start_limit_burst", 4))),
        ("StartLimitIntervalSec", str(given.get("start_limit_interval", 10))),
    ]
    main = [
        ("Type", "simple"),
        *([("User", "root")] if is_system(place) else []),  # so that it has a HOME, as with the account's own manager
        ("Restart", str(given.get("restart", "always"))),
        ("RestartSec", str(given.get("restart_sec", 1))),
        *_stopping(service),
        *((name, str(given[key])) for key, name in _GIVEN.items() if key in given),
    ]
    return {"Unit": unit, "Service": main, "Install": [("WantedBy", _wanted_by(place))]}


def _program(place: Place, service: ServiceSpec) -> tuple[str, ...]:
    """What tells the service's main process from any other's: its shim, and for an instance what keeps that."""
    path, box = scripts.script_path(place, service), _instance(service)
    if box is None:
        return (path,)
    return instance.arguments(path, scripts.pid_path(place, service), _signal(service.stop_signal), box)


def _exec_start(place: Place, service: ServiceSpec) -> str:
    words = _program(place, service)
    return instance.command(words) if _instance(service) else unit_file.word(words[0])


def _stopping(service: ServiceSpec) -> list[tuple[str, str]]:
    return [
        # A signal to the whole control group would also end the FUSE process that holds a container's root file
        # system, while the service inside may take minutes to stop. So the main process alone gets it, and
        # whatever is left when that has ended is killed.
        ("KillMode", "mixed"),
        ("KillSignal", "SIGTERM" if _instance(service) else _signal(service.stop_signal)),
        ("TimeoutStopSec", str(math.ceil(service.stop_seconds))),
    ]


def _launch(place: Place, service: ServiceSpec) -> str:
    """What systemd goes by, and not how it is written: a comment or another quoting restarts nothing."""
    return digest_of([_options(place, service), _program(place, service), _marks(place, service)])


def _unit_file(place: Place, service: ServiceSpec, launch: str) -> RenderedFile:
    options = _options(place, service)
    about = f"{service.name} of {scripts.deployment(place)} (reconcile)"
    marks = _marks(place, service) | {"RECONCILE_LAUNCH": launch}
    environment = ("Environment", unit_file.environment(marks))
    sections = {
        "Unit": [("Description", unit_file.escape(about)), *options["Unit"]],
        "Service": [("ExecStart", _exec_start(place, service)), *options["Service"], environment],
        "Install": options["Install"],
        unit_file.OWN: _own(place, service),
    }
    text = shim.header(scripts.deployment(place), service.unit, place.paths["root"]) + unit_file.write(sections)
    path = f"{_unit_folder(place)}/{service.unit}"
    return RenderedFile(path, 0o644, scripts.encode(text), Role.UNIT, service.name)


def _own(place: Place, service: ServiceSpec) -> list[tuple[str, str]]:
    """What `backend` must know and systemd has no word for."""
    box = _instance(service)
    seconds = ("StartSeconds", str(_start_seconds(service)))
    if box is None:
        return [seconds]
    return [
        seconds,
        ("PidFile", scripts.pid_path(place, service)),
        ("Instance", box.instance),
        ("Folder", box.configdir),
    ]


LAUNCHER = Systemd()
