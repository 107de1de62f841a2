"""Services that come into a job, or leave it, in one commit: never twice, and never gone while the job waits."""

from __future__ import annotations

import pytest

from tests.scenarios.world import until
from tests.slurm.deck import Deck

pytestmark = [pytest.mark.slurm, pytest.mark.scenario, pytest.mark.supervisor]
ONE, TWO = "supervisor: {startsecs: 0}", "component: tool, supervisor: {startsecs: 0}"


def test_into_a_job_that_waits_and_back(deck: Deck) -> None:
    deck.services = {"one": f"launcher: supervisor, {ONE}", "two": f"launcher: supervisor, {TWO}"}
    deck.commit()
    deck.converge()
    before = deck.running()
    deck.cluster.drain()
    deck.services = {"one": "", "two": "component: tool"}
    deck.commit()
    for _ in range(3):  # the job waits: all goes on where it is
        deck.converge(code=2)
        assert deck.running() == before
    deck.cluster.resume()
    until(lambda: [job.state for job in deck.jobs()] == ["RUNNING"], seconds=60)
    until(lambda: list(deck.world.root.glob("run/slurm/*.json")))
    assert {name: deck.running()[name] for name in ("one", "two")} == {name: before[name] for name in ("one", "two")}
    until(lambda: deck.world.run("--once").code == 0, seconds=60)
    deck.settled()
    assert not set(before.values()) & set(deck.running().values())
    inside = deck.running()
    deck.services = {"one": f"launcher: supervisor, {ONE}", "two": f"launcher: supervisor, {TWO}"}
    deck.commit()
    deck.converge()
    assert deck.jobs() == []
    deck.converge()  # what it has left goes
    deck.world.idle()
    assert deck.running().keys() == inside.keys()
    assert not set(inside.values()) & set(deck.running().values())
