"""There is one job, whatever happens: waiting, two passes at once, a controller that goes away, jobs of others."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.world import until
from tests.slurm.deck import Deck

Decks = Callable[..., Deck]
pytestmark = [pytest.mark.slurm, pytest.mark.scenario]
both = pytest.mark.parametrize("version", [22, 24])

# What a pass does where no lock keeps another host's pass away: some parallel file systems have none.
_START = """
import sys
from reconciler.agent.memory.store import Store
from reconciler.launchers import launcher
from reconciler.launchers.base import NotYet
(manager,) = Store(sys.argv[1], sys.argv[2]).inventory("dev", sys.argv[3]).inventory.managers
try:
    launcher("slurm").backend(manager).daemon.start_daemon(lambda line: None)
except NotYet as later:
    print(later)
"""


@both
def test_twenty_passes_while_it_waits(version: int, decks: Decks) -> None:
    """Each says since when it waits, and why Slurm holds it."""
    deck = decks(version)
    deck.cluster.drain()
    deck.commit()
    deck.converge(code=2)
    job = deck.job()
    for _ in range(20):
        done = deck.converge(code=2)
        (why,) = {reason for change in done["changes"] for reason in change["reasons"]}
        assert why.startswith(f"job {job.id} is pending since "), why
        assert done["steps"] == []
        assert done["gaps"] == []
    assert deck.job() == job._replace(reason=deck.job().reason)
    assert f"({deck.job().reason})" in why
    told = deck.once(code=2).out
    assert why in " ".join(told.split())
    assert "2 wait for their launcher" in told


@both
def test_two_hosts_submit_at_once(version: int, decks: Decks) -> None:
    """Without a lock between them: of what both have submitted the first job stays."""
    deck = decks(version)
    deck.cluster.drain()
    deck.commit()
    deck.converge(code=2)
    deck.cluster.run("scancel", deck.job().id)
    until(lambda: not deck.jobs())
    words = [deck.world.python, "-c", _START, str(deck.world.state), deck.world.site, str(deck.world.root)]
    env = deck.world.env | {"PYTHONPATH": ""}
    started = [
        subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True, cwd="/", **deck.world.account.become)
        for _ in range(4)
    ]
    printed = [process.communicate(timeout=90)[0] for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert all(line.startswith(f"job {deck.job().id} is pending") for line in printed), printed
    deck.cluster.resume()
    until(lambda: deck.job().state == "RUNNING", seconds=60)
    until(lambda: deck.world.run("--once").code == 0, seconds=60)
    deck.settled()


def test_two_passes_at_once(deck: Deck) -> None:
    deck.commit()
    passes = [deck.world.start("--once") for _ in range(2)]
    assert {process.wait(60) for process in passes} <= {0, 75}
    for process in passes:
        process.communicate()
    deck.settled()


@both
def test_the_controller_is_down(version: int, decks: Decks) -> None:
    """That is a gap: nothing is submitted, nothing cancelled. When it answers again the next pass goes on."""
    deck = decks(version)
    deck.commit()
    deck.converge()
    job, before = deck.job(), deck.running()
    deck.cluster.stop_controller()
    deck.commit(app="2.0")
    done = deck.converge(code=1)
    assert [gap["subject"] for gap in done["gaps"]] == ["slurm"]
    assert {change["kind"] for change in done["changes"]} == {"blocked"}
    assert done["steps"] == []
    assert deck.running() == before
    deck.cluster.start_controller()
    deck.converge()
    assert deck.job().id == job.id
    deck.settled()


def test_the_controller_stops_in_the_middle_of_a_pass(deck: Deck) -> None:
    """Between the look and the submission: the step fails and says why, and the next pass submits one job."""
    begun, go = deck.world.folder / "begun", deck.world.folder / "go"
    waits = f"[ -e {begun} ] || {{ touch {begun}; while [ ! -e {go} ]; do sleep 0.05; done; }}"
    deck.services["one"] = f'after: [two], prologue: "{waits}"'  # the preflight runs it, before anything is started
    deck.services["one"] += ", command: /bin/sleep 86399"
    deck.commit()
    process = deck.world.start("--once", "--json")
    until(begun.exists)
    deck.cluster.stop_controller()
    go.touch()
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 1, out
    assert "start:daemon:slurm" in out
    assert "squeue: " in out or "sbatch: " in out
    deck.cluster.start_controller()
    assert deck.jobs() == []
    deck.converge()
    deck.settled()


def test_too_many_jobs(deck: Deck) -> None:
    """Somebody has submitted ours again by hand, and more than once: the one that runs stays."""
    deck.commit()
    deck.converge()
    job, before = deck.job(), deck.running()
    for _ in range(3):
        more = ("--dependency=singleton", f"--job-name={deck.name}", f"--comment={job.comment}")
        deck.cluster.submit("exec sleep 86399", *more)
    assert len(deck.jobs()) == 4
    done = deck.converge()
    assert [step["status"] for step in done["steps"]] == ["done"] * 3
    assert (deck.job().id, deck.running()) == (job.id, before)
    deck.settled()


def test_a_job_of_somebody_elses_making(deck: Deck) -> None:
    """It has the name that ours would have: said so, and neither touched nor joined by another one."""
    deck.commit()
    stranger = deck.cluster.submit("exec sleep 86399", f"--job-name={deck.name}")
    until(lambda: deck.cluster.job(stranger).state == "RUNNING")
    done = deck.converge(code=1)
    assert f"job {stranger} has the name {deck.name} and not our mark" in done["gaps"][0]["message"]
    assert [job.id for job in deck.jobs()] == [stranger]
    deck.settings["job"] = "another"
    deck.commit()
    deck.converge()
    deck.settled()
    assert deck.cluster.job(stranger).state == "RUNNING"


@both
def test_its_successor(version: int, decks: Decks) -> None:
    """It is in the queue before the job ends, once, and takes over by itself."""
    deck = decks(version)
    deck.settings |= {"time": "1:00:00", "renew": "61"}
    deck.commit()
    deck.converge()
    first = deck.job()
    done = deck.converge()
    assert [step["action"] for step in done["steps"]] == ["start"]
    assert [job.state for job in deck.jobs()] == ["RUNNING", "PENDING"]
    for _ in range(3):
        deck.world.idle()
    second = deck.jobs()[1]
    before = deck.running()
    deck.cluster.run("scancel", first.id)
    until(lambda: [(job.id, job.state) for job in deck.jobs()] == [(second.id, "RUNNING")], seconds=60)
    until(lambda: deck.running().keys() == {"", "one", "two"}, seconds=60)
    assert not set(before.values()) & set(deck.running().values())
    until(lambda: deck.world.run("--once").code == 0)
    assert [job.state for job in deck.jobs()] == ["RUNNING", "PENDING"]
    deck.world.idle()


def test_a_job_that_ends_at_once(deck: Deck) -> None:
    """Why is told with its output; nothing waits for ever."""
    deck.settings["prologue"] = "echo no such module >&2; exit 3"
    deck.commit()
    done = deck.world.once(code=1)
    assert "no such module" in done.out
    del deck.settings["prologue"]
    deck.commit()
    deck.converge()
    deck.settled()


def test_supervisord_in_the_job_dies(deck: Deck) -> None:
    """The job ends with it, and its services do not outlive that: the next pass submits another one."""
    deck.commit()
    deck.converge()
    first, before = deck.job(), deck.running()
    deck.cluster.run("scancel", "--signal=KILL", "--batch", first.id)
    until(lambda: not any(job.id == first.id for job in deck.jobs()))
    until(lambda: "" not in deck.running())
    deck.converge()
    deck.settled()
    assert deck.job().id != first.id
    assert not set(before.values()) & set(deck.running().values())


def test_the_note_of_the_job_is_private(deck: Deck) -> None:
    """It has the key to everything that the account may do."""
    deck.commit()
    deck.converge()
    (note,) = (deck.world.root / "run/slurm").glob("*.json")
    assert (note.stat().st_mode & 0o7777, note.parent.stat().st_mode & 0o7777) == (0o600, 0o700)
    key = note.read_text().split('"key": "')[1][:48]
    shown = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in deck.running().values()]
    assert not any(key.encode() in words for words in shown)
    inherited = [Path(f"/proc/{pid}/environ").read_bytes() for name, pid in deck.running().items() if name]
    assert not any(key.encode() in environ for environ in inherited)
    for path in deck.world.root.rglob("*"):
        assert path == note or not path.is_file() or key not in path.read_text(errors="replace"), path
