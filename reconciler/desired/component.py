"""A component in the version that the deployment wants: how it is installed, and what its services get from that."""

from __future__ import annotations

import re
from typing import NamedTuple

from reconciler import install
from reconciler.core.desired import Install
from reconciler.core.problem import Origin
from reconciler.desired.ground import Ground
from reconciler.desired.nodes import Entries, Node
from reconciler.desired.problems import ORIGIN_DEFAULT, Failed
from reconciler.desired.read import Reader
from reconciler.desired.schema import LAYER, SIZE, Key
from reconciler.desired.scope import Got, Lazy
from reconciler.desired.sources import check_sources
from reconciler.install.base import ComponentSpec

_DEFAULTS = {"requirement": "", "image": "", "source": "", "sha256": "", "python": "python3", "prologue": ""}


class Component(NamedTuple):
    """`sound` is false where something of it cannot be had; then nothing may be made from the rest."""

    name: str
    version: Got
    method: Got
    install: Install | None
    exports: tuple[str, ...]
    is_image: bool  # its services run inside of a container
    prologue: Node | None  # as written: a service evaluates it in its own scope
    container: Node | None  # likewise
    shown: dict[str, Got]  # what `explain` tells of it
    sound: bool
    keep: int = -1  # old versions that stay; negative: git does not say
    keep_bytes: int = -1  # likewise


class Components:
    """The components of a deployment, each worked out once."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._nodes = ground.merged.section("components")
        self._known: dict[str, Component | None] = {}

    def names(self) -> list[str]:
        return list(self._nodes)

    def get(self, name: str) -> Component | None:
        """The component, or None where there is none of this name."""
        if name not in self._known:
            node = self._nodes.get(name)
            self._known[name] = self._make(name, node) if isinstance(node, Entries) else None
        return self._known[name]

    def known(self) -> dict[str, Component]:
        """Those that were asked for by now: what no service runs is not looked at."""
        return {name: one for name, one in sorted(self._known.items()) if one is not None}

    def version(self, name: str, origin: Origin) -> Lazy:
        """The component's version, for the scope of its strings."""
        return Lazy("version", origin, lambda: self._ground.versions[self._has_version(name, origin)])

    def _has_version(self, name: str, origin: Origin) -> str:
        if name not in self._ground.versions:
            hint = f'add `{name}: "1.0"` under `versions`'
            self._ground.problems.add(origin, f"there is no version of component `{name}`", hint)
            raise Failed
        return name

    def _make(self, name: str, node: Entries) -> Component:
        ground = self._ground
        version = self.version(name, node.origin)
        scope = ground.scope.within({"component": name, "version": version})
        reader = Reader(node, f"component {name}", scope, ground.evaluator, ground.problems)
        wanted = self._version_of(name, version, reader)
        method = self._method(name, reader)
        shown = {key: reader.text(key, default) for key, default in _DEFAULTS.items()}
        container = node.get("container")
        used = install.method(method.text).keys if method.value else ()
        check_sources(ground, name, {key: got for key, got in shown.items() if key in used}, reader)
        made, kept_versions = None, _retention(reader)
        if reader.sound and len(ground.folders()) == len(ground.paths):
            made = self._describe(name, wanted, method.text, shown, reader)
        exports = install.method(method.text).exports(made) if made else ()
        kept = {key: _kept(shown[key]) for key in used if shown[key].text}
        is_image = bool(method.value) and install.method(method.text).is_image
        prologue = node.get("prologue")
        return Component(
            name, wanted, method, made, exports, is_image, prologue, container, kept, reader.sound, *kept_versions
        )

    def _version_of(self, name: str, version: Lazy, reader: Reader) -> Got:
        node = self._ground.merged.section("versions").get(name)
        origin = node.origin if node else ORIGIN_DEFAULT
        try:
            return Got(self._ground.evaluator.force(version), origin)
        except Failed:
            reader.sound = False
            return Got("", origin)

    def _method(self, name: str, reader: Reader) -> Got:
        if "install" not in reader.node.entries:
            hint = "one of: " + ", ".join(install.NAMES)
            reader.tell(
                reader.node.origin, f"component `{name}` does not say how it is installed: `install` is missing", hint
            )
        got = reader.word("install", _keys()["install"], "")
        for key in install.method(got.text).required if got.value else ():
            if key not in reader.node.entries:
                message = f"component `{name}` needs `{key}`, as it is installed by {got.text}"
                reader.tell(reader.node.origin, message, _keys()[key].help)
        return got

    def _describe(self, name: str, version: Got, method: str, said: dict[str, Got], reader: Reader) -> Install | None:
        texts = {key: got.text for key, got in said.items()}
        spec = ComponentSpec(component=name, version=version.text, program=self._program(reader), **texts)
        wrong = install.method(method).check(spec)
        if wrong:
            keys = [key for key in install.method(method).keys if key in reader.node.entries]
            named = (key for key in keys if f"its {key} " in wrong or f"`{key}`" in wrong)
            about = next(named, keys[0] if keys else "install")
            reader.tell(reader.origin(about), f"component `{name}` cannot be installed: {wrong}")
        return install.method(method).describe(spec, self._ground.folders())

    def _program(self, reader: Reader) -> str:
        """Apptainer, as the component calls it; it builds the image before any service is looked at."""
        node = reader.node.get("container")
        if not isinstance(node, Entries):
            return ""
        inner = Reader(node, f"{reader.label}.container", reader.scope, *reader.tools)
        return inner.text("program").text


def _retention(reader: Reader) -> tuple[int, int]:
    """`keep` and `keep_bytes`; negative where git does not say."""
    keep, size = reader.number("keep", -1), reader.text("keep_bytes")
    number = keep.value if isinstance(keep.value, int) else -1
    if "keep_bytes" not in reader.node.entries or not size.text:
        return number, -1
    if re.fullmatch(SIZE, size.text):
        from reconciler.desired.cleanup import bytes_of

        return number, bytes_of(size.text)
    if not reader.is_text("keep_bytes"):
        return number, -1
    hint = 'write it with a unit: "20G"; units are powers of 1000'
    reader.tell(size.origin, f"`keep_bytes` of {reader.label} is no size", hint)
    return number, -1


def _kept(got: Got) -> Got:
    """What is told of it. An address may carry a user and a password: then it is told as a secret is."""
    if "@" not in got.text:
        return got
    from reconciler.install.requirement import redact

    return got._replace(secret=got.secret or redact(got.text) != got.text)


def _keys() -> dict[str, Key]:
    each = LAYER.keys["components"].each
    return dict(each.keys) if each else {}
