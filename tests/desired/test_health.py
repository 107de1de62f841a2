"""`health` and `verify` in the layers: what becomes of them, and where each mistake is told."""

# ruff: noqa: E501 - tables read best with a row to a line

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from reconciler.agent.memory.codec import decode_deployment, encode_deployment
from reconciler.core.desired import Ask, Compiled, Probe
from reconciler.core.problem import Origin, Problem
from reconciler.desired import json_schema

BOTH = "desired/sites/x.dev.yaml"
FULL = """\
services:
  web:
    health:
      http: {port: "{{ ports.web }}", path: /health, status: 200, body: "^ok", version_json: build.version, version_header: X-Version, timeout: 2s}
      tcp: {host: "::1", port: 5672}
      exec: {command: "our-check {{ service }}"}
      log: {must: ready, must_not: "^FATAL"}
      heartbeat: {file: "{{ paths.run }}/alive", within: 2m}
      start_period: 1m
      interval: 15s
      retries: 2
      settle: 0s
    verify:
      pool: {command: show pool, equals: 20}
verify:
  clock: {command: timedatectl, matches: "synchronized: yes", interval: 5m, timeout: 3s}
"""


def health(text: str) -> str:
    return f"services:\n  web:\n    health: {text}"


# What the health of `web` says; line and column of the problem; parts of its message; a part of its hint.
MISTAKES = {
    "nothing asked": ("{settle: 5s}", 13, "asks nothing", "http, tcp, exec, log, heartbeat"),
    "unknown probe": ("{htp: {port: 80}, tcp: {port: 80}}", 14, "unknown key `htp`", "`http`"),
    "unknown key": ("{http: {prot: 80, port: 80}}", 21, "unknown key `prot`", "`port`"),
    "no mapping": ("{tcp: 80}", 19, "`tcp` must be a mapping", ""),
    "nowhere": ("{http: {path: /x}}", 20, "does not say where it asks", "`port: 8080`"),
    "twice": ('{http: {port: 80, url: "http://a/"}}', 21, "both `url` and `port`", ""),
    "another scheme": ('{http: {url: "ftp://a/"}}', 26, "no address of HTTP", "http://localhost"),
    "a wrong port in a url": ('{http: {url: "http://a:99999/"}}', 26, "no address of HTTP", ""),
    "a password in a url": ('{http: {url: "http://me:you@a/"}}', 26, "has a password in it", "exec"),
    "no path": ("{http: {port: 80, path: health}}", 37, "no path of a URL", "begins with /"),
    "no port": ("{http: {port: 70000}}", 27, "no port 70000", "65535"),
    "port as text": ('{http: {port: "80"}}', 27, "a whole number", "without quotes"),
    "no status": ("{http: {port: 80, status: 700}}", 39, "none of HTTP", "200"),
    "no path of a ca": ('{http: {url: "https://x/", ca: ca.pem}}', 44, "`ca` of service web.health.http is no absolute path", "PEM"),
    "a ca of http": ('{http: {url: "http://x/", ca: /ca.pem}}', 43, "means nothing where it does not ask by https", "take it out"),
    "no header": ('{http: {port: 80, version_header: "X Y"}}', 47, "no name of a header", "X-Version"),
    "no pattern": ('{http: {port: 80, body: "(a"}}', 37, "no usable pattern", "regular expression"),
    "tcp without port": ("{tcp: {host: a}}", 19, "has no `port`", "5672"),
    "no host": ('{tcp: {host: "a b", port: 80}}', 26, "no name of a host", ""),
    "no command": ("{exec: {}}", 20, "has no `command`", "what is run"),
    "empty command": ('{exec: {command: " "}}', 30, "is empty", ""),
    "log for nothing": ("{log: {file: /x}}", 19, "looks for nothing", "must_not"),
    "log never good": ('{log: {must_not: "x*"}}', 20, "matches everything", ""),
    "relative file": ("{log: {file: x.log, must: a}}", 26, "no absolute path", "paths.run"),
    "no file": ("{heartbeat: {within: 5s}}", 25, "has no `file`", ""),
    "no age": ("{heartbeat: {file: /x}}", 25, "has no `within`", "60s"),
    "age of nothing": ("{heartbeat: {file: /x, within: 0s}}", 36, "allows no age", ""),
    "time without unit": ("{tcp: {port: 80}, settle: 5}", 39, "a length of time", "90s"),
    "too long": ("{tcp: {port: 80, timeout: 10m}}", 30, "from 1s to 300s", ""),
    "no time at all": ("{tcp: {port: 80}, timeout: 0s}", 31, "from 1s to 300s", ""),
    "no retries": ("{tcp: {port: 80}, retries: 0}", 40, "cannot be below 1", ""),
    "a secret": ('{exec: {command: "check {{ db_password }}"}}', 30, "holds a secret", "`env`"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_is_told_where_it_is(told: Callable[..., list[Problem]], case: str) -> None:
    text, column, message, hint = MISTAKES[case]
    secret = {"desired/environments/dev.yaml": "vars: {db_password: hunter2}\n"}
    (problem,) = told(health(text), secret)
    assert problem.origin == Origin(BOTH, 3, column)
    assert message in problem.message
    assert hint in problem.hint
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("{pool: {equals: 20}}", 16, "has no `command`"),
        ("{pool: {command: x}}", 16, "does not say what is wanted"),
        ("{pool: {command: x, equals: 1, matches: a}}", 16, "both `equals` and `matches`"),
        ('{pool: {command: x, matches: "("}}', 38, "no usable pattern"),
        ("{pool: {command: x, equals: 1, interval: soon}}", 50, "a length of time"),
        ("{pool: {command: x, equals: 1, timout: 1s}}", 40, "unknown key `timout`"),
        ("{-p: {command: x, equals: 1}}", 10, "no usable name"),
    ],
)
def test_mistakes_of_a_verification(told: Callable[..., list[Problem]], text: str, column: int, message: str) -> None:
    (problem,) = told(f"verify: {text}")
    assert (problem.origin, message in problem.message) == (Origin(BOTH, 1, column), True), problem
    (problem,) = told(f"services: {{web: {{verify: {text}}}}}")
    assert message in problem.message


def test_it_is_compiled_and_kept_whole(compiled: Callable[..., Compiled]) -> None:
    made = compiled(FULL).deployment
    (watch,) = made.watches
    assert watch.probes == (
        Probe(Ask.HTTP, 2.0, "http://localhost:8080/health", 200, "^ok", json="build.version", header="X-Version"),
        Probe(Ask.TCP, 5.0, "[::1]:5672"),
        Probe(Ask.EXEC, 5.0, "our-check web"),
        Probe(Ask.LOG, 5.0, holds="ready", lacks="^FATAL"),
        Probe(Ask.HEARTBEAT, 5.0, "/srv/x-dev/run/alive", within=120.0),
    )
    assert watch[2:] == (60.0, 15.0, 2, 0.0, False, "/srv/x-dev/config/env/web.env")
    assert [verify.id for verify in made.verifies] == ["@clock", "web@pool"]
    assert made.verifies[1].probe == Probe(Ask.EXEC, 10.0, "show pool", equals="20")
    assert decode_deployment(json.loads(json.dumps(encode_deployment(made)))) == made


def test_another_way_to_watch_is_the_same_service(compiled: Callable[..., Compiled]) -> None:
    """Only the start script differs where the log is looked at, and it says the same specification."""
    plain, watched = compiled(), compiled(FULL)
    assert plain.deployment.services == watched.deployment.services
    shim = "/srv/x-dev/bin/web"
    extra = set(watched.contents[shim].splitlines()) - set(plain.contents[shim].splitlines())
    assert extra == {b"printf '%s\\n' 'reconcile: web starts, pid '$$"}


def test_what_was_given_a_secret_is_private(compiled: Callable[..., Compiled]) -> None:
    (watch,) = compiled(FULL + "vars: {x: y}\n").deployment.watches
    assert not watch.private
    made = compiled(health("{tcp: {port: 80}}\n    env: {API_KEY: hunter2}\n    verify: {a: {command: x, equals: 1}}"))
    assert made.deployment.watches[0].private
    assert made.deployment.verifies[0].private


def test_a_disabled_service_is_not_watched(compiled: Callable[..., Compiled]) -> None:
    made = compiled(
        "services: {job: {enabled: false, health: {tcp: {port: 80}}, verify: {a: {command: x, equals: 1}}}}"
    )
    assert (made.deployment.watches, made.deployment.verifies) == ((), ())


def test_one_that_others_run_is_not_watched(told: Callable[..., list[Problem]]) -> None:
    (problem,) = told(
        "services: {job: {managed: false, process: x, after: null, health: {tcp: {port: 80}}}}".replace(
            "after: null, ", ""
        )
    )
    assert "`health` means nothing" in problem.message


def test_it_is_explained(compiled: Callable[..., Compiled]) -> None:
    fields = compiled(FULL).fields["web"]
    assert fields["health.http.port"].value in ("8080", 8080)
    assert fields["health.retries"].value == 2
    assert fields["health.timeout"].value == "5s"
    assert fields["verify.pool.equals"].origin == Origin(BOTH, 14, 42)
    assert not any(key.startswith("health") for key in compiled().fields["web"])


def test_the_schema_for_editors_has_it() -> None:
    schema = json.loads(json.dumps(json_schema()))
    service = schema["properties"]["services"]["anyOf"][0]["additionalProperties"]["anyOf"][0]["properties"]
    probes = service["health"]["anyOf"][0]["properties"]
    assert {"http", "tcp", "exec", "log", "heartbeat", "settle"} <= probes.keys()
    assert "verify" in schema["properties"]
