"""What has gone wrong in JAWS, where it did so on Perlmutter: in a job that a scrontab entry looks after.

The numbers are those of the list in the deployment's description; the other stories are in `test_went_wrong`.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time

import pytest

from tests.backends.beds import all_clusters  # noqa: F401
from tests.backends.cluster import HOST
from tests.scenarios.world import until
from tests.slurm.conftest import all_decks  # noqa: F401
from tests.slurm.deck import Deck

Decks = Callable[..., Deck]
pytestmark = [pytest.mark.scenario, pytest.mark.slurm, pytest.mark.git]


# ---------------------------------------------------------------- 7: submitted twice, cancelled badly


def test_07_the_job_was_submitted_twice(decks: Decks) -> None:
    """And jobs of other names stand in the queue, in several lines: only ours too many is cancelled."""
    deck = decks(24)
    others = [deck.cluster.submit("exec sleep 86399", f"--job-name={name}") for name in ("x", f"{deck.name}-x")]
    deck.commit()
    deck.converge()
    job, before = deck.job(), deck.running()
    more = ("--dependency=singleton", f"--job-name={deck.name}", f"--comment={job.comment}")
    for _ in range(2):
        deck.cluster.submit("exec sleep 86399", *more)
    deck.converge()
    assert (deck.job().id, deck.running()) == (job.id, before)
    assert {deck.cluster.job(other).state for other in others} == {"RUNNING"}
    deck.settled()


def test_07_workers_of_the_old_release_ran_on(decks: Decks) -> None:
    """A resubmission leaves no process of the job that was."""
    deck = decks(24)
    deck.services["worker"] = "command: \"sh -c 'trap : TERM; while :; do sleep 0.1; done'\", stop: {grace: 1}"
    deck.commit()
    deck.converge()
    before = deck.running()
    deck.settings["time"] = "3-00:00:00"
    deck.commit(app="2.0")
    deck.converge()
    deck.settled()
    assert not set(before.values()) & set(deck.running().values())
    assert deck.marks("worker")["RECONCILE_VERSION"] == "2.0"


# ---------------------------------------------------------------- 8: a maintenance


def test_08_a_maintenance_nearer_than_the_job_is_long(decks: Decks) -> None:
    """The starter script took the first reservation that was listed: the far one."""
    deck = decks(24)
    deck.settings |= {"time": "90-00:00:00", "renew": "10"}
    deck.cluster.reserve("far", "now+3days", 480)
    deck.cluster.reserve("near", "now+3hours", 60)
    deck.commit()
    deck.converge()
    deck.settled()
    assert float(deck.job().end) <= time() + 3 * 3600


# ---------------------------------------------------------------- 9: the node changed


def test_09_the_node_changed_and_the_name_did_not(decks: Decks) -> None:
    """The node dies; the job comes to another one, and the name in the DNS follows it before the services start."""
    deck = decks(24, nodes=["n2"])
    dns = deck.world.folder / "dns"
    deck.settings["on_start"] = f"uname -n > {dns}"
    deck.settings["options"] = f"--nodelist={HOST}"
    deck.commit()
    deck.converge()
    assert dns.read_text() == f"{HOST}\n"
    deck.cluster.drain(HOST)
    deck.cluster.run("scancel", deck.job().id)
    until(lambda: not deck.jobs())
    deck.settings["options"] = ""
    deck.commit()
    deck.converge()
    assert dns.read_text() == "n2\n"
    assert deck.job().node == "n2"
    deck.settled()
