"""A secret, and all that was made from one, is never shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from reconciler.core.desired import Compiled, Role
from reconciler.core.problem import Problem
from reconciler.desired import Facts, compile_site

Compile = Callable[..., Compiled]
Told = Callable[..., list[Problem]]
PATH = "/srv/x-dev/config/app.conf"

SECRET_VARS = {
    "by name": "vars: {db_password: hunter2, x: '{{ db_password }}'}",
    "in capitals": "vars: {API_TOKEN: hunter2, x: '{{ API_TOKEN }}'}",
    "below": "vars: {db: {user: u, Key: hunter2}, x: '{{ db.Key }}'}",
    "below a secret": "vars: {secret: {a: [hunter2]}, x: '{{ secret.a[0] }}'}",
    "by tag": "vars: {plain: !secret hunter2, x: '{{ plain }}'}",
    "in a list": "vars: {plain: [a, !secret hunter2], x: '{{ plain[1] }}'}",
    "as a whole": "vars: {db: {user: u, token: hunter2}, x: '{{ db }}'}",
    "by a filter": "vars: {db: {user: u, token: hunter2}, x: '{{ db | tojson }}'}",
    "through others": "vars: {db_password: hunter2, y: '{{ db_password | upper }}', x: '{{ y | lower }}'}",
}


def everything(told: Iterable[Problem]) -> str:
    return "\n".join(map(str, told))


@pytest.mark.parametrize("name", SECRET_VARS)
def test_in_a_file(name: str, compiled: Compile) -> None:
    made = compiled(SECRET_VARS[name], {"templates/app.conf.j2": "pw = {{ x }}"})
    (file,) = (file for file in made.deployment.files if file.role is Role.CONFIG)

    assert b"hunter2" in made.contents[PATH]
    assert (file.secret, file.mode) == (True, 0o600)
    assert made.fields["web"]["file.app.conf"].secret
    assert "hunter2" not in str(made.fields) + str(made.deployment)
    assert file.digest[:12] not in str(made.fields)


@pytest.mark.parametrize("name", SECRET_VARS)
@pytest.mark.parametrize("key", ["command", "prologue"])
def test_on_a_command_line(name: str, key: str, told: Told) -> None:
    problems = told(f"{SECRET_VARS[name]}\nservices: {{web: {{{key}: 'x {{{{ x }}}}'}}}}")

    assert [f"`{key}` of service web holds a secret" in problem.message for problem in problems] == [True]
    assert "hunter2" not in everything(problems)


def test_in_a_requirement(told: Told) -> None:
    text = "vars: {token: hunter2}\ncomponents: {app: {install: venv, requirement: 'https://{{ token }}@host/app'}}"

    assert "holds a secret" in everything(told(text))
    assert "hunter2" not in everything(told(text))


def test_in_the_environment(compiled: Compile) -> None:
    """By its name, or by what it is made from; the digest that is shown depends on the salt."""
    made = compiled(
        "vars: {db_password: hunter2}\nservices: {web: {env: {PGPASSWORD: hunter2, DSN: 'pg:{{ db_password }}', A: b}}}"
    )
    fields = made.fields["web"]
    (env,) = (file for file in made.deployment.files if file.role is Role.ENV and file.services == ("web",))

    assert (fields["env.PGPASSWORD"].secret, fields["env.DSN"].secret, fields["env.A"].secret) == (True, True, False)
    assert str(fields["env.PGPASSWORD"].value).startswith("(secret ")
    assert "hunter2" not in str(made.fields) + str(made.deployment)
    assert b"hunter2" in made.contents[env.path]
    assert env.secret


def test_salt(tree: Callable[..., dict[str, bytes]], facts: Facts) -> None:
    files = tree({"desired/sites/x.dev.yaml": "services: {web: {env: {A_KEY: hunter2}}}"})
    shown = {
        str(compile_site(files, "x", None, facts._replace(salt=salt)).compiled["dev"].fields["web"]["env.A_KEY"].value)
        for salt in ("a", "b")
    }

    assert len(shown) == 2


def test_what_is_no_secret_beside_one(compiled: Compile) -> None:
    made = compiled("vars: {db: {user: anna, token: hunter2}}\nservices: {web: {command: 'run {{ db.user }}'}}")

    assert made.fields["web"]["command"].value == "run anna"


def test_a_secret_stays_one_in_later_layers(compiled: Compile) -> None:
    earlier = {"desired/environments/dev.yaml": "vars: {plain: !secret x}", "templates/app.conf.j2": "{{ plain }}"}

    assert compiled("vars: {plain: hunter2}", earlier).fields["web"]["file.app.conf"].secret


@pytest.mark.parametrize(("mode", "good"), [("0640", True), ("0770", True), ("0644", False), ("0601", False)])
def test_mode_of_a_secret_file(mode: str, good: bool, told: Told) -> None:
    text = f'vars: {{pin_key: hunter2}}\nfiles: {{app.conf: {{mode: "{mode}"}}}}'
    problems = told(text, {"templates/app.conf.j2": "{{ pin_key }}"})

    assert ["lets others read it" in problem.message for problem in problems] == ([] if good else [True])


LEAKS = {
    "conversion": "{{ db_password | int + [] }}",
    "call": "{{ range(db_password) }}",
    "key": "{{ ports[db_password] }}",
    "attribute": "{{ db_password.nothing }}",
    "include": "{% include db_password %}",
    "filter": "{{ db_password | round }}",
    "port": "{{ db_password }}",
}


@pytest.mark.parametrize("name", LEAKS)
def test_no_problem_shows_it(name: str, told: Told) -> None:
    for place in ("command: ", "prologue: ", "ports: [", "env: {A: ", "stop: {grace: "):
        end = {"[": "]", "{": "}"}
        close = "".join(end[letter] for letter in place if letter in end)
        problems = told(f"vars: {{db_password: hunter2}}\nservices: {{web: {{{place}'{LEAKS[name]}'{close}}}}}")
        assert "hunter2" not in everything(problems)
    problems = told("vars: {db_password: hunter2}", {"templates/app.conf.j2": LEAKS[name]})
    assert "hunter2" not in everything(problems)


@pytest.mark.parametrize(
    "text",
    [
        "vars: {db_password: 'hunter2 {{'}\nservices: {web: {env: {A: '{{ db_password }}'}}}",
        "supervisor: {port: 1, username: u, password: 4422}",
        "supervisor: {port: 1, username: u, password: [hunter2]}",
        "vars: {db_password: !nosuchtag hunter2}",
        'services: {web: {env: {A_TOKEN: "hunter2\\0"}}}',
        "services: {web: {command: !secret 4422}}",
    ],
)  # fmt: skip
def test_broken_secrets_are_not_shown(text: str, told: Told) -> None:
    problems = told(text)

    assert problems
    assert "hunter2" not in everything(problems)
    assert "4422" not in everything(problems)
