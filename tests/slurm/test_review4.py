"""Probes 4."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.world import SLEEP, finish, until
from tests.slurm.deck import HOST, Deck
from tests.slurm.test_review3 import counting, rpc

Decks = Callable[..., Deck]
pytestmark = [pytest.mark.slurm, pytest.mark.scenario]


def pass_on(deck: Deck, node: str, *words: str) -> tuple[int, str]:
    w = deck.world
    out = w.folder / f"pass-{time.monotonic_ns()}"
    env = " ".join(f"{k}='{v}'" for k, v in w.env.items())
    script = f"cd {w.folder}; env -u PYTHONPATH {env} {' '.join(w.argv(*words))} >{out} 2>{out}.err; echo $? >{out}.rc"
    deck.cluster.submit(script, f"--nodelist={node}", "--output=/dev/null", "--job-name=pass")
    until(lambda: Path(f"{out}.rc").exists() and Path(f"{out}.rc").read_text().strip(), seconds=60)
    return int(Path(f"{out}.rc").read_text()), out.read_text() + Path(f"{out}.err").read_text()


def test_passes_in_jobs_on_two_nodes(decks: Decks) -> None:
    deck = decks(24, nodes=["n2", "n3"])
    deck.settings["options"] = "--nodelist=n2"
    deck.settings["address"] = "127.0.0.1"
    deck.commit()
    code, said = pass_on(deck, "n3", "--once", "--json")
    print(code, said[-1500:])
    until(lambda: deck.world.run("--once").code == 0)
    deck.settled()
    job, before = [j for j in deck.jobs()][0], deck.running()
    inv = next(deck.world.state.rglob("inventory.json"))
    for node in ("n2", "n3", "n2", HOST):
        stamp = inv.stat().st_mtime_ns
        code, said = pass_on(deck, node, "--once", "--json")
        assert code == 0, said
        assert json.loads(said[:said.rindex("}")+1])["deployments"][0]["steps"] == [], said
        print(node, "rewritten" if inv.stat().st_mtime_ns != stamp else "kept")
        assert deck.running() == before
    deck.commit(app="2.0")
    code, said = pass_on(deck, "n2", "--once", "--json")
    assert code == 0, said
    deck.settled()
    env = Path(f"/proc/{deck.running()['one']}/environ").read_bytes().decode().split("\0")
    print(sorted(env))


def test_secrets(deck: Deck) -> None:
    secret = "hunter2xyzzy"
    deck.services["one"] = f'env: {{DB_PASSWORD: "{{{{ db_password }}}}"}}, after: [two]'
    deck.policy = f"vars: {{db_password: {secret}}}"
    deck.commit()
    said = deck.world.run("--once", "--json").said
    for w in (["status"], ["plan"], ["explain", "one"], ["explain", "one", "env.DB_PASSWORD"], ["logs", "one"]):
        said += deck.world.run(*w).said
    deck.settled()
    assert secret not in said
    job = deck.job()
    said = deck.cluster.run("scontrol", "show", "job", job.id) + deck.cluster.run("scontrol", "write", "batch_script", job.id, "-")
    assert secret not in said
    for path in [*deck.world.root.rglob("*"), *deck.world.state.rglob("*")]:
        if path.is_file() and secret in path.read_text(errors="replace"):
            print(path, oct(path.stat().st_mode))
            if "mirrors" not in str(path):
                assert path.stat().st_mode & 0o077 == 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            assert secret.encode() not in Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            pass
    for bad in ("options: \"--export=A={{ db_password }}\"", "prologue: \"export A={{ db_password }}\"", "job: \"x{{ db_password }}\"", "on_start: \"echo {{ db_password }}\"", "address: \"{{ db_password }}\""):
        k, _, v = bad.partition(": ")
        deck.settings = {"address": "127.0.0.1", k: v.strip('"')}
        deck.commit()
        done = deck.world.run("validate", str(deck.world.repo))
        print(bad, done.said)
        assert done.code == 3
        assert secret not in done.said


def test_stale_note_of_the_same_id(deck: Deck) -> None:
    """Slurm has forgotten all and counts from 1 again; something else answers on the old port."""
    deck.commit()
    deck.converge()
    folder = deck.world.root / "run/slurm"
    (note,) = folder.iterdir()
    old = json.loads(note.read_text())
    deck.cluster.run("scancel", deck.job().id)
    until(lambda: not deck.jobs() and not deck.running())
    # pretend: note of the job to come
    deck.cluster.drain()
    deck.converge(code=2)
    job = deck.job()
    served = socket.socket(); served.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    served.bind(("127.0.0.1", old["port"])); served.listen(8)
    new = folder / f"{job.id}.json"
    new.write_text(json.dumps(old | {"job": int(job.id)}))
    deck.world.account.own(new)
    new.chmod(0o600)
    deck.cluster.resume()
    until(lambda: deck.world.run("--once").code == 0, seconds=60)
    deck.settled()
    served.close()


def test_note_is_rubbish(deck: Deck) -> None:
    deck.commit()
    deck.converge()
    (note,) = (deck.world.root / "run/slurm").iterdir()
    note.write_text("{}")
    until(lambda: deck.world.run("--once").code == 0, seconds=30)
    deck.settled()


def test_node_dies(decks: Decks) -> None:
    deck = decks(24, nodes=["n2"], settings={"SlurmdTimeout": "8"})
    deck.settings["options"] = "--exclude=" + HOST
    deck.commit()
    deck.converge()
    deck.cluster.stop_node("n2")
    codes = []
    end = time.monotonic() + 100
    last = ""
    while time.monotonic() < end:
        t = time.monotonic()
        done = deck.world.run("--once")
        line = f"{done.code} {[(j.id, j.state, j.reason) for j in deck.jobs()]} {done.out[:400]}"
        if line != last:
            print(round(time.monotonic() - t, 1), line)
            last = line
        if [j.state for j in deck.jobs()] == ["PENDING"]:
            break
        time.sleep(1)
    deck.cluster.start_node("n2")
    for j in deck.jobs():
        deck.cluster.call("scontrol", "update", f"jobid={j.id}", "starttime=now")
    until(lambda: deck.world.run("--once").code == 0, seconds=90)
    deck.settled()


def test_fixed_port_in_use(deck: Deck) -> None:
    s = socket.socket(); s.bind(("0.0.0.0", 0)); s.listen(1)
    deck.settings["port"] = str(s.getsockname()[1])
    deck.commit()
    done = deck.world.run("--once")
    print(done.said)
    assert done.code == 1
    s.close()
    until(lambda: deck.world.run("--once").code == 0)
    deck.settled()


def test_on_start_of_the_job(deck: Deck) -> None:
    deck.settings["on_start"] = "echo no dns here; exit 4"
    deck.commit()
    done = deck.world.run("--once")
    print(done.said)
    assert done.code == 1
    deck.settings["on_start"] = "true"
    deck.commit()
    done = deck.world.run("--once")
    print(done.said)
    deck.settled()


@pytest.mark.supervisor
def test_after_across_launchers(deck: Deck) -> None:
    deck.services = {"one": "", "three": "component: tool, launcher: supervisor, supervisor: {startsecs: 0}, after: [one]", "four": "component: tool, launcher: supervisor, supervisor: {startsecs: 0}", "five": "component: tool, after: [four]"}
    deck.cluster.drain()
    deck.commit()
    done = deck.world.run("--once"); print(done.said)
    done = deck.world.run("--once"); print(done.said)
    assert "four" in deck.world.run("status").out
    deck.cluster.resume()
    until(lambda: deck.world.run("--once").code == 0, seconds=60)
    deck.world.idle()


def test_quick_passes_at_the_end_of_walltime(deck: Deck) -> None:
    deck.settings |= {"time": "0:01:00", "renew": "1"}
    deck.commit()
    done = deck.world.run("--once"); print(done.said)
    seen = []
    end = time.monotonic() + 150
    while time.monotonic() < end:
        done = deck.world.run("--once")
        assert "defect" not in done.said
        line = f"{done.code} {[(j.id, j.state) for j in deck.jobs()]} {' '.join(done.out.split())}"
        if not seen or seen[-1] != line:
            seen.append(line); print(line)
        deck.running()
        time.sleep(0.5)
