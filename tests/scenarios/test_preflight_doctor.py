"""What doctor looks at, seen to again before the first step: what lacks something is not begun, what runs goes on."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reconciler.apply.executor import Executor
from reconciler.apply.ports import taken
from reconciler.core.diff import diff
from reconciler.core.outcome import Status
from reconciler.core.planner import make_plan
from reconciler.core.simulated import as_applied
from reconciler.report.log import Log
from tests.core.world import Svc, build
from tests.core.world import world as a_simulated_world
from tests.scenarios.test_doctor import serve
from tests.scenarios.test_windows import marks
from tests.scenarios.world import Done, World, a_world, until

__all__ = ["a_world"]
pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]

JOB = "component: tool, command: sleep 86398"


def refused(world: World, why: str) -> Done:
    """Twice: `web` is told with a reason and stays as it is."""
    pids = world.pids()
    done = Done(0, "", "")
    for _ in range(2):
        done = world.once(code=1)
        assert why in " ".join(done.out.split()), done.said
        assert world.pids().get("web") == pids.get("web")
    return done


def test_a_port_that_somebody_else_holds(world: World) -> None:
    """The service is not begun; after a bump to such a port the old one goes on; its own port is no obstacle."""
    with socket.create_server(("127.0.0.1", 0)) as ours, socket.create_server(("127.0.0.1", 0)) as theirs:
        port, other = ours.getsockname()[1], theirs.getsockname()[1]
        keys = f"component: app, command: {serve(world, port)}"
        world.commit(world.services("web", "job", web=f"{keys}, ports: [{port}]", job=JOB))
        refused(world, f"check failed: port {port} of web is held by pid {os.getpid()} ")
        assert marks(world) == {"job": "1.0"}
        ours.close()
        world.once()
        until(lambda: port in listening())
        world.commit(world.versions("2.0"))
        world.once()
        assert marks(world)["web"] == "2.0"
        until(lambda: port in listening())
        world.commit(world.services("web", "job", web=f"{keys}, ports: [{other}]", job=JOB))
        world.commit(world.versions("3.0", tool="3.0"))
        refused(world, f"check failed: port {other} of web is held by pid {os.getpid()} ")
        assert marks(world) == {"web": "2.0", "job": "3.0"}
    world.once()
    assert marks(world) == {"web": "3.0", "job": "3.0"}
    world.idle()


def listening() -> set[int]:
    with open("/proc/net/tcp", encoding="ascii") as lines:
        rows = [line.split() for line in lines]
    return {int(words[1].rpartition(":")[2], 16) for words in rows if words[3] == "0A"}


def test_a_process_of_ours_that_hides_its_marks_holds_its_port_rightly() -> None:
    """Its pid is known, or that of a parent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert list(taken("site/dev", {port: "web"}).foreign) == [port]
        for ours in ({os.getpid()}, {os.getppid()}):
            assert taken("site/dev", {port: "web"}, ours) == (1, {})


@contextmanager
def small(world: World, size: str) -> Iterator[None]:
    """The root on a file system of its own in memory."""
    world.root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", world.root], check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        world.end()
        subprocess.run(["umount", "--lazy", world.root], check=True)


def test_a_file_system_that_is_full(world: World) -> None:
    """Nothing is written or stopped on it; what is down is started all the same."""
    with small(world, "400m"):
        world.commit(world.services("web", "job", job=JOB))
        world.once()
        subprocess.run(["mount", "-o", "remount,size=30m", world.root], check=True)
        world.commit(world.versions("2.0"))
        files = world.files()
        refused(world, "check failed: too little room: ")
        assert world.files() == files
        world.supervisorctl("stop", "job")
        world.once(code=1)
        assert marks(world) == {"web": "1.0", "job": "1.0"}
        subprocess.run(["mount", "-o", "remount,size=400m", world.root], check=True)
        world.once()
        assert marks(world) == {"web": "2.0", "job": "1.0"}
        world.idle()


def test_a_folder_in_which_others_could_replace_a_secret(world: World) -> None:
    keys = "component: app, command: sleep 86399, env: {DB_PASSWORD: hush}"
    world.commit(world.services("web", "job", web=keys, job=JOB))
    world.once()
    folder = world.root / "config/env"
    folder.chmod(0o777)
    world.commit(world.versions("2.0", tool="2.0"))
    refused(world, f"{folder} has mode 0777, so others can replace files with a secret in it")
    assert marks(world) == {"web": "1.0", "job": "1.0"}  # the variables of both stand there
    assert "others can replace files" in " ".join(world.run("doctor").out.split())
    folder.chmod(0o700)
    world.once()
    assert marks(world)["web"] == "2.0"


def test_where_nothing_is_to_be_done_nothing_is_looked_at(world: World) -> None:
    """A trial of the lock would change the folder."""
    world.commit(world.services("web"))
    world.once()
    folder = world.root / ".reconcile"
    before = os.stat(folder).st_mtime_ns
    world.idle()
    assert os.stat(folder).st_mtime_ns == before


def test_without_a_lock_no_step_is_taken(world: World) -> None:
    compiled = build(a_simulated_world(Svc("web", component="plain")))
    host = as_applied(compiled)
    plan = make_plan(compiled.deployment, diff(compiled.deployment, host.observed._replace(units={}), host.inventory))
    assert plan.steps
    results = Executor(plan, compiled, {}, Log(), lambda: False, lock_folder=str(world.folder / "none")).run()
    assert [result.status for result in results] == [Status.FAILED] + [Status.BLOCKED] * (len(plan.steps) - 1)
    assert "without a lock no pass begins" in results[0].hint
