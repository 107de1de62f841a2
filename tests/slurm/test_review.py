"""Probes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.world import finish, until
from tests.slurm.deck import HOST, Deck

Decks = Callable[..., Deck]
pytestmark = [pytest.mark.slurm, pytest.mark.scenario]


def supervisord(deck: Deck) -> int:
    return deck.running()[""]


def test_a_supervisord_that_is_shutting_down(deck: Deck) -> None:
    deck.services["one"] = f"command: {deck.world.stubborn()}, stop: {{grace: 30}}"
    deck.commit()
    deck.converge()
    os.kill(supervisord(deck), signal.SIGTERM)
    time.sleep(2)
    done = deck.world.run("--once", "--json")
    print(done.said)
    st = deck.world.run("status")
    print(st.said)
    (deck.world.folder / "go").touch()
    assert "Traceback" not in done.said + st.said


def test_another_name_for_the_job(decks: Decks) -> None:
    deck = decks(24, nodes=["n2"])
    deck.settings["options"] = "--nodelist=n2"
    deck.commit()
    deck.converge()
    first = deck.job()
    deck.settings["job"] = "another"
    deck.commit()
    done = deck.world.run("--once", "--json")
    print(done.said)
    every = [(j.id, j.name, j.state) for j in deck.cluster.jobs()]
    assert len(every) == 1, every
    deck.settled()


def test_environment_of_services(deck: Deck) -> None:
    deck.commit()
    deck.converge()
    pid = deck.running()["one"]
    env = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    print("\n".join(sorted(env)))
    assert not [e for e in env if e.startswith("SLURM_TIME_FORMAT")]


def test_removed_while_it_waits(deck: Deck) -> None:
    deck.cluster.drain()
    deck.commit()
    deck.converge(code=2)
    deck.services["two"] = "component: tool, enabled: false"
    deck.services["one"] = ""
    deck.commit()
    done = deck.world.run("--once", "--json")
    print(done.said)
    deck.cluster.resume()
    until(lambda: "one" in deck.running(), seconds=60)
    time.sleep(3)
    assert deck.running().keys() == {"", "one"}


def test_all_removed_while_it_waits(deck: Deck) -> None:
    deck.cluster.drain()
    deck.commit()
    deck.converge(code=2)
    deck.services = {}
    deck.commit()
    done = deck.world.run("--once", "--json")
    print(done.said)
    assert deck.jobs() == []
    deck.world.idle()


def test_leaving_a_job_that_waits(deck: Deck) -> None:
    deck.cluster.drain()
    deck.commit()
    deck.converge(code=2)
    deck.services["two"] = "component: tool, launcher: supervisor"
    deck.services["one"] = ""
    deck.commit()
    done = deck.world.run("--once", "--json")
    print(done.said)
    print(deck.running())
    assert "two" in deck.running()


def test_window_while_it_waits(deck: Deck) -> None:
    deck.cluster.drain()
    deck.commit()
    deck.converge(code=2)
    deck.policy = 'policy: {windows: {never: {deny: "* * * * *", for: 1h}}}'
    deck.commit()
    deck.world.run("--once")
    before = deck.world.files()
    deck.commit(app="2.0")
    done = deck.world.run("--once", "--json")
    print(done.said)
    after = deck.world.files()
    assert before == after


def test_two_alive(deck: Deck) -> None:
    deck.commit()
    deck.converge()
    job = deck.job()
    text = deck.cluster.run("scontrol", "write", "batch_script", job.id, "-")
    p = deck.world.folder / "again.sh"
    p.write_text(text)
    p.chmod(0o755)
    deck.cluster.run("sbatch", f"--job-name={deck.name}", f"--comment={job.comment}", f"--chdir={deck.world.root}", str(p))
    until(lambda: [j.state for j in deck.jobs()] == ["RUNNING"] * 2)
    for _ in range(4):
        done = deck.world.run("--once", "--json")
        print(done.said)
        if done.code == 0:
            break
        time.sleep(6)
    assert [j.id for j in deck.jobs()] == [job.id]
    deck.settled()


def test_the_run_folder_is_lost(deck: Deck) -> None:
    deck.commit()
    deck.converge()
    job, before = deck.job(), deck.running()
    shutil.rmtree(deck.world.root / "run")
    until(lambda: deck.world.run("--once").code == 0, seconds=30)
    assert (deck.job().id, deck.running()) == (job.id, before)


def test_bound_to_one_address(deck: Deck) -> None:
    deck.settings |= {"host": "127.0.0.2", "address": "127.0.0.2"}
    deck.commit()
    deck.converge()
    deck.settled()
