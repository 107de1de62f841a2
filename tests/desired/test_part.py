"""`account` and `host`: what a pass here compiles, and what is the same for everybody."""

from __future__ import annotations

import pytest

from reconciler.core.desired import Compiled
from reconciler.desired import Facts, Result, compile_site, validate
from tests.desired.conftest import FACTS, REPO

HERE = FACTS._replace(here=True)
LAYER = "desired/environments/dev.yaml"


def compiled(layer: str, facts: Facts = HERE) -> Compiled:
    result = result_of(layer, facts)
    assert result.problems == ()
    return result.compiled["dev"]


def result_of(layer: str, facts: Facts = HERE) -> Result:
    tree = {path: content.encode() for path, content in {**REPO, LAYER: layer}.items()}
    return compile_site(tree, "x", None, facts)


def parts(layer: str, facts: Facts = HERE) -> tuple[list[str], dict[str, str]]:
    """What is for here, and whose the rest is."""
    deployment = compiled(layer, facts).deployment
    return [one.name for one in deployment.services], {one.name: one.where for one in deployment.elsewhere}


def test_without_both_everything_is_for_everybody() -> None:
    assert parts("") == (["job", "web"], {})


@pytest.mark.parametrize(
    ("layer", "here"),
    [
        ("account: robot", True),
        ("account: jaws", False),
        ("account: [jaws, robot]", True),
        ("host: login01", True),
        ("host: login01.example.org", True),
        ("host: LOGIN01", True),
        ("host: 'login0[12]'", True),
        ("host: ['nid*', 'login*']", True),
        ("host: login1", False),
        ("host: 'login'", False),
        ("account: robot\nhost: other", False),
        ("account: jaws\nhost: login01", False),
        ("account: '{{ vars_account }}'\nvars: {vars_account: robot}", True),
    ],
)
def test_a_whole_deployment(layer: str, here: bool) -> None:
    deployment = compiled(layer).deployment
    assert deployment.is_elsewhere is not here
    assert bool(deployment.services) is here
    assert not compiled(layer, FACTS).deployment.is_elsewhere, "offline, all of it counts"


def test_each_service_has_its_own_and_the_deployments_otherwise() -> None:
    layer = "account: jaws\nservices: {job: {account: robot, host: 'login*'}, web: {host: [a, b]}}"
    assert parts(layer) == (["job"], {"web": "as jaws on a or b"})


def test_only_what_is_for_here_is_rendered() -> None:
    found = compiled("services: {web: {account: jtm}}")
    paths = {path.rpartition("/")[2] for path in found.contents}
    assert paths >= {"job", "job.conf"}
    assert not paths & {"web", "web.conf", "app.conf"}
    assert "/srv/x-dev/config/app.conf" in found.deployment.elsewhere[0].files


def test_a_file_that_both_read_is_rendered() -> None:
    found = compiled("services: {web: {account: jtm}, job: {files: [app.conf]}}")
    assert "/srv/x-dev/config/app.conf" in found.contents


def test_a_disabled_service_of_another_account_is_not_removed_here() -> None:
    found = compiled("services: {web: {account: jtm, enabled: false}, job: {after: []}}").deployment
    assert (dict(found.disabled), [one.name for one in found.elsewhere]) == ({}, ["web"])


def test_a_deployment_without_services_is_elsewhere_too() -> None:
    assert compiled("account: jtm\nservices: {web: null, job: null}").deployment.is_elsewhere


def test_explain_tells_both_and_where_they_were_written() -> None:
    fields = compiled("account: robot\nservices: {web: {host: [a, login01]}}", FACTS).fields["web"]
    assert (fields["account"].value, str(fields["account"].origin)) == ("robot", f"{LAYER}:1")
    assert (fields["host"].value, str(fields["host"].origin)) == (["a", "login01"], f"{LAYER}:2")
    assert "host" not in compiled("", FACTS).fields["web"]


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        ("account: 'two words'", "`account` cannot be `two words`"),
        ("account: 7", "`account` must be text, or a list of texts"),
        ("host: []", "`host` names none"),
        ("host: 'a b'", "`host` cannot be `a b`"),
        ("services: {web: {account: {a: b}}}", "`account` must be text, or a list of texts"),
        ("services: {web: {host: ''}}", "`host` cannot be ``"),
    ],
)
def test_what_cannot_be_is_told_once_and_offline(layer: str, told: str) -> None:
    tree = {path: content.encode() for path, content in {**REPO, LAYER: layer}.items()}
    (problem,) = validate(tree, FACTS)
    assert problem.message.startswith(told)
    assert problem.origin.line == 1


def test_on_two_hosts_one_port_may_be_used_twice() -> None:
    web = "services: {web: {host: a}, job: {host: %s, ports: [8080]}}"
    assert result_of(web % "b", FACTS).problems == ()
    assert "used twice" in result_of(web % "a", FACTS).problems[0].message
    assert "used twice" in result_of(web % "'[ab]'", FACTS).problems[0].message
