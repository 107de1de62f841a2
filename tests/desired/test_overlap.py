"""Two rules of `cleanup` over one tree: what one keeps and the other removes is an error, any other overlap is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.desired import Facts, compile_site, examine

Tree = Callable[..., dict[str, bytes]]
BOTH = "desired/sites/x.dev.yaml"
OUTER, INNER = "root: /scratch/x, older_than: 14", "root: /scratch/x/inputs"
TWO = {
    "desired/sites/x.yaml": "environments: [dev, prod]",
    "desired/environments/prod.yaml": "vars: {ports: {web: 8081}}",
}


def told(files: dict[str, bytes]) -> tuple[list[str], list[str]]:
    """Problems and warnings, each with its place and hint; compiling tells the problems of the same."""
    found = examine(files, Facts("login01", "robot"))
    assert compile_site(files, "x", None, Facts("login01", "robot")).problems == found.problems
    return list(map(str, found.problems)), list(map(str, found.warnings))


@pytest.mark.parametrize(
    ("outer", "inner", "message", "hint"),
    [
        (OUTER, f"{INNER}, older_than: 90", "after 14 days, which `b` keeps for 90", 'exclude: ["inputs/"]'),
        (OUTER, f"{INNER}, older_than: 14, age: newest", "by the date of a folder itself, where `b`", "exclude"),
        (OUTER, f"{INNER}, older_than: 7, in_use: {{command: ids}}", "what `in_use` of `b` keeps", "one `in_use`"),
        (f"{OUTER}, in_use: {{file: /ids}}", f"{INNER}, older_than: 7", "what `in_use` of `a` keeps", "one `in_use`"),
        (OUTER, f'{INNER}, older_than: 7, exclude: ["*.keep"]', "what `exclude` of `b` keeps", 'exclude: ["inputs/"]'),
        (f'{OUTER}, exclude: ["u/*"]', f'{INNER}/y, older_than: 7, exclude: ["u/*"]', "`exclude` of `b` keeps", ""),
        (OUTER, 'root: /scratch/x, older_than: 7, exclude: ["*.keep"]', "what `exclude` of `b` keeps", "one rule"),
        (OUTER, "root: /scratch/x, older_than: 90", "after 14 days, which `b` keeps for 90", "one rule"),
        ("root: /scratch/x, older_than: 90", OUTER, "after 14 days, which `a` keeps for 90", "one rule"),
    ],
)
def test_what_one_rule_keeps_and_the_other_removes(outer: str, inner: str, message: str, hint: str, tree: Tree) -> None:
    """Whoever wrote the careful one thinks that it holds."""
    problems, warnings = told(tree({BOTH: f"cleanup:\n  a: {{{outer}}}\n  b: {{{inner}}}\n"}))

    (problem,) = problems
    assert problem.startswith(f"{BOTH}:3:13: cleanup `"), problem
    assert message in problem, problem
    assert hint in problem, problem
    assert warnings == []


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (OUTER, f"{INNER}, older_than: 14"),
        (OUTER, f"{INNER}/y, older_than: 7"),
        (f'{OUTER}, exclude: ["*.keep"]', f'{INNER}, older_than: 7, exclude: ["*.keep"]'),
        (f'{OUTER}, exclude: ["inputs/u/*"]', f'{INNER}, older_than: 7, exclude: ["u/*"]'),
        (f"{OUTER}, in_use: {{file: /ids}}", f"{INNER}, older_than: 7, in_use: {{file: /ids}}"),
        (f"{OUTER}, max_depth: 1, type: d", "root: /scratch/x, older_than: 90, min_depth: 2"),
        (f"{OUTER}, type: f", "root: /scratch/x, older_than: 90, type: d, age: newest"),
    ],
)
def test_any_other_overlap_is_told(outer: str, inner: str, tree: Tree) -> None:
    """It may be meant: what is in it goes by the rule that comes first."""
    problems, (warning,) = told(tree({BOTH: f"cleanup:\n  a: {{{outer}}}\n  b: {{{inner}}}\n"}))

    assert problems == []
    assert warning.startswith(f"{BOTH}:3:13: cleanup `a`")
    assert " /scratch/x" in warning
    assert "exclude" in warning or "one rule" in warning


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (f'{OUTER}, exclude: ["inputs/"]', f"{INNER}, older_than: 90"),
        (f"{OUTER}, exclude: [inputs]", f"{INNER}/deep, older_than: 90, in_use: {{file: /ids}}"),
        (f"{OUTER}, type: f, max_depth: 1", f"{INNER}, older_than: 90"),
        (OUTER, "root: /scratch/xy, older_than: 90"),
        (OUTER, "root: /scratch, older_than: 90, exclude: [x]"),
    ],
)
def test_rules_that_leave_each_other_alone(outer: str, inner: str, tree: Tree) -> None:
    assert told(tree({BOTH: f"cleanup:\n  a: {{{outer}}}\n  b: {{{inner}}}\n"})) == ([], [])


def test_the_environments_of_a_site(tree: Tree) -> None:
    """A rule for all of them without `{{ environment }}` in its root: once, not for each pair."""
    three = {**TWO, "desired/sites/x.yaml": "environments: [dev, prod, staging]"}
    three["desired/environments/staging.yaml"] = "vars: {ports: {web: 8082}}"
    layer = "desired/sites/x.yaml"
    same = f"{three[layer]}\ncleanup: {{in: {{root: /scratch/x, older_than: 14%s}}}}"

    problems, (warning,) = told(tree({**three, layer: same % ""}))
    assert problems == []
    assert warning.startswith(f"{layer}:2:22: cleanup `in` of dev and cleanup `in` of prod")
    assert "{{ environment }}" in warning

    used = ', in_use: {command: "ids {{ environment }}"}'
    (problem,), warnings = told(tree({**three, layer: same % used}))
    assert "what `in_use` of `in` of " in problem
    assert warnings == []

    apart = same.replace("/scratch/x", '"/scratch/x-{{ environment }}"')
    assert told(tree({**three, layer: apart % used})) == ([], [])


def test_hosts_of_their_own(tree: Tree) -> None:
    """One path may be two disks then, or one that they share: nobody can tell here, so it is only told."""
    layers = {
        BOTH: "host: login01\ncleanup: {in: {root: /scratch/x, older_than: 14}}",
        "desired/sites/x.prod.yaml": "host: login02\ncleanup: {in: {root: /scratch/x, older_than: 90}}",
    }
    problems, (warning,) = told(tree({**TWO, **layers}))
    assert problems == []
    assert "`in` of dev" in warning

    (problem,), _ = told(tree({**TWO, **{name: text.replace("login01", "login*") for name, text in layers.items()}}))
    assert "after 14 days, which `in` of prod keeps for 90" in problem


@pytest.mark.parametrize(
    ("root", "what"),
    [
        ("/D/inst2", "holds what prod has installed (paths.root, /D/inst2/prod)"),
        ("/D/inst2/prod", "holds what prod has installed (paths.root, /D/inst2/prod)"),
        ("/D/inst2/prod/scratch", "lies in what prod has installed (paths.root, /D/inst2/prod)"),
        ("/D/logs", "holds what prod has installed (paths.logs, /D/logs/prod)"),
        ("/D/logs/prod/old", "lies in what prod has installed (paths.logs, /D/logs/prod)"),
    ],
)
def test_a_rule_reaches_nothing_that_another_environment_has_installed(root: str, what: str, tree: Tree) -> None:
    layers = {
        BOTH: f"cleanup: {{all: {{root: {root}, older_than: 14}}}}",
        "desired/sites/x.prod.yaml": "paths: {root: /D/inst2/prod, logs: /D/logs/prod}",
    }
    (problem,), warnings = told(tree({**TWO, **layers}))
    assert problem.startswith(f"{BOTH}:1:23: the root of cleanup `all` {what}"), problem
    assert "{{ environment }}" in problem
    assert warnings == []


def test_what_is_installed_on_another_host_is_only_told(tree: Tree) -> None:
    """One path may be two disks then, or one that they share."""
    layers = {
        BOTH: "host: login01\ncleanup: {all: {root: /D, older_than: 14}}",
        "desired/sites/x.prod.yaml": "host: login02\npaths: {root: /D/prod}",
    }
    problems, (warning,) = told(tree({**TWO, **layers}))
    assert problems == []
    assert "the root of cleanup `all` holds what prod has installed (paths.root, /D/prod)" in warning

    one = "host: login02\npaths: {root: /D/prod}\nservices: {web: {host: login01}}"
    for text in (one, "paths: {root: /D/prod}", "host: login*\npaths: {root: /D/prod}"):
        (problem,), _ = told(tree({**TWO, **layers, "desired/sites/x.prod.yaml": text}))
        assert "holds what prod has installed" in problem


def test_a_folder_beside_what_others_have_installed_may_be_cleaned_up(tree: Tree) -> None:
    layers = {
        BOTH: "cleanup: {all: {root: /D/scratch, older_than: 14}}",
        "desired/sites/x.prod.yaml": "paths: {root: /D/scratch-prod}",
    }
    assert told(tree({**TWO, **layers})) == ([], [])
