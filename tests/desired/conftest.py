"""A small desired-state repo, and what becomes of it when a test writes something else into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from reconciler.core.desired import Compiled
from reconciler.core.problem import Problem
from reconciler.desired import Facts, Result, compile_site, validate

FACTS = Facts(host="login01", account="robot", salt="pepper")

REPO = {
    "desired/defaults.yaml": """\
versions: {app: "1.0"}
vars:
  level: INFO
  ports: {web: 8080}
paths: {root: "/srv/{{ site }}-{{ environment }}"}
components:
  app: {install: none}
files:
  app.conf: {template: app.conf.j2, path: "{{ paths.config }}/app.conf"}
services:
  web:
    component: app
    command: "serve {{ files['app.conf'].path }}"
    files: [app.conf]
    ports: ["{{ ports.web }}"]
  job:
    component: app
    command: work
    after: [web]
""",
    "desired/environments/dev.yaml": "",
    "desired/sites/x.yaml": "environments: [dev]\n",
    "templates/app.conf.j2": "level = {{ level }}\n",
}

SITE = "desired/sites/x.yaml"
BOTH = "desired/sites/x.dev.yaml"


def tree_of(changes: Mapping[str, str | bytes | None]) -> dict[str, bytes]:
    """The small repo with other files; None takes a file away."""
    files = {**REPO, **changes}
    return {path: text.encode() if isinstance(text, str) else text for path, text in files.items() if text is not None}


@pytest.fixture
def facts() -> Facts:
    return FACTS


@pytest.fixture
def tree() -> Callable[..., dict[str, bytes]]:
    """The small repo with other files."""
    return lambda changes=None: tree_of(changes or {})


@pytest.fixture
def compiled() -> Callable[..., Compiled]:
    """The small repo's `x/dev`, with `text` as its last layer and other files changed; without a problem."""

    def compile_dev(text: str = "", changes: Mapping[str, str | bytes | None] | None = None) -> Compiled:
        result: Result = compile_site(tree_of({BOTH: text, **(changes or {})}), "x", ["dev"], FACTS, "c0ffee")
        assert result.problems == ()
        return result.compiled["dev"]

    return compile_dev


@pytest.fixture
def told() -> Callable[..., list[Problem]]:
    """The problems of the same; `validate` tells the same ones as compiling."""

    def problems_of(text: str | bytes = "", changes: Mapping[str, str | bytes | None] | None = None) -> list[Problem]:
        tree = tree_of({BOTH: text, **(changes or {})})
        result = compile_site(tree, "x", None, FACTS)
        assert validate(tree, FACTS) == result.problems
        assert not (result.problems and result.compiled)
        return list(result.problems)

    return problems_of
