"""A pass that sees to a job, killed at every step boundary: one job is left, and nothing runs twice at any moment."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable

import pytest

from tests.scenarios.test_kill import run_to
from tests.scenarios.world import until
from tests.slurm.deck import Deck

Decks = Callable[..., Deck]
pytestmark = [pytest.mark.slurm, pytest.mark.scenario, pytest.mark.slow]


@pytest.fixture(name="deck")
def a_deck(decks: Callable[..., Deck]) -> Deck:
    """Its job runs on another node, where a pass sees no process."""
    deck = decks(24, nodes=["n2"])
    deck.settings["options"] = "--nodelist=n2"
    return deck


def killed_at(deck: Deck, boundary: int | str) -> tuple[bool, list[str]]:
    """A pass that ends itself at a boundary, see `run_to`; whether it came so far, and which it came to."""
    done = run_to(deck.world, boundary)
    assert done.code in (0, 2, -signal.SIGKILL), done.said
    return done.code == -signal.SIGKILL, done.out.splitlines()


def converges(deck: Deck, where: str) -> None:
    """Passes that follow wait for the job at most, and never find anything wrong."""

    def is_over() -> bool:
        done = deck.world.run("--once", "--json")
        assert done.code in (0, 2), (where, done.said)
        deck.running()  # fails where something runs twice
        assert sum(job.state == "RUNNING" for job in deck.cluster.jobs()) <= 1, where
        return done.code == 0

    until(is_over, seconds=90)
    deck.world.idle()
    assert deck.running().keys() == {"", *deck.services}, where


def test_a_cold_start(deck: Deck) -> None:
    """Around the submission; what is before and after it is killed everywhere in `scenarios/test_kill.py`."""
    deck.commit()
    deck.world.once()
    for where in ("begins", "progress", "ended"):
        deck.cluster.run("scancel", deck.job().id)
        until(lambda: not deck.cluster.jobs() and not deck.running(), seconds=60)
        shutil.rmtree(deck.world.root)
        shutil.rmtree(deck.world.state)
        killed, came_to = killed_at(deck, f"{where} start:daemon:slurm")
        assert killed
        converges(deck, came_to[-1])


def test_other_resources_another_name_and_a_bump(deck: Deck) -> None:
    deck.commit()
    deck.converge()
    boundary, killed = 0, True
    while killed:
        boundary += 1
        deck.settings |= {"time": f"{boundary + 1}-00:00:00", "job": f"ours-{boundary % 3}"}
        deck.commit(app=f"2.{boundary}")
        killed, (*_, where) = killed_at(deck, boundary)
        converges(deck, where)
        (job,) = deck.cluster.jobs()
        assert (job.name, job.limit) == (deck.name, deck.settings["time"]), where
        assert deck.marks("one")["RECONCILE_VERSION"] == f"2.{boundary}", where
    assert boundary > 8, "the story has become shorter than it was"


def test_supervisord_begins_anew(deck: Deck) -> None:
    deck.commit()
    deck.converge()
    job = deck.job()
    boundary, killed = 0, True
    while killed:
        boundary += 1
        deck.settings["loglevel"] = ("info", "debug")[boundary % 2]
        deck.commit()
        killed, (*_, where) = killed_at(deck, boundary)
        converges(deck, where)
        assert deck.job().id == job.id, where
    assert boundary > 5, "the story has become shorter than it was"


def test_its_successor(deck: Deck) -> None:
    deck.settings |= {"time": "1:00:00", "renew": "30"}
    deck.commit()
    deck.converge()
    boundary, killed = 0, True
    while killed:
        boundary += 1
        deck.settings["renew"] = "61"
        deck.commit()
        killed, (*_, where) = killed_at(deck, boundary)
        converges(deck, where)
        assert [job.state for job in deck.jobs()] == ["RUNNING", "PENDING"], where
        deck.settings["renew"] = "30"
        deck.commit()
        deck.converge()
        assert [job.state for job in deck.jobs()] == ["RUNNING"]
    assert boundary > 2, "the story has become shorter than it was"
