"""`cleanup`: rules for scratch folders, read and checked. What they remove is gone, so nothing of them is guessed.

`rm -rf $X/` with an empty `$X` is the classic: each part of a root that a template fills in must give something, and
so must each part of the vars that it is made of.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from reconciler.core import globs
from reconciler.core.cleanup import holds, of_the_system
from reconciler.core.cron import parse
from reconciler.core.desired import Age, Cleanup, Compiled, Field, RootIs, Sort
from reconciler.desired.ground import Ground, not_a_path
from reconciler.desired.nodes import Entries, Node, Scalar
from reconciler.desired.overlap import Sweep
from reconciler.desired.part import part_of
from reconciler.desired.problems import ORIGIN_DEFAULT, Failed
from reconciler.desired.read import Reader
from reconciler.desired.schema import LAYER, PERCENT, SIZE, Key
from reconciler.desired.windows import check, check_zone
from reconciler.desired.written import leaves

_PIECE = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_NAME = re.compile(r"\s*([A-Za-z_]\w*(?:\.\w+)*)\s*")
_DEEPEST = 20  # vars that are made of one another
_UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_LONGEST = 100_000  # days
_DEFAULTS = frozenset({"min_depth", "max_depth", "type", "age", "schedule", "minutes", "entries"})  # not just "none"

def rules(ground: Ground, folders: Mapping[str, str]) -> tuple[Cleanup, ...]:
    """Those of a deployment, by name. What is wrong with one is told, and the deployment is not compiled."""
    found = []
    for name, entry in sorted(ground.merged.section("cleanup").items()):
        if isinstance(entry, Entries) and not entry.entries.keys() - _key().keys.keys():
            rule = _rule(ground, folders, name, entry)
            found += [rule] if rule is not None else []
    return tuple(found)


def with_rules(compiled: Compiled, found: tuple[Cleanup, ...], ground: Ground) -> Compiled:
    """They are the part of the account and the host that the deployment as a whole is for."""
    facts = ground.wanted.facts
    if not found or (facts.here and not part_of(ground).is_here(facts)):
        return compiled
    return compiled._replace(deployment=compiled.deployment._replace(cleanups=found))


def sweeps(found: tuple[Cleanup, ...], ground: Ground, hosts: tuple[str, ...]) -> list[Sweep]:
    """Rules with where their roots were written."""
    entries = ground.merged.section("cleanup")
    places = {name: node.get("root") for name, node in entries.items() if isinstance(node, Entries)}
    here = ground.wanted.environment
    return [Sweep(rule, root.origin, here, hosts) for rule in found if (root := places[rule.name]) is not None]


def _key() -> Key:
    each = LAYER.keys["cleanup"].each
    assert each is not None  # noqa: S101 - rules are a mapping by names
    return each


def _rule(ground: Ground, folders: Mapping[str, str], name: str, node: Entries) -> Cleanup | None:
    reader = Reader(node, f"cleanup `{name}`", ground.scope, ground.evaluator, ground.problems)
    for key, hint in (("root", "say which folder"), ("older_than", "in days, as with `find -mtime +N`")):
        if key not in node.entries:
            reader.tell(node.origin, f"{reader.label} has no `{key}`", hint)
    keys = _key().keys
    root_is = RootIs(reader.word("root_is", keys["root_is"], "").text)
    rule = Cleanup(
        name,
        _root(reader, ground, folders, root_is),
        _number(reader, "older_than", 0, 0, _LONGEST),
        min_depth=_number(reader, "min_depth", 1, 1, 1000),
        max_depth=_number(reader, "max_depth", 0, 0, 1000),
        sort=Sort(reader.word("type", keys["type"], "any").text or "any"),
        age=Age(reader.word("age", keys["age"], "self").text or "self"),
        exclude=_exclude(reader),
        root_is=root_is,
        minutes=_number(reader, "minutes", 2, 1, 24 * 60),
        entries=_number(reader, "entries", 0, 0, 10**12),
    )
    if "max_depth" in node.entries and reader.sound and rule.max_depth < rule.min_depth:
        message = f"`max_depth` of {reader.label} is less than its `min_depth`, so nothing would ever go"
        reader.tell(reader.place("max_depth"), message, f"write {rule.min_depth} or more")
    rule = _in_use(_free(_schedule(rule, reader), reader), reader)
    return rule if reader.sound else None


def _number(reader: Reader, key: str, default: int, least: int, most: int) -> int:
    got = reader.number(key, default, least)
    value = got.value if isinstance(got.value, int) else default
    if value > most and reader.sound:
        reader.tell(got.origin, f"`{key}` of {reader.label} is too large", f"{most} at most")
    return value


def _exclude(reader: Reader) -> tuple[str, ...]:
    found = reader.names("exclude")
    for got in found:
        if not got.text.strip("/") or got.text.startswith("/") or ".." in got.text.split("/"):
            hint = "a pattern of names (`*.keep`), or with a slash of paths from the root on (`shared/*`)"
            reader.tell(got.origin, f"`exclude` of {reader.label} cannot be `{got.text[:80]}`", hint)
            continue
        try:
            globs.check(got.text)
        except globs.GlobError as error:
            hint = "write it as for `find -name`, or with a slash as for `find -path`"
            reader.tell(got.origin, f"the pattern `{got.text[:80]}` in `exclude` of {reader.label} {error}", hint)
    return tuple(got.text for got in found)


def _schedule(rule: Cleanup, reader: Reader) -> Cleanup:
    cron, zone = reader.text("schedule"), reader.text("zone")
    if "schedule" in reader.node.entries:
        check(reader, cron, parse, "`schedule` takes a cron expression")
    if zone.text:
        check(reader, zone, check_zone, "such as Europe/Berlin")
    return rule._replace(cron=cron.text, zone=zone.text)


def _free(rule: Cleanup, reader: Reader) -> Cleanup:
    got = reader.text("free_below")
    if "free_below" not in reader.node.entries:
        return rule
    if re.fullmatch(r"0+[%KMGTP]", got.text) and reader.sound:
        message = f"`free_below` of {reader.label} is nothing, so it would never start early"
        reader.tell(got.origin, message, "leave it out, or say how much is too little")
        return rule
    if re.fullmatch(PERCENT, got.text):
        return rule._replace(free_percent=int(got.text[:-1]))
    if not re.fullmatch(SIZE, got.text):
        if reader.sound and reader.is_text("free_below"):
            hint = 'write it with a unit: "10%" or "500G"'
            reader.tell(got.origin, f"`free_below` of {reader.label} is no size", hint)
        return rule
    return rule._replace(free_bytes=bytes_of(got.text))


def bytes_of(size: str) -> int:
    """Of a text that `SIZE` matches."""
    return int(size[:-1]) * _UNITS[size[-1]]


def _in_use(rule: Cleanup, reader: Reader) -> Cleanup:
    node = reader.node.get("in_use")
    if not isinstance(node, Entries):
        return rule
    inner = Reader(node, f"{reader.label}: in_use", reader.scope, *reader.tools)
    command, file = inner.text("command"), inner.text("file")
    if bool(command.text.strip()) == bool(file.text.strip()) and inner.sound:
        wrong = "has both `command` and `file`" if file.text else "does not say what lists what must stay"
        inner.tell(node.origin, f"{inner.label} {wrong}", "say `command:` or `file:`")
    if file.text and not file.text.startswith("/"):
        inner.tell(file.origin, f"`file` of {inner.label} is no absolute path", "write it in full")
    reader.sound = reader.sound and inner.sound
    return rule._replace(in_use_command=command.text.strip(), in_use_file=file.text)


def fields_of(rule: Cleanup, merged: Entries) -> dict[str, Field]:
    """What is in effect of a rule, and where it stands; of what git leaves out, the defaults that are one."""
    node = merged.section("cleanup").get(rule.name)
    free = f"{rule.free_percent}%" if rule.free_percent else rule.free_bytes
    values: dict[str, object] = {
        "root": rule.root,
        "older_than": rule.days,
        "min_depth": rule.min_depth,
        "max_depth": rule.max_depth,
        "type": rule.sort.value,
        "age": rule.age.value,
        "exclude": list(rule.exclude),
        "schedule": rule.cron,
        "zone": rule.zone,
        "free_below": free,
        "in_use.command": rule.in_use_command,
        "in_use.file": rule.in_use_file,
        "root_is": rule.root_is.value,
        "minutes": rule.minutes,
        "entries": rule.entries,
    }
    said = {path: leaf.origin for path, leaf in leaves(node)} if node is not None else {}
    for key, words in (("max_depth", "any"), ("schedule", "once in a night"), ("entries", "any number")):
        values[key] = values[key] if key in said else words
    shown = [key for key in values if key in said or key in _DEFAULTS]
    return {key: Field(values[key], said.get(key, ORIGIN_DEFAULT)) for key in shown}


# ---------------------------------------------------------------- the root


def _root(reader: Reader, ground: Ground, folders: Mapping[str, str], root_is: RootIs) -> str:
    """Where it may be removed. Whether it is a mount point only the host can tell, and does, each time."""
    node = reader.node.get("root")
    got = reader.text("root")
    if node is None or not reader.sound:
        return got.text
    if empty := next(_empty(node, ground, 0), None):
        message = f"a part of the root of {reader.label} is empty: {empty}"
        reader.tell(got.origin, message, f"the root would be `{got.text[:80]}`: give it a value", rule="cleanup empty")
        return got.text
    why, hint = _refused(got.text, folders, ground.wanted.facts.home, root_is)
    if why:
        message = f"the root of {reader.label} {why}: `{got.text[:200]}`"
        reader.tell(got.origin, message, hint, rule=f"cleanup root {reader.label}")
    return got.text


def _refused(root: str, folders: Mapping[str, str], home: str, root_is: RootIs) -> tuple[str, str]:
    """Why something cannot be a root, and how to mend that; nothing where it can."""
    if why := not_a_path(root):
        return why, "such as /scratch/jaws/inputs"
    if pattern := re.search(r"[*?\[]", root):
        return f"has `{pattern[0]}`, and no pattern is looked for", "name one folder: each rule has one root"
    if of_the_system(root):
        return "belongs to the system", "name the scratch folder itself"
    if home.startswith("/") and holds(root, os.path.normpath(home)):
        if root != os.path.normpath(home):
            return "holds the home of the account", "name a folder that does not"
        if root_is is not RootIs.HOME:
            return "is the home of the account", "where that is meant, say `root_is: home`"
    for name, folder in folders.items():
        if holds(root, folder) or (name not in ("root", "logs") and holds(folder, root)):
            return f"holds or is part of what is installed here (paths.{name}, {folder})", "name another folder"
    return "", ""


def _empty(node: Node, ground: Ground, depth: int) -> Iterator[str]:
    """Parts of a text that a template fills in with nothing; also of the vars that it is made of."""
    if not isinstance(node, Scalar) or depth > _DEEPEST:
        return
    if "{%" in node.text:
        yield "with {% ... %} it cannot be told, write it without"
    for found in _PIECE.finditer(node.text):
        expression = found[1].strip()
        if not _value(node, found[0], ground).strip():
            yield f"{{{{ {expression[:60]} }}}} gives nothing"
        name = _NAME.fullmatch(expression)
        inner = _source(ground, name[1].split(".")) if name else None
        if inner is not None:
            yield from _empty(inner, ground, depth + 1)


def _value(node: Scalar, piece: str, ground: Ground) -> str:
    part = Scalar(node.file, node.line, node.column, piece, piece, node.style, node.secret)
    try:
        return ground.evaluator.text(part, ground.scope, "root").text
    except Failed:
        return ""


def _source(ground: Ground, path: list[str]) -> Node | None:
    """Where a name has its value from, of vars and paths."""
    if path[0] == "paths" and len(path) == 2:
        return ground.merged.section("paths").get(path[1])
    node = ground.merged.get("vars")
    for name in path:
        node = node.get(name) if isinstance(node, Entries) else None
    return node

