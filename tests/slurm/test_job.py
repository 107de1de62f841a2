"""The services of a deployment in one job, end to end on a real Slurm."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.scenarios.world import until
from tests.slurm.deck import HOST, Deck

Decks = Callable[..., Deck]
pytestmark = [pytest.mark.slurm, pytest.mark.scenario]
both = pytest.mark.parametrize("version", [22, 24])


@both
def test_cold_start_bump_and_removal(version: int, decks: Decks) -> None:
    """One job from the first pass on; a bump changes the process of what was bumped, and nothing else."""
    deck = decks(version)
    deck.commit()
    done = deck.converge()
    assert {change["kind"] for change in done["changes"]} == {"create"}
    deck.settled()
    job, before = deck.job(), deck.running()
    assert job.comment.startswith(f"reconcile/1 {deck.world.site}/dev ")
    deck.commit(app="2.0")
    deck.converge()
    after = deck.running()
    assert {name for name in before if before[name] != after[name]} == {"one"}
    assert deck.job().id == job.id
    assert {name: row["version"] for name, row in deck.status().items()} == {"one": "2.0", "two": "1.0"}
    assert deck.marks("one")["RECONCILE_VERSION"] == "2.0"
    deck.settled()
    del deck.services["two"]
    deck.services["one"] = ""
    deck.commit(app="2.0")
    deck.converge()
    assert deck.running() == {name: after[name] for name in ("", "one")}
    deck.settled()


@both
def test_a_job_on_another_node(version: int, decks: Decks) -> None:
    """What runs there is told by its supervisord: its processes are none of this host's."""
    deck = decks(version, nodes=["n2"])
    deck.settings["options"] = "--nodelist=n2"
    deck.commit()
    deck.converge()
    deck.settled()
    assert deck.job().node == "n2"
    before, rows = deck.running(), deck.status()
    assert all(row["healthy"] and row["pid"] < 1 << 22 for row in rows.values()), rows
    assert f"slurm: job {deck.job().id} on n2, until " in deck.world.run("status").out
    deck.commit(app="2.0")
    deck.converge()
    after = deck.running()
    assert {name for name in before if before[name] != after[name]} == {"one"}
    deck.settled()


def test_drift_is_mended_in_the_job(deck: Deck) -> None:
    deck.commit()
    deck.converge()
    (deck.world.root / "config/app.conf").write_text("level = edited\n")
    (deck.world.root / "bin/two").unlink()
    assert {c["service"]: bool(c["reasons"]) for c in deck.converge()["changes"]} == {"one": True, "two": True}
    deck.settled()
    os.kill(deck.running()["one"], signal.SIGKILL)
    deck.world.once()
    deck.settled()


def test_the_job_itself_is_another_one(deck: Deck) -> None:
    """Only a change of what it was submitted with, or of what it does on the node, submits it anew."""
    deck.commit()
    deck.converge()
    before, first = deck.running(), deck.job()
    deck.settings["renew"] = "30"
    deck.commit()
    deck.world.idle()
    deck.settings["loglevel"] = "debug"
    deck.commit()
    deck.converge()
    deck.settled()
    assert deck.job().id == first.id  # supervisord began anew within it
    assert deck.running()["one"] != before["one"]
    deck.settings["time"] = "2-00:00:00"
    deck.commit()
    deck.converge()
    deck.settled()
    assert deck.job().id != first.id
    assert deck.job().limit == "2-00:00:00"


def test_a_cancelled_job_comes_back(deck: Deck) -> None:
    deck.commit()
    deck.converge()
    first = deck.job()
    deck.cluster.run("scancel", first.id)
    until(lambda: not deck.jobs())
    deck.converge()
    deck.settled()
    assert deck.job().id != first.id


def test_nothing_is_wanted_any_more(deck: Deck) -> None:
    """The job goes with the last of its services."""
    deck.commit()
    deck.converge()
    deck.services = {"three": "launcher: supervisor"}
    deck.commit()
    deck.converge()
    assert deck.jobs() == []
    deck.converge()  # what it has left goes
    deck.world.idle()
    assert deck.running().keys() == {"", "three"}


def test_a_job_begins_while_nobody_looks(deck: Deck) -> None:
    """Its services start in their order, and the next pass finds nothing to do."""
    deck.commit()
    deck.converge()
    deck.cluster.drain()
    deck.cluster.run("scancel", deck.job().id)
    until(lambda: not deck.jobs())
    deck.converge(code=2)
    assert deck.job().state == "PENDING"
    deck.cluster.resume()
    until(lambda: deck.running().keys() == {"", "one", "two"}, seconds=60)
    deck.settled()


def test_a_bump_of_what_waits(deck: Deck) -> None:
    """What was rendered when the job begins is what starts."""
    deck.commit()
    deck.converge()
    deck.cluster.drain()
    deck.cluster.run("scancel", deck.job().id)
    until(lambda: not deck.jobs())
    deck.converge(code=2)
    job = deck.job()
    deck.commit(app="2.0")
    done = deck.converge(code=2)
    assert {change["held_by"] for change in done["changes"]} == {"queue"}
    assert deck.job().id == job.id
    deck.cluster.resume()
    until(lambda: deck.running().keys() == {"", "one", "two"}, seconds=60)
    assert deck.marks("one")["RECONCILE_VERSION"] == "2.0"
    deck.settled()


def test_where_the_job_runs_is_told(deck: Deck) -> None:
    deck.commit()
    deck.converge()
    assert HOST in deck.job().node
    assert deck.world.run("logs", "one").code == 0
