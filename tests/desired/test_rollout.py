"""`replicas`, `strategy` and `drain` in the layers: what becomes of them, and where each mistake is told."""

# ruff: noqa: E501 - tables read best with a row to a line

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from reconciler.agent.memory.codec import decode_deployment, encode_deployment
from reconciler.core.desired import Compiled, Drain, ReplicaSet
from reconciler.core.problem import Origin, Problem

BOTH = "desired/sites/x.dev.yaml"
FULL = """\
services:
  web:
    replicas: 3
    ports: ["{{ ports.web + replica }}"]
    strategy: {rollback: true, canary: true, max_unavailable: "67%"}
    drain: {command: "our-web drain --port {{ ports.web + replica }}", timeout: 2m}
"""

# What the layer says; line and column of the problem; parts of its message; a part of its hint.
MISTAKES = {
    "no number": ('services: {web: {replicas: "3"}}', 28, "`replicas` must be a whole number", "without quotes"),
    "below none": ("services: {web: {replicas: -1}}", 28, "cannot be below 0", ""),
    "too many": ("services: {web: {replicas: 5000, ports: null}}", 28, "cannot be more than 1000", ""),
    "there twice": ("services: {web: {replicas: 2, ports: null}, web-2: {component: app, command: x}}", 45, "`web-2` is there twice: it is replica 2 of `web`", "another name"),
    "one port": ("services: {web: {replicas: 2}}", 0, "port 8080 is used twice", "another port"),
    "one name": ("services: {web: {replicas: 2, ports: null, name: x}}", 50, "one name on the host: `x`", "another `name`"),
    "canary of one": ("services: {web: {strategy: {canary: true}}}", 29, "`canary` of service web.strategy means nothing without `replicas`", "take it out"),
    "unavailable of one": ("services: {web: {strategy: {max_unavailable: 2}}}", 29, "means nothing without `replicas`", "take it out"),
    "none at once": ("services: {web: {replicas: 2, ports: null, strategy: {max_unavailable: 0}}}", 72, "lets none be changed", "1 or more"),
    "how many at once": ("services: {web: {replicas: 2, ports: null, strategy: {max_unavailable: some}}}", 72, "a number or a percentage", "30%"),
    "no flag": ('services: {web: {strategy: {rollback: "yes"}}}', 39, "true or false", "without quotes"),
    "unknown": ("services: {web: {strategy: {surge: 1}}}", 29, "unknown key `surge`", ""),
    "drains nothing": ("services: {web: {drain: {timeout: 3s}}}", 25, "service web.drain has no `command`", "what is run"),
    "no time": ("services: {web: {drain: {command: x, timeout: 0s}}}", 38, "leaves no time", "90s"),
    "what time": ("services: {web: {drain: {command: x, timeout: 3}}}", 47, "must be a length of time", "90s"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_at_its_place(name: str, told: Callable[..., list[Problem]]) -> None:
    text, column, message, hint = MISTAKES[name]
    (problem,) = told(text)
    if column:
        assert problem.origin == Origin(BOTH, 1, column)
    assert message in problem.message
    assert hint in problem.hint


def test_replicas_are_services_of_their_own(compiled: Callable[..., Compiled]) -> None:
    found = compiled(FULL)
    deployment = found.deployment
    assert [service.name for service in deployment.services] == ["job", "web-1", "web-2", "web-3"]
    assert [service.unit for service in deployment.services if service.component == "app"][1:] == ["web-1", "web-2", "web-3"]
    assert found.fields["web-3"]["ports"].value == [8083]
    assert found.fields["job"]["after"].value == ["web-1", "web-2", "web-3"], "who waits for them waits for all"
    (job,) = (service for service in deployment.services if service.name == "job")
    assert job.after == ("web-1", "web-2", "web-3")
    assert deployment.sets == (ReplicaSet("web", ("web-1", "web-2", "web-3"), canary=True, max_unavailable=2),)
    assert deployment.rollbacks == dict.fromkeys(("web-1", "web-2", "web-3"), True)
    assert deployment.drains[1] == Drain("web-2", "our-web drain --port 8082", 120.0, "/srv/x-dev/config/env/web-2.env")
    assert decode_deployment(json.loads(json.dumps(encode_deployment(deployment)))) == deployment


@pytest.mark.parametrize(("count", "said", "at_once"), [(2, "", 1), (8, "", 2), (8, "3", 3), (10, '"35%"', 3), (1, '"1%"', 1)])
def test_how_many_are_changed_at_once(count: int, said: str, at_once: int, compiled: Callable[..., Compiled]) -> None:
    strategy = f", strategy: {{max_unavailable: {said}}}" if said else ""
    (found,) = compiled(f"services: {{web: {{replicas: {count}, ports: null{strategy}}}}}").deployment.sets
    assert found.max_unavailable == at_once


def test_there_may_be_none(compiled: Callable[..., Compiled]) -> None:
    """Which is what git wants, so the removal budget does not hold it."""
    deployment = compiled("services: {web: {replicas: 0}}").deployment
    assert [service.name for service in deployment.services] == ["job"]
    assert [one.name for one in deployment.sets] == ["web"]


def test_a_window_that_names_them_holds_them_all(compiled: Callable[..., Compiled]) -> None:
    windows = 'policy: {windows: {night: {deny: "@daily", for: 8h, services: [web]}}}'
    deployment = compiled(f"services: {{web: {{replicas: 2, ports: null}}}}\n{windows}").deployment
    assert deployment.policy.windows[0].services == ("web-1", "web-2")


def test_who_goes_back(compiled: Callable[..., Compiled]) -> None:
    """Those with `health`, unless git says otherwise."""
    probe = "health: {exec: {command: x}}"
    assert compiled().deployment.guarded == frozenset()
    assert compiled(f"services: {{web: {{{probe}}}}}").deployment.guarded == {"web"}
    assert compiled(f"services: {{web: {{{probe}, strategy: {{rollback: false}}}}}}").deployment.guarded == frozenset()
    assert compiled("services: {web: {strategy: {rollback: true}}}").deployment.guarded == {"web"}
