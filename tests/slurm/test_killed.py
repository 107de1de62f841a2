"""A pass that sees to a job, killed at every step boundary: one job is left, and nothing runs twice at any moment."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Sequence
from itertools import pairwise

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


def killed_at(deck: Deck, boundary: int | str, codes: tuple[int, ...] = (0, 2)) -> tuple[bool, list[str]]:
    """A pass that ends itself at a boundary, see `run_to`; whether it came so far, and which it came to. `codes`: of
    one that comes to its end."""
    done = run_to(deck.world, boundary)
    assert done.code in (*codes, -signal.SIGKILL), done.said
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


@pytest.mark.parametrize("version", [22, 24])
def test_a_job_that_comes_to_nothing_goes_back(version: int, decks: Decks) -> None:
    """Killed around each act of the pass that tries it and goes back: what ran before comes back, in one job, and
    what failed is not tried again."""
    deck = decks(version)
    deck.services = {"one": "strategy: {rollback: true}", "two": "component: tool, strategy: {rollback: true}"}
    deck.settings["prologue"] = "export TURN=good"
    deck.commit()
    deck.converge()
    deck.settled()
    good = deck.job().comment
    _, all_of_them = comes_to_nothing(deck, 0)
    goes_back(deck, good, "unharmed")
    back = all_of_them.index("deployment", 1)  # where it begins to go back
    first, second = all_of_them[:back], all_of_them[back:]
    there = [index for index, name in enumerate(first) if "restart:daemon" in name or name.startswith("ended render")]
    there += [back]
    begun = second.index("progress start:daemon:slurm")
    there += [back + index for index in (begun - 2, begun - 1, begun, second.index("begins start:one"))]
    assert len(there) == 9
    numbers = boundaries(all_of_them)
    for boundary in sorted({numbers[index] for index in there}):
        killed, (*_, where) = comes_to_nothing(deck, boundary)
        assert killed
        goes_back(deck, good, where)


def boundaries(names: Sequence[str]) -> list[int]:
    """The number of the boundary that each name stands for: the end of a step and the beginning of the next are one."""
    found, number = [], 0
    for before, name in pairwise(("", *names)):
        number += not (before.startswith("ended") and name.startswith("begins"))
        found.append(number)
    return found


def comes_to_nothing(deck: Deck, boundary: int) -> tuple[bool, list[str]]:
    """Another job is wanted, each time with other words, as what has failed once is not tried again."""
    deck.settings["prologue"] = f"echo {boundary}; exit 3"
    deck.commit()
    return killed_at(deck, boundary, (1,))


def goes_back(deck: Deck, good: str, where: str) -> None:
    def is_back() -> bool:
        done = deck.world.run("--once", "--json")
        assert done.code in (1, 2), (where, done.said)
        assert sum(job.state == "RUNNING" for job in deck.cluster.jobs()) <= 1, where
        return deck.running().keys() == {"", *deck.services}

    until(is_back, seconds=90)
    before = deck.running()
    found = deck.converge(code=1)
    assert found["steps"] == [], where
    assert {change["rollout"] for change in found["changes"]} == {"rolled-back"}, where
    assert [(job.state, job.comment) for job in deck.cluster.jobs()] == [("RUNNING", good)], where
    assert deck.running() == before, where
