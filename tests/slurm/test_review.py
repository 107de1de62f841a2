"""What a second pair of eyes has found in the services of a job: each was wrong once."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.world import until
from tests.slurm.deck import Deck

Decks = Callable[..., Deck]
pytestmark = [pytest.mark.slurm, pytest.mark.scenario]


@pytest.fixture(name="away")
def a_deck_with_its_job_on_another_node(decks: Decks) -> Deck:
    """No process of the job is seen by a pass here but by asking its supervisord."""
    deck = decks(24, nodes=["n2"])
    deck.settings["options"] = "--nodelist=n2"
    return deck


def note(deck: Deck) -> Path:
    return deck.world.root / f"run/slurm/{deck.job().id}.json"


def comes_back(deck: Deck) -> None:
    until(lambda: deck.world.run("--once").code == 0, seconds=60)
    deck.settled()


# ---------------------------------------------------------------- one job


def test_the_job_gets_another_name(away: Deck) -> None:
    """Slurm would let both run at once: the old one is still ours, and has ended when the new one begins."""
    away.commit()
    away.converge()
    first, before = away.job(), away.running()
    away.settings["job"] = "another"
    away.commit()
    away.converge()
    (job,) = away.cluster.jobs()
    assert (job.name, job.id != first.id) == ("another", True)
    away.settled()
    assert not set(before.values()) & set(away.running().values())


def test_two_jobs_run(deck: Deck) -> None:
    """Somebody has submitted ours again by hand, without waiting for the first: that one can still be asked."""
    deck.commit()
    deck.converge()
    job = deck.job()
    script = deck.world.folder / "again.sh"
    script.write_text(deck.cluster.run("scontrol", "write", "batch_script", job.id, "-"))
    deck.world.account.own(script)
    where = (f"--job-name={deck.name}", f"--comment={job.comment}", f"--chdir={deck.world.root}")
    deck.cluster.run("sbatch", *where, str(script))
    until(lambda: [one.state for one in deck.jobs()] == ["RUNNING"] * 2)
    until(lambda: deck.world.run("--once").code == 0, seconds=60)
    assert deck.job().id == job.id
    deck.settled()


def test_below_another_root(away: Deck) -> None:
    """It is not somebody else's, and giving ours another name would run all of it twice. The command that the gap names
    ends it with the time that its services need, which is longer than Slurm leaves them."""
    bye = f"trap 'sleep 5; echo bye >{away.world.folder}/bye; exit' TERM; sleep 86399 & wait"
    away.services["one"] = f"command: {json.dumps(f'sh -c {shlex.quote(bye)}')}, stop: {{grace: 30}}"
    away.commit()
    away.converge()
    away.world.root = away.world.folder / "r2"
    away.commit()
    (gap,) = away.converge(code=1)["gaps"]
    assert "carries this deployment below another root" in gap["message"]
    assert "another name" not in gap["message"]
    command = re.search(r"`(scancel .*?)`", gap["message"])
    assert command is not None
    assert away.converge(code=1)["steps"] == []
    away.cluster.run(*command[1].split())
    until(lambda: not away.cluster.jobs(), seconds=60)
    assert (away.world.folder / "bye").read_text() == "bye\n"
    away.converge()
    away.settled()


# ---------------------------------------------------------------- the supervisord inside


def test_its_supervisord_stops_what_it_runs(deck: Deck) -> None:
    """As at the end of every job, before its time is over: that is told, and no pass breaks on it."""
    deck.services["one"] = f"command: {deck.world.stubborn()}, stop: {{grace: 60}}"
    deck.commit()
    deck.converge()
    job = deck.job()
    os.kill(deck.running()[""], signal.SIGTERM)
    until(lambda: "two" not in deck.running())
    done = deck.converge(code=2)
    assert {reason for change in done["changes"] for reason in change["reasons"]} == {
        f"job {job.id} on {job.node}: its supervisord stops all that it runs"
    }
    assert deck.world.run("status").code == 1
    (deck.world.folder / "go").touch()
    comes_back(deck)
    assert deck.job().id != job.id


@pytest.mark.parametrize("spoilt", ["gone", "{}", "not json"])
def test_its_note_is_spoilt(spoilt: str, deck: Deck) -> None:
    """Nobody could reach the job any more: it says again where it is."""
    deck.commit()
    deck.converge()
    before, path = deck.running(), note(deck)
    if spoilt == "gone":
        shutil.rmtree(deck.world.root / "run")
    else:
        path.write_text(spoilt)
    comes_back(deck)
    assert deck.running() == before
    assert (path.stat().st_mode & 0o7777, path.parent.stat().st_mode & 0o7777) == (0o600, 0o700)


def test_what_it_reads_is_spoilt(deck: Deck) -> None:
    """An error in what supervisord calls would end it, and all that it runs."""
    deck.commit()
    deck.converge()
    before = deck.running()
    (deck.world.root / "run/slurm/started").write_bytes(b"\xff\n")
    (deck.world.root / "config/slurm/order.json").write_text("[]")
    os.kill(before["one"], signal.SIGKILL)
    until(lambda: deck.running().get("one") not in (None, before["one"]))
    deck.converge()
    assert deck.running()[""] == before[""]
    (deck.world.root / "config/slurm/order.json").write_text('["one", 5]')
    deck.cluster.run("scontrol", "requeue", deck.job().id)
    until(lambda: deck.job().state == "PENDING", seconds=60)
    deck.cluster.run("scontrol", "update", f"jobid={deck.job().id}", "starttime=now")
    comes_back(deck)


def test_it_listens_on_one_address_only(deck: Deck) -> None:
    deck.settings |= {"host": "127.0.0.2", "address": "127.0.0.2"}
    deck.commit()
    deck.converge()
    deck.settled()


def test_its_programs_know_nothing_of_how_slurm_was_asked(deck: Deck) -> None:
    """Times that they ask of Slurm are printed as everywhere."""
    deck.commit()
    deck.converge()
    environ = Path(f"/proc/{deck.running()['one']}/environ").read_bytes().split(b"\0")
    assert not any(entry.startswith((b"SLURM_TIME_FORMAT", b"LC_ALL")) for entry in environ)


def test_it_is_suspended(deck: Deck) -> None:
    """Nothing in it answers: it is not asked, and what it is said to be is what Slurm says."""
    deck.commit()
    deck.converge()
    job, before = deck.job(), deck.running()
    deck.cluster.run("scontrol", "suspend", job.id)
    done = deck.converge(code=2)
    assert {reason for change in done["changes"] for reason in change["reasons"]} == {
        f"job {job.id} on {job.node} is suspended"
    }
    deck.cluster.run("scontrol", "resume", job.id)
    comes_back(deck)
    assert deck.running() == before


# ---------------------------------------------------------------- a job that waits


def test_what_git_takes_away_is_not_started_any_more(deck: Deck) -> None:
    deck.commit()
    deck.converge()
    first = deck.job()
    deck.cluster.drain()
    deck.cluster.run("scancel", first.id)
    until(lambda: not deck.jobs())
    deck.converge(code=2)
    deck.services = {"one": "", "two": "component: tool, enabled: false"}
    deck.commit()
    deck.converge(code=2)
    assert not (deck.world.root / "config/slurm/programs/two.conf").exists()
    deck.cluster.resume()
    until(lambda: "one" in deck.running(), seconds=60)
    assert deck.running().keys() == {"", "one"}
    until(lambda: deck.world.run("--once").code == 0, seconds=60)
    assert deck.running().keys() == {"", "one"}
    assert (deck.world.root / "run/slurm/started").read_text() == "one\n"


def test_removals_are_held_as_ever(deck: Deck) -> None:
    deck.policy = "policy: {max_removals: 1}"
    deck.services = dict.fromkeys(("one", "two", "three"), "component: tool")
    deck.cluster.drain()
    deck.commit()
    deck.converge(code=2)
    deck.services = {"one": "component: tool"}
    deck.commit()
    done = deck.converge(code=2)
    assert {c["service"]: c["held_by"] for c in done["changes"]} == {"one": "queue", "two": "budget", "three": "budget"}
    assert (deck.world.root / "config/slurm/programs/two.conf").exists()


def test_a_shut_window_holds_what_would_be_made_ready(deck: Deck) -> None:
    """The job may begin at any moment, and would start it."""
    deck.policy = 'policy: {windows: {never: {deny: "* * * * *", for: 1h}}}'
    deck.commit()
    deck.once("--ignore-windows")
    deck.settled()
    deck.cluster.drain()
    deck.cluster.run("scancel", deck.job().id)
    until(lambda: not deck.jobs())
    deck.converge(code=2)
    before = deck.world.files()
    deck.commit(app="2.0")
    done = deck.converge(code=1)  # it is down, and what it is to be waits: as with every launcher
    assert {c["service"]: c["held_by"] for c in done["changes"]} == {"one": "window", "two": "queue"}
    assert deck.world.files() == before
    deck.cluster.resume()
    until(lambda: deck.running().keys() == {"", "one", "two"}, seconds=60)
    assert deck.marks("one")["RECONCILE_VERSION"] == "1.0"


# ---------------------------------------------------------------- words


def test_nothing_was_printed(deck: Deck) -> None:
    deck.settings["prologue"] = "exit 7"
    deck.commit()
    said = deck.once(code=1).out
    assert "nothing is in" in said
    assert "slurm-job.log" in said


def test_one_question_for_all_environments(deck: Deck) -> None:
    """And no other one, where there is nothing to do."""
    asked = deck.world.folder / "asked"
    folder = deck.world.account.folder(deck.world.folder / "counting")
    real = deck.world.env["PATH"].partition(":")[0]
    for name in ("squeue", "scontrol", "sbatch", "scancel", "sinfo"):
        program = folder / name
        program.write_text(f'#!/bin/sh\necho {name} >>{asked}\nexec {real}/{name} "$@"\n')
        program.chmod(0o755)
    deck.world.env["PATH"] = f"{folder}:{deck.world.env['PATH']}"
    deck.commit()
    root = f"{deck.world.root}-{{{{ environment }}}}"
    site = f'environments: [dev, prod]\npaths: {{root: "{root}"}}\nversions: {{app: "1.0", tool: "1.0"}}\n'
    name = f"desired/sites/{deck.world.site}.yaml"
    deck.world.commit({name: site, "desired/environments/prod.yaml": deck.layer()})
    deck.once()
    asked.write_text("")
    deck.world.idle()
    assert asked.read_text() == "squeue\n"


def test_the_state_is_lost(away: Deck) -> None:
    """What runs on another node is ours by its marks."""
    away.commit()
    away.converge()
    job, before = away.job(), away.running()
    for services in ({"one": "", "two": "component: tool"}, {"one": ""}):
        shutil.rmtree(away.world.state)
        shutil.rmtree(away.world.root / ".reconcile")
        away.services = services
        away.commit()
        away.converge()
        assert away.job().id == job.id
        assert away.running() == {name: before[name] for name in ("", *services)}


def test_the_note_of_a_job_that_had_the_same_number(deck: Deck) -> None:
    """Slurm counts from 1 again when it has lost its state. What answers at the old place is somebody else."""
    import socket

    deck.commit()
    deck.converge()
    old = json.loads(note(deck).read_text())
    deck.cluster.run("scancel", deck.job().id)
    until(lambda: not deck.jobs() and not deck.running())
    deck.cluster.drain()
    deck.converge(code=2)
    with socket.create_server(("127.0.0.1", old["port"])):
        note(deck).write_text(json.dumps(old | {"job": int(deck.job().id)}))
        deck.world.account.own(note(deck))
        deck.cluster.resume()
        comes_back(deck)
