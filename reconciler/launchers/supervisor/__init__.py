"""The launcher `supervisor`: services under a supervisord of the deployment's own.

This module is the pure half; `backend` talks to the daemon.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from reconciler.core.desired import Leaves, Manager, Role, Trace
from reconciler.core.digest import digest, digest_of
from reconciler.launchers import scripts, shim
from reconciler.launchers.base import Backend, Mode, Option, Place, RenderedFile, Rendering, ServiceSpec, Shared
from reconciler.launchers.supervisor import program, stanza

NAME = "supervisor"

_RPC = "supervisor.rpcinterface:make_main_rpcinterface"
_BACKUPS = 3  # rotated copies of supervisord's own log
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


class Supervisor:
    """The pure half; see `base.Launcher`."""

    name: str = NAME
    service_options: Mapping[str, Option] = program.SERVICE_OPTIONS
    settings: Mapping[str, Option] = _SETTINGS
    account_wide: bool = False
    mode: Mode | None = None

    def unit(self, service: str, environment: str, name: str) -> str:  # noqa: ARG002 - each deployment has its own daemon
        return name or service

    def render(self, place: Place, services: Sequence[ServiceSpec]) -> Rendering:
        """Everything that supervisord needs for these services. What `check` refuses must not come here."""
        files, keeper = [_daemon_file(place)], program.Keeper(NAME, _units(place))
        for service in services:
            files += (program.unit_file(place, service, keeper), scripts.script(place, service))
            files.append(scripts.environment(place, service))
        return Rendering(
            files=tuple(files),
            launch={service.name: program.launch(place, service, keeper) for service in services},
            ready_seconds={service.name: float(program.startsecs(service)) for service in services},
            manager=_manager(place),
            ports=(int(str(place.settings["port"])),) if place.settings.get("port") else (),
            traces=(*_traces(place), *(program.log(place, service, NAME) for service in services)),
        )

    def check_settings(self, place: Place) -> str:
        """What stands against a daemon for this deployment, or nothing."""
        settings = place.settings
        if settings.get("port") and not (settings.get("username") and settings.get("password")):
            return "supervisor: port needs username and password: who can connect can run anything as this account"
        for key in ("username", "host"):
            if re.search(r"[\s:;#%\x00-\x1f]", str(settings.get(key) or "")):
                return f"supervisor: {key} must not contain blanks, colons, `;`, `#` or `%`"
        if not re.fullmatch(program.OCTAL, str(settings.get("umask") or "022")):
            return f"supervisor: umask {settings['umask']!r} is not an octal number like '022'"
        return _check_paths(place)

    def check(self, place: Place, service: ServiceSpec) -> str:  # noqa: ARG002 - other launchers need the place
        """What stands against this service, or nothing. Settings of the daemon: `check_settings`."""
        return program.check(NAME, service)

    def backend(self, manager: Manager, shared: Shared | None = None) -> Backend:  # noqa: ARG002 - it asks nothing that others ask too
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


def _traces(place: Place) -> tuple[Trace, ...]:
    """What the daemon itself leaves. It takes pid file and socket away when it ends, unless it is killed."""
    return (
        Trace(Leaves.LOG, f"{place.paths['logs']}/supervisord.log", NAME, "", keep=_BACKUPS),
        Trace(Leaves.PID, f"{place.paths['run']}/supervisord.pid", NAME, ""),
        Trace(Leaves.SOCKET, socket_path(place), NAME, ""),
    )


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


def _daemon_sections(place: Place) -> list[tuple[str, program.Options]]:
    paths = place.paths
    socket = stanza.escape(socket_path(place))
    inet = [("inet_http_server", _inet(place))] if place.settings.get("port") else []
    return [
        (
            "supervisord",
            (
                ("logfile", stanza.escape(f"{paths['logs']}/supervisord.log")),
                ("logfile_maxbytes", "10MB"),
                ("logfile_backups", str(_BACKUPS)),
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


def _inet(place: Place) -> program.Options:
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


LAUNCHER = Supervisor()
