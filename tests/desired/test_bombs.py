"""Repos that would fill the memory or never end: each is told with file and line, within seconds."""

# ruff: noqa: E501 - tables read best with a row to a line

from __future__ import annotations

import resource
from collections.abc import Callable
from time import process_time

import pytest

from reconciler.desired import validate
from tests.desired.conftest import FACTS

Tree = Callable[..., dict[str, bytes]]
FILE = "templates/app.conf.j2"
SECONDS = 8.0  # of the processor; a bomb that goes off takes hours

TEMPLATES = {
    "nested loops over a text": ("{% for a in 'x' * 4000000 %}{% for b in 'x' * 4000000 %}{% endfor %}{% endfor %}", "rounds"),
    "nested loops over a list": ("{% set l = [1, 2, 3, 4, 5, 6, 7, 8, 9] %}" + "{% for a in l %}" * 12 + "{% endfor %}" * 12, "rounds"),
    "a loop that looks ahead": ("{% for i in 'x' * 4000000 %}{{ loop.length }}{% endfor %}", "rounds"),
    "macros that double": ("{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}", "more than"),
    "a text that doubles": ("{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}", "MiB"),
    "a list that doubles": ("{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", "MiB"),
    "a block that doubles": ("{% block a %}{% if range(2) %}{{ self.a() }}{{ self.a() }}{% endif %}{% endblock %}", "without end"),
    "joined": ("{{ (['x' * 4000000] * 100000) | join }}", "MiB"),
    "joined by a method": ("{{ ''.join(['x' * 4000000] * 100000) }}", "MiB"),
    "replaced": ("{{ ('x' * 4000000).replace('x', 'y' * 4000000) }}", "MiB"),
    "replaced by a filter": ("{{ ('x' * 900000) | replace('x', 'y' * 900000) }}", "MiB"),
    "centered": ("{{ 'x' | center(10 ** 12) }}", "size"),
    "justified": ("{{ 'x'.ljust(10 ** 12) }}", "size"),
    "tabs": ("{{ '\\t'.expandtabs(10 ** 12) }}", "size"),
    "a wide number": ("{{ '%999999999999d' % 1 }}", "MiB"),
    "a wide number by a filter": ("{{ '%9999999999d' | format(1) }}", "MiB"),
    "a wide format": ("{{ '{:>99999999999}'.format(1) }}", "MiB"),
    "a format that is told how wide": ("{{ '{:>{}}'.format(1, 10 ** 12) }}", "MiB"),
    "powers of powers": ("{% set ns = namespace(x=10) %}{% for i in range(60) %}{% set ns.x = ns.x ** 900 %}{% endfor %}", "too large"),
    "squares of squares": ("{% set ns = namespace(x=10) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}", "too large"),
    "slices": ("{{ [1] | slice(10 ** 10) | select | list }}", "size"),
    "slices of slices": ("{{ [1] | slice(1000000) | map('slice', 1000000) | map('select') | map('list') | select | list }}", "more than"),
    "batches": ("{{ [1] | batch(10 ** 10, 'x') | list }}", "size"),
    "wrapped": ("{{ ('x' * 1000000) | wordwrap(1) }}", "too long"),
    "JSON with wide indents": ("{{ {'a': [1]} | tojson(indent=10 ** 12) }}", "size"),
    "indented": ("{{ 'a' | indent(10 ** 12, first=true) }}", "size"),
    "rounded": ("{{ 1.5 | round(10 ** 9, 'ceil') }}", "size"),
    "added up": ("{{ ([['x'] * 1000] * 4000000) | sum(start=[]) }}", "adds numbers"),
    "recursion": ("{% for a in ['x' * 4000000] recursive %}{{ loop(a) }}{% endfor %}", "without end"),
    "bytes": ("{{ 'x'.encode() * 10 ** 9 }}", "too long"),
    "sorted over and over": ("{% for i in range(1000) %}{% set a = range(1000000) | sort %}{% endfor %}", "more than"),
    "much text": ("{% for i in range(900000) %}xxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}", "more than"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_that_explodes(name: str, tree: Tree) -> None:
    text, told = TEMPLATES[name]
    limits, began = resource.getrlimit(resource.RLIMIT_AS), process_time()
    (problem,) = validate(tree({FILE: "# first line\n" + text}), FACTS)
    assert process_time() - began < SECONDS
    assert told in problem.message
    assert (problem.origin.file, problem.origin.line in (2, 0)) == (FILE, True)
    assert resource.getrlimit(resource.RLIMIT_AS) == limits


def test_a_template_that_includes_itself_twice(tree: Tree) -> None:
    text = "{% set n = (depth or []) + [1] %}{% if n | length < 99 %}{% include 'app.conf.j2' %}{% include 'app.conf.j2' %}{% endif %}"
    began = process_time()
    assert validate(tree({FILE: text, "desired/sites/x.dev.yaml": "vars: {depth: []}\n"}), FACTS)
    assert process_time() - began < SECONDS


def test_many_of_them(tree: Tree) -> None:
    """They share what time there is."""
    slow = TEMPLATES["slices of slices"][0]
    files = "".join(f"  f{n}: {{template: t{n}.j2, path: '{{{{ paths.config }}}}/{n}'}}\n" for n in range(30))
    began = process_time()
    layer = {"desired/sites/x.dev.yaml": f"files:\n{files}"}
    problems = validate(tree(layer | {f"templates/t{n}.j2": slow for n in range(30)}), FACTS)
    assert len(problems) == 30
    assert process_time() - began < 30


@pytest.mark.parametrize("text", ["{{ 52428800 }}", "{{ nothing | default(52428800) }}", "{{ '%d' % 52428800 }}", "{{ '{}'.format(52428800) }}"])
def test_large_numbers_are_no_bombs(tree: Tree, text: str) -> None:
    assert validate(tree({FILE: text, "desired/sites/x.dev.yaml": "vars: {nothing: null}\n"}), FACTS) == ()


def test_a_large_file_is_no_bomb(tree: Tree) -> None:
    text = "{% for i in range(20000) %}{{ loop.index }} {{ i }} {{ loop.last }} of {{ loop.length }}\n{% endfor %}"
    assert validate(tree({FILE: text}), FACTS) == ()


LAYERS = {
    "billions of laughs": ("vars:\n  a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"  a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9)), "aliases"),
    "billions of laughs in mappings": ("vars:\n  a0: &a0 {a: x, b: x, c: x}\n" + "".join(f"  a{n + 1}: &a{n + 1} {{a: *a{n}, b: *a{n}, c: *a{n}}}\n" for n in range(20)), "aliases"),
    "one long text over and over": ("vars:\n  a: &a '" + "x" * 500_000 + "'\n  b: [" + "*a, " * 90_000 + "]\n", "aliases"),
    "10 MB of brackets": ("[" * 10_000_000, "limit"),
    "a megabyte of brackets": ("[" * 1_000_000, "deeper"),
    "a megabyte of braces": ("{a: " * 250_000, "deeper"),
    "dashes": ("- " * 500_000, "deeper"),
    "itself": ("vars: &a [*a]\n", "inside"),
    "anchors": ("vars: [" + ", ".join(f"&a{n} {n}" for n in range(60_000)) + "]\nx: *nobody\n", "unknown alias"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_that_explodes(name: str, tree: Tree) -> None:
    text, told = LAYERS[name]
    began = process_time()
    problems = validate(tree({"desired/sites/x.dev.yaml": text}), FACTS)
    assert process_time() - began < SECONDS
    assert any(told in problem.message for problem in problems), problems[:3]
    assert problems[0].origin.file == "desired/sites/x.dev.yaml"
