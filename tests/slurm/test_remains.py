"""What a job leaves on disk: it goes when the job is over for good, and stays while one runs or waits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.world import until
from tests.slurm.deck import HOST, Deck

pytestmark = [pytest.mark.slurm, pytest.mark.scenario, pytest.mark.supervisor]

OWN = "launcher: supervisor, supervisor: {startsecs: 0}"
MONTH = 31 * 86400


@pytest.fixture(name="deck", params=["here", "on another node"])
def a_deck(request: pytest.FixtureRequest, decks: Callable[..., Deck]) -> Deck:
    """Its logs were rotated, long ago. Here nobody sees a process of a job on another node."""
    deck = decks(24, nodes=["n2"])
    deck.settings["options"] = f"--nodelist={HOST if request.param == 'here' else 'n2'}"
    deck.services = {"one": "", "two": "component: tool"}
    deck.commit()
    deck.converge()
    deck.settled()
    for name in ("one.log", "supervisord-slurm.log"):
        for number in (1, 2, 3):
            old = deck.world.root / f"logs/{name}.{number}"
            old.write_text("old")
            deck.world.account.own(old)
    age(deck)
    return deck


def age(deck: Deck) -> None:
    for path in (deck.world.root / "logs").iterdir():
        os.utime(path, (time.time() - MONTH, time.time() - MONTH))


def left(deck: Deck) -> set[str]:
    """Below logs and run, but for what is another launcher's."""
    root = deck.world.root
    found = {str(path.relative_to(root)) for folder in ("logs", "run") for path in Path(root / folder).rglob("*")}
    return {name for name in found if "slurm" in name or name.startswith("logs/one.log")}


def test_of_a_job_that_runs_or_waits_all_stays(deck: Deck) -> None:
    before = left(deck)
    assert {"run/supervisord-slurm.pid", f"run/slurm/{deck.job().id}.json", "logs/one.log.3"} <= before
    deck.world.idle()
    assert left(deck) == before
    deck.cluster.drain(deck.job().node)
    deck.cluster.run("scontrol", "requeue", deck.job().id)
    until(lambda: deck.job().state == "PENDING" and not deck.running(), seconds=60)
    age(deck)
    before = left(deck)
    for _ in range(2):
        deck.converge(code=2)
        assert left(deck) == before


def test_of_a_job_that_is_over_for_good_only_logs_stay(deck: Deck) -> None:
    """Killed, so that it takes nothing away itself. Of rotated logs the newest stays."""
    job = deck.job().id
    pid = deck.world.root / "run/supervisord-slurm.pid"
    kept = pid.read_text()
    services = deck.running()
    deck.cluster.run("scancel", "--signal=KILL", "--batch", job)
    until(lambda: "" not in deck.running())
    for name in deck.running():
        os.kill(services[name], signal.SIGKILL)
    until(lambda: not deck.jobs() and not deck.running(), seconds=60)
    pid.write_text(kept)  # a supervisord that is killed leaves it; the job's own one may have ended in order
    deck.world.account.own(pid)
    deck.services = {"three": f"component: tool, {OWN}"}
    deck.commit()
    deck.converge()
    age(deck)
    deck.world.run("--once")
    deck.world.idle()
    assert deck.running().keys() == {"", "three"}
    assert left(deck) == {
        "logs/one.log", "logs/one.log.1", "logs/slurm-job.log", "logs/supervisord-slurm.log",
        "logs/supervisord-slurm.log.1",
    }  # fmt: skip


def test_of_a_job_that_git_ends_too(deck: Deck) -> None:
    deck.services = {"three": f"component: tool, {OWN}"}
    deck.commit()
    deck.converge()
    age(deck)
    deck.world.run("--once")
    deck.world.idle()
    assert left(deck) == {
        "logs/one.log", "logs/one.log.1", "logs/slurm-job.log", "logs/supervisord-slurm.log",
        "logs/supervisord-slurm.log.1",
    }  # fmt: skip
