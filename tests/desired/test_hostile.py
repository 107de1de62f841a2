"""Whatever is thrown at it, it tells problems, and never raises."""

# ruff: noqa: E501 - tables read best with a row to a line

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reconciler.core.problem import Problem
from reconciler.desired import Facts, compile_site, environments, sites, validate

Tree = Callable[..., dict[str, bytes]]
FACTS = Facts("h", "a", "s")
PATHS = (
    "desired/defaults.yaml",
    "desired/environments/dev.yaml",
    "desired/sites/x.yaml",
    "desired/sites/x.dev.yaml",
    "templates/app.conf.j2",
)
TOKENS = (
    "{{", "}}", "{%", "%}", "{#", "&a ", "*a", "<<: ", "!secret ", "!!int ", "!x ", "- ", ": ", "? ", "|\n", ">\n", "---\n", "...\n",
    "%YAML 1.1\n", "[", "]", "{", "}", "'", '"', "\\", "#", "\t", "\x00", "\x85", "\ufeff", "null", "~", "1.10", "0o7", "-.inf", "1e999",
    "{{ version }}", "{{ vars }}", "{{ ports }}", "{{ files }}", "{{ paths.root }}", "{{ level.x.y }}", "{{ [1] * 3 }}", "{{ self }}",
    "{% include 'app.conf.j2' %}", "{% for a in files %}{{ a }}{% endfor %}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ ''.__class__ }}", "{{ namespace() }}", "{{ caller() }}", "{% raise %}", "{{ 'x'.join(1) }}", "{{ range(3)|list }}", '"\\ud83d"',
    "services", "web", "command", "name", "../..", "%n", "$(x)", "99999999999999999999", "\U0001f600", "a" * 300,
)  # fmt: skip
KEYS = (
    "services", "web", "job", "command", "files", "app.conf", "path", "mode", "template", "env", "after", "ports", "stop", "grace",
    "signal", "enabled", "launcher", "group", "name", "component", "components", "install", "requirement", "versions", "vars", "paths",
    "root", "config", "policy", "max_removals", "supervisor", "startsecs", "port", "password", "environments", "app", "level", "x",
)  # fmt: skip

leaves = st.one_of(
    st.sampled_from(TOKENS),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(KEYS),
)
values = st.recursive(
    leaves,
    lambda part: st.one_of(st.lists(part, max_size=4), st.dictionaries(st.sampled_from(KEYS), part, max_size=5)),
    max_leaves=20,
)
steady = settings(
    max_examples=500, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def holds(tree: dict[str, bytes]) -> None:
    """Every way in gives problems with a place, or a result, and the two ways agree that it is wrong."""
    problems = validate(tree, FACTS)
    result = compile_site(tree, "x", None, FACTS)
    check(problems)
    check(result.problems)
    assert not (result.problems and result.compiled)
    if "desired/sites/x.yaml" in tree and not result.problems:
        assert result.compiled.keys() == set(environments(tree, "x"))
    assert isinstance(sites(tree), list)


def check(problems: Iterable[Problem]) -> None:
    for problem in problems:
        assert problem.origin.file
        assert problem.message
        assert problem.origin.line >= 0
        str(problem).encode()


@steady
@given(
    st.sampled_from(PATHS),
    st.lists(st.tuples(st.integers(0, 800), st.integers(0, 12), st.binary(max_size=6)), min_size=1, max_size=4),
)
def test_bytes(tree: Tree, path: str, cuts: list[tuple[int, int, bytes]]) -> None:
    files = tree({"desired/sites/x.dev.yaml": "services: {web: {env: {A: '{{ level }}'}}}"})
    content = files[path]
    for start, length, new in cuts:
        content = content[:start] + new + content[start + length :]
    holds(files | {path: content})


@steady
@given(
    st.sampled_from(PATHS),
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 12), st.sampled_from(TOKENS)), min_size=1, max_size=4),
)
def test_tokens(tree: Tree, path: str, cuts: list[tuple[int, int, str]]) -> None:
    files = tree({"desired/sites/x.dev.yaml": "services: {web: {env: {A: '{{ level }}'}}}"})
    text = files[path].decode()
    for start, length, new in cuts:
        text = text[:start] + new + text[start + length :]
    holds(files | {path: text.encode()})


@steady
@given(st.dictionaries(st.sampled_from(KEYS), values, min_size=1, max_size=4))
def test_structures(tree: Tree, layer: dict[str, Any]) -> None:
    """JSON is YAML: any structure, in the right places or not."""
    from json import dumps

    holds(tree({"desired/sites/x.dev.yaml": dumps(layer)}))


@steady
@given(st.sampled_from(["web", "job"]), st.dictionaries(st.sampled_from(KEYS), values, min_size=1, max_size=4), values)
def test_services(tree: Tree, name: str, service: dict[str, Any], variable: Any) -> None:
    """Structures where they hurt: within a service, with a var that a string of it uses."""
    from json import dumps

    holds(tree({"desired/sites/x.dev.yaml": dumps({"services": {name: service}, "vars": {"level": variable}})}))


@steady
@given(
    st.lists(
        st.sampled_from([*TOKENS, " ", "\n", "level", "a", "1", "|", "(", ")", ".", ",", " if ", " for ", " in ", "~"]),
        max_size=12,
    )
)
@example(["{%", " for ", "a", " in ", "1"])
def test_templates(tree: Tree, parts: list[str]) -> None:
    from json import dumps

    text = "".join(parts)
    layer = {"vars": {"x": text}, "services": {"job": {"command": text, "env": {"A": "{{ x }}"}}}}
    holds(tree({"desired/sites/x.dev.yaml": dumps(layer), "templates/app.conf.j2": text.encode("utf-8", "replace")}))


def test_deep_nesting(tree: Tree) -> None:
    """Neither layers nor templates nor chains of vars overflow the stack."""
    for text in (
        "[" * 100_000,
        "{a: " * 5_000,
        "- " * 20_000,
        "a:\n" + "".join(" " * n + "a:\n" for n in range(1, 900)),
    ):
        holds(tree({"desired/sites/x.dev.yaml": text}))
    for text in (
        "(" * 3000,
        "{{ " + "(" * 3000 + ")" * 3000 + " }}",
        "{% if 1 %}" * 300 + "{% endif %}" * 300,
        "{{ " + "not " * 5000 + "1 }}",
    ):
        holds(tree({"templates/app.conf.j2": text}))
    chain = "\n".join(f"  v{n}: '{{{{ v{n + 1} ~ 1 }}}}'" for n in range(500))
    holds(
        tree({"desired/sites/x.dev.yaml": f"vars:\n{chain}\n  v500: x\nservices: {{job: {{command: '{{{{ v0 }}}}'}}}}"})
    )


def test_long_chain_of_after(tree: Tree) -> None:
    services = "\n".join(f"  s{n}: {{component: app, command: x, after: [s{(n + 1) % 3000}]}}" for n in range(3000))
    (problem,) = validate(tree({"desired/sites/x.dev.yaml": f"services:\n{services}"}), FACTS)

    assert "s0 -> s1 -> s2" in problem.message


def test_pure_parser(tree: Tree, monkeypatch: Any) -> None:
    """Without the parser in C the same comes out."""
    good = tree()
    bad = tree({"desired/sites/x.dev.yaml": "vars:\n  a: 1\n  a: 2\n  b: !env x\n", "desired/sites/x.yaml": "{["})
    expected = (compile_site(good, "x", None, FACTS), [p.origin.file for p in validate(bad, FACTS)])
    monkeypatch.setattr("reconciler.desired.text._compiled", lambda: False)

    assert (compile_site(good, "x", None, FACTS), [p.origin.file for p in validate(bad, FACTS)]) == expected
