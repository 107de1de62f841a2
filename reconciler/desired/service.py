"""A service as git wants it, evaluated: everything that it is started from, before a launcher renders it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from reconciler.core.desired import Ask, Field
from reconciler.core.digest import digest, digest_of
from reconciler.core.problem import Origin
from reconciler.desired.component import Component, Components
from reconciler.desired.ground import ConfigFile, Ground, Wanted
from reconciler.desired.guards import Guarded, guarded
from reconciler.desired.health import Asked, asked
from reconciler.desired.nodes import Entries, Node, Scalar, empty, merge
from reconciler.desired.part import Part, part_of
from reconciler.desired.problems import ORIGIN_DEFAULT, suggest
from reconciler.desired.read import Reader, parts
from reconciler.desired.replicas import Replica, number_of
from reconciler.desired.rollout import Rollout, rollout
from reconciler.desired.schema import LAYER, NAME, Key, launcher_options
from reconciler.desired.scope import Got
from reconciler.desired.shape import is_secret_name
from reconciler.launchers import launcher as launcher_of
from reconciler.launchers.base import Container, Mode, Option, ServiceSpec

_RUN = Got(Mode.RUN.value, ORIGIN_DEFAULT)


class Draft(NamedTuple):
    """`sound` is false where something of it cannot be had; then it is checked further, but not rendered."""

    name: str
    origin: Origin
    component: Component | None
    got: dict[str, Got]  # component, launcher, group, name, command, prologue, on_start, enabled, stop.*
    part: Part  # whose it is
    env: dict[str, Got]
    files: list[Got]
    after: list[Got]
    ports: dict[str, Got]
    named_ports: bool
    lists: dict[str, Origin]  # where files, after and ports were written
    options: dict[str, Got]
    container: dict[str, Got]  # by key; a mount as `mounts.NAME`, an option as `options.NUMBER`; empty: none
    unit: str  # its name on the host
    asked: Asked
    rollout: Rollout
    guarded: Guarded
    sound: bool

    @property
    def enabled(self) -> bool:
        return bool(self.got["enabled"].value)

    @property
    def instance(self) -> str:
        """The name of its Apptainer instance; empty where it is none."""
        return self.container["instance"].text if self.container.get("mode", _RUN).text == Mode.INSTANCE.value else ""

    @property
    def launcher(self) -> str:
        return self.got["launcher"].text


def drafts(ground: Ground, components: Components, without: Collection[str] = ()) -> dict[str, Draft]:
    """All services of a deployment by name, in order, but for some."""
    nodes = ground.merged.section("services")
    return {
        name: _draft(name, node, ground, components)
        for name, node in sorted(nodes.items())
        if isinstance(node, Entries) and name not in without
    }


def _draft(name: str, node: Entries, ground: Ground, components: Components) -> Draft:
    said = node.whose if isinstance(node, Replica) else name  # of replicas, what is wrong with all is told once
    known: dict[str, object] = {"service": name, **({"replica": number_of(node)} if number_of(node) else {})}
    outer = Reader(node, f"service {said}", ground.scope.within(known), ground.evaluator, ground.problems)
    belongs = outer.name("component", NAME, said)
    component = _component(said, belongs, outer, components)
    own = {**known, "component": belongs.text, "version": components.version(belongs.text, node.origin)}
    reader = Reader(node, f"service {said}", ground.scope.within(own), ground.evaluator, ground.problems)
    named = re.match(NAME, name) is not None  # if not, its shape has been told to be wrong
    reader.sound = named and outer.sound and component is not None and component.sound
    _told_apart(name, reader)
    got = {"component": belongs, **_read(name, belongs.text, reader, component)}
    launcher = got["launcher"].text
    unit = _unit(name, got, ground.wanted.environment)
    return Draft(
        name=name,
        origin=node.origin,
        component=component,
        got=got,
        part=part_of(ground, reader),
        env=reader.env("env"),
        files=reader.names("files"),
        after=[one for got in reader.names("after") for one in ground.sets.named(got)],
        ports=_ports(reader, ground),
        named_ports=isinstance(node.get("ports"), Entries),
        lists={key: reader.origin(key) for key in ("files", "after", "ports")},
        options=options(launcher, "service", node.get(launcher), reader) if launcher else {},
        container=_container(ground, unit, launcher, component, reader),
        unit=unit,
        asked=asked(name, reader),
        rollout=rollout(name, reader),
        guarded=guarded(reader),
        sound=reader.sound,
    )


def _told_apart(name: str, reader: Reader) -> None:
    """What only a service of others' has, unless a lower layer says so of what is managed here."""
    for key in ("process", "user"):
        if key in reader.node.entries and "managed" not in reader.node.entries:
            message = f"`{key}` is how a service is seen that others run, and `{name}` is managed"
            reader.tell(reader.place(key), message, "say `managed: false`, or take it out")


def _component(service: str, belongs: Got, reader: Reader, components: Components) -> Component | None:
    component = components.get(belongs.text) if belongs.value else None
    if component is None and belongs.value:
        default = belongs.origin == ORIGIN_DEFAULT
        origin = reader.node.origin if default else belongs.origin
        hint = suggest(belongs.text, components.names(), otherwise=f"add `{belongs.text}` under `components`")
        if default:
            hint = "say which with `component:`" + (f"; {hint}" if hint else "")
        reader.tell(origin, f"service `{service}` belongs to an unknown component `{belongs.text}`", hint)
    return component


def _read(name: str, component: str, reader: Reader, parent: Component | None) -> dict[str, Got]:
    return {
        "launcher": reader.word("launcher", _keys()["launcher"], "supervisor"),
        "group": reader.name("group", NAME, component),
        "name": reader.name("name", NAME, ""),
        "command": _command(name, reader),
        "prologue": _prologue(reader, parent.prologue if parent else None),
        "on_start": reader.text("on_start"),
        "enabled": reader.flag("enabled", default=True),
        "sync": reader.word("sync", _keys()["sync"], ""),
        **_stop(reader),
    }


def _ports(reader: Reader, ground: Ground) -> dict[str, Got]:
    """Ports with the place of their number, be it in a var: two environments that share one are mended there."""
    found = reader.ports("ports")
    nodes = dict(parts(reader.node.get("ports")))
    return {name: got._replace(origin=ground.source(nodes[name])) for name, got in found.items()}


def _unit(name: str, got: Mapping[str, Got], environment: str) -> str:
    launcher = got["launcher"].text
    return launcher_of(launcher).unit(name, environment, got["name"].text) if launcher else ""


def _container(
    ground: Ground, unit: str, launcher: str, component: Component | None, reader: Reader
) -> dict[str, Got]:
    """How the image of its component is run; its own keys win over the component's."""
    if component is None or not component.is_image:
        return {}  # a layer below may say how it would be, where some site installs an image of it
    layers = [node for node in (component.container, reader.node.get("container")) if isinstance(node, Entries)]
    inner = Reader(merge(layers), f"{reader.label}.container", reader.scope, *reader.tools)
    only = launcher_of(launcher).mode if launcher else None
    found = {
        "mode": inner.word("mode", _keys()["container"].keys["mode"], (only or Mode.RUN).value),
        "instance": inner.name("instance", NAME, unit.removesuffix(".service")),
        "program": inner.text("program", "apptainer"),
        "home": inner.flag("home", default=False),
        "cleanenv": inner.flag("cleanenv", default=True),
        "configdir": _allowed(ground, inner, inner.text("configdir"), "configdir"),
        **{f"mounts.{name}": got for name, got in sorted(inner.texts("mounts").items())},
        **{f"options.{number}": got for number, got in enumerate(inner.names("options"))},
    }
    if only is not None and found["mode"].text not in ("", only.value):
        inner.tell(found["mode"].origin, f"launcher {launcher} keeps containers in mode {only.value} only")
    for key, got in found.items():
        if key.startswith("mounts.") and not mount_source(got.text):
            inner.tell(got.origin, f"`{key}` of {inner.label} names no source", 'write it like "src=/a,dst=/b,ro"')
    reader.sound = reader.sound and inner.sound
    return found


def _allowed(ground: Ground, reader: Reader, got: Got, key: str) -> Got:
    """A place that git names besides `paths`; told where this host's agent does not allow it."""
    if got.text.startswith("/") and (against := ground.outside(got.text)):
        reader.tell(got.origin, f"`{key}` of {reader.label} {against[0]}", against[1])
    return got


def mount_source(mount: str) -> str:
    """What `--mount` takes from the host, in comma-separated fields that may be quoted; empty where it does not say."""
    from csv import Error, reader

    try:
        fields = next(reader([mount]), [])
    except Error:
        return ""
    parts = dict(field.partition("=")[::2] for field in fields)
    return parts.get("src") or parts.get("source") or ""


def _command(name: str, reader: Reader) -> Got:
    if "command" not in reader.node.entries:
        reader.tell(reader.node.origin, f"service `{name}` has no `command`", "say what runs it")
    sound = reader.sound
    got = reader.text("command")
    if not got.text.strip() and got.origin != ORIGIN_DEFAULT and reader.sound == sound:
        reader.tell(got.origin, f"the command of service `{name}` is empty", "say what runs it")
    return got._replace(value=got.text.strip())


def _prologue(reader: Reader, inherited: Node | None) -> Got:
    if "prologue" in reader.node.entries or inherited is None:
        return reader.text("prologue")
    return reader.string(inherited, "prologue") or Got("", inherited.origin)


def _stop(reader: Reader) -> dict[str, Got]:
    node = reader.node.get("stop")
    inner = Reader(
        node if isinstance(node, Entries) else Entries("default", 0, 0), reader.label, reader.scope, *reader.tools
    )
    found = {
        "stop.signal": inner.word("signal", _keys()["stop"].keys["signal"], "TERM"),
        "stop.grace": inner.number("grace", 10),
    }
    reader.sound = reader.sound and inner.sound
    return found


def options(launcher: str, which: str, node: Node | None, reader: Reader) -> dict[str, Got]:
    """What a launcher is told, by key: of a service, or (`which` is "settings") of itself."""
    known = launcher_options(launcher, which)
    found = {}
    for key, part in node.entries.items() if isinstance(node, Entries) else ():
        if key in known and not empty(part) and (got := _option(key, part, known[key], reader)) is not None:
            found[key] = got
    return found


def _option(key: str, node: Node, option: Option, reader: Reader) -> Got | None:
    private = option.secret or is_secret_name(key)
    if option.type is bool:
        return reader.truth(node, key)
    if option.type is int:
        got = reader.integer(node, key, option.minimum or 0, private=private)
        return got and got._replace(secret=got.secret or private)
    if isinstance(node, Scalar) and not isinstance(node.value, str) and node.text not in option.choices:
        reader.sound = False
        return None  # its shape has been told to be wrong
    text = reader.string(node, key, private=private, secret=private)
    if text and option.choices and text.text not in option.choices:
        message = f"`{key}` of {reader.label} must be one of {', '.join(option.choices)}"
        reader.tell(text.origin, message, suggest(text.text, option.choices), rule=f"choice {key}")
        return None
    return text


def _keys() -> dict[str, Key]:
    each = LAYER.keys["services"].each
    return dict(each.keys) if each else {}


# ---------------------------------------------------------------- compiled


def spec_of(draft: Draft, component: Component, files: list[ConfigFile], wanted: Wanted) -> ServiceSpec:
    """The service in the form that launchers render. Its digest says what the process was started from.

    It is made of what is meant, not of the text of a shim: another way to write the same restarts nothing.
    """
    home = wanted.facts.home
    env = tuple(sorted((name, got.text) for name, got in draft.env.items()))
    container = _container_spec(draft, component, home)
    meaning: dict[str, object] = {
        "command": draft.got["command"].text,
        "env": [(name, _meant(draft.env[name], wanted)) for name, _ in env],
        "prologue": draft.got["prologue"].text,
        "version": component.version.text,
        "component": component.name,
        "install": component.install.digest if component.install else "",
        "exports": component.exports,
        "files": sorted([file.path, file.mode, _meant_by(file, wanted)] for file in files),
    }
    if draft.got["on_start"].text.strip():
        meaning["on_start"] = draft.got["on_start"].text
    if container is not None:
        meaning["container"] = [container.mode.value, *container[1:]]
    return ServiceSpec(
        name=draft.name,
        unit=draft.unit,
        component=component.name,
        version=component.version.text,
        group=draft.got["group"].text,
        command=draft.got["command"].text,
        env=env,
        prologue=draft.got["prologue"].text,
        exports=component.exports,
        container=container,
        stop_signal=draft.got["stop.signal"].text,
        stop_seconds=float(draft.got["stop.grace"].text),
        options={key: got.value for key, got in draft.options.items()},
        spec=digest_of(meaning),
        after=tuple(got.text for got in draft.after),
        on_start=draft.got["on_start"].text,
        says_start=_reads_log(draft),
        secrets=frozenset(name for name, got in draft.env.items() if got.secret),
    )


def _meant(got: Got, wanted: Wanted) -> str:
    """The value; of a secret that stands elsewhere a digest with a key, as everybody may read whose digest it is in."""
    if not got.secrets:
        return got.text
    return wanted.facts.secrets.digest(wanted.environment, got.text.encode("utf-8", "surrogatepass"))


def _meant_by(file: ConfigFile, wanted: Wanted) -> str:
    return wanted.facts.secrets.digest(wanted.environment, file.content) if file.secrets else file.digest


def _reads_log(draft: Draft) -> bool:
    """Its health depends on what it prints."""
    probes = draft.asked.watch.probes if draft.asked.watch else ()
    return any(probe.ask is Ask.LOG and not probe.target for probe in probes)


def _container_spec(draft: Draft, component: Component, home: str) -> Container | None:
    got = draft.container
    if not got or component.install is None:
        return None
    return Container(
        mode=Mode(got["mode"].text or Mode.RUN.value),
        program=got["program"].text,
        image=component.install.path,
        instance=draft.instance,
        mounts=tuple(value.text for key, value in got.items() if key.startswith("mounts.")),
        options=tuple(value.text for key, value in got.items() if key.startswith("options.")),
        home=bool(got["home"].value),
        cleanenv=bool(got["cleanenv"].value),
        configdir=got["configdir"].text or f"{home}/.apptainer",
    )


def program_to_check(spec: ServiceSpec) -> str:
    """What a preflight looks for; empty where only the service itself will find it, along a PATH of its own."""
    if spec.container is not None:
        return spec.container.program
    program = program_of(spec.command)
    return "" if "PATH" in dict(spec.env) and "/" not in program else program


def program_of(command: str) -> str:
    """The first word of a shell command: what is executed."""
    first = command.split(maxsplit=1)[0] if command else ""
    if first.isalnum() and first != "exec":
        return first
    from shlex import split

    try:
        words = split(command)
    except ValueError:
        words = command.split()
    return next((word for word in words if word != "exec"), "")


def fields_of(draft: Draft, component: Component, files: list[ConfigFile], salt: str) -> dict[str, Field]:
    """All effective values of a service, for people; secrets as salted digests."""
    values = {"version": component.version, "install": component.method, **component.shown, **draft.got}
    values |= {f"env.{name}": got for name, got in draft.env.items()}
    values |= {f"{draft.launcher}.{key}": got for key, got in draft.options.items()}
    values |= {f"container.{key}": got for key, got in draft.container.items() if got.value != ""}
    values |= {**draft.asked.got, **draft.rollout.got, **draft.guarded.got}
    if not draft.got["sync"].value:
        del values["sync"]
    if not draft.got["on_start"].value:
        del values["on_start"]
    values["name"] = Got(draft.unit, draft.got["name"].origin)
    fields = {key: _field(got, salt) for key, got in values.items()}
    fields |= draft.part.fields()
    fields["after"] = Field([got.text for got in draft.after], draft.lists["after"])
    fields["files"] = Field([got.text for got in draft.files], draft.lists["files"])
    ports = {name: got.value for name, got in draft.ports.items()}
    fields["ports"] = Field(ports if draft.named_ports else list(ports.values()), draft.lists["ports"])
    for file in files:
        shown = shown_secret(file.digest, salt) if file.secret else file.digest[:12]
        fields[f"file.{file.name}"] = Field(f"{file.path} {shown}", file.template, file.secret)
    return dict(sorted(fields.items()))


def _field(got: Got, salt: str) -> Field:
    if got.secret:
        where = ", ".join(sorted({str(secret.reference) for secret in got.secrets}))
        told = shown_secret(got.text, salt) + (f", of {where}" if where else "")
        return Field(f"(secret {told})", got.origin, secret=True)
    return Field(got.value, got.origin)


def shown_secret(value: str, salt: str) -> str:
    """What is shown of a secret: enough to tell that it changed, and nothing to guess it by."""
    return digest((salt + value).encode("utf-8", "surrogatepass"))[:12]
