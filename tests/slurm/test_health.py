"""Health of services that run on another node: `localhost` is the node of the job."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.slurm.deck import Deck

Decks = Callable[..., Deck]
pytestmark = [pytest.mark.slurm, pytest.mark.scenario]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_service_in_a_job_is_suspended_until_the_job_begins_and_asked_on_its_node(decks: Decks) -> None:
    deck, port = decks(24, nodes=["n2"]), free_port()
    command = f"{deck.world.python} -m http.server {port} --bind 127.0.0.1"
    health = f"health: {{http: {{port: {port}}}, tcp: {{port: {port}}}, settle: 0s, interval: 0s, retries: 1}}"
    deck.services = {"one": f'command: "{command}", {health}'}
    deck.cluster.drain("n2")
    deck.commit()
    deck.converge(code=2)
    waiting = deck.converge(code=2)
    assert waiting["health"]["one"]["health"] == "suspended"
    assert deck.status()["one"]["health"] == "suspended"
    deck.cluster.resume("n2")
    deck.awaits("one")
    deck.world.idle()
    assert deck.status()["one"]["health"] == "healthy"
