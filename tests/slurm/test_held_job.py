"""A job and the maintenance of its nodes, from live reservations."""

from __future__ import annotations

from collections.abc import Callable
from time import time

import pytest

from tests.backends.cluster import HOST
from tests.scenarios.world import until
from tests.slurm.deck import Deck

Decks = Callable[..., Deck]
pytestmark = [pytest.mark.slurm, pytest.mark.scenario]
both = pytest.mark.parametrize("version", [22, 24])


def seconds(limit: str) -> int:
    """Of `2:30:00` or `1-00:00:00`, as squeue writes them."""
    days, _, rest = limit.rpartition("-")
    hours, minutes, last = (["0", *rest.split(":")])[-3:]
    return int(days or 0) * 86400 + int(hours) * 3600 + int(minutes) * 60 + int(last)


@both
def test_within_the_buffer_it_is_held_and_then_comes_back(version: int, decks: Decks) -> None:
    """Half an hour before a maintenance nothing is submitted; the report says until when. It went: the job comes."""
    deck = decks(version)
    deck.settings["time"] = "90-00:00:00"
    deck.cluster.reserve("near", "now+30minutes", 60)
    deck.commit()
    for _ in range(2):
        done = deck.converge(code=2)
        (why,) = {change["reasons"][-1] for change in done["changes"]}
        assert why.startswith("no job is submitted before "), why
        assert why.endswith(", the end of the maintenance near"), why
        assert deck.jobs() == []
    told = " ".join(deck.once(code=2).out.split())
    assert why in told
    deck.cluster.drop("near")
    deck.converge()
    deck.settled()
    assert deck.job().limit == "90-00:00:00"


@both
def test_the_soonest_counts_however_they_are_listed(version: int, decks: Decks) -> None:
    """One three hours ahead, listed after one three days ahead: the job ends before the near one, and runs now."""
    deck = decks(version)
    deck.settings |= {"time": "90-00:00:00", "renew": "10"}
    deck.cluster.reserve("far", "now+3days", 480)
    deck.cluster.reserve("near", "now+3hours", 60)
    deck.commit()
    deck.converge()
    deck.settled()
    job = deck.job()
    assert 3600 - 120 <= seconds(job.limit) <= 3 * 3600
    assert float(job.end) <= time() + 3 * 3600


def test_what_does_not_touch_the_job_does_not_count(decks: Decks) -> None:
    """A maintenance of other nodes, and somebody's share of ours."""
    deck = decks(24, nodes=["n2"])
    deck.settings |= {"time": "90-00:00:00", "nodes": HOST, "options": f"--nodelist={HOST}"}
    deck.cluster.reserve("others", "now+10minutes", 60, nodes="n2")
    deck.cluster.reserve("share", "now+20minutes", 60, nodes="n2", flags="ignore_jobs")
    deck.commit()
    deck.converge()
    deck.settled()
    assert deck.job().limit == "90-00:00:00"


def test_a_partition_stands_for_its_nodes(decks: Decks) -> None:
    deck = decks(24, nodes=["n2"])
    deck.settings |= {"partition": "main"}
    deck.cluster.reserve("other", "now+30minutes", 60, nodes="n2")
    deck.commit()
    done = deck.converge(code=2)
    assert "the end of the maintenance other" in done["changes"][0]["reasons"][-1]


def test_what_runs_goes_on_and_its_successor_is_held(deck: Deck) -> None:
    """The job near its end: why nothing follows it yet is a warning."""
    deck.settings |= {"time": "1:00:00", "renew": "61"}
    deck.commit()
    deck.converge()
    deck.cluster.reserve("near", "now+30minutes", 60)
    job, before = deck.job(), deck.running()
    done = deck.converge()
    (warning,) = done["warnings"]
    assert f"job {job.id} ends at " in warning
    assert "no job is submitted before " in warning
    assert (deck.job().id, deck.running()) == (job.id, before)


def test_reservations_that_cannot_be_read_hold_it(deck: Deck) -> None:
    """A command that fails is not "no reservation": nothing is submitted."""
    broken = deck.world.folder / "broken"
    broken.mkdir()
    fake = broken / "scontrol"
    fake.write_text("#!/bin/sh\necho 'scontrol: error: no answer' >&2\nexit 1\n")
    fake.chmod(0o755)
    path = deck.world.env["PATH"]
    deck.commit()
    deck.world.env["PATH"] = f"{broken}:{path}"
    done = deck.converge(code=2)
    assert "no job is submitted while maintenance cannot be told" in done["changes"][0]["reasons"][-1]
    assert deck.jobs() == []
    deck.world.env["PATH"] = path
    deck.converge()
    deck.settled()


def test_the_job_comes_to_another_node(decks: Decks) -> None:
    """Its own `on_start` runs when the node is another than the last time; a failure is told with its output."""
    deck = decks(24, nodes=["n2"])
    names = deck.world.folder / "names"
    deck.settings |= {"on_start": f"uname -n >> {names}", "options": f"--nodelist={HOST}"}
    deck.commit()
    deck.converge()
    assert names.read_text() == f"{HOST}\n"
    for _ in range(2):
        deck.cluster.run("scancel", deck.job().id)
        until(lambda: not deck.jobs())
        deck.converge()
    assert names.read_text() == f"{HOST}\n"
    deck.settings["options"] = "--nodelist=n2"
    deck.commit()
    deck.converge()
    assert names.read_text() == f"{HOST}\nn2\n"
    deck.settled()
    deck.settings["on_start"] = "echo no such zone >&2; exit 9"
    deck.commit()
    done = deck.converge(code=1)
    assert [finding["name"] for finding in done["findings"]] == [deck.name]
    told = deck.world.run("--once")
    assert (told.code, "no such zone" in told.out) == (1, True)
    assert deck.running().keys() == {"", "one", "two"}
