"""What a layer may hold, as one table. Validation, the evaluation's defaults and the editor's schema come from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple

from reconciler import install, launchers
from reconciler.launchers.base import Mode, Option

# A name ends up in paths, in the launchers' own files and on command lines.
NAME = "^[A-Za-z0-9][A-Za-z0-9._-]*$"
VERSION = "^[A-Za-z0-9][A-Za-z0-9._+!-]*$"
VARIABLE = "^[A-Za-z_][A-Za-z0-9_]*$"
MODE = "^0?[0-7]{3}$"
PERCENT = "^(100|[0-9]{1,2})%$"
SPAN = "^[0-9]{1,6}[smhd]$"
SIZE = "^[0-9]{1,9}[KMGTP]$"  # bytes, in powers of 1000; a number alone may mean anything

FOLDERS = ("bin", "config", "logs", "run", "images", "venvs")
SIGNALS = ("TERM", "HUP", "INT", "QUIT", "KILL", "USR1", "USR2")


class Kind(Enum):
    """What stands behind a key."""

    TEXT = "text"
    VERSION = "version"  # text that must be quoted, or it may be read as a number
    MODE = "mode"  # text that must be quoted, for the same reason
    VALUE = "scalar"  # text, number or truth value; taken as it is written
    NUMBER = "number"
    FLAG = "flag"
    LIMIT = "limit"  # a number or a percentage
    SPAN = "span"  # a length of time
    NAMES = "names"  # a list of names
    WORDS = "words"  # a text, or a list of them
    PORTS = "ports"  # a list of numbers, or a mapping of name to number
    ANYTHING = "anything"
    CLOSED = "closed"  # a mapping whose keys are known
    OPEN = "open"  # a mapping by names that the author chooses
    OPTIONS = "options"  # a mapping whose keys a launcher knows


class Key(NamedTuple):
    """One key of a mapping."""

    kind: Kind
    help: str
    keys: Mapping[str, Key] = {}
    each: Key | None = None
    names: str = NAME  # of the keys of an open mapping
    choices: tuple[str, ...] = ()
    minimum: int = 0
    options: str = ""  # "service" or "settings": which of the launcher's tables
    example: str = ""  # how a text is to be written, where one that is a number in quotes would be wrong too


def _text(words: str, *, choices: tuple[str, ...] = (), example: str = "") -> Key:
    return Key(Kind.TEXT, words, choices=choices, example=example)


def _closed(words: str, **keys: Key) -> Key:
    return Key(Kind.CLOSED, words, keys=keys)


def _open(words: str, each: Key, names: str = NAME) -> Key:
    return Key(Kind.OPEN, words, each=each, names=names)


def _options(which: str) -> dict[str, Key]:
    words = "What this launcher is told " + ("about the service" if which == "service" else "about itself")
    return {name: Key(Kind.OPTIONS, words, options=which) for name in launchers.NAMES}


_CONTAINER = _closed(
    "How an image is run, where the install method makes one; a service's own keys win over its component's",
    mode=_text(
        "run: in the foreground; instance: in the background. Default: what the launcher needs, else run",
        choices=tuple(mode.value for mode in Mode),
    ),
    instance=_text("The name of the instance; default: the service's name on the host"),
    program=_text("Apptainer; default apptainer, found on PATH"),
    mounts=_open("What is mounted into it, by names of your choice", _text('As --mount takes it: "src=/a,dst=/b,ro"')),
    options=Key(Kind.NAMES, 'Further options for Apptainer, each word one: ["--nv"]'),
    home=Key(Kind.FLAG, "true: the account's home is visible inside; default false"),
    cleanenv=Key(Kind.FLAG, "false: the environment outside is visible inside too; default true"),
    configdir=_text("Where Apptainer keeps its records of instances; default ~/.apptainer"),
)

_COMPONENT = _closed(
    "Something with a version that is installed",
    install=_text("How a version gets onto the host", choices=install.NAMES),
    requirement=_text("venv: what pip installs"),
    image=_text("apptainer-sif, apptainer-docker: the file below paths.images"),
    source=_text("Where the image comes from: a path or an Apptainer URI"),
    sha256=_text("apptainer-sif: what the image's SHA-256 must be"),
    container=_CONTAINER,
    python=_text("The interpreter that makes the venv; default python3"),
    prologue=_text("Shell lines before the command and before the build"),
    keep=Key(Kind.NUMBER, "How many old versions stay on the host; default: all"),
    keep_bytes=_text(
        "More than `keep` stay as long as all versions together have no more bytes than this, like 20G",
        example='"20G"; units are powers of 1000',
    ),
)

_FILE = _closed(
    "A file made from a template",
    template=_text("Its name below templates/"),
    path=_text("Where it goes; absolute, below one of the paths"),
    mode=Key(Kind.MODE, 'Permissions as a quoted octal number; default "0640", or "0600" where a secret is inside'),
)

_STOP = _closed(
    "How the service is stopped",
    signal=_text("The first signal; default TERM", choices=SIGNALS),
    grace=Key(Kind.NUMBER, "Seconds until it is killed; default 10"),
)

_DRAIN = _closed(
    "A command that is waited for before each stop; it gets the env of the service, and its pid as MAINPID",
    command=_text("The lines for bash; required"),
    timeout=Key(Kind.SPAN, "How long it may take before the stop goes on without it; default 30s"),
)

_STRATEGY = _closed(
    "How a new specification is rolled out, and what becomes of one that fails",
    rollback=Key(Kind.FLAG, "Whether it goes back to the last that was healthy; default: where it has `health`"),
    canary=Key(Kind.FLAG, "replicas: one is changed first, and must prove healthy; default false"),
    max_unavailable=Key(Kind.LIMIT, 'replicas: how many are changed at once: a number, or a percentage; default "25%"'),
)

_TIMEOUT = Key(Kind.SPAN, "How long it may take; default: that of health, 5s")

_HEALTH = _closed(
    "How it is seen that the service does its work; all that is said must be so",
    http=_closed(
        "An address of HTTP that must answer",
        url=_text("The whole address, instead of port and path"),
        port=Key(Kind.NUMBER, "The port, on localhost", minimum=1),
        path=_text("The path; default /"),
        status=Key(Kind.NUMBER, "The status that it must answer with; default: any from 200 to 399", minimum=100),
        body=_text("A regular expression that the answer must hold"),
        version_json=_text("The field of the answer, a JSON object, that must be the version: build.version"),
        version_header=_text("The header that must be the version"),
        ca=_text("A file with the certificates that count for https, instead of those that the host trusts"),
        timeout=_TIMEOUT,
    ),
    tcp=_closed(
        "A port that must take connections",
        host=_text("default localhost"),
        port=Key(Kind.NUMBER, "The port; required", minimum=1),
        timeout=_TIMEOUT,
    ),
    exec=_closed(
        "A command that must succeed; it gets the env of the service",
        command=_text("The lines for bash; required"),
        timeout=_TIMEOUT,
    ),
    log=_closed(
        "What the log says since the service has started",
        must=_text("A regular expression that must have appeared"),
        must_not=_text("A regular expression that must not"),
        file=_text("The file; default: what the service prints"),
        timeout=_TIMEOUT,
    ),
    heartbeat=_closed(
        "A file that the service must touch time and again",
        file=_text("Its path; required"),
        within=Key(Kind.SPAN, "How old it may be: 60s; required"),
        timeout=_TIMEOUT,
    ),
    start_period=Key(Kind.SPAN, "How long it may take from its start until it is so; default 30s"),
    interval=Key(Kind.SPAN, "How long an answer stands before it is asked again; default 10s"),
    retries=Key(Kind.NUMBER, "How many bad answers in a row make a healthy service degraded; default 3", minimum=1),
    settle=Key(Kind.SPAN, "How long all must be well before it counts as healthy; default 5s"),
    timeout=Key(Kind.SPAN, "How long each probe may take; default 5s"),
)

_VERIFY = _closed(
    "A setting of something outside; that it is another is told",
    command=_text("The lines for bash that print it; required"),
    equals=Key(Kind.VALUE, "What they must print"),
    matches=_text("Or a regular expression that it must hold"),
    interval=Key(Kind.SPAN, "How long a good answer stands; default 1h"),
    timeout=Key(Kind.SPAN, "How long they may take; default 10s"),
)

_SYNC = _text(
    "What a commit brings: automatic (done by the next pass), or manual (a person approves it first)",
    choices=("automatic", "manual"),
)

_GUARD = _closed(
    "A command that must succeed before the service is stopped or removed; it gets its env",
    command=_text("The lines for bash; required"),
    timeout=Key(Kind.SPAN, "How long they may take; default 30s"),
)

_SERVICE_KEYS = {
    "component": _text("The component it belongs to; default: its own name"),
    "launcher": _text("What keeps it running; default supervisor", choices=launchers.NAMES),
    "group": _text("Shown and addressed together; default: the component"),
    "name": _text("Its name on the host; default: its key"),
    "command": _text("The shell command that runs it"),
    "files": Key(Kind.NAMES, "The files that it reads: it restarts when one of them changes"),
    "env": _open("Environment variables", Key(Kind.VALUE, "The value"), VARIABLE),
    "after": Key(Kind.NAMES, "Services that start before it and stop after it"),
    "prologue": _text("Shell lines before the command; default: the component's"),
    "on_start": _text("Shell lines for when the node is another than at the last start; they may fail"),
    "enabled": Key(Kind.FLAG, "false: it is stopped and left alone; default true"),
    "managed": Key(Kind.FLAG, "false: others run it, it is only looked at; default true"),
    "process": _text("Not managed: a regular expression that its command line holds"),
    "user": _text("Not managed, by process: whose it is; default: anybody's"),
    "account": Key(Kind.WORDS, "Who runs it; default: the deployment's. Other accounts leave it alone"),
    "host": Key(Kind.WORDS, "Where it runs, as a name or a pattern; default: the deployment's"),
    "ports": Key(Kind.PORTS, "The ports that it listens on", minimum=1),
    "stop": _STOP,
    "drain": _DRAIN,
    "replicas": Key(Kind.NUMBER, "How many of it run, as NAME-1, NAME-2, ...; `replica` in its strings is the number"),
    "strategy": _STRATEGY,
    "sync": _SYNC._replace(help=f"{_SYNC.help}; default: that of the policy"),
    "guard": _open("What must be so before it is stopped or removed, by names of your choice", _GUARD),
    "health": _HEALTH,
    "verify": _open("Settings of something outside that belong to it", _VERIFY),
    "container": _CONTAINER,
    **_options("service"),
}

_WINDOW = _closed(
    "A time in which a pass may, or may not, do what git says anew",
    deny=_text('Nothing new is done from this time on: a cron expression, such as "0 22 * * mon-fri"'),
    allow=_text("Something new is done from this time on only: a cron expression"),
    slurm_reservation=Key(Kind.FLAG, "true: nothing new is done while a maintenance of Slurm's is near or active"),
    **{"for": Key(Kind.SPAN, "How long it stays open: 90s, 30m, 8h, 2d")},
    zone=_text("Whose clocks deny and allow go by, such as Europe/Berlin; default: this host's"),
    buffer=Key(Kind.SPAN, "slurm_reservation: how long before the maintenance; default 2h"),
    nodes=_text("slurm_reservation: the nodes that count, as Slurm lists them: nid[001-100]; default: all"),
    partition=_text("slurm_reservation: the partition that counts; default: all"),
    holds=_text("What waits: changes (of a commit), or all (drift too); default changes", choices=("changes", "all")),
    services=Key(Kind.NAMES, "Only these services; default: the whole deployment"),
)

_CLEANUP = _closed(
    "What of a scratch folder goes, and when",
    root=_text("The folder; nothing outside of it is touched; required"),
    older_than=Key(Kind.NUMBER, "Days, as with `find -mtime +N`: it goes after N + 1 full ones; required"),
    min_depth=Key(Kind.NUMBER, "How deep an entry must lie; 1 is what lies in the root itself, the default", minimum=1),
    max_depth=Key(Kind.NUMBER, "How deep it may lie; default: any; what is below it goes with it", minimum=1),
    type=_text("d: folders; f: plain files; any: the default", choices=("any", "d", "f")),
    age=_text(
        "self: by the entry's own date, the default; newest: a folder by the newest file below it",
        choices=("self", "newest"),
    ),
    exclude=Key(Kind.NAMES, "Patterns of names, or with a slash of paths from the root on, that stay"),
    schedule=_text('When it comes: a cron expression, such as "0 2 * * sun"; default: once in a night'),
    zone=_text("Whose clocks the schedule goes by, such as Europe/Berlin; default: this host's"),
    free_below=_text(
        'It comes early while less than this is free, oldest first, until it is: "10%", "500G"',
        example='"10%" or "500G"',
    ),
    in_use=_closed(
        "What tells what must stay: a path or a name in each line. Where it fails nothing is removed",
        command=_text("Lines for bash that print it"),
        file=_text("Or a file that holds it"),
    ),
    root_is=_text("What a root else must not be: mount, a mount point; home, the account's", choices=("mount", "home")),
    minutes=Key(Kind.NUMBER, "How long one pass may take for it; the next one goes on; default 2", minimum=1),
    entries=Key(Kind.NUMBER, "How many one pass may remove; default: any number", minimum=1),
)

_PATHS = {
    "root": _text("The folder of this deployment; required"),
    **{name: _text(f"default: the folder {name} below root") for name in FOLDERS},
}

LAYER = Key(
    Kind.CLOSED,
    "One layer of the desired state",
    keys={
        "environments": Key(Kind.NAMES, "The environments that the site has; in a site's own file only"),
        "account": Key(Kind.WORDS, "Who runs it, one or several: passes of any other account leave it alone"),
        "host": Key(Kind.WORDS, "Where it runs, by names or patterns such as login[12]; elsewhere it is left alone"),
        "versions": _open("The version of each component, quoted", Key(Kind.VERSION, "A quoted version")),
        "vars": _open("Anything; usable by its name in strings and templates", Key(Kind.ANYTHING, "Any value"), "."),
        "paths": Key(Kind.CLOSED, "The folders of the deployment", keys=_PATHS),
        "components": _open("What is installed", _COMPONENT),
        "files": _open("What is rendered", _FILE),
        "services": _open("What runs", Key(Kind.CLOSED, "A long-running process", keys=_SERVICE_KEYS)),
        "verify": _open("Settings of something outside, by names of your choice", _VERIFY),
        "cleanup": _open("Scratch folders that are cleaned up, by names of your choice", _CLEANUP),
        "policy": _closed(
            "What a pass may do",
            max_removals=Key(Kind.LIMIT, 'Services removed at once: 3, or "30%"'),
            keep_schedule=Key(Kind.FLAG, "true: a pass mends its own schedule; default false"),
            sources=Key(Kind.NAMES, "Patterns that every requirement and source must match; default: anything"),
            windows=_open("When a pass may do what git says anew", _WINDOW),
            sync=_SYNC._replace(help=f"{_SYNC.help}; default automatic"),
            self_heal=Key(Kind.FLAG, "false: drift is told, and mended when a person approves it; default true"),
            prune=_text(
                "What git no longer has: true (it is removed), confirm (a person approves it first), or false (it "
                "stays); default true",
                choices=("true", "confirm", "false"),
            ),
        ),
        **_options("settings"),
    },
)


def launcher_options(launcher: str, which: str) -> Mapping[str, Option]:
    """What a launcher understands of a service, or of itself."""
    module = launchers.launcher(launcher)
    return module.service_options if which == "service" else module.settings


# ---------------------------------------------------------------- for editors

_TEMPLATE = r"\{\{|\{%"
_NULLABLE = {"type": "null"}
_REFERENCE: dict[str, object] = {  # behind the tag `!secret`, which a schema does not know
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("file", "env", "command", "age", "sops", "key")},
    "additionalProperties": False,
    "minProperties": 1,
}


def json_schema() -> dict[str, object]:
    """The schema of every layer file, for an editor."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "reconcile: one layer of the desired state",
        **_schema(LAYER, "", nullable=False),
    }


def _schema(key: Key, name: str, *, nullable: bool = True) -> dict[str, object]:
    shape = _SHAPES[key.kind](key, name)
    described: dict[str, object] = {"description": key.help} if key.help else {}
    if not nullable:
        return described | shape
    return described | {"anyOf": [shape, _NULLABLE]}


def _shape_text(key: Key, _name: str) -> dict[str, object]:
    if key.choices:
        flags = [word == "true" for word in key.choices if word in ("true", "false")]  # written without quotes
        shape: dict[str, object] = {"type": "string", "anyOf": [{"enum": list(key.choices)}, {"pattern": _TEMPLATE}]}
        return {"anyOf": [{"enum": flags}, shape]} if flags else shape
    return {"type": "string"}


def _or_template(shape: dict[str, object]) -> dict[str, object]:
    return {"anyOf": [shape, {"type": "string", "pattern": _TEMPLATE}]}


def _shape_ports(_key: Key, _name: str) -> dict[str, object]:
    port = _or_template({"type": "integer", "minimum": 1, "maximum": 65535})
    return {"anyOf": [{"type": "array", "items": port}, {"type": "object", "additionalProperties": port}]}


def _shape_closed(key: Key, _name: str) -> dict[str, object]:
    properties = {name: _schema(inner, name) for name, inner in key.keys.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _shape_open(key: Key, name: str) -> dict[str, object]:
    each = _schema(key.each, name) if key.each else {}
    return {"type": "object", "propertyNames": {"pattern": key.names}, "additionalProperties": each}


def _shape_options(key: Key, name: str) -> dict[str, object]:
    properties = {word: _shape_option(option) for word, option in launcher_options(name, key.options).items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _shape_option(option: Option) -> dict[str, object]:
    kind = {str: "string", int: "integer", bool: "boolean"}[option.type]
    shape: dict[str, object] = {"type": kind}
    if option.choices:
        shape["enum"] = list(option.choices)
    if option.minimum is not None:
        shape["minimum"] = option.minimum
    template = shape if option.type is str and not option.choices else _or_template(shape)
    return {"description": option.help, "anyOf": [template, _NULLABLE]}


_SHAPES: dict[Kind, Callable[[Key, str], dict[str, object]]] = {
    Kind.TEXT: _shape_text,
    Kind.VERSION: lambda _key, _name: {"type": "string"},
    Kind.MODE: lambda _key, _name: {"type": "string", "anyOf": [{"pattern": MODE}, {"pattern": _TEMPLATE}]},
    Kind.VALUE: lambda _key, _name: {"anyOf": [{"type": ["string", "number", "boolean"]}, _REFERENCE]},
    Kind.NUMBER: lambda key, _name: _or_template({"type": "integer", "minimum": key.minimum}),
    Kind.FLAG: lambda _key, _name: _or_template({"type": "boolean"}),
    Kind.LIMIT: lambda _key, _name: {
        "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": PERCENT}]
    },
    Kind.SPAN: lambda _key, _name: {"type": "string", "anyOf": [{"pattern": SPAN}, {"pattern": _TEMPLATE}]},
    Kind.NAMES: lambda _key, _name: {"type": "array", "items": {"type": "string"}},
    Kind.WORDS: lambda _key, _name: {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
    Kind.PORTS: _shape_ports,
    Kind.ANYTHING: lambda _key, _name: {},
    Kind.CLOSED: _shape_closed,
    Kind.OPEN: _shape_open,
    Kind.OPTIONS: _shape_options,
}
