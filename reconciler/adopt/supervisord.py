"""What a supervisord runs that somebody else has set up: its files read by its own parser, its states asked from it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from typing import Any, NamedTuple

from reconciler.adopt import words
from reconciler.adopt.found import Found, Source, UnreadableSource
from reconciler.host import proc, procfs
from reconciler.host.detached import SERVICE_PATH
from reconciler.launchers.adopted.supervisor import CONFIGS, NAME, endpoint, login_of, start_digests
from reconciler.launchers.base import BackendError
from reconciler.launchers.supervisor import rpc
from reconciler.launchers.supervisor.programs import Programs

_ANSWER = 10.0  # seconds to wait for an answer
_UP = ("RUNNING", "STARTING")
_LOG = ("stdout_logfile_maxbytes", "stdout_logfile_backups")
_LOST = ("priority", "serverurl", "stdout_syslog", "stderr_syslog", "stdout_events_enabled", "stderr_events_enabled")


class _Section(NamedTuple):
    """One process as a section of the files describes it, with its parsed form as supervisor has it."""

    name: str  # of the section: "program:web"
    group: str
    config: Any

    @property
    def unit(self) -> str:
        name = str(self.config.name)
        return name if name == self.group else f"{self.group}:{name}"


class _Daemon(NamedTuple):
    """The supervisord that answers."""

    pid: int
    started: float
    environ: Mapping[str, str]
    folder: str  # that it runs in
    umask: int | None
    infos: Mapping[str, Mapping[str, Any]]  # by unit: name, group, state, pid
    configs: Mapping[str, Mapping[str, Any]]  # by unit, as it has read its files last
    starts: Mapping[str, str]


def read(conf: str) -> Source:
    """Everything that the supervisord of this configuration runs. Raises `UnreadableSource`."""
    path = os.path.abspath(conf)
    parsed = _parse(path, {key: value for key, value in os.environ.items() if not key.startswith("RECONCILE_")})
    place, login = _place(path, parsed)
    _refuse_login(path, login)
    daemon = _ask(path, place, login)
    # What is expanded from its environment is known only now.
    parsed = _parse(path, daemon.environ)
    sections = list(_sections(parsed))
    found = tuple(_found(section, daemon) for section in sections)
    missing = sorted(daemon.infos.keys() - {section.unit for section in sections})
    notes = tuple(f"{unit} runs there, and no section of {path} describes it: it was left out" for unit in missing)
    address = (("conf", path), ("socket", place), *([("login", login[0])] if login[0] else []))
    return Source("supervisor", NAME, address, f"the supervisord of {path} (pid {daemon.pid})", found, notes)


# ---------------------------------------------------------------- its files


def _parse(path: str, environ: Mapping[str, str]) -> Any:
    """As supervisor reads its own files; nothing that they name is imported or run."""
    from supervisor.options import ServerOptions

    class Reader(ServerOptions):  # type: ignore[misc]
        section = ""

        def get_plugins(self, *_: object) -> list[object]:
            return []

        def import_spec(self, spec: str) -> str:
            return spec

        def processes_from_section(self, parser: Any, section: str, group_name: str, klass: Any = None) -> Any:
            found = super().processes_from_section(parser, section, group_name, klass)
            for config in found:
                config.reconcile_section = section
            return found

    try:
        os.stat(path)
        with open(path, "rb"), redirect_stderr(StringIO()):
            reader = Reader()
            reader.environ_expansions = {f"ENV_{key}": value for key, value in environ.items()}
            reader.configfile, reader.here = path, os.path.dirname(path)
            reader.read_config(path)
    except OSError as error:
        raise UnreadableSource(path, f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # whatever supervisor's parser meets in a file
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        hint = f"`supervisord -n -c {path}` says the same; mend it first"
        raise UnreadableSource(path, f"supervisor cannot read it: {why}", hint) from error
    return reader.configroot.supervisord


def _sections(parsed: Any) -> Iterator[_Section]:
    for group in parsed.process_group_configs:
        for config in group.process_configs:
            yield _Section(config.reconcile_section, str(group.name), config)


def _place(path: str, parsed: Any) -> tuple[str, tuple[str, str, str]]:
    """Where it listens, and by which section's name and password. A unix socket tells who is behind it."""
    servers = sorted(parsed.server_configs, key=lambda server: "file" not in server)
    if not servers:
        hint = "it needs a [unix_http_server], as `supervisorctl` does"
        raise UnreadableSource(path, "its supervisord listens nowhere, so it cannot be asked", hint)
    first = servers[0]
    login = (first["section"], str(first["username"]), str(first["password"])) if first.get("username") else ("",) * 3
    return str(first.get("file") or f"{first.get('host') or '127.0.0.1'}:{first['port']}"), login


def _refuse_login(path: str, login: tuple[str, str, str]) -> None:
    """Every pass reads it anew, from that file alone. Nobody can log in with a digest."""
    if not login[0]:
        return
    try:
        again = login_of(path, login[0])
    except OSError as error:
        raise UnreadableSource(path, str(error.strerror)) from error
    if again != login[1:] or login[2].startswith("{SHA}"):
        hint = "give it a [unix_http_server] without a password, which the mode of its socket protects"
        raise UnreadableSource(path, f"the password of its [{login[0]}] is not to be had from that file", hint)


# ---------------------------------------------------------------- the daemon


def _ask(path: str, place: str, login: tuple[str, str, str]) -> _Daemon:
    programs = Programs(NAME, endpoint(place, *login[1:]), _ANSWER)
    try:
        pid = programs.call("supervisor.getPID")
        infos = programs.call("supervisor.getAllProcessInfo")
        configs = programs.call(CONFIGS)
    except (BackendError, rpc.Fault) as error:
        hint = f"see `supervisorctl -c {path} status`; only what runs can be adopted"
        raise UnreadableSource(path, f"its supervisord cannot be asked: {error}", hint) from error
    process = proc.look(pid) if isinstance(pid, int) else None
    if not isinstance(pid, int) or process is None:
        raise UnreadableSource(path, f"process {pid}, its supervisord, is not to be seen on this host")
    environ = _environ(pid)
    if environ.get("RECONCILE_DEPLOYMENT"):
        raise UnreadableSource(path, f"it is reconcile's own, of deployment {environ['RECONCILE_DEPLOYMENT']}")
    try:
        folder = os.readlink(f"/proc/{pid}/cwd")
        status = files_status(pid)
    except OSError as error:
        raise UnreadableSource(path, f"its supervisord (pid {pid}) cannot be looked at: {error.strerror}") from error
    by_unit = {_unit(info): info for info in _dicts(infos)}
    return _Daemon(
        pid,
        process.started,
        environ,
        folder,
        int(status["Umask"], 8) if "Umask" in status else None,
        by_unit,
        {_unit(info): info for info in _dicts(configs)},
        start_digests(configs),
    )


def files_status(pid: int) -> dict[str, str]:
    """The fields of /proc/PID/status. Raises `OSError`."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}


def _dicts(answer: object) -> list[Mapping[str, Any]]:
    return [item for item in answer if isinstance(item, dict)] if isinstance(answer, list) else []


def _unit(info: Mapping[str, Any]) -> str:
    name, group = str(info.get("name")), str(info.get("group"))
    return name if name == group else f"{group}:{name}"


def _environ(pid: int) -> dict[str, str]:
    """What a process began with; nothing where that cannot be read, or was overwritten."""
    try:
        entries = procfs.environ(str(pid))[1:].split(b"\0")
    except OSError:
        return {}
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if b"=" in entry)
    return {key: value for key, _, value in pairs}


# ---------------------------------------------------------------- one program


def _found(section: _Section, daemon: _Daemon) -> Found:
    config, info = section.config, daemon.infos.get(section.unit, {})
    state, pid = str(info.get("statename", "ABSENT")), int(info.get("pid", 0) or 0)
    process = proc.look(pid) if pid else None
    title = section.name.partition(":")[2]
    name = words.service_name(str(config.name))
    argv, path_notes = _argv(config, daemon)
    env = {str(key): str(value) for key, value in config.environment.items()}
    folder = config.directory or ("" if daemon.folder == "/" else daemon.folder)
    env |= _search_path(env, daemon)
    unwritable = _edited(section, daemon)
    try:
        signal = words.signal_name(int(config.stopsignal))
    except ValueError:
        signal, unwritable = "", unwritable or f"its stopsignal {int(config.stopsignal)} has no name"
    seconds = int(config.stopwaitsecs)
    return Found(
        unit=section.unit,
        name=name,
        component=words.service_name(title),
        group=words.service_name(section.group),
        argv=argv,
        env=env,
        directory=str(folder),
        options=_options(config, daemon),
        stop_signal=signal,
        stop_seconds=None if seconds == 10 else seconds,
        pid=pid if process else 0,
        started=process.started if process else 0.0,
        state=state,
        start=daemon.starts.get(section.unit, ""),
        why_not=_why_not(section, daemon, state, process is not None),
        unwritable=unwritable or words.against(argv, env, str(folder)) or _environment_differs(config, pid),
        off="" if process and state in _UP else f"it was {state} when it was adopted",
        notes=(*path_notes, *_notes(config)),
    )


def _why_not(section: _Section, daemon: _Daemon, state: str, runs: bool) -> str:
    kind, config = section.name.partition(":")[0], section.config
    if kind == "eventlistener":
        return "it is an event listener, which lives by what its own supervisord tells it"
    if kind == "fcgi-program" or "socket_config" in vars(config):
        return "it is a FastCGI program, whose socket its own supervisord holds"
    if config.uid not in (None, os.geteuid()):
        return f"it runs as another account (uid {config.uid})"
    if section.unit not in daemon.configs or state == "ABSENT":
        return "its supervisord has not read this section yet: `supervisorctl update` starts it"
    if state == "BACKOFF":
        return "it does not come up at the moment (BACKOFF)"
    return "" if runs or state not in _UP else "its process cannot be seen"


def _edited(section: _Section, daemon: _Daemon) -> str:
    config, known = section.config, daemon.configs.get(section.unit)
    if known is None:
        return ""
    if (str(config.command), str(config.directory or "none")) == (str(known["command"]), str(known["directory"])):
        return ""
    return "its section was changed since its supervisord has read it: put it back, or `supervisorctl update`"


def _environment_differs(config: Any, pid: int) -> str:
    """It was started from another section than the one that stands there now. What hides its environment passes."""
    environ = _environ(pid) if pid else {}
    if not environ.get("SUPERVISOR_ENABLED"):
        return ""
    other = sorted(key for key, value in config.environment.items() if environ.get(str(key)) != str(value))
    return f"it runs with another value of {', '.join(other)} than its section says now" if other else ""


def _argv(config: Any, daemon: _Daemon) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """As supervisor splits it; no shell is asked. A program that services would not find is named by its path."""
    import shlex

    try:
        argv = shlex.split(str(config.command))
    except ValueError:
        return (), ()
    if not argv or "/" in argv[0]:
        return tuple(argv), ()
    theirs = _which(argv[0], daemon.environ.get("PATH", SERVICE_PATH))
    if theirs and theirs != _which(argv[0], str(config.environment.get("PATH", SERVICE_PATH))):
        return (theirs, *argv[1:]), (f"{argv[0]} is {theirs} there",)
    return tuple(argv), ()


def _which(program: str, search: str) -> str:
    import shutil

    return shutil.which(program, path=search) or ""


def _search_path(env: Mapping[str, str], daemon: _Daemon) -> dict[str, str]:
    """What it may call is found where it is now."""
    theirs = daemon.environ.get("PATH", "")
    usual = {*SERVICE_PATH.split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin"}
    return {} if "PATH" in env or set(theirs.split(":")) <= {*usual, ""} else {"PATH": theirs}


def _options(config: Any, daemon: _Daemon) -> dict[str, object]:
    """Where they are others than `launchers.supervisor` has by itself."""
    codes = ",".join(str(code) for code in config.exitcodes)
    umask = config.umask if config.umask is not None else daemon.umask
    found: dict[str, tuple[object, object]] = {
        "startsecs": (int(config.startsecs), 1),
        "startretries": (int(config.startretries), 3),
        "autorestart": (_autorestart(config.autorestart), "true"),
        "exitcodes": (codes, "0"),
        _LOG[0]: (str(int(config.stdout_logfile_maxbytes)), str(50 << 20)),
        _LOG[1]: (int(config.stdout_logfile_backups), 10),
        "umask": (f"{umask or 0:03o}", "022"),
    }
    if umask is None:
        del found["umask"]
    return {key: value for key, (value, usual) in found.items() if value != usual}


def _autorestart(value: object) -> str:
    if not value:
        return "false"
    return "unexpected" if getattr(value, "__name__", "") == "RestartWhenExitUnexpected" else "true"


def _notes(config: Any) -> tuple[str, ...]:
    notes = []
    log = config.stdout_logfile
    if isinstance(log, str) and log:
        notes.append(f"logs to {log}; from its first change on to the logs of the deployment")
    usual = {"priority": 999}
    lost = [key for key in _LOST if getattr(config, key, None) not in (None, False, usual.get(key))]
    if lost:
        notes.append(f"not taken: {', '.join(f'{key}={getattr(config, key)}' for key in lost)}")
    if not config.autostart:
        notes.append("autostart=false there; a service of reconcile is always to run")
    if _autorestart(config.autorestart) == "false":
        notes.append("not restarted by its supervisord when it ends; the next pass does")
    return tuple(_printable(note) for note in notes)


def _printable(text: str) -> str:
    return re.sub(r"[^\x20-\x7e\xa0-\ud7ff]", "?", text)


def select(source: Source, names: Sequence[str]) -> Source:
    """Only these: units, programs by their own names, groups. Raises `UnreadableSource` for one that is not there."""
    known = {one.unit for one in source.found}
    called = {one.unit: {one.unit, *one.unit.partition(":")[::2]} for one in source.found}
    unknown = [name for name in names if not any(name in every for every in called.values())]
    if unknown:
        hint = f"known: {', '.join(sorted(known))}"
        raise UnreadableSource(unknown[0], f"{source.place} has no program of this name", hint)
    chosen = tuple(one for one in source.found if not names or called[one.unit] & {*names})
    return source._replace(found=chosen)
