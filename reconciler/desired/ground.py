"""What all services of a deployment stand on: its names, paths, versions and files, each worked out when asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from reconciler.core.digest import digest
from reconciler.core.problem import Origin
from reconciler.core.secret import HIDDEN, Revealed, Secret
from reconciler.desired.layers import site_file
from reconciler.desired.nodes import Entries, Node, Scalar
from reconciler.desired.problems import Failed, Problems, suggest
from reconciler.desired.read import Reader
from reconciler.desired.rendering import FOLDER
from reconciler.desired.replicas import MOST, expanded
from reconciler.desired.schema import FOLDERS, MODE, NAME, VERSION
from reconciler.desired.scope import Evaluator, Lazy, Scope, Table
from reconciler.desired.shape import is_template
from reconciler.desired.templates import Templates
from reconciler.desired.text import forbidden

_HANDS_ON = r"\s*\{\{\s*([A-Za-z_]\w*(?:\.\w+)*)\s*\}\}\s*"
_HANDED_ON = 8  # vars that hand on one another; more are a cycle, which is told elsewhere


class Facts(NamedTuple):
    """What the host says of itself. `salt` goes into the digests that are shown of secrets; `sources` are patterns of
    what its agent lets be installed, anything where there are none, and `roots` the folders that all paths must be
    below, likewise. `secrets` are those of other places than git that it has."""

    host: str
    account: str
    salt: str = ""
    home: str = "~"  # of the account; so where it is not known
    sources: tuple[str, ...] = ()
    here: bool = False  # only what is for this account and host is compiled; False: all of it, for whomever
    roots: tuple[str, ...] = ()
    secrets: Revealed = HIDDEN


class Wanted(NamedTuple):
    """The deployment that is compiled: which one, and what its layers say together."""

    site: str
    environment: str
    commit: str
    merged: Entries
    facts: Facts


class ConfigFile(NamedTuple):
    """A declared file, rendered."""

    name: str
    path: str
    mode: int
    content: bytes
    digest: str
    secret: bool
    origin: Origin  # of the path
    template: Origin
    secrets: frozenset[Secret] = frozenset()  # of other places than git, that are in it


class Ground:
    """One site in one environment. Asking for a value that cannot be had raises `Failed`; why is told once."""

    def __init__(self, wanted: Wanted, templates: Templates, problems: Problems) -> None:
        self.wanted = wanted
        self.merged = merged = wanted.merged
        self.problems = problems
        self.templates = templates
        self.evaluator = Evaluator(templates, problems, wanted.facts.secrets)
        self.paths = Table(self.evaluator, ("root", *FOLDERS), self._path)
        self.versions = Table(self.evaluator, merged.section("versions"), self._version)
        self._contents = {name: self._content(name, node) for name, node in merged.section("files").items()}
        self._files = Table(self.evaluator, self._contents, self._file)
        self.scope = self._scope()
        self.sets = expanded(merged, self._replicas, problems)
        self.merged = self.sets.merged

    def _replicas(self, name: str, node: Entries) -> int | None:
        """How many of a service there are to be; None where it does not say, or others run it."""
        if "replicas" not in node.entries:
            return None
        scope = self.scope.within({"service": name})
        reader = Reader(node, f"service {name}", scope, self.evaluator, self.problems)
        if not reader.flag("managed", default=True).value:
            return None
        got = reader.number("replicas", 1)
        count = got.value if isinstance(got.value, int) else 1
        if count > MOST:
            reader.tell(got.origin, f"`replicas` of {reader.label} cannot be more than {MOST}")
        return min(count, MOST)

    def _scope(self) -> Scope:
        variables = self.merged.get("vars")
        node = variables if isinstance(variables, Entries) else Entries("default", 0, 0)
        own = {
            "site": self.wanted.site,
            "environment": self.wanted.environment,
            "host": self.wanted.facts.host,
            "account": self.wanted.facts.account,
            "paths": self.paths,
            "versions": self.versions,
            "files": self._files,
        }
        table = self.evaluator.table(node, lambda: self.scope, "", secret=node.secret)
        return Scope(self.evaluator, own, None, table)

    def text(self, node: Node | None, label: str) -> str:
        """A string that may hold no secret, worked out. Raises `Failed`."""
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            raise Failed
        got = self.evaluator.text(node, self.scope, label)
        if got.secret:
            self._fail(got.origin, f"`{label}` holds a secret, which would show", "use no secret in it")
        if forbidden(got.text):
            self._fail(got.origin, f"`{label}` holds a control character", "take it out")
        return got.text

    def _fail(self, origin: Origin, message: str, hint: str = "", *, rule: str = "") -> None:
        self.problems.add(origin, message, hint, rule=rule)
        raise Failed

    # ------------------------------------------------------------ paths and versions

    def folders(self) -> dict[str, str]:
        """All paths by name, of those that can be had."""
        found = {}
        for name in self.paths:
            try:
                found[name] = str(self.paths[name])
            except Failed:
                continue
        return found

    def source(self, node: Node) -> Origin:
        """Where a value was written: of a string that only hands on a var, `{{ ports.http }}`, where that one was."""
        for _ in range(_HANDED_ON):
            found = re.fullmatch(_HANDS_ON, node.text) if isinstance(node, Scalar) else None
            var = self._var(found[1].split(".")) if found else None
            if var is None:
                break
            node = var
        return node.origin

    def _var(self, path: list[str]) -> Node | None:
        node = self.merged.get("vars")
        for name in path:
            node = node.get(name) if isinstance(node, Entries) else None
        return node

    def path_origin(self, name: str) -> Origin:
        node = self.merged.section("paths").get(name)
        return node.origin if node else Origin(site_file(self.wanted.site), 0, 0)

    def _path(self, name: str) -> Lazy:
        return Lazy(f"paths.{name}", self.path_origin(name), lambda: self._folder(name))

    def _folder(self, name: str) -> str:
        node = self.merged.section("paths").get(name)
        if node is None and name != "root":
            return f"{self.paths['root']}/{name}"
        if node is None:
            self._fail(self.path_origin(name), "`paths.root` is missing", 'write `paths: {root: "/srv/..."}`')
        path = self.text(node, f"paths.{name}")
        path = path.rstrip("/") if path.strip("/") else path
        if wrong := not_a_path(path):
            self._fail(self.path_origin(name), f"`paths.{name}` {wrong}: {path[:200]}", "", rule=f"path {wrong}")
        if path == "/":
            self._fail(
                self.path_origin(name), f"`paths.{name}` is the whole file system", "give it a folder of its own"
            )
        if against := self.outside(path):
            self._fail(self.path_origin(name), f"`paths.{name}` {against[0]}", against[1], rule=f"roots {path}")
        return path

    def outside(self, path: str) -> tuple[str, str] | None:
        """What stands against a path that this host's agent does not let be used, and which it does."""
        roots = self.wanted.facts.roots
        if not roots or any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots):
            return None
        return f"is outside of the `roots` of this host's agent: {path[:200]}", "allowed: " + ", ".join(roots)

    def _version(self, name: str) -> Lazy:
        node = self.merged.section("versions")[name]
        return Lazy(f"versions.{name}", node.origin, lambda: self._usable_version(name, node))

    def _usable_version(self, name: str, node: Node) -> str:
        version = self.text(node, f"versions.{name}")
        if not re.match(VERSION, version) or version.endswith("\n"):
            message = f"version `{version[:80]}` of `{name}` cannot be part of a path"
            self._fail(node.origin, message, "letters, digits, and . _ + ! - after the first", rule="version")
        return version

    # ------------------------------------------------------------ files

    def config_files(self) -> dict[str, ConfigFile]:
        """All declared files, rendered; those that cannot be had are told and left out."""
        found = {}
        for name in sorted(self._contents):
            try:
                found[name] = self._config_file(name)
            except Failed:
                continue
        return found

    def _config_file(self, name: str) -> ConfigFile:
        node = self.merged.section("files")[name]
        part = self._files[name]
        if not isinstance(node, Entries) or not isinstance(part, Mapping) or not re.match(NAME, name):
            raise Failed  # its shape has been told to be wrong
        failed = 0
        for lazy in (part.part("path"), part.part("mode"), self._contents[name]) if isinstance(part, Table) else ():
            try:  # each of them, so that all is told that is wrong
                self.evaluator.force(lazy) if isinstance(lazy, Lazy) else None
            except Failed:
                failed += 1
        if failed:
            raise Failed
        content, path, mode = self._contents[name], str(part["path"]), int(str(part["mode"]), 8)
        if content.tainted and mode & 0o007:
            place = node.entries["mode"].origin if "mode" in node.entries else node.origin
            message = f"`{name}` holds a secret, and mode {mode:04o} lets others read it"
            self._fail(place, message, 'write "0600" or "0640"')
        data = str(content.value).encode()
        template = node.entries["template"].origin
        place, secrets = node.entries["path"].origin, content.secrets
        return ConfigFile(name, path, mode, data, digest(data), content.tainted, place, template, secrets)

    def _file(self, name: str) -> Table:
        node = self.merged.section("files")[name]

        def make(key: str) -> Lazy:
            label = f"files.{name}.{key}"
            part = node.entries.get(key) if isinstance(node, Entries) else None
            origin = (part or node).origin
            work = self._file_path if key == "path" else self._file_mode
            return Lazy(label, origin, lambda: work(name, node, part))

        return Table(self.evaluator, ("path", "mode"), make)

    def _file_path(self, name: str, node: Node, part: Node | None) -> str:
        if part is None and isinstance(node, Entries):
            self._fail(node.origin, f"`path` of file `{name}` is missing", "say where the file goes")
        path = self.text(part, f"files.{name}.path")
        if wrong := not_a_path(path):
            self._fail(
                _origin(part, node), f"the path of file `{name}` {wrong}: {path[:200]}", "", rule=f"file {wrong}"
            )
        folders = self.folders()
        if len(folders) < len(self.paths):
            raise Failed  # whether it lies below one of them cannot be told
        if not any(path.startswith(folder + "/") for folder in folders.values()):
            message = f"the path of file `{name}` leaves its root: {path[:200]}"
            self._fail(_origin(part, node), message, "put it below one of `paths`", rule=f"{name} leaves its root")
        return path

    def _file_mode(self, name: str, _node: Node, part: Node | None) -> str:
        if part is None:
            content = self._contents[name]
            self.evaluator.force(content)
            return "0600" if content.tainted else "0640"
        mode = self.text(part, f"files.{name}.mode")
        if not isinstance(part, Scalar) or not (
            part.quoted and (is_template(part.text) or re.fullmatch(MODE, part.text))
        ):
            raise Failed  # its shape has been told to be wrong
        if not re.match(MODE, mode) or mode.endswith("\n"):
            self._fail(part.origin, f"mode of file `{name}` is no octal number of three digits", 'such as "0640"')
        return mode

    def _content(self, name: str, node: Node) -> Lazy:
        return Lazy(f"the content of {name}", node.origin, lambda: self._rendered(name, node))

    def _rendered(self, name: str, node: Node) -> object:
        part = node.get("template") if isinstance(node, Entries) else None
        if part is None and isinstance(node, Entries):
            self._fail(node.origin, f"`template` of file `{name}` is missing", "name a file below templates/")
        template = self.text(part, f"files.{name}.template")
        if FOLDER + template not in self.templates:
            hint = suggest(template, self.templates.known(), otherwise=f"add {FOLDER}{template[:80]}")
            self._fail(_origin(part, node), f"there is no template `{template[:80]}`", hint)
        text = self.evaluator.file(template, self.scope, _origin(part, node))
        try:
            text.encode()
        except UnicodeEncodeError:
            self._fail(
                _origin(part, node), f"what template `{template[:80]}` gives is not text", "look for escapes in it"
            )
        return text


def _origin(part: Node | None, node: Node) -> Origin:
    return (part or node).origin


def not_a_path(path: str) -> str:
    """What keeps a text from being a path that means one place, or nothing."""
    if not path.startswith("/"):
        return "must be absolute"
    if ".." in path.split("/"):
        return "must not have `..` in it"
    if os.path.normpath(path) != path or path.startswith("//"):
        return "must be written plainly, without `//`, `/./` or `/` at its end"
    return "must be in one line" if "\n" in path else ""
