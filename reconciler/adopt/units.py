"""What the account's systemd runs that somebody else has set up: units are asked for, and their files read."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence

from reconciler.adopt import words
from reconciler.adopt.found import Found, Source, UnreadableSource
from reconciler.adopt.unit_text import Odd, Sections, command, expanded, seconds, sections, specified, split
from reconciler.host import proc, procfs
from reconciler.host.detached import SERVICE_PATH
from reconciler.host.run import CommandFailed, run
from reconciler.launchers.adopted.systemd import NAME, start_digest
from reconciler.launchers.base import BackendError
from reconciler.launchers.systemd.control import Control, account
from reconciler.launchers.systemd.show import PROPERTIES, Block

_ANSWER = 30.0  # seconds to wait for systemctl
_MORE = ("WorkingDirectory", "UMask", "TriggeredBy")
_SUFFIX = ".service"
# What is taken over, and what makes no difference to how a program runs. All else keeps a unit from being a service.
_TAKEN = frozenset(
    (
        *("Type", "ExecStart", "Environment", "EnvironmentFile", "WorkingDirectory", "UMask"),
        *("Restart", "RestartSec", "KillSignal", "TimeoutStopSec", "TimeoutSec"),
        *("LimitNOFILE", "MemoryMax", "CPUQuota", "Nice"),
    )
)
_NOTHING = frozenset(
    (
        *("SyslogIdentifier", "StandardOutput", "StandardError", "SyslogLevel", "SyslogFacility"),
        *("KillMode", "SendSIGKILL", "TimeoutStartSec", "ExecReload", "OOMPolicy", "Slice"),
        *("StartLimitInterval", "StartLimitBurst"),
    )
)
_RESTARTS = ("always", "on-failure", "no")
_OPTIONS = {"LimitNOFILE": "limit_nofile", "MemoryMax": "memory_max", "CPUQuota": "cpu_quota", "Nice": "nice"}


def read(names: Sequence[str]) -> Source:
    """These units of the account's manager. Raises `UnreadableSource`."""
    control = Control("user", _ANSWER)
    units = [name if name.endswith(_SUFFIX) else name + _SUFFIX for name in names]
    try:
        blocks = control.show(units, (*PROPERTIES, *_MORE))
    except BackendError as error:
        raise UnreadableSource("systemd", str(error), "only what runs can be adopted") from error
    absent = next((name for name in units if blocks[name].get("LoadState") == "not-found"), "")
    if absent:
        hint = "`systemctl --user list-units --type=service` names them"
        raise UnreadableSource(absent, "systemd knows no unit of this name", hint)
    found = tuple(_found(name, blocks[name], _cat(control, name)) for name in dict.fromkeys(units))
    return Source("systemd", NAME, (("scope", "user"),), f"systemd --user of {account()}", found)


def known(names: Sequence[str]) -> set[str]:
    """Those of these units that the account's manager knows. Raises `UnreadableSource`."""
    try:
        blocks = Control("user", _ANSWER).show(names, ("Id", "Names", "LoadState", "ActiveState"))
    except BackendError as error:
        raise UnreadableSource("systemd", str(error)) from error
    return {name for name in names if blocks[name].get("LoadState") != "not-found"}


def _cat(control: Control, name: str) -> str:
    try:
        printed = run(control.argv("cat", "--", name), timeout=_ANSWER, env=control.env()).out
        return printed.decode(errors="surrogateescape")
    except CommandFailed as error:
        raise UnreadableSource(name, f"its file cannot be read: {error}") from error


# ---------------------------------------------------------------- one unit


def _found(name: str, block: Block, text: str) -> Found:
    pid = int(block.get("MainPID", "0"))
    process = proc.look(pid) if pid else None
    said = sections(text)
    environ = _environ(pid) if process else {}
    stem = name.removesuffix(_SUFFIX)
    service = words.service_name(stem)
    state = block.get("ActiveState", "")
    runs = process is not None and state == "active"
    bare = Found(
        unit=name, name=service, component=words.service_name(stem.partition("@")[0]), group="", argv=(), env={},
        directory="", options={}, stop_signal="", stop_seconds=None, pid=pid if process else 0,
        started=process.started if process else 0.0, state=state, start=start_digest(block),
    )  # fmt: skip
    bare = bare._replace(why_not=_why_not(block, text), off="" if runs else f"it was {state} when it was adopted")
    unwritable = _unwritable(block, said)
    if bare.why_not or unwritable:
        return bare._replace(unwritable=unwritable)
    try:
        found = _described(bare, block, said.get("Service", {}), _meanings(name), environ if runs else None)
    except Odd as odd:
        return bare._replace(unwritable=f"it {odd}" if not str(odd).startswith("its ") else str(odd))
    return found._replace(unwritable=words.against(found.argv, found.env, found.directory) or _differs(found, environ))


def _why_not(block: Block, text: str) -> str:
    if "managed by reconcile:" in text:
        return "it is run by reconcile already"
    return f"it is started by {block['TriggeredBy']}" if block.get("TriggeredBy") else ""


def _unwritable(block: Block, said: Sections) -> str:
    if block.get("NeedDaemonReload") == "yes":
        return "its file was changed since systemd has read it: `systemctl --user daemon-reload`"
    service = said.get("Service", {})
    kind = block.get("Type", "simple")
    if kind not in ("simple", "exec"):
        return f"its Type is {kind}: a service of reconcile stays in the foreground and says nothing to systemd"
    odd = sorted(set(service) - _TAKEN - _NOTHING - {key for key in service if key.startswith("X-")})
    return f"it has {', '.join(f'{key}=' for key in odd)}, which a service cannot say" if odd else ""


def _described(
    bare: Found,
    block: Block,
    service: Mapping[str, Sequence[str]],
    meanings: Mapping[str, str],
    environ: Mapping[str, str] | None,
) -> Found:
    """Raises `Odd`. `environ`: of its process, from which the values of what files set are taken."""
    argv, expands = command(service.get("ExecStart", ()), meanings)
    if " ".join(argv) != _shown(block):
        raise Odd("its ExecStart= cannot be read as systemd reads it")
    env = dict(_assignments(service.get("Environment", ()), meanings))
    private = _from_files(service.get("EnvironmentFile", ()), meanings, environ)
    env |= private
    folder = block.get("WorkingDirectory", "").removeprefix("!") or "~"
    argv = expanded(argv, env) if expands else argv
    stop = seconds(block.get("TimeoutStopUSec", ""))
    if stop is None:
        raise Odd("its TimeoutStopSec= has no end")
    return bare._replace(
        argv=tuple(argv),
        env=env | _search_path(env, environ or {}),
        directory=meanings["h"] if folder == "~" else folder,
        options=dict(_options(block, service)),
        stop_signal=_signal(block),
        stop_seconds=None if stop == 10 else math.ceil(stop),
        notes=tuple(_notes(service)),
        private=frozenset(private),
    )


def _shown(block: Block) -> str:
    found = re.search(r"argv\[\]=(.*?) ; ignore_errors=", block.get("ExecStart", ""), re.DOTALL)
    return found[1] if found else ""


def _meanings(name: str) -> dict[str, str]:
    """Of the specifiers that units are commonly written with."""
    import pwd

    stem = name.removesuffix(_SUFFIX)
    prefix, _, instance = stem.partition("@")
    entry = pwd.getpwuid(os.geteuid())
    runtime = Control("user", _ANSWER).runtime
    own = {"%": "%", "n": name, "N": stem, "p": prefix, "h": os.environ.get("HOME") or entry.pw_dir, "t": runtime}
    return own | {"u": entry.pw_name, "U": str(os.geteuid())} | ({"i": instance} if "\\" not in instance else {})


def _assignments(values: Sequence[str], meanings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for word in (word for value in values for word in split(value)):
        key, equals, text = specified(word, meanings).partition("=")
        if not equals:
            raise Odd("has a word in Environment= that sets nothing")
        yield key, text


def _from_files(
    values: Sequence[str], meanings: Mapping[str, str], environ: Mapping[str, str] | None
) -> dict[str, str]:
    """The variables that files set: their names from there, their values from the process that has them."""
    names: set[str] = set()
    for value in values:
        path = specified(value.removeprefix("-"), meanings)
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                names |= set(re.findall(r"^\s*([A-Za-z_]\w*)\s*=", file.read(), re.MULTILINE))
        except FileNotFoundError:
            if not value.startswith("-"):
                raise Odd("its EnvironmentFile= is not there any more") from None
        except OSError as error:
            raise Odd(f"its EnvironmentFile= cannot be read: {error.strerror}") from error
    if names and not environ:
        raise Odd("its EnvironmentFile= can only be taken from a process that runs and shows its environment")
    return {name: environ[name] for name in sorted(names) if environ and name in environ}


def _environ(pid: int) -> dict[str, str]:
    try:
        entries = procfs.environ(str(pid))[1:].split(b"\0")
    except OSError:
        return {}
    return {key: value for key, _, value in (os.fsdecode(entry).partition("=") for entry in entries if b"=" in entry)}


def _differs(found: Found, environ: Mapping[str, str]) -> str:
    if "PATH" not in environ:  # it hides its environment
        return ""
    other = sorted(key for key, value in found.env.items() if environ.get(key) != value)
    return f"it runs with another value of {', '.join(other)} than its file says now" if other else ""


def _search_path(env: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    theirs = environ.get("PATH", "")
    usual = {*SERVICE_PATH.split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin", ""}
    return {} if "PATH" in env or set(theirs.split(":")) <= usual else {"PATH": theirs}


def _options(block: Block, service: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, object]]:
    restart = block.get("Restart", "no")
    if restart not in _RESTARTS:
        raise Odd(f"has Restart={restart}, which a service cannot say")
    if restart != "always":
        yield "restart", restart
    pause = seconds(service.get("RestartSec", ["1"])[-1])
    if pause is None:
        raise Odd("its RestartSec= has no end")
    if math.ceil(pause) != 1:
        yield "restart_sec", math.ceil(pause)
    umask = block.get("UMask", "0022")[-3:]
    if umask != "022":
        yield "umask", umask
    for key, name in _OPTIONS.items():
        if key in service:
            value = service[key][-1]
            yield name, int(value) if re.fullmatch(r"-?\d+", value) and name in ("limit_nofile", "nice") else value


def _signal(block: Block) -> str:
    text = block.get("KillSignal", "15")
    if not text.isdecimal():
        name = text.removeprefix("SIG")
        return "" if name == "TERM" else name
    try:
        return words.signal_name(int(text))
    except ValueError:
        raise Odd(f"has KillSignal={text}, which has no name") from None


def _notes(service: Mapping[str, Sequence[str]]) -> Iterator[str]:
    lost = sorted(key for key in service if key in _NOTHING)
    if lost:
        yield f"not taken: {', '.join(f'{key}=' for key in lost)}"
