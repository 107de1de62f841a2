"""Templates that are filled in without Jinja2 come out as Jinja2 would have it."""

# ruff: noqa: E501 - tables read best with a row to a line

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment

from reconciler.desired.rendering import Broken
from reconciler.desired.templates import Templates

VALUES: dict[str, object] = {
    "a": "text",
    "b": {"c": 1, "d": {"e": None, "x y": True}},
    "f": 1.5,
    "g": ["h"],
    "true": "x",
}


class Values:
    """A scope without anything lazy."""

    def find(self, name: str, default: object = None) -> object:
        return VALUES.get(name, default)

    def names(self) -> set[str]:
        return set(VALUES)


PIECES = [
    "{{ a }}", "{{a}}", "{{ b.c }}", "{{ b['c'] }}", '{{ b["d"]["x y"] }}', "{{ b.d.e }}", "{{ f }}", "{{ g }}", "{{ g[0] }}",
    "{{ true }}", "{{- a -}}", "{{ a | upper }}", "{", "}", "{{", "}}", "{# x #}", "{% if a %}", "{% endif %}", " ", "\n", "\r\n",
    "'", "text", "{{ 'a' }}", "{{ nothing }}", "{{ b.nothing }}", "{{ a\n}}", "%}", "#}", "\\", "{{ b . c }}", "{{ b['c\\'] }}",
]  # fmt: skip


@settings(max_examples=500, derandomize=True, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
def test_as_jinja_would_have_it(source: str) -> None:
    try:
        ours: str | None = Templates({}).string(source, Values())
    except Broken:
        ours = None
    assert ours == jinja(source, VALUES)


def jinja(source: str, values: Mapping[str, object]) -> str | None:
    from jinja2 import StrictUndefined, TemplateError

    env = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True)
    try:
        return env.from_string(source).render(values)
    except TemplateError:
        return None


@pytest.mark.parametrize("module", ["reconciler.desired", "reconciler.desired.compiler"])
def test_heavy_imports_wait(module: str) -> None:
    """Neither library is loaded before something needs it."""
    code = (
        f"import sys, {module}; print([m for m in ('jinja2', 'ruamel', 'ruamel.yaml', 'difflib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
