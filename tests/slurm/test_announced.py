"""A maintenance is announced, moved or called off while the job waits for its turn: it keeps its place in the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.backends.cluster import Job
from tests.scenarios.world import until
from tests.slurm.deck import Deck
from tests.slurm.test_held_job import seconds

Decks = Callable[..., Deck]
pytestmark = [pytest.mark.slurm, pytest.mark.scenario]
both = pytest.mark.parametrize("version", [22, 24])

HOUR = 3600


def waiting(deck: Deck) -> Job:
    """Its job is in the queue, with all the time that git wants."""
    deck.settings["time"] = "90-00:00:00"
    deck.cluster.drain()
    deck.commit()
    deck.converge(code=2)
    assert (deck.job().state, deck.job().limit) == ("PENDING", "90-00:00:00")
    return deck.job()


def adjusted(deck: Deck) -> str:
    """What the next pass does to the job that waits, as it was previewed; one more does nothing."""
    (planned,) = plan(deck, "plan")
    (step,) = plan(deck, "--once")
    assert (step["id"], step["target"], step["status"]) == ("reload:daemon:slurm", planned["target"], "done")
    for _ in range(3):
        assert plan(deck, "--once") == []
    assert f"job {deck.job().id}, which waits" in step["target"]
    return str(step["target"])


def plan(deck: Deck, *words: str) -> list[dict[str, Any]]:
    done = deck.world.run(*words, "--json")
    assert done.code == 2, done.said
    (found,) = done.json()["deployments"]
    assert found["gaps"] == []
    return list(found["steps"])


def least(deck: Deck) -> str:
    return deck.cluster.run("squeue", "--noheader", f"--jobs={deck.job().id}", "--Format=MinTime").strip()


def same_place(job: Job, deck: Deck) -> bool:
    return (job.id, job.submitted) == (deck.job().id, deck.job().submitted)


@both
def test_it_is_shortened_begins_before_and_gets_its_time_back(version: int, decks: Decks) -> None:
    deck = decks(version)
    job = waiting(deck)
    deck.cluster.reserve("near", "now+3hours", 60)
    assert "maintenance near" in adjusted(deck)
    assert same_place(job, deck)
    assert 3 * HOUR - 15 * 60 <= seconds(deck.job().limit) < 3 * HOUR
    assert HOUR - 180 <= seconds(least(deck)) <= HOUR
    deck.cluster.drop("near")
    adjusted(deck)
    assert same_place(job, deck)
    assert (deck.job().limit, least(deck)) == ("90-00:00:00", "0:00")
    deck.cluster.reserve("again", "now+4hours", 60)
    adjusted(deck)
    deck.cluster.resume()
    until(lambda: deck.world.run("--once").code == 0, seconds=60)
    assert float(deck.job().end) <= float(deck.job().start) + 4 * HOUR
    deck.settled()


def test_within_the_buffer_it_is_left_or_gets_its_time_back_for_afterwards(deck: Deck) -> None:
    job = waiting(deck)
    deck.cluster.reserve("near", "now+30minutes", 60)
    assert plan(deck, "--once") == []
    assert deck.job().limit == "90-00:00:00"
    deck.cluster.drop("near")
    deck.cluster.reserve("near", "now+3hours", 60)
    adjusted(deck)
    deck.cluster.run("scontrol", "update", "reservationname=near", "starttime=now+30minutes", "duration=60")
    adjusted(deck)
    assert same_place(job, deck)
    assert (deck.job().limit, least(deck)) == ("90-00:00:00", "0:00")


def test_what_follows_a_running_job_is_shortened_too(deck: Deck) -> None:
    deck.settings |= {"time": "4:00:00", "renew": "241"}
    deck.commit()
    deck.converge()
    deck.converge()
    first, second = deck.jobs()
    before = deck.running()
    deck.cluster.reserve("near", "now+3hours", 60)
    done = deck.converge()
    assert [step["id"] for step in done["steps"]] == ["reload:daemon:slurm"]
    deck.world.idle()
    assert [(job.id, job.state) for job in deck.jobs()] == [(first.id, "RUNNING"), (second.id, "PENDING")]
    assert seconds(deck.jobs()[1].limit) < 3 * HOUR
    assert (deck.jobs()[0].limit, deck.running()) == (first.limit, before)


def test_what_somebody_has_set_stays(deck: Deck) -> None:
    """A site's own limit, or an administrator's, that fits: it was not shortened for a maintenance."""
    job = waiting(deck)
    deck.cluster.run("scontrol", "update", f"jobid={job.id}", "timelimit=7-0")
    assert plan(deck, "--once") == []
    assert deck.job().limit == "7-00:00:00"


def test_a_pause_holds_it_and_says_so(deck: Deck) -> None:
    waiting(deck)
    assert deck.world.run("pause", "--for", "1h", "--reason", "hands off").code == 0
    deck.cluster.reserve("near", "now+3hours", 60)
    said = " ".join(deck.once(code=2).out.split())
    assert "maintenance near" in said
    assert deck.job().limit == "90-00:00:00"
    assert deck.world.run("resume").code == 0
    adjusted(deck)


def test_it_waits_for_no_person_and_no_window(deck: Deck) -> None:
    """It is nothing that git says anew."""
    deck.policy = 'policy: {sync: manual, self_heal: false, windows: {never: {deny: "* * * * *", for: 1h}}}'
    deck.settings["time"] = "90-00:00:00"
    deck.cluster.drain()
    deck.commit()
    found = deck.world.run("plan", "--ignore-windows", "--json").json()["deployments"][0]
    assert deck.world.run("approve", found["approval"]["plan"]).code == 0
    deck.once("--ignore-windows", code=2)
    job = deck.job()
    deck.cluster.reserve("near", "now+3hours", 60)
    deck.world.run("--once")
    assert same_place(job, deck)
    assert seconds(deck.job().limit) < 3 * HOUR


@pytest.fixture(name="blind")
def a_scontrol_that_does_not_answer(deck: Deck) -> Iterator[Deck]:
    folder = deck.world.account.folder(deck.world.folder / "broken")
    fake = folder / "scontrol"
    fake.write_text("#!/bin/sh\necho 'scontrol: error: no answer' >&2\nexit 1\n")
    fake.chmod(0o755)
    path = deck.world.env["PATH"]
    waiting(deck)
    deck.world.env["PATH"] = f"{folder}:{path}"
    yield deck
    deck.world.env["PATH"] = path


def test_what_cannot_be_told_is_a_warning(blind: Deck) -> None:
    done = blind.converge(code=2)
    assert done["steps"] == []
    (warning,) = done["warnings"]
    assert f"job {blind.job().id} waits, and whether it fits before a maintenance cannot be told" in warning
