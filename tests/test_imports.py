"""Imports run one way, only the command line prints or exits, and a start is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1] / "reconciler"
ALL = frozenset(
    {"adopt", "agent", "apply", "authoring", "cli", "core", "demo", "desired", "host", "install", "launchers"}
    | {"notify", "report", "schedule", "source"}
)

# What a package may import of the project besides itself. A dotted entry allows this module only.
MAY = {
    "core": frozenset[str](),
    "host": frozenset({"core"}),
    "launchers": frozenset({"core", "host"}),
    "install": frozenset({"core", "host"}),
    "source": frozenset({"core", "host"}),
    # How a unit file is written is the launcher's knowledge, and pure.
    "schedule": frozenset({"core", "host", "launchers.systemd.unit_file"}),
    # It compiles with the pure halves of launchers and install methods, reads one folder, and bounds its templates.
    "desired": frozenset({"core", "launchers", "install", "host.files", "host.memory"}),
    # Its file is read as the agent's own is, with the reader of layers.
    "notify": frozenset({"core", "host", "desired.nodes", "desired.problems", "desired.text"}),
    "apply": frozenset({"core", "host", "launchers", "install"}),
    # It works on a person's checkout, on any machine: it knows neither the agent nor a launcher.
    "authoring": frozenset({"core", "desired", "host", "source"}),
    "adopt": frozenset({"core", "host", "launchers"}),
    "report": frozenset({"core"}),
    "agent": ALL - {"cli", "demo"},
    "cli": ALL,
    "demo": ALL,
    "__init__": frozenset[str](),
    "__main__": frozenset({"cli"}),
}

# The core decides; it has no host, no clock and no file.
NOT_IN_CORE = frozenset(
    {"asyncio", "datetime", "glob", "io", "logging", "multiprocessing", "os", "pathlib", "platform", "pwd", "random"}
    | {"secrets", "shutil", "signal", "socket", "subprocess", "sys", "tempfile", "threading", "time", "urllib"}
)
MAY_PRINT = frozenset({"cli", "demo", "__main__"})
MAY_END = frozenset({"host.scratch.apart"})  # a copy of the process, which does nothing of what that does at its end
MAY_RUN = frozenset({"host.run", "demo"})  # programs are run in one place

# Too slow, or too much, for a pass that finds nothing to do.
NOT_AT_START = frozenset(
    {"jinja2", "ruamel", "git", "structlog", "deepdiff", "watchfiles", "urllib3"}
    | {"subprocess", "logging", "dataclasses"}
)


class Import(NamedTuple):
    """One import of a module, wherever in the file it stands."""

    source: str  # dotted, without the project's name: "install.venv"
    target: str  # dotted, in full
    line: int

    @property
    def package(self) -> str:
        return self.source.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts), ast.parse(path.read_text(), str(path))


def imports_of(source: str, tree: ast.AST) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(source, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}:{node.lineno}: imports are absolute"
            assert node.module
            yield from (Import(source, f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def is_allowed(found: Import) -> bool:
    """Whether the direction is right; imports from outside of the project always are."""
    project, _, target = found.target.partition(".")
    if project != "reconciler" or not target or target.partition(".")[0] not in ALL:
        return True
    if target.partition(".")[0] == found.package:
        return True
    return any(target == entry or target.startswith(f"{entry}.") for entry in MAY[found.package])


def calls(source: str, tree: ast.AST) -> Iterator[str]:
    """Every call of print, exit, sys.exit and os._exit, and every use of standard output."""
    names = {"print", "exit", "quit", "sys.exit", "os._exit", "sys.stdout.write", "sys.stderr.write"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
            yield f"{source}:{node.lineno} calls {ast.unparse(node.func)}"


@cache
def every() -> list[Import]:
    return [found for source, tree in modules() for found in imports_of(source, tree)]


def test_every_package_has_a_rule() -> None:
    """A new package says here what it may import."""
    packages = {path.parent.name for path in ROOT.glob("*/*.py")}
    assert sorted(packages - ALL) == []
    assert sorted(ALL - MAY.keys()) == []


def test_imports_run_one_way() -> None:
    assert [str(found) for found in every() if not is_allowed(found)] == []


def circle(found: Iterable[Import], names: Collection[str]) -> list[str]:
    """Modules that import each other, wherever in their files they do so; what is for types only counts too."""
    graph: dict[str, set[str]] = {name: set() for name in names}
    for one in found:
        target = one.target.removeprefix("reconciler.")
        module = target if target in names else target.rpartition(".")[0]
        if module in names and module != one.source:
            graph[one.source].add(module)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_by_way_of_others() -> None:
    names = {source.removesuffix(".__init__") for source, _ in modules()}
    found = [one._replace(source=one.source.removesuffix(".__init__")) for one in every()]
    assert circle(found, names) == []


def test_a_circle_would_be_found() -> None:
    found = [Import("a.b", "reconciler.a.c.Name", 1), Import("a.c", "reconciler.a.b", 1)]
    assert set(circle(found, {"a.b", "a.c"})) == {"a.b", "a.c"}
    assert circle(found[:1], {"a.b", "a.c"}) == []


def test_core_has_no_host_and_no_clock() -> None:
    found = [str(one) for one in every() if one.package == "core" and one.target.partition(".")[0] in NOT_IN_CORE]
    assert found == []


def test_programs_are_run_in_one_place() -> None:
    users = [one for one in every() if one.target.partition(".")[0] == "subprocess"]
    assert [str(one) for one in users if not {one.source, one.package} & MAY_RUN] == []


def test_only_the_command_line_prints_or_exits() -> None:
    found = [
        call for source, tree in modules() if source.partition(".")[0] not in MAY_PRINT for call in calls(source, tree)
    ]
    found = [call for call in found if call.partition(":")[0] not in MAY_END or not call.endswith("os._exit")]
    assert found == []


@pytest.mark.parametrize(
    ("source", "code", "allowed"),
    [
        ("core.diff", "from reconciler.core import model", True),
        ("core.diff", "from reconciler.host.files import read", False),
        ("core.diff", "def late():\n    import reconciler.host.files", False),
        ("desired.load", "from reconciler.host.files import read", True),
        ("desired.load", "from reconciler.host import files", True),
        ("desired.load", "from reconciler.host import run", False),
        ("report.table", "import structlog", True),
        ("agent.loop", "from reconciler.cli import main", False),
    ],
)
def test_the_rule_can_fail(source: str, code: str, allowed: bool) -> None:
    assert all(is_allowed(found) for found in imports_of(source, ast.parse(code))) is allowed


@pytest.mark.skipif(not (ROOT / "cli" / "main.py").exists(), reason="there is no command line yet")
def test_a_start_loads_nothing_heavy() -> None:
    code = "import sys; before = set(sys.modules); import reconciler.cli.main; print(*(set(sys.modules) - before))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    loaded = {name.partition(".")[0] for name in printed.split()}
    assert sorted(loaded & NOT_AT_START) == []
