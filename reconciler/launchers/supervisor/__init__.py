"""The launcher `supervisor`: services under a supervisord of the deployment's own.

Every program is a process group of its own. supervisord restarts a whole group when one option of
one member changes (Supervisor#1154), so the `group` of a service lives in our reports only. Nothing
in a program's section changes with a version: its shim carries that.

This module is the pure half; `backend` talks to the daemon.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence

from reconciler.core.digest import digest, digest_of
from reconciler.core.model import Manager, Role
from reconciler.launchers import scripts, shim
from reconciler.launchers.base import Backend, Mode, Option, Place, RenderedFile, Rendering, ServiceSpec
from reconciler.launchers.supervisor import stanza

NAME = "supervisor"

# Patterns are compiled where they are used: a pass with nothing to do renders nothing.
_UNIT = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*"
_SIZE = r"(?i)\d+(kb|mb|gb)?"
_CODES = r"\d{1,3}(,\d{1,3})*"
_OCTAL = r"0?[0-7]{3}"
_RPC = "supervisor.rpcinterface:make_main_rpcinterface"
_SUN_PATH = 108  # of a unix socket's address, with its closing NUL
_PID_DIGITS = 7  # supervisord binds PATH.PID first and then links it to PATH

_SETTINGS = {
    "port": Option(int, "an inet port to listen on besides the unix socket; needs username and password", minimum=1),
    "host": Option(str, "the address that the inet port is bound to (127.0.0.1)"),
    "username": Option(str, "of the inet port"),
    "password": Option(str, "of the inet port; only its digest is written", secret=True),
    "socket": Option(str, "path of the unix socket (supervisor.sock below paths.run)"),
    "loglevel": Option(
        str, "of supervisord's own log", choices=("critical", "error", "warn", "info", "debug", "trace", "blather")
    ),
    "minfds": Option(int, "open files that supervisord asks for (1024); a program takes three", minimum=64),
    "umask": Option(str, 'of supervisord and all that it starts ("022")'),
}

_SERVICE_OPTIONS = {
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


class Supervisor:
    """The pure half; see `base.Launcher`."""

    name: str = NAME
    service_options: Mapping[str, Option] = _SERVICE_OPTIONS
    settings: Mapping[str, Option] = _SETTINGS
    account_wide: bool = False
    mode: Mode | None = None

    def unit(self, service: str, environment: str, name: str) -> str:  # noqa: ARG002 - each deployment has its own daemon
        return name or service

    def render(self, place: Place, services: Sequence[ServiceSpec]) -> Rendering:
        """Everything that supervisord needs for these services. What `check` refuses must not come here."""
        files = [_daemon_file(place)]
        launch = {}
        for service in services:
            launch[service.name] = _launch(place, service)
            files += (_unit_file(place, service, launch[service.name]), scripts.script(place, service))
            files.append(scripts.environment(place, service))
        return Rendering(
            files=tuple(files),
            launch=launch,
            ready_seconds={service.name: float(_startsecs(service)) for service in services},
            manager=_manager(place),
            ports=(int(str(place.settings["port"])),) if place.settings.get("port") else (),
        )

    def check_settings(self, place: Place) -> str:
        """What stands against a daemon for this deployment, or nothing."""
        settings = place.settings
        if settings.get("port") and not (settings.get("username") and settings.get("password")):
            return "supervisor: port needs username and password: who can connect can run anything as this account"
        for key in ("username", "host"):
            if re.search(r"[\s:;#%\x00-\x1f]", str(settings.get(key) or "")):
                return f"supervisor: {key} must not contain blanks, colons, `;`, `#` or `%`"
        if not re.fullmatch(_OCTAL, str(settings.get("umask") or "022")):
            return f"supervisor: umask {settings['umask']!r} is not an octal number like '022'"
        return _check_paths(place)

    def check(self, place: Place, service: ServiceSpec) -> str:  # noqa: ARG002 - other launchers need the place
        """What stands against this service, or nothing. Settings of the daemon: `check_settings`."""
        if not re.fullmatch(_UNIT, service.unit):
            return f"supervisor: {service.unit!r} cannot be a program's name: use letters, digits and _ . @ + -"
        if service.container is not None and service.container.mode is Mode.INSTANCE:
            return (
                "supervisor cannot keep an Apptainer instance: its programs stay in the foreground, and an instance "
                "goes to the background; write `container: {mode: run}`, or use launcher systemd or apptainer"
            )
        return _check_options(service) or shim.check(service.command, service.env)

    def backend(self, manager: Manager) -> Backend:
        from reconciler.launchers.supervisor.backend import SupervisorBackend

        return SupervisorBackend(manager)


def _check_paths(place: Place) -> str:
    for key in ("root", "bin", "config", "logs", "run"):
        problem = stanza.check_text(place.paths[key])
        if problem:
            return f"supervisor: paths.{key} {place.paths[key]!r} {problem}"
    if re.search(r"[*?\[]", place.paths["config"]):
        return f"supervisor: paths.config {place.paths['config']!r} has one of * ? [, which make it a pattern"
    socket = str(place.settings.get("socket") or "")
    if socket and not _fits(socket):
        return f"supervisor: socket {socket!r} is longer than {_SUN_PATH - 2 - _PID_DIGITS} bytes"
    return stanza.check_text(socket) and f"supervisor: socket {socket!r} {stanza.check_text(socket)}"


def _check_options(service: ServiceSpec) -> str:
    options = service.options
    for key, pattern, example in (
        ("exitcodes", _CODES, "0,2"),
        ("stdout_logfile_maxbytes", _SIZE, "50MB"),
        ("umask", _OCTAL, "027"),
    ):
        if key in options and not re.fullmatch(pattern, str(options[key])):
            return f"supervisor: {key} {options[key]!r} is not valid; write it like {example!r}"
    if _word(options.get("autorestart", "true")) not in ("true", "false", "unexpected"):
        return f"supervisor: autorestart {options['autorestart']!r} is none of true, false, unexpected"
    import signal

    if not hasattr(signal, _signal(service.stop_signal)):
        return f"supervisor: there is no signal {service.stop_signal!r}"
    return ""


def _signal(name: str) -> str:
    return name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"


def _word(value: object) -> str:
    """A boolean or a word, as supervisord writes it."""
    return str(value).lower()


# ---------------------------------------------------------------- the daemon


def _units(place: Place) -> str:
    return f"{place.paths['config']}/supervisor"


def _fits(socket: str) -> bool:
    return len(os.fsencode(socket)) + 1 + _PID_DIGITS + 1 <= _SUN_PATH


def socket_path(place: Place) -> str:
    """Where the unix socket is. The kernel allows short paths only; a long one moves to a private folder below /tmp.

    XDG_RUNTIME_DIR would be the place for it, but cron does not set it and logging out removes it.
    """
    chosen = str(place.settings.get("socket") or "") or f"{place.paths['run']}/supervisor.sock"
    if _fits(chosen):
        return chosen
    return f"/tmp/reconcile-{os.getuid()}/{digest(os.fsencode(chosen))[:16]}.sock"  # noqa: S108 - made 0700 and checked


def _manager(place: Place) -> Manager:
    paths = place.paths
    address = (
        ("socket", socket_path(place)),
        ("conf", f"{paths['config']}/supervisord.conf"),
        ("pidfile", f"{paths['run']}/supervisord.pid"),
        ("log", f"{paths['logs']}/supervisord.log"),
        ("logs", paths["logs"]),
        ("units", _units(place)),
        ("root", paths["root"]),
        ("deployment", scripts.deployment(place)),
        ("umask", _umask(place)),
    )
    return Manager(NAME, digest_of([*_daemon_sections(place), _umask(place), *_unusual_conf(place)]), address)


def _unusual_conf(place: Place) -> tuple[str, ...]:
    """A daemon reads the file again that it was started with, so one in another folder is another daemon.

    The usual folder goes without saying: its daemons are the same ones as before this was told apart.
    """
    config = place.paths["config"]
    return () if config == f"{place.paths['root']}/config" else (config,)


def _umask(place: Place) -> str:
    return str(place.settings.get("umask") or "022")


def _daemon_file(place: Place) -> RenderedFile:
    text = shim.header(scripts.deployment(place), "", place.paths["root"], ";")
    text += "".join(stanza.section(name, options) for name, options in _daemon_sections(place))
    path = f"{place.paths['config']}/supervisord.conf"
    secret = bool(place.settings.get("port"))
    return RenderedFile(path, 0o600, scripts.encode(text), Role.DAEMON, "", secret)


def _daemon_sections(place: Place) -> list[tuple[str, Options]]:
    paths = place.paths
    socket = stanza.escape(socket_path(place))
    inet = [("inet_http_server", _inet(place))] if place.settings.get("port") else []
    return [
        (
            "supervisord",
            (
                ("logfile", stanza.escape(f"{paths['logs']}/supervisord.log")),
                ("logfile_maxbytes", "10MB"),
                ("logfile_backups", "3"),
                ("loglevel", str(place.settings.get("loglevel") or "info")),
                ("pidfile", stanza.escape(f"{paths['run']}/supervisord.pid")),
                ("childlogdir", stanza.escape(paths["logs"])),
                ("nocleanup", "true"),  # it would remove files by a pattern
                ("silent", "true"),
                ("minfds", str(place.settings.get("minfds") or 1024)),
            ),
        ),
        ("unix_http_server", (("file", socket), ("chmod", "0700"))),
        *inet,
        ("rpcinterface:supervisor", (("supervisor.rpcinterface_factory", _RPC),)),
        ("supervisorctl", (("serverurl", f"unix://{socket}"),)),  # for people: supervisorctl -c this file
        # Relative to this file, because the value is split at blanks.
        ("include", (("files", "supervisor/*.conf"),)),
    ]


def _inet(place: Place) -> Options:
    settings = place.settings
    return (
        ("port", f"{settings.get('host') or '127.0.0.1'}:{settings['port']}"),
        ("username", str(settings["username"])),
        ("password", _hashed(str(settings["password"]))),
    )


def _hashed(password: str) -> str:
    """supervisord's own hashed form, so that no password stands in the file, whatever it contains."""
    if re.fullmatch(r"\{SHA\}[0-9a-f]{40}", password):
        return password
    from hashlib import sha1

    return "{SHA}" + sha1(password.encode()).hexdigest()  # noqa: S324 - the only form that supervisord reads


# ---------------------------------------------------------------- one program


def _startsecs(service: ServiceSpec) -> int:
    return int(str(service.options.get("startsecs", 1)))


def _options(place: Place, service: ServiceSpec) -> Options:
    """The program's section without its environment, before any quoting."""
    given = service.options
    named = ("exitcodes", "stdout_logfile_maxbytes", "stdout_logfile_backups", "umask")
    return (
        ("command", f"{place.paths['bin']}/{service.unit}"),
        ("autostart", "false"),  # the loop starts in the order of `after`
        ("autorestart", _word(given.get("autorestart", "true"))),
        ("startsecs", str(_startsecs(service))),
        ("startretries", str(given.get("startretries", 3))),
        ("stopsignal", _signal(service.stop_signal).removeprefix("SIG")),
        ("stopwaitsecs", str(math.ceil(service.stop_seconds))),
        ("stopasgroup", "true"),
        ("killasgroup", "true"),
        ("redirect_stderr", "true"),
        ("stdout_logfile", f"{place.paths['logs']}/{service.unit}.log"),
        *((key, str(given[key])) for key in named if key in given),
    )


def _launch(place: Place, service: ServiceSpec) -> str:
    """What supervisord compares, and not how it is written: a comment or another quoting restarts nothing."""
    return digest_of([_options(place, service), scripts.marks(place, service)])


def _unit_file(place: Place, service: ServiceSpec, launch: str) -> RenderedFile:
    written = {
        "command": lambda path: stanza.escape(shim.quote(path)),
        "stdout_logfile": lambda path: stanza.escape(path, expansions=2),
    }
    options = [(key, written.get(key, stanza.escape)(value)) for key, value in _options(place, service)]
    marks = scripts.marks(place, service) | {"RECONCILE_LAUNCH": launch}
    text = shim.header(scripts.deployment(place), service.unit, place.paths["root"], ";") + stanza.section(
        f"program:{service.unit}", (*options, ("environment", stanza.environment(marks)))
    )
    return RenderedFile(f"{_units(place)}/{service.unit}.conf", 0o600, scripts.encode(text), Role.UNIT, service.name)


LAUNCHER = Supervisor()
