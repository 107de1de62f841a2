"""Probes 2."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.test_kill import _VICTIM
from tests.scenarios.world import SLEEP, finish, until
from tests.slurm.deck import HOST, Deck

Decks = Callable[..., Deck]
pytestmark = [pytest.mark.slurm, pytest.mark.scenario]


def victim(deck: Deck, boundary: int) -> tuple[bool, str]:
    w = deck.world
    argv = [w.python, "-c", _VICTIM, w.url, w.site, str(w.state), str(boundary)]
    done = subprocess.run(argv, cwd=w.folder, env=w.env, capture_output=True, text=True, timeout=120, **w.account.become)
    where = (done.stdout.splitlines() or ["no boundary"])[-1]
    if done.returncode == -9:
        return True, where
    assert done.returncode in (0, 2), (where, done.stdout, done.stderr)
    return False, where


def settles(deck: Deck, where: str) -> None:
    said = []
    end = time.monotonic() + 60
    while True:
        done = deck.world.run("--once", "--json")
        said.append(done.said)
        every = deck.cluster.jobs()
        running = deck.running()  # fails when doubled
        assert len([j for j in every if j.state == "RUNNING"]) <= 1, (where, every)
        if done.code == 0:
            break
        assert done.code == 2, (where, done.said)
        assert time.monotonic() < end, (where, said)
        time.sleep(0.5)
    deck.world.idle()
    assert deck.running().keys() == {"", *deck.services}, where
    print(where, "passes", len(said))


def test_kill_cold(decks: Decks) -> None:
    deck = decks(24, nodes=["n2"])
    deck.settings["options"] = "--nodelist=n2"
    deck.commit()
    root, state = deck.world.root, deck.world.state
    boundary = 0
    while True:
        boundary += 1
        killed, where = victim(deck, boundary)
        settles(deck, where)
        assert len(deck.cluster.jobs()) == 1
        if not killed:
            break
        for j in deck.cluster.jobs():
            deck.cluster.run("scancel", j.id)
        until(lambda: not deck.cluster.jobs() and not deck.running(), seconds=60)
        shutil.rmtree(root)
        shutil.rmtree(state)
    assert boundary > 20


def test_kill_time(decks: Decks) -> None:
    deck = decks(24, nodes=["n2"])
    deck.settings["options"] = "--nodelist=n2"
    deck.commit()
    deck.converge()
    boundary = 0
    killed = True
    while killed:
        boundary += 1
        deck.settings["time"] = f"{boundary+1}-00:00:00"
        deck.commit(app=f"2.{boundary}")
        killed, where = victim(deck, boundary)
        settles(deck, where)
        assert len(deck.cluster.jobs()) == 1
        assert deck.job().limit == f"{boundary+1}-00:00:00"
        assert deck.marks("one")["RECONCILE_VERSION"] == f"2.{boundary}"
    assert boundary > 8


def test_kill_name(decks: Decks) -> None:
    deck = decks(24, nodes=["n2"])
    deck.settings["options"] = "--nodelist=n2"
    deck.commit()
    deck.converge()
    boundary = 0
    killed = True
    while killed:
        boundary += 1
        deck.settings["job"] = f"j{boundary}"
        deck.commit()
        killed, where = victim(deck, boundary)
        settles(deck, where)
        assert len(deck.cluster.jobs()) == 1
        assert deck.job()
    assert boundary > 5


def test_kill_loglevel(deck: Deck) -> None:
    deck.commit()
    deck.converge()
    job = deck.job()
    boundary = 0
    killed = True
    while killed:
        boundary += 1
        deck.settings["loglevel"] = ["info", "debug"][boundary % 2]
        deck.commit()
        killed, where = victim(deck, boundary)
        settles(deck, where)
        assert deck.job().id == job.id
    assert boundary > 5


def test_kill_renew(deck: Deck) -> None:
    deck.settings |= {"time": "1:00:00", "renew": "30"}
    deck.commit()
    deck.converge()
    boundary = 0
    killed = True
    while killed:
        boundary += 1
        deck.settings |= {"renew": "61"}
        deck.commit()
        killed, where = victim(deck, boundary)
        settles(deck, where)
        assert [j.state for j in deck.jobs()] == ["RUNNING", "PENDING"]
        deck.settings |= {"renew": "30"}
        deck.commit()
        deck.converge()
        assert [j.state for j in deck.jobs()] == ["RUNNING"]
    assert boundary > 2


@pytest.mark.supervisor
def test_move_all_out_pending(deck: Deck) -> None:
    deck.cluster.drain()
    deck.commit()
    deck.converge(code=2)
    deck.services = {"one": "launcher: supervisor", "two": "component: tool, launcher: supervisor"}
    deck.commit()
    done = deck.world.run("--once", "--json")
    print(done.said)
    assert done.code == 0
    assert deck.jobs() == []
    assert deck.running().keys() == {"", "one", "two"}
    deck.world.idle()


def test_saved_plan(deck: Deck) -> None:
    deck.commit()
    f = deck.world.folder / "plan.json"
    done = deck.world.run("plan", "--out", str(f))
    print(done.said)
    done = deck.world.run("apply", str(f))
    print(done.said)
    assert done.code == 0
    deck.settled()
    deck.commit(app="2.0")
    assert deck.world.run("plan", "--out", str(f)).code == 2
    assert deck.world.run("apply", str(f)).code == 0
    deck.settled()
    deck.cluster.drain()
    deck.settings["time"] = "3:00:00"
    deck.commit(app="2.0")
    assert deck.world.run("plan", "--out", str(f)).code == 2
    done = deck.world.run("apply", str(f))
    print(done.said)
    for w in (["plan", "--out", str(f)], ["apply", str(f)], ["apply", str(f)], ["status"], ["plan"], ["logs", "one"], ["logs", "supervisord"], ["validate", str(deck.world.repo)], ["explain", "one"], ["diff", "HEAD~2..HEAD"]):
        done = deck.world.run(*w)
        print(w, done.said)
        assert "defect" not in done.said


def test_words(deck: Deck) -> None:
    deck.settings["options"] = "--partition=nowhere"
    deck.commit()
    done = deck.world.run("--once")
    print("INVALID PARTITION", done.said)
    empty = deck.world.folder / "empty"
    empty.mkdir()
    for n in ("sh", "git", "sleep", "env"):
        os.symlink(shutil.which(n), empty / n)
    done = deck.world.run("--once", env={"PATH": str(empty)})
    print("NO SQUEUE", done.said)
    for n in ("squeue", "scontrol"):
        os.symlink(f"/opt/slurm24/bin/{n}", empty / n)
    done = deck.world.run("--once", env={"PATH": str(empty)})
    print("NO SBATCH", done.said)
    deck.settings["options"] = "--account=nobody --constraint=nothing"
    deck.commit()
    done = deck.world.run("--once")
    print("CONSTRAINT", done.said)
    deck.settings["options"] = ""
    deck.settings["prologue"] = "exit 7"
    deck.commit()
    done = deck.world.run("--once")
    print("PROLOGUE", done.said)
    done = deck.world.run("status")
    print("STATUS", done.said)


def test_requeue_and_hold(deck: Deck) -> None:
    deck.commit()
    deck.converge()
    job, before = deck.job(), deck.running()
    deck.cluster.run("scontrol", "requeue", job.id)
    for _ in range(6):
        done = deck.world.run("--once", "--json")
        print(deck.jobs(), done.code, [c["reasons"] for c in done.json()["deployments"][0]["changes"]], done.json()["deployments"][0]["gaps"])
        time.sleep(0.7)
        deck.running()
    until(lambda: deck.cluster.call("scontrol", "update", f"jobid={job.id}", "starttime=now").returncode == 0)
    for _ in range(12):
        done = deck.world.run("--once", "--json")
        print(deck.jobs(), done.code, [c["reasons"] for c in done.json()["deployments"][0]["changes"]], done.json()["deployments"][0]["gaps"])
        if done.code == 0: break
        time.sleep(1)
    deck.settled()
    assert deck.job().id == job.id
    assert not set(before.values()) & set(deck.running().values())
    deck.cluster.run("scontrol", "suspend", job.id)
    t = time.monotonic()
    done = deck.world.run("--once")
    print("SUSPENDED", time.monotonic() - t, done.said)
    print(deck.world.run("status").said)
    assert [j.id for j in deck.jobs()] == [job.id]
    deck.cluster.run("scontrol", "resume", job.id)
    until(lambda: deck.world.run("--once").code == 0, seconds=30)
    deck.settled()
    deck.cluster.run("scontrol", "update", f"jobid={job.id}", "timelimit=50")
    done = deck.world.run("--once")
    print("TIMELIMIT", done.said)
    assert [j.state for j in deck.jobs()] == ["RUNNING", "PENDING"]
    second = deck.jobs()[1]
    deck.cluster.run("scontrol", "hold", second.id)
    done = deck.world.run("--once", "--json"); print("HELD NEXT", done.code)
    deck.cluster.run("scancel", job.id)
    until(lambda: [j.id for j in deck.jobs()] == [second.id])
    done = deck.world.run("--once"); print("HELD", done.said)
    deck.cluster.run("scontrol", "release", second.id)
    until(lambda: deck.world.run("--once").code == 0, seconds=90)
    deck.settled()


def test_maintenance_announced_while_it_waits(deck: Deck) -> None:
    deck.settings["time"] = "90-00:00:00"
    deck.commit()
    deck.converge()
    job = deck.job()
    deck.cluster.reserve("near", "now+6hours", 60)
    deck.converge()
    deck.cluster.run("scontrol", "requeue", job.id)
    until(lambda: deck.cluster.call("scontrol", "update", f"jobid={job.id}", "starttime=now").returncode == 0)
    for _ in range(8):
        done = deck.world.run("--once", "--json")
        print(deck.jobs(), done.code, [c["reasons"] for c in done.json()["deployments"][0]["changes"]], done.json()["deployments"][0]["gaps"])
        if done.code == 0: break
        time.sleep(2)
    assert done.code == 0
