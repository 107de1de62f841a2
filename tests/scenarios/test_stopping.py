"""What comes before a stop and what is left after it: drains, and children that would outlive their service."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.beds import a_users_world  # noqa: F401
from tests.scenarios.test_rollback import deployment, layer, other, running, told
from tests.scenarios.world import SLEEP, Done, World, a_world, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]

PARENT = """\
import os, signal, subprocess, sys, time
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(86399)"
kept = [subprocess.Popen([sys.executable, "-c", code])]
kept.append(subprocess.Popen([sys.executable, "-c", code], start_new_session=True))
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", code])
    os._exit(0)
os.wait()
time.sleep(86399)
"""


def of_service(world: World, service: str = "web") -> dict[int, str]:
    """All processes that carry the marks of a service, children too, and the version of each."""
    root = os.fsencode(f"RECONCILE_ROOT={world.root}")
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            entries = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        marks = dict(entry.decode(errors="replace").partition("=")[::2] for entry in entries)
        if root in entries and marks.get("RECONCILE_SERVICE") == service and marks.get("RECONCILE_VERSION"):
            found[int(name)] = marks["RECONCILE_VERSION"]
    return found


def family(world: World, launcher: str) -> dict[str, str]:
    path = world.folder / "parent.py"
    path.write_text(PARENT)
    return layer(web=f"component: app, command: {json.dumps(f'{world.python} {path}')}, {launcher}", other=other())


def test_children_do_not_outlive_a_stop(world: World) -> None:
    """Neither those that take no notice of the signal, nor those in sessions of their own."""
    world.commit(family(world, "supervisor: {startsecs: 0}"))
    world.once()
    until(lambda: len(of_service(world)) == 4)
    kept = world.pids()["other"]
    world.commit(world.versions("2.0"))
    world.once()
    assert set(of_service(world).values()) == {"2.0"}
    until(lambda: len(of_service(world)) == 4)
    world.commit({**layer(other=other()), **world.versions("2.0")})
    world.once()
    assert of_service(world) == {}
    assert world.pids()["other"] == kept
    world.idle()


@pytest.mark.systemd
def test_children_do_not_outlive_a_stop_of_systemd(users_world: World) -> None:
    world = users_world
    world.boot()
    world.commit(family(world, "launcher: systemd"))
    world.account.own(world.folder / "parent.py")
    world.once()
    until(lambda: len(of_service(world)) == 4)
    world.commit(world.versions("2.0"))
    world.once()
    assert set(of_service(world).values()) == {"2.0"}


def drained(world: World, command: str, *, timeout: str = "30s", more: str = "") -> str:
    drain = f"drain: {{command: {json.dumps(command)}, timeout: {timeout}}}"
    return f"component: app, command: {SLEEP}, supervisor: {{startsecs: 0}}, env: {{WORD: two words}}, {drain}{more}"


def steps_of(done: Done) -> Iterator[tuple[str, str, str]]:
    for step in deployment(done)["steps"]:
        yield step["id"], step["status"], step["message"]


def test_a_service_is_drained_before_it_is_stopped(world: World) -> None:
    """With its variables and its pid, while it runs; also where git no longer has it. A start needs none."""
    log = world.folder / "drained"
    command = f'kill -0 $MAINPID && echo "$WORD $MAINPID" >> {log}'
    world.commit(layer(web=drained(world, command), other=other()))
    world.once()
    assert not log.exists()
    first = world.pids()["web"]
    world.commit(world.versions("2.0"))
    world.once()
    assert log.read_text() == f"two words {first}\n"
    second = world.pids()["web"]
    assert second != first
    world.commit({**layer(other=other()), **world.versions("2.0")})
    world.once()
    assert log.read_text().splitlines()[1:] == [f"two words {second}"]
    assert running(world) == {"other": "1.0"}
    world.idle()


def test_a_drain_that_fails_or_takes_too_long_keeps_nothing_from_stopping(world: World) -> None:
    slow = drained(world, "sleep 86398", timeout="1s")
    world.commit(layer(web=drained(world, "exit 4"), slow=slow, other=other()))
    world.once()
    world.commit(world.versions("2.0"))
    done = world.once("--json")
    found = {name: (status, message) for name, status, message in steps_of(done)}
    assert found["restart:web"] == ("done", "its drain failed: exit status 4")
    assert found["restart:slow"] == ("done", "its drain took longer than 1 s and was ended")
    assert running(world) == {"web": "2.0", "slow": "2.0", "other": "1.0"}
    world.commit(world.versions("3.0"))
    assert "restart done: its drain failed: exit status 4" in told(world.once())
    world.commit({**layer(web=drained(world, "no-such-program"), slow=drained(world, "true"), other=other())})
    world.once()
    world.commit(world.versions("4.0"))
    assert "exit status 127, a program was not found on /usr/local/bin:" in told(world.once())
    world.idle()


def test_services_are_drained_before_their_supervisord_restarts(world: World) -> None:
    log = world.folder / "drained"
    services = layer(web=drained(world, f"echo $MAINPID >> {log}"))
    world.commit(services)
    world.once()
    before = world.pids()
    (path,) = services
    world.commit({path: f"{services[path]}supervisor: {{minfds: 900}}\n"})
    world.once()
    assert log.read_text() == f"{before['web']}\n"
    assert world.pids()[""] != before[""]
    world.idle()
