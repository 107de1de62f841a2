"""Services that leave a job which waits for its turn, and what comes after those that stay."""

from __future__ import annotations

import pytest

from tests.scenarios.world import until
from tests.slurm.deck import Deck

pytestmark = [pytest.mark.slurm, pytest.mark.scenario, pytest.mark.supervisor]

OWN = "launcher: supervisor, supervisor: {startsecs: 0}"
TOOL = "component: tool"


def waits(deck: Deck) -> str:
    """What has run in a job waits for another one now; its id."""
    deck.services = {"one": "", "two": TOOL}
    deck.commit()
    deck.converge()
    deck.cluster.drain()
    deck.cluster.run("scancel", deck.job().id)
    until(lambda: not deck.jobs() and not deck.running(), seconds=60)
    deck.converge(code=2)
    return deck.job().id


def still(deck: Deck) -> None:
    """One more pass does nothing."""
    before = deck.running()
    assert deck.converge(code=2)["steps"] == []
    assert deck.running() == before


def test_one_leaves_and_the_others_wait(deck: Deck) -> None:
    job = waits(deck)
    deck.services["two"] = f"{TOOL}, {OWN}"
    deck.commit()
    done = deck.converge(code=2)
    assert {c["service"]: c.get("held_by") for c in done["changes"]} == {"one": "queue", "two": None}
    assert deck.running().keys() == {"", "two"}
    assert deck.job().id == job
    still(deck)
    two = deck.running()["two"]
    deck.cluster.resume()
    until(lambda: "one" in deck.services_running(), seconds=60)
    until(lambda: deck.world.run("--once").code == 0, seconds=60)
    assert deck.services_running() == {"one": deck.services_running()["one"], "two": two}
    deck.world.idle()


def test_one_leaves_and_comes_back_before_the_job_begins(deck: Deck) -> None:
    """It runs where it is until a pass brings it into the job: that does not start it beside."""
    waits(deck)
    deck.services["two"] = f"{TOOL}, {OWN}"
    deck.commit()
    deck.converge(code=2)
    two = deck.running()["two"]
    deck.services["two"] = TOOL
    deck.commit()
    deck.converge(code=2)
    assert deck.running()["two"] == two
    deck.cluster.resume()
    until(lambda: "one" in deck.services_running(), seconds=60)
    assert deck.services_running()["two"] == two
    until(lambda: deck.world.run("--once").code == 0, seconds=60)
    assert deck.services_running()["two"] != two
    deck.settled()


def test_all_leave(deck: Deck) -> None:
    """Nothing is left for the job to carry."""
    waits(deck)
    deck.services = {"one": OWN, "two": f"{TOOL}, {OWN}"}
    deck.commit()
    deck.converge()
    assert deck.jobs() == []
    assert deck.running().keys() == {"", "one", "two"}
    deck.converge()  # what it has left goes
    deck.world.idle()


def test_one_is_taken_away(deck: Deck) -> None:
    waits(deck)
    del deck.services["two"]
    deck.commit()
    done = deck.converge(code=2)
    assert {c["service"]: c.get("held_by") for c in done["changes"]} == {"one": "queue", "two": None}
    still(deck)
    assert (deck.world.root / "run/slurm/started").read_text() == "one\n"
    deck.cluster.resume()
    until(lambda: "one" in deck.services_running(), seconds=60)
    deck.converge()  # its other files
    deck.settled()


def test_all_have_left_after_their_job_had_ended(deck: Deck) -> None:
    """No pass was there in between. When they come back, a job that begins does not start them beside."""
    deck.services = {"one": "", "two": TOOL}
    deck.commit()
    deck.converge()
    deck.cluster.run("scancel", deck.job().id)
    until(lambda: not deck.jobs() and not deck.running(), seconds=60)
    deck.services = {"one": OWN, "two": f"{TOOL}, {OWN}"}
    deck.commit()
    deck.converge()
    before = deck.running()
    deck.cluster.drain()
    deck.services = {"one": "", "two": TOOL}
    deck.commit()
    deck.converge(code=2)
    assert deck.running() == before
    started = deck.world.root / "run/slurm/started"  # what a job starts by itself
    assert not started.exists() or started.read_text().split() == []
    deck.cluster.resume()
    until(lambda: deck.world.run("--once").code == 0, seconds=60)
    deck.settled()


def test_what_comes_after_a_service_that_waits(deck: Deck) -> None:
    """Of another launcher, one after the other: they wait too, and that is no failure."""
    waits(deck)
    deck.services |= {"three": f"{TOOL}, {OWN}, after: [one]", "four": f"{TOOL}, {OWN}, after: [three, two]"}
    deck.services["five"] = f"{TOOL}, {OWN}"
    deck.commit()
    done = deck.converge(code=2)
    held = {change["service"]: change.get("held_by") for change in done["changes"]}
    assert held == {"one": "queue", "two": "queue", "three": "after", "four": "after", "five": None}
    told = " ".join(deck.once(code=2).out.split())
    assert "2 wait for their launcher" in told
    assert "2 wait for other services" in told
    still(deck)
    assert deck.running().keys() == {"", "five"}
    deck.cluster.resume()
    until(lambda: deck.world.run("--once").code == 0, seconds=90)
    assert deck.services_running().keys() == {"one", "two", "three", "four", "five"}
    deck.world.idle()
