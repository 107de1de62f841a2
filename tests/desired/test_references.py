"""Secrets of other places: references for as long as nobody gives them in, and secrets either way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.core.desired import Compiled, Role
from reconciler.core.secret import Reference, Revealed, Source
from reconciler.desired import compile_site, validate
from reconciler.desired.nodes import Entries
from reconciler.desired.problems import Problems
from reconciler.desired.text import parse
from tests.desired.conftest import BOTH, FACTS, tree_of

Compile = Callable[..., Compiled]

FILE = Reference(Source.FILE, "/etc/pw")
TEXT = """\
vars: {pw: !secret {file: /etc/pw}, made: "{{ pw | upper }}", other: !secret {command: "get x"}}
services:
  web: {env: {A: "{{ made }}", B: b}}
  job: {env: {C: "{{ other | default('x') }}"}}
"""
TEMPLATE = {"templates/app.conf.j2": "{% if true %}{{ [pw] | tojson }}{% endif %}"}


def given(value: str, key: str = "k", text: str = TEXT) -> Compiled:
    facts = FACTS._replace(secrets=Revealed({FILE: value}, {"dev": key}))
    result = compile_site(tree_of({BOTH: text, **TEMPLATE}), "x", ["dev"], facts, "c0ffee")
    assert result.problems == ()
    return result.compiled["dev"]


def specs(made: Compiled) -> dict[str, str]:
    return {service.name: service.spec for service in made.deployment.services}


def test_what_each_goes_into_is_known(compiled: Compile) -> None:
    made = compiled(TEXT, TEMPLATE)
    uses = {str(use.secret.reference): use for use in made.deployment.secrets}
    assert set(uses) == {"file /etc/pw", "command get x"}
    assert uses["file /etc/pw"].paths == ("/srv/x-dev/config/app.conf", "/srv/x-dev/config/env/web.env")
    assert uses["command get x"].paths == ("/srv/x-dev/config/env/job.env",)
    assert uses["file /etc/pw"].secret.place == f"{BOTH}:1:12"
    secret = {file.name for file in made.deployment.files if file.secret and file.role in (Role.CONFIG, Role.ENV)}
    assert secret == {"app.conf", "web.env", "job.env"}
    assert made.fields["web"]["env.A"].secret
    assert "of file /etc/pw" in str(made.fields["web"]["env.A"].value)


def test_a_value_comes_where_it_is_needed_and_nowhere_else() -> None:
    made = given("hunter2")
    assert b"HUNTER2" in made.contents["/srv/x-dev/config/env/web.env"]
    assert made.contents["/srv/x-dev/config/app.conf"] == b'["hunter2"]'
    assert "hunter2" not in (str(made.deployment) + str(made.fields)).lower()
    others = {path: text for path, text in made.contents.items() if path.endswith(("web.env", "app.conf"))}
    assert not any(b"hunter2" in text.lower() for path, text in made.contents.items() if path not in others)


def test_another_value_is_another_spec_of_its_users_alone() -> None:
    one, other = given("hunter2"), given("hunter3")
    assert {name for name in specs(one) if specs(one)[name] != specs(other)[name]} == {"web"}


def test_a_spec_cannot_be_guessed_at() -> None:
    """It stands in files that everybody may read."""
    assert specs(given("hunter2", "a"))["web"] != specs(given("hunter2", "b"))["web"]
    assert specs(given("hunter2", "a"))["job"] != ""


def test_without_values_all_can_be_compiled_anywhere(compiled: Compile) -> None:
    """And what stands in for them is told apart: another reference is a change that `diff` shows."""
    assert validate(tree_of({BOTH: TEXT, **TEMPLATE}), FACTS) == ()
    assert specs(compiled(TEXT)) != specs(compiled(TEXT.replace("/etc/pw", "/etc/pv")))
    encrypted = TEXT.replace("file: /etc/pw", "age: secrets/a.age")
    first, second = (compiled(encrypted, {**TEMPLATE, "secrets/a.age": text}) for text in (b"\0a", b"\0b"))
    assert {name for name in specs(first) if specs(first)[name] != specs(second)[name]} == {"web"}


def test_references_of_a_service_elsewhere_are_none_of_ours() -> None:
    text = TEXT.replace("web: {env:", "web: {account: other, env:")
    facts = FACTS._replace(here=True)
    result = compile_site(tree_of({BOTH: text}), "x", ["dev"], facts, "c0ffee")
    assert [str(use.secret.reference) for use in result.compiled["dev"].deployment.secrets] == ["command get x"]


def test_the_password_of_a_daemon(compiled: Compile) -> None:
    made = compiled("supervisor: {port: 1234, username: u, password: !secret {file: /etc/pw}}")
    (use,) = made.deployment.secrets
    assert (use.launchers, use.paths) == (("supervisor",), ("/srv/x-dev/config/supervisord.conf",))


@pytest.mark.parametrize("text", ["a: !secret {b: c}", "a: !secret {key: c, user: d}"])
def test_a_mapping_that_is_no_reference_is_a_mapping_of_secrets(text: str) -> None:
    layer = parse(text.encode(), "x.yaml", Problems())
    assert layer is not None
    assert isinstance(layer.get("a"), Entries)


def test_nothing_that_shows_it_shows_it() -> None:
    facts = FACTS._replace(secrets=Revealed({FILE: "hunter2"}, {"dev": "k"}))
    assert "hunter2" not in repr(facts) + str(facts.secrets)


ROOTS = FACTS._replace(roots=("/srv", "/opt/ours"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("paths: {root: /srv/x}", ""),
        ("paths: {root: /opt/ours}", ""),
        ("paths: {root: /srvx/y}", "`paths.root` is outside of the `roots` of this host's agent: /srvx/y"),
        ("paths: {root: /srv/x, logs: /var/log/x}", "`paths.logs` is outside"),
        ("paths: {root: /srv/x}\nsupervisor: {socket: /run/x.sock}", "`socket` of supervisor is outside"),
        ("services: {web: {launcher: systemd}}\nsystemd: {unit_folder: /etc/x}", "`unit_folder` of systemd is outside"),
    ],
)
def test_roots_of_the_agent(text: str, told: str) -> None:
    problems = compile_site(tree_of({BOTH: text}), "x", None, ROOTS).problems
    assert [told in problem.message for problem in problems] == [True] * bool(told), problems
    assert all(problem.hint == "allowed: /srv, /opt/ours" for problem in problems)
    assert compile_site(tree_of({BOTH: text}), "x", None, FACTS).problems == ()
