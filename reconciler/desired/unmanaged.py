"""`managed: false`: a service that others run. What is said of it is how it is seen, and nothing more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from reconciler.core.desired import Field, Unmanaged
from reconciler.core.problem import Origin
from reconciler.desired.ground import Ground
from reconciler.desired.nodes import Entries
from reconciler.desired.problems import ORIGIN_DEFAULT
from reconciler.desired.read import Reader
from reconciler.desired.schema import LAYER, NAME, Key
from reconciler.desired.scope import Got
from reconciler.launchers import NAMES, launcher

_TELL = ("supervisor", "systemd")  # launchers that others use too, and that tell of what is theirs
PROCESS = "process"  # in the place of a launcher: it is seen by its command line
_KEYS = ("managed", "launcher", "name", "process", "user", "group")
_HINT = "take it out: how others run it is theirs; it is seen by `process`, or by `launcher` and `name`"


class Seen(NamedTuple):
    """One service that others run. Where it is not `sound`, that has been told."""

    name: str
    origin: Origin
    got: dict[str, Got]  # managed, group, launcher or process, name, user
    unit: str  # its name on the host; empty where it is seen by its command line
    sound: bool

    @property
    def launcher(self) -> str:
        return self.got["launcher"].text


def unmanaged(ground: Ground) -> dict[str, Seen]:
    """All services of a deployment that others run, by name, in order."""
    found = {}
    for name, node in sorted(ground.merged.section("services").items()):
        if isinstance(node, Entries) and "managed" in node.entries:
            scope = ground.scope.within({"service": name})
            reader = Reader(node, f"service {name}", scope, ground.evaluator, ground.problems)
            managed = reader.flag("managed", default=True)
            if not managed.value:
                found[name] = _seen(name, managed, reader, ground.wanted.environment)
    return found


def _seen(name: str, managed: Got, reader: Reader, environment: str) -> Seen:
    """What a lower layer says of how it is run counts for nothing; what stands beside `managed` is a mistake."""
    node = reader.node
    reader.sound = reader.sound and re.match(NAME, name) is not None
    for key, place in node.places.items():
        if key in node.entries and key not in _KEYS and place.file == managed.origin.file:
            reader.tell(place, f"`{key}` means nothing for service `{name}`, which is not managed", _HINT)
    got = {"managed": managed, "group": reader.name("group", NAME, name), "name": reader.name("name", NAME, "")}
    if PROCESS in node.entries:
        got |= _by_process(name, reader)
        return Seen(name, node.origin, got, "", reader.sound)
    if "user" in node.entries:
        reader.tell(
            node.places["user"], f"`user` of service `{name}` goes with `process`", "say `process: PATTERN` too"
        )
    got["launcher"] = _launcher(name, reader)
    unit = launcher(got["launcher"].text).unit(name, environment, got["name"].text) if got["launcher"].value else ""
    return Seen(name, node.origin, got, unit, reader.sound)


def _by_process(name: str, reader: Reader) -> dict[str, Got]:
    """Seen by its command line. `launcher` may come from a lower layer; beside `process` one of them is too many."""
    process, places = reader.text(PROCESS), reader.node.places
    if "launcher" in reader.node.entries and places["launcher"].file == places[PROCESS].file:
        message = f"service `{name}` has both `process` and `launcher`"
        reader.tell(places["launcher"], message, "say by which of them it is seen")
    why = _no_pattern(process.text)
    if why and reader.sound:
        hint = "a regular expression that its command line holds, such as 'gitlab-runner run'"
        reader.tell(process.origin, f"`process` of service `{name}` is no usable pattern: {why}", hint)
    return {PROCESS: process, "user": reader.text("user"), "launcher": Got(PROCESS, ORIGIN_DEFAULT)}


def _no_pattern(text: str) -> str:
    try:
        return "it matches everything" if re.compile(text).match("") else ""
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)


def _launcher(name: str, reader: Reader) -> Got:
    each = LAYER.keys["services"].each
    known = each.keys["launcher"] if each else Key(LAYER.kind, "")
    got = reader.word("launcher", known, "supervisor")
    if got.value and got.text not in _TELL:
        hint = "say `process: PATTERN`, which its command line matches"
        where = got.origin if got.origin.line else reader.node.origin
        reader.tell(where, f"launcher {got.text} cannot tell of service `{name}`, which others run", hint)
    return got


def described(one: Seen, environment: str, folders: Mapping[str, str]) -> Unmanaged:
    """The form that the core has of it, with all that it may be called and have on disk from when it was ours."""
    names, files = traces(one.name, one.got["name"].text, environment, folders)
    return Unmanaged(
        name=one.name,
        group=one.got["group"].text,
        launcher=one.launcher,
        unit=one.unit,
        process=one.got[PROCESS].text if PROCESS in one.got else "",
        user=one.got["user"].text if "user" in one.got else "",
        names=names,
        files=files,
    )


def traces(
    name: str, given: str, environment: str, folders: Mapping[str, str]
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """What a service may be called, by launcher, and may have on disk. `given`: its own name on the host, if any."""
    names = sorted({(each, launcher(each).unit(name, environment, given)) for each in NAMES})
    stems = sorted({unit.removesuffix(".service") for _, unit in names})
    paths = [(f"{folders['bin']}/{stem}", f"{folders['config']}/env/{stem}.env") for stem in stems]
    return tuple(names), tuple(path for pair in paths for path in pair)


def fields(one: Seen) -> dict[str, Field]:
    """All effective values, for people."""
    shown = {key: got for key, got in one.got.items() if got.value not in ("", None)}
    found = {key: Field(got.value, got.origin) for key, got in sorted(shown.items())}
    return found | ({"name": Field(one.unit, one.got["name"].origin)} if one.unit else {})
