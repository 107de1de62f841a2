"""What becomes of layers that are right."""

# ruff: noqa: E501 - tables read best with a row to a line

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from reconciler.agent.memory.codec import decode_deployment, decode_inventory, encode_deployment, encode_inventory
from reconciler.core.desired import Compiled, Guard, Opens, Policy, Prune, Role, Window
from reconciler.core.digest import digest
from reconciler.core.inventory import Inventory, Owned
from reconciler.core.problem import Origin
from reconciler.desired import Facts, compile_site, environments, json_schema, sites

Compile = Callable[..., Compiled]
DEFAULTS = "desired/defaults.yaml"
BOTH = "desired/sites/x.dev.yaml"


def value(compiled: Compiled, key: str, service: str = "web") -> object:
    return compiled.fields[service][key].value


def test_a_deployment(compiled: Compile) -> None:
    deployment = compiled().deployment
    job, web = deployment.services

    assert deployment.id == "x/dev"
    assert deployment.commit == "c0ffee"
    assert deployment.root == "/srv/x-dev"
    assert (job.name, job.unit, job.component, job.version, job.group, job.after) == (
        "job",
        "job",
        "app",
        "1.0",
        "app",
        ("web",),
    )
    assert (web.launcher, web.program, web.install, web.stop_seconds) == ("supervisor", "serve", "", 10.0)
    assert deployment.policy == Policy()
    assert [daemon.launcher for daemon in deployment.managers] == ["supervisor"]


def test_files(compiled: Compile) -> None:
    made = compiled()
    files = {file.name: file for file in made.deployment.files if file.role is Role.CONFIG}
    file = files["app.conf"]

    assert (file.path, file.mode, file.services, file.secret) == ("/srv/x-dev/config/app.conf", 0o640, ("web",), False)
    assert made.contents[file.path] == b"level = INFO\n"
    assert file.digest == digest(b"level = INFO\n")
    assert {file.path for file in made.deployment.files} == made.contents.keys()
    assert {file.role for file in made.deployment.files} == set(Role)


def test_folders_of_all_files(compiled: Compile) -> None:
    text = 'files: {deep: {template: app.conf.j2, path: "{{ paths.config }}/a/b/c"}}'
    folders = dict(compiled(text).deployment.folders)

    assert folders["/srv/x-dev"] == 0o755
    assert folders["/srv/x-dev/run"] == 0o700
    assert folders["/srv/x-dev/config/a"] == folders["/srv/x-dev/config/a/b"] == folders["/srv/x-dev/config"] == 0o750
    assert list(folders) == sorted(folders)


def test_later_layers_win(compiled: Compile) -> None:
    """Mappings merge, the rest is replaced, null takes away, and each value knows where it came from."""
    text = "services:\n  web:\n    env: {A: two, B: null}\n    ports: [1, 2]"
    changes = {"desired/environments/dev.yaml": "services: {web: {env: {A: one, B: b, C: c}, group: g}}"}
    made = compiled(text, changes)

    assert {key: value(made, key) for key in made.fields["web"] if key.startswith("env.")} == {
        "env.A": "two",
        "env.C": "c",
    }
    assert value(made, "ports") == [1, 2]
    assert made.fields["web"]["env.A"].origin == Origin(BOTH, 3, 14)
    assert made.fields["web"]["env.C"].origin == Origin("desired/environments/dev.yaml", 1, 41)
    assert made.fields["web"]["version"].origin == Origin(DEFAULTS, 1, 17)
    assert made.fields["web"]["launcher"].origin == Origin("default", 0, 0)


def test_scope(compiled: Compile) -> None:
    text = """
vars: {a: "{{ b.c }}-{{ site }}", b: {c: "{{ environment }}", items: [x, "{{ level }}"]}}
services:
  web:
    env:
      ALL: "{{ a }} {{ host }} {{ account }} {{ service }} {{ component }} {{ version }} {{ versions.app }}"
      LIST: "{{ b['items'] | join(',') }} {{ b.items[1] }}"
      FILE: "{{ files['app.conf'].path }} {{ files['app.conf'].mode }}"
      JSON: "{{ b | tojson }}"
      QUOTED: "{{ 'a b' | quote }}"
      RAW: 1.10
"""
    made = compiled(text)

    assert value(made, "env.ALL") == "dev-x login01 robot web app 1.0 1.0"
    assert value(made, "env.LIST") == "x,INFO INFO"
    assert value(made, "env.FILE") == "/srv/x-dev/config/app.conf 0640"
    assert json.loads(str(value(made, "env.JSON"))) == {"c": "dev", "items": ["x", "INFO"]}
    assert value(made, "env.QUOTED") == "'a b'"
    assert value(made, "env.RAW") == "1.10"


def test_yaml_1_2(compiled: Compile) -> None:
    """No truth in yes and no, no sixties; aliases and merge keys work, what the mapping says itself wins."""
    text = """
vars:
  words: [yes, no, on, 0o17, 0x1F, 1e3, null, true, "true", 2026-01-01, .5]
  base: &base {A: a, B: b}
services:
  web:
    env: {<<: *base, B: c, WORDS: "{{ words }}"}
"""
    made = compiled(text)

    assert value(made, "env.A") == "a"
    assert value(made, "env.B") == "c"
    expected = ["yes", "no", "on", 15, 31, 1000.0, None, True, "true", "2026-01-01", 0.5]
    assert value(made, "env.WORDS") == str(expected)


def test_templates_where_other_types_are_wanted(compiled: Compile) -> None:
    text = """
vars: {on: false, wait: 3}
services:
  web: {enabled: "{{ not on }}", ports: {http: "{{ ports.web + 1 }}"}, stop: {grace: "{{ wait }}"}, supervisor: {startsecs: "{{ wait }}"}}
"""
    made = compiled(text)
    web = made.deployment.services[1]

    assert (web.stop_seconds, web.ready_seconds) == (3.0, 3.0)
    assert value(made, "ports") == {"http": 8081}
    assert value(made, "enabled") is True


def test_includes_see_the_scope(compiled: Compile) -> None:
    changes = {
        "templates/app.conf.j2": "{% set x = 1 %}{% include 'b.j2' %}{% from 'm.j2' import twice %}{{ twice(level) }}",
        "templates/b.j2": "{{ level }} {{ x }}\n",
        "templates/m.j2": "{% macro twice(a) %}{{ a }}{{ a }}{% endmacro %}",
    }

    assert compiled("", changes).contents["/srv/x-dev/config/app.conf"] == b"INFO 1\nINFOINFO"


def test_disabled(compiled: Compile) -> None:
    text = "services: {job: {enabled: false}}"
    made = compiled(text)

    assert [service.name for service in made.deployment.services] == ["web"]
    assert made.deployment.disabled == {"job": Origin(BOTH, 1, 27)}
    assert value(made, "enabled", "job") is False


def test_venv(compiled: Compile) -> None:
    text = (
        'components: {app: {install: venv, requirement: "app=={{ version }}", prologue: "module load {{ component }}"}}'
    )
    made = compiled(text)
    (install,) = made.deployment.installs

    assert (install.component, install.version, install.source, install.tool) == ("app", "1.0", "app==1.0", "python3")
    assert {service.install for service in made.deployment.services} == {install.id}
    assert {service.prologue for service in made.deployment.services} == {"module load app"}
    assert value(made, "requirement") == "app==1.0"
    assert value(made, "python") == "python3"


@pytest.mark.parametrize(("said", "policy"), [("2", Policy(2, 0)), ('"15%"', Policy(0, 15)), ("0", Policy(0, 0))])
def test_policy(said: str, policy: Policy, compiled: Compile) -> None:
    assert compiled(f"policy: {{max_removals: {said}}}").deployment.policy == policy


@pytest.mark.parametrize(("said", "keeps"), [("true", True), ("false", False), ('"{{ yes }}"', True)])
def test_policy_of_the_schedule(said: str, keeps: bool, compiled: Compile) -> None:
    text = f"vars: {{yes: true}}\npolicy: {{keep_schedule: {said}, max_removals: 2}}"
    assert compiled(text).deployment.policy == Policy(2, 0, keep_schedule=keeps)


CHANGES = {
    "command": ("services: {web: {command: other}}", {"web"}),
    "env": ("services: {web: {env: {A: b}}}", {"web"}),
    "prologue": ("services: {web: {prologue: ls}}", {"web"}),
    "a file": ("vars: {level: DEBUG}", {"web"}),
    "its mode": ('files: {app.conf: {mode: "0600"}}', {"web"}),
    "the version": ('versions: {app: "1.1"}', {"web", "job"}),
    "stopping": ("services: {web: {stop: {grace: 3, signal: INT}}}", set[str]()),
    "order": ("services: {job: {after: []}}", set[str]()),
    "group": ("services: {web: {group: other}}", set[str]()),
    "an unused var": ("vars: {unused: 1}", set[str]()),
    "the same in other words": (
        "services: {web: {command: \"{{ 'ser' ~ 've' }} {{ paths.config }}/app.conf\"}}",
        set[str](),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_spec_changes_with_what_is_meant(change: str, compiled: Compile) -> None:
    text, expected = CHANGES[change]
    old = {service.name: service.spec for service in compiled().deployment.services}
    new = {service.name: service.spec for service in compiled(text).deployment.services}

    assert {name for name in old if old[name] != new[name]} == expected


def test_same_input_same_result(compiled: Compile) -> None:
    assert compiled() == compiled()


def test_sites_and_environments(tree: Callable[..., dict[str, bytes]], facts: Facts) -> None:
    files = tree({"desired/sites/y.yaml": "", "desired/environments/prod.yaml": "", "desired/sites/z.yaml": "{["})

    assert sites(files) == ["x", "y", "z"]
    assert environments(files, "x") == ["dev"]
    assert environments(files, "y") == environments(files, "z") == ["dev", "prod"]
    assert environments(files, "none") == ["dev", "prod"]


def test_only_wanted_environments(tree: Callable[..., dict[str, bytes]], facts: Facts) -> None:
    prod = {"desired/environments/prod.yaml": "vars: {ports: {web: 8081}}", "desired/sites/x.yaml": ""}

    assert compile_site(tree(prod), "x", ["prod"], facts).compiled.keys() == {"prod"}
    assert compile_site(tree(prod), "x", None, facts).compiled.keys() == {"dev", "prod"}


def test_schema_knows_every_key() -> None:
    """It is JSON, has the keys of the launchers, and refuses others."""
    schema = json.loads(json.dumps(json_schema()))
    service = schema["properties"]["services"]["anyOf"][0]["additionalProperties"]["anyOf"][0]

    assert schema["$schema"].endswith("2020-12/schema")
    assert {"command", "after", "stop", "supervisor"} <= service["properties"].keys()
    assert service["additionalProperties"] is False
    assert "startsecs" in json.dumps(service["properties"]["supervisor"])


def test_windows_are_compiled_and_kept(compiled: Compile) -> None:
    text = """\
policy:
  max_removals: 7
  windows:
    nights: {deny: "0 22 * * *", for: 8h, zone: Europe/Berlin}
    office: {allow: "@daily", for: "{{ level | length }}h", holds: all, services: [web]}
    maintenance: {slurm_reservation: true, nodes: "nid[001-100]"}
    gone: null
"""
    deployment = compiled(text).deployment
    assert deployment.policy.max_removals == 7
    assert deployment.policy.windows == (
        Window("maintenance", Opens.MAINTENANCE, 7200, nodes="nid[001-100]"),
        Window("nights", Opens.DENY, 28800, "0 22 * * *", "Europe/Berlin"),
        Window("office", Opens.ALLOW, 14400, "@daily", holds_all=True, services=("web",)),
    )
    kept = json.loads(json.dumps(encode_deployment(deployment)))
    assert decode_deployment(kept).policy == deployment.policy


def test_what_waits_for_a_person(compiled: Compile) -> None:
    """In any layer; a service's own word wins, and none of it restarts anything."""
    text = """
policy: {sync: manual, self_heal: false, prune: confirm}
services:
  web:
    sync: automatic
    guard: {backup: {command: "test -s {{ paths.root }}/dump", timeout: 1m}}
  job: {enabled: false}
"""
    plain, found = compiled("services: {job: {enabled: false}}"), compiled(text)
    policy = found.deployment.policy
    assert (policy.manual, policy.self_heal, policy.prune) == (True, False, Prune.CONFIRM)
    assert found.deployment.syncs == {"web": False}
    env = "/srv/x-dev/config/env/web.env"
    guard = Guard("backup", "test -s /srv/x-dev/dump", 60.0, private=False, env_file=env)
    assert found.deployment.guards == {"web": (guard,), "job": ()}
    assert found.deployment.services == plain.deployment.services
    assert found.fields["web"]["guard.backup.timeout"].value == "1m"
    kept = json.loads(json.dumps(encode_deployment(found.deployment)))
    assert decode_deployment(kept) == found.deployment
    inventory = Inventory({"web": Owned("web", "supervisor", "s", "l", "1", guards=(guard,), manual=True)})
    assert decode_inventory(json.loads(json.dumps(encode_inventory(inventory)))) == inventory
    assert compiled("policy: {prune: false}").deployment.policy.prune is Prune.FALSE
