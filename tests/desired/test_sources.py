"""`policy.sources` and the agent's own: what may be installed from where."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.desired import compile_site, validate
from reconciler.desired.sources import is_allowed
from tests.desired.conftest import FACTS

Tree = Callable[..., dict[str, bytes]]

COMPONENTS = """\
components:
  app: {install: venv, requirement: "our-app=={{ version }}"}
  tool: {install: apptainer-docker, image: t.sif, source: "docker://registry.example.org/tool:1"}
versions: {tool: "1"}
services:
  tool: {command: run}
"""


def layer(policy: str) -> dict[str, str]:
    return {"desired/sites/x.dev.yaml": COMPONENTS + policy}


def test_what_matches(tree: Tree) -> None:
    both = 'policy: {sources: ["our-*==*", "docker://registry.example.org/**"]}\n'
    assert validate(tree(layer(both)), FACTS) == ()
    agent = FACTS._replace(sources=("our-app==*", "docker://registry.example.org/tool:*"))
    result = compile_site(tree(layer(both)), "x", None, agent)
    assert result.problems == ()


def test_what_does_not_match_is_told_with_its_place(tree: Tree) -> None:
    (problem,) = validate(tree(layer('policy: {sources: ["our-*==*"]}\n')), FACTS)
    assert (problem.origin.file, problem.origin.line) == ("desired/sites/x.dev.yaml", 3)
    assert "its source `docker://registry.example.org/tool:1` matches no pattern of `policy.sources`" in problem.message
    assert "our-*==*" in problem.hint


def test_the_agents_own_hold_whatever_the_repo_says(tree: Tree) -> None:
    agent = FACTS._replace(sources=("our-*==*",))
    result = compile_site(tree(layer('policy: {sources: ["**", "docker://**"]}\n')), "x", None, agent)
    assert not result.compiled
    assert any("matches no pattern of `sources` of this host's agent" in problem.message for problem in result.problems)


def test_an_empty_list_allows_nothing(tree: Tree) -> None:
    assert len(validate(tree(layer("policy: {sources: []}\n")), FACTS)) == 2


def test_a_password_is_not_told(tree: Tree) -> None:
    text = COMPONENTS.replace("our-app==", "https://ann:hunter2@pypi.example.org/app-").replace("}}", "}}.whl", 1)
    problems = validate(tree({"desired/sites/x.dev.yaml": text + 'policy: {sources: ["docker://**"]}\n'}), FACTS)
    assert problems
    assert "hunter2" not in "".join(map(str, problems))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("our-*==*", "our-web==1.0 --index-url https://evil.example.com/simple"),
        ("our-*==*", "our-web==1.0\t-i https://evil.example.com/simple"),
        ("our-*==*", "our-web==1.0\n-i https://evil.example.com/simple"),
        ("our-*==*", "our-x@https://evil.example.com/our-web==1.0"),
        ("our-*==*", "xour-web==1.0"),
        ("https://*.example.org/**", "https://evil.com/.example.org/x"),
        ("https://*.example.org/**", "https://evil.com#.example.org/x"),
        ("https://*.example.org/**", "https://evil.com?.example.org/x"),
        ("https://*.example.org/**", "https://evil.com\\.example.org/x"),
        ("https://good.example.org**", "https://good.example.org:x@evil.com/x"),
        ("/srv/wheels/**", "/srv/wheels/../../tmp/evil.whl"),
        ("/srv/wheels/*", "/srv/wheels/.."),
        ("file:///srv/wheels/**", "file:///srv/wheels/%2E%2e/%2e./tmp/evil.whl"),
        ("docker://reg.example.org/*:*", "docker://reg.example.org/a/b:1"),
        ("docker://reg.example.org/**", "docker://reg.example.orgx/a"),
        ("a.b", "axb"),
    ],
)
def test_ways_around(pattern: str, text: str) -> None:
    assert not is_allowed(text, [pattern])


@given(st.text(alphabet="ab*./@ \n?#\\", max_size=12), st.text(alphabet="ab*./@ \n?#\\", max_size=12))
def test_stars_are_the_only_freedom(pattern: str, text: str) -> None:
    """What matches has all the other letters of the pattern, and no blank that the pattern has not."""
    if is_allowed(text, [pattern]):
        for letter in "ab./@ \n?#\\":
            assert text.count(letter) >= pattern.count(letter)
        for letter in " \n@?#\\":
            assert text.count(letter) == pattern.count(letter)
        assert ".." not in text.split("/")
