"""Health of services that run on another node: `localhost` is the node of the job."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from reconciler.agent.rollout.health import target_of
from reconciler.core.desired import Ask, Probe
from reconciler.core.observed import ELSEWHERE, State, Unit
from tests.slurm.deck import Deck, nodes

Decks = Callable[..., Deck]
pytestmark = [pytest.mark.slurm, pytest.mark.scenario]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def say(deck: Deck) -> None:
    """One service that listens on its own node only."""
    port = free_port()
    command = f"{deck.world.python} -m http.server {port} --bind 127.0.0.1"
    health = f"health: {{http: {{port: {port}}}, tcp: {{port: {port}}}, settle: 0s, interval: 0s, retries: 1}}"
    deck.services = {"one": f'command: "{command}", {health}'}
    deck.commit()


def test_what_waits_for_its_job_is_suspended(deck: Deck) -> None:
    deck.cluster.drain()
    say(deck)
    deck.converge(code=2)
    assert deck.converge(code=2)["health"]["one"]["health"] == "suspended"
    assert deck.status()["one"]["health"] == "suspended"


def test_it_is_asked_on_the_node_of_its_job(decks: Decks) -> None:
    deck = decks(24, nodes=["n2"])
    deck.cluster.drain()
    say(deck)
    deck.converge()
    assert nodes(deck) == {"n2"}
    deck.world.idle()
    assert deck.status()["one"]["health"] == "healthy"


@pytest.mark.parametrize(
    ("ask", "target", "host", "asked"),
    [
        (Ask.HTTP, "http://localhost:80/a?b=c", "n2-hsn", "http://n2-hsn:80/a?b=c"),
        (Ask.HTTP, "https://127.0.0.1/", "n2", "https://n2/"),
        (Ask.HTTP, "http://db.example.org/", "n2", "http://db.example.org/"),
        (Ask.HTTP, "http://localhost:80/", "", ""),
        (Ask.TCP, "[::1]:5672", "n2", "n2:5672"),
        (Ask.TCP, "db:5672", "n2", "db:5672"),
        (Ask.TCP, "localhost:5672", "", ""),
        (Ask.EXEC, "true", "n2", "true"),
    ],
)
def test_localhost_is_the_node_that_carries_it(ask: Ask, target: str, host: str, asked: str) -> None:
    unit = Unit("slurm", "one", State.RUNNING, pid=7)
    assert target_of(Probe(ask, 1.0, target), unit, host) == target
    assert target_of(Probe(ask, 1.0, target), unit._replace(pid=ELSEWHERE + 7), host) == asked
