"""A program's section in supervisord's configuration: what a service may say, and what is written. Pure.

Every program is a process group of its own. supervisord restarts a whole group when one option of one member changes
(Supervisor#1154), so the `group` of a service lives in our reports only. Nothing in a program's section changes with
a version: its shim carries that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from reconciler.core.desired import Leaves, Role, Trace
from reconciler.core.digest import digest_of
from reconciler.launchers import scripts, shim
from reconciler.launchers.base import Mode, Option, Place, RenderedFile, ServiceSpec
from reconciler.launchers.supervisor import stanza

# Patterns are compiled where they are used: a pass with nothing to do renders nothing.
_UNIT = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*"
_SIZE = r"(?i)\d+(kb|mb|gb)?"
_CODES = r"\d{1,3}(,\d{1,3})*"
OCTAL = r"0?[0-7]{3}"

SERVICE_OPTIONS: Mapping[str, Option] = {
    "startsecs": Option(int, "seconds that it must stay up to count as started (1)", minimum=0),
    "startretries": Option(int, "how often a failing start is tried again before supervisord gives up (3)", minimum=0),
    "autorestart": Option(
        str,
        "whether supervisord starts it again when it ends by itself (true)",
        choices=("true", "false", "unexpected"),
    ),
    "exitcodes": Option(str, 'exit statuses that are expected, with autorestart unexpected ("0")'),
    "stdout_logfile_maxbytes": Option(str, 'size at which its log is rotated ("50MB"; "0": never)'),
    "stdout_logfile_backups": Option(int, "rotated logs that are kept (10)", minimum=0),
    "umask": Option(str, 'of the service, like "027"'),
}

Options = tuple[tuple[str, str], ...]


class Keeper(NamedTuple):
    """Which supervisord it is written for."""

    launcher: str
    units: str  # the folder of its sections
    variables: tuple[tuple[str, str], ...] = ()  # over those that programs would inherit from the daemon


def check(launcher: str, service: ServiceSpec) -> str:
    """What stands against running this service as a program, or nothing."""
    if not re.fullmatch(_UNIT, service.unit):
        return f"{launcher}: {service.unit!r} cannot be a program's name: use letters, digits and _ . @ + -"
    if service.container is not None and service.container.mode is Mode.INSTANCE:
        return (
            f"{launcher} cannot keep an Apptainer instance: its programs stay in the foreground, and an instance "
            "goes to the background; write `container: {mode: run}`, or use launcher systemd or apptainer"
        )
    return _check_options(launcher, service) or shim.check(service.command, service.env)


def _check_options(launcher: str, service: ServiceSpec) -> str:
    options = service.options
    for key, pattern, example in (
        ("exitcodes", _CODES, "0,2"),
        ("stdout_logfile_maxbytes", _SIZE, "50MB"),
        ("umask", OCTAL, "027"),
    ):
        if key in options and not re.fullmatch(pattern, str(options[key])):
            return f"{launcher}: {key} {options[key]!r} is not valid; write it like {example!r}"
    if _word(options.get("autorestart", "true")) not in ("true", "false", "unexpected"):
        return f"{launcher}: autorestart {options['autorestart']!r} is none of true, false, unexpected"
    import signal

    if not hasattr(signal, _signal(service.stop_signal)):
        return f"{launcher}: there is no signal {service.stop_signal!r}"
    return ""


def _signal(name: str) -> str:
    return name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"


def _word(value: object) -> str:
    """A boolean or a word, as supervisord writes it."""
    return str(value).lower()


def startsecs(service: ServiceSpec) -> int:
    return int(str(service.options.get("startsecs", 1)))


def _options(place: Place, service: ServiceSpec) -> Options:
    """The program's section without its environment, before any quoting."""
    given = service.options
    named = ("exitcodes", "stdout_logfile_maxbytes", "stdout_logfile_backups", "umask")
    return (
        ("command", f"{place.paths['bin']}/{service.unit}"),
        ("autostart", "false"),  # the loop starts in the order of `after`
        ("autorestart", _word(given.get("autorestart", "true"))),
        ("startsecs", str(startsecs(service))),
        ("startretries", str(given.get("startretries", 3))),
        ("stopsignal", _signal(service.stop_signal).removeprefix("SIG")),
        ("stopwaitsecs", str(math.ceil(service.stop_seconds))),
        ("stopasgroup", "true"),
        ("killasgroup", "true"),
        ("redirect_stderr", "true"),
        ("stdout_logfile", f"{place.paths['logs']}/{service.unit}.log"),
        *((key, str(given[key])) for key in named if key in given),
    )


def log(place: Place, service: ServiceSpec, launcher: str) -> Trace:
    """What supervisord keeps of a program's output."""
    path = f"{place.paths['logs']}/{service.unit}.log"
    keep = int(str(service.options.get("stdout_logfile_backups", 10)))
    return Trace(Leaves.LOG, path, launcher, service.name, service.unit, keep)


def launch(place: Place, service: ServiceSpec, keeper: Keeper) -> str:
    """What supervisord compares, and not how it is written: a comment or another quoting restarts nothing."""
    return digest_of([_options(place, service), scripts.marks(place, service) | dict(keeper.variables)])


def unit_file(place: Place, service: ServiceSpec, keeper: Keeper) -> RenderedFile:
    """The section in a file of its own."""
    written = {
        "command": lambda path: stanza.escape(shim.quote(path)),
        "stdout_logfile": lambda path: stanza.escape(path, expansions=2),
    }
    options = [(key, written.get(key, stanza.escape)(value)) for key, value in _options(place, service)]
    marks = scripts.marks(place, service) | dict(keeper.variables)
    marks |= {"RECONCILE_LAUNCH": launch(place, service, keeper)}
    text = shim.header(scripts.deployment(place), service.unit, place.paths["root"], ";") + stanza.section(
        f"program:{service.unit}", (*options, ("environment", stanza.environment(marks)))
    )
    return RenderedFile(f"{keeper.units}/{service.unit}.conf", 0o600, scripts.encode(text), Role.UNIT, service.name)
