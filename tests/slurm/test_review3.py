"""Probes 3."""

from __future__ import annotations

import json
import os
import re
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


def two_environments(deck: Deck) -> None:
    deck.commit()
    w = deck.world
    site = f'environments: [dev, prod]\npaths: {{root: "{w.root}-{{{{ environment }}}}"}}\nversions: {{app: "1.0", tool: "1.0"}}\n'
    w.commit({f"desired/sites/{w.site}.yaml": site, "desired/environments/prod.yaml": deck.layer()})


def counting(deck: Deck) -> Path:
    w = deck.world
    folder = w.folder / "count"
    w.account.folder(folder)
    for n in ("squeue", "scontrol", "sbatch", "scancel", "sinfo"):
        p = folder / n
        p.write_text(f'#!/bin/sh\necho "{n} $*" >>{folder}/log\nexec /opt/slurm24/bin/{n} "$@"\n')
        p.chmod(0o755)
        w.account.own(p)
    w.env["PATH"] = f"{folder}:{w.env['PATH']}"
    return folder / "log"


def test_two_environments_one_question(deck: Deck) -> None:
    log = counting(deck)
    two_environments(deck)
    done = deck.world.run("--once", "--json")
    print(done.code, log.read_text())
    assert done.code == 0, done.said
    log.write_text("")
    deck.world.idle()
    print(log.read_text())
    assert log.read_text().count("squeue") == 1
    assert log.read_text().count("\n") == 1


def test_loop_leaks(deck: Deck) -> None:
    two_environments(deck)
    assert deck.world.run("--once").code == 0
    p = deck.world.start("--interval", "0.2s")
    seen = []
    try:
        time.sleep(4)
        for _ in range(6):
            time.sleep(1.5)
            fds = len(os.listdir(f"/proc/{p.pid}/fd"))
            kids = subprocess.run(["ps", "--ppid", str(p.pid), "-o", "stat=,args="], capture_output=True, text=True).stdout
            seen.append((fds, kids))
        print(seen)
        # with the controller down
        deck.cluster.stop_controller()
        for _ in range(4):
            time.sleep(2)
            fds = len(os.listdir(f"/proc/{p.pid}/fd"))
            kids = subprocess.run(["ps", "--ppid", str(p.pid), "-o", "stat=,args="], capture_output=True, text=True).stdout
            seen.append((fds, kids))
        print(seen)
    finally:
        p.terminate()
        out, err = p.communicate(timeout=60)
    print(out[-1500:], err[-1500:])
    deck.cluster.start_controller()


def test_lost_state(decks: Decks) -> None:
    deck = decks(24, nodes=["n2"])
    deck.settings["options"] = "--nodelist=n2"
    deck.commit()
    deck.converge()
    job, before = deck.job(), deck.running()
    shutil.rmtree(deck.world.state)
    shutil.rmtree(deck.world.root / ".reconcile")
    deck.converge()
    assert (deck.job().id, deck.running()) == (job.id, before)
    deck.world.idle()
    # and with a service less
    shutil.rmtree(deck.world.state)
    shutil.rmtree(deck.world.root / ".reconcile")
    deck.services = {"one": ""}
    deck.commit()
    done = deck.world.run("--once", "--json")
    print(done.said)
    assert done.code == 0
    assert deck.running().keys() == {"", "one"}
    deck.world.idle()


def test_lost_state_and_gone(decks: Decks) -> None:
    deck = decks(24, nodes=["n2"])
    deck.settings["options"] = "--nodelist=n2"
    deck.commit()
    deck.converge()
    shutil.rmtree(deck.world.state)
    shutil.rmtree(deck.world.root / ".reconcile")
    deck.services = {}
    deck.commit()
    done = deck.world.run("--once", "--json")
    print(done.said)
    assert deck.jobs() == [], "the job is forgotten for ever"


def test_another_root(decks: Decks) -> None:
    deck = decks(24, nodes=["n2"])
    deck.settings["options"] = "--nodelist=n2"
    deck.commit()
    deck.converge()
    old = deck.world.root
    deck.world.root = deck.world.folder / "r2"
    deck.commit()
    done = deck.world.run("--once", "--json")
    print(done.code, json.dumps(done.json()["deployments"][0]["gaps"]))
    done = deck.world.run("--once")
    print(done.said)
    assert done.code == 0


def test_self_start_order_with_a_failure(deck: Deck) -> None:
    deck.cluster.drain()
    deck.services = {"one": "after: [two]", "two": "component: tool, command: /bin/false, launcher: slurm, slurm: {startsecs: 1, startretries: 1}", "three": "component: tool"}
    deck.commit()
    deck.converge(code=2)
    deck.cluster.resume()
    until(lambda: "three" in deck.running(), seconds=60)
    end = time.monotonic() + 40
    codes = []
    while time.monotonic() < end:
        done = deck.world.run("--once")
        codes.append(done.code)
        if done.code == 1:
            break
        time.sleep(1)
    print(codes, done.said)
    assert done.code == 1
    assert deck.running().keys() == {"", "three"}
    deck.services["two"] = "component: tool"
    deck.commit()
    deck.converge()
    deck.settled()


def rpc(deck: Deck, code: str) -> str:
    (note,) = (deck.world.root / "run/slurm").iterdir()
    n = json.loads(note.read_text())
    return deck.world.run_python(f"import xmlrpc.client as x\ns=x.ServerProxy('http://reconcile:{n['key']}@127.0.0.1:{n['port']}/RPC2')\n{code}").said


def test_drift(deck: Deck) -> None:
    deck.commit()
    deck.converge()
    job = deck.job()
    print(rpc(deck, "print(s.supervisor.stopProcess('one'))"))
    assert "one" not in deck.running()
    deck.converge()
    deck.settled()
    p = deck.world.root / "config/slurm/programs/one.conf"
    before = deck.running()
    p.write_text(p.read_text() + "startretries=99\n")
    deck.converge(); deck.settled()
    p.unlink()
    done = deck.converge(); print([ (c["service"], c["reasons"]) for c in done["changes"]]); deck.settled()
    extra = deck.world.root / "config/slurm/programs/extra.conf"
    extra.write_text("[program:extra]\ncommand=/bin/sleep 86399\nautostart=true\n")
    deck.world.account.own(extra)
    print(rpc(deck, "print(s.supervisor.reloadConfig(), s.supervisor.addProcessGroup('extra'))"))
    time.sleep(1.5)
    print(rpc(deck, "print(s.supervisor.getAllProcessInfo())"))
    deck.commit(app="2.0"); deck.converge(); deck.settled()
    assert "RUNNING" in rpc(deck, "print(s.supervisor.getProcessInfo('extra'))")
    print(deck.world.run("status").said)
    shim = deck.world.root / "bin/one"
    shim.write_text(shim.read_text() + "# edited\n")
    deck.converge(); deck.settled()
    print(rpc(deck, "print(s.supervisor.removeProcessGroup('two') if s.supervisor.stopProcess('two') else 0)"))
    done = deck.converge(); print([ (c["service"], c["reasons"]) for c in done["changes"]]); deck.settled()
    order = deck.world.root / "config/slurm/order.json"
    order.write_text("{}")
    conf = deck.world.root / "config/slurm/supervisord.conf"
    conf.write_text(conf.read_text().replace("loglevel=info", "loglevel=debug"))
    done = deck.converge(); print([ (c["service"], c["reasons"]) for c in done["changes"]]); deck.settled()
    assert "two" in order.read_text()
    js = deck.world.root / "config/slurm/job.sh"
    js.unlink()
    done = deck.converge(); deck.settled()
    assert deck.job().id == job.id


def test_removals_in_a_job(deck: Deck) -> None:
    deck.policy = "policy: {max_removals: 1}"
    deck.services = {n: "component: tool" for n in ("one", "two", "three", "four")}
    deck.commit()
    deck.converge()
    before = deck.running()
    deck.services = {"one": "component: tool"}
    deck.commit()
    done = deck.world.run("--once")
    print(done.said)
    assert done.code == 2
    assert deck.running() == before
    # the job begins anew meanwhile
    deck.cluster.run("scancel", deck.job().id)
    until(lambda: not deck.jobs() and not deck.running())
    for _ in range(3):
        done = deck.world.run("--once"); print(done.said)
    print(deck.running())
    deck.services = {"one": "component: tool", "two": "component: tool"}
    deck.policy = "policy: {max_removals: 10}"
    deck.commit()
    deck.converge(); deck.settled()


def test_removals_while_it_waits(deck: Deck) -> None:
    deck.policy = "policy: {max_removals: 1}"
    deck.services = {n: "component: tool" for n in ("one", "two", "three", "four")}
    deck.cluster.drain()
    deck.commit()
    deck.converge(code=2)
    deck.services = {"one": "component: tool"}
    deck.commit()
    done = deck.world.run("--once")
    print(done.said)
    done = deck.world.run("--once")
    print(done.said)
    assert (deck.world.root / "config/slurm/programs/two.conf").exists()
    assert "max_removals" in done.out


def test_windows_and_renewal(deck: Deck) -> None:
    deck.settings |= {"time": "1:00:00", "renew": "30"}
    deck.policy = 'policy: {windows: {never: {deny: "* * * * *", for: 1h, holds: all}}}'
    deck.commit()
    done = deck.world.run("--once"); print("COLD", done.said)
    assert deck.jobs() == []
    done = deck.world.run("--once", "--ignore-windows"); print("IGN", done.said)
    deck.settled()
    deck.settings |= {"time": "2:00:00"}
    deck.commit(app="2.0")
    done = deck.world.run("--once"); print("TIME", done.said)
    assert deck.job().limit == "1:00:00"
    deck.policy = 'policy: {windows: {never: {deny: "* * * * *", for: 1h}}}'
    deck.commit(app="2.0")
    j = deck.job()
    done = deck.world.run("--once"); print("TIME2", done.said)
    assert deck.job().limit == "1:00:00"
    deck.cluster.run("scancel", j.id)
    until(lambda: not deck.jobs() and not deck.running())
    for _ in range(4):
        done = deck.world.run("--once"); print("DOWN", done.said)
    print(deck.jobs(), deck.running())
    assert deck.marks("one")["RECONCILE_VERSION"] == "1.0"
    done = deck.world.run("--once"); print("DOWN", done.said)
