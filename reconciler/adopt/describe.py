"""From what was found to what a layer says of it: as services, or as what others run where that cannot be."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reconciler.adopt import words
from reconciler.adopt.found import Found, Source
from reconciler.adopt.layer import Entry, Parts
from reconciler.host import procfs
from reconciler.launchers.shim import quote

VERSION = "adopted"  # of what nobody has given one yet
_OURS = {"supervisor": "", "systemd": "systemd"}  # what `launcher` says; the usual one needs no word


class Described(NamedTuple):
    """One program, and what becomes of it."""

    name: str
    found: Found
    taken: bool  # it is a service, or one with `enabled: false`
    why: str  # why it is not, or why it is not to run
    entry: Entry
    private: str  # the content of the file with its secrets; empty: none
    secrets: tuple[str, ...]  # the variables that stand there

    @property
    def runs(self) -> bool:
        """Its process counts as the service."""
        return self.taken and not self.found.off


class Home(NamedTuple):
    """Where it comes in."""

    root: str  # of the deployment
    account: str
    units: Mapping[str, str] = {}  # by service, what it is called where its usual name is somebody else's


def describe(source: Source, home: Home, refused: Mapping[str, str]) -> list[Described]:
    """`refused`: by unit, why it cannot be a service after all."""
    names: dict[str, str] = {}
    bare = [one.name for one in source.found]
    for one in source.found:
        alone = one.given or bare.count(one.name) == 1 or one.group in ("", one.name)
        better = one.name if alone else f"{one.group}-{one.name}"
        names[one.unit] = words.unlike(better or "program", names.values())
    why = {one.unit: one.why_not or one.unwritable or refused.get(one.unit, "") for one in source.found}
    return [
        _left(source, one, names[one.unit], why[one.unit], home.account)
        if why[one.unit]
        else _taken(source, one, names[one.unit], home)
        for one in source.found
    ]


class Over(NamedTuple):
    """What git says of a service that is to be described as it runs instead."""

    service: str
    env: frozenset[str]
    component: str  # of its own: what bumps the one of git is not what runs
    prologue: bool


def describe_over(source: Source, found: Found, home: Home, over: Over) -> Described:
    """What is not said anew here stays as git has it: its group, its launcher, what it comes after."""
    one = _taken(source, found, over.service, home)
    values = {key: value for key, value in one.entry.values.items() if key not in ("launcher", "group")}
    env = values.get("env", {})
    gone = dict.fromkeys(sorted(over.env - (env.keys() if isinstance(env, Mapping) else set())))
    values["component"] = over.component
    values |= {"env": {**env, **gone}} if isinstance(env, Mapping) and gone else {}
    values |= {"prologue": ""} if over.prologue and "prologue" not in values else {}
    return one._replace(entry=Entry(over.service, values, one.entry.comments))


def parts(described: Sequence[Described], root: str) -> Parts:
    """`root`: the deployment's, where no layer says it; else empty."""
    components = dict.fromkeys(str(one.entry.values["component"]) for one in described if one.taken)
    return Parts(
        versions=dict.fromkeys(components, VERSION),
        components={name: {"install": "none"} for name in components},
        services=tuple(one.entry for one in described),
        paths={"root": words.literal(root)} if root else {},
    )


def secret_path(root: str, name: str) -> str:
    return f"{root}/secrets/{name}.env"


def _left(source: Source, found: Found, name: str, why: str, account: str) -> Described:
    comments = _comments(source, found, f"not managed: {why}", ())
    entry = Entry(name, _unmanaged(source, found, account), comments)
    return Described(name, found, taken=False, why=why, entry=entry, private="", secrets=())


def _taken(source: Source, found: Found, name: str, home: Home) -> Described:
    secrets = words.secret_variables(found.env) | found.private
    open_ = {key: value for key, value in found.env.items() if key not in secrets}
    private = words.private_lines({key: found.env[key] for key in sorted(secrets & found.env.keys())})
    values = _service(source, found, open_, secret_path(home.root, name) if private else "")
    values |= {"name": home.units[name]} if name in home.units else {}
    entry = Entry(name, values, _comments(source, found, found.off, found.notes))
    return Described(
        name, found, taken=True, why=found.off, entry=entry, private=private, secrets=tuple(sorted(secrets))
    )


def _service(source: Source, found: Found, env: Mapping[str, str], private: str) -> dict[str, object]:
    stop: dict[str, object] = {"signal": found.stop_signal} if found.stop_signal else {}
    stop |= {"grace": found.stop_seconds} if found.stop_seconds is not None else {}
    values: dict[str, object] = {
        "component": found.component,
        "launcher": _OURS[source.launcher],
        "group": found.group if found.group != found.component else "",
        "command": words.literal(words.command(found.argv, found.directory)),
        "env": {key: words.literal(value) for key, value in env.items()},
        "prologue": words.literal(f". {quote(private)}") if private else "",
        "stop": stop,
        source.launcher: dict(found.options),
        "enabled": not found.off,
    }
    return {key: value for key, value in values.items() if value not in ("", {}) and (key, value) != ("enabled", True)}


def _unmanaged(source: Source, found: Found, account: str) -> dict[str, object]:
    """Seen by its unit where its daemon is one that git can name; else by its command line."""
    if source.launcher == "systemd":
        return {"managed": False, "launcher": "systemd", "name": found.unit}
    shown = _words(found) or list(found.argv) or [found.unit]
    values: dict[str, object] = {"managed": False, "process": words.literal(words.pattern(shown))}
    uid = _owner(found.pid)
    return values if uid is None else values | {"user": account if uid == os.geteuid() else str(uid)}


def _words(found: Found) -> list[str]:
    if not found.pid:
        return []
    try:
        return os.fsdecode(procfs.arguments(found.pid).rstrip(b"\0")).split("\0")
    except OSError:
        return []


def _owner(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid if pid else None
    except OSError:
        return None


def _comments(source: Source, found: Found, why: str, notes: Sequence[str]) -> tuple[str, ...]:
    where = f"{found.unit} of {source.launcher}"
    said = (f"{where}; {why}" if why else where, *notes)
    return tuple(re.sub(r"[^\x20-\x7e\xa0-\ud7ff]", "?", text) for text in said)
