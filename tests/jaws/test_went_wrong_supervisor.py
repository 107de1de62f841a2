"""What has gone wrong in JAWS, where supervisord had a part in it; the other stories are in `test_went_wrong`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.jaws.daemons import SERVICES, SITE, STAGING, Jaws, alive
from tests.scenarios.world import World, a_world, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]


@pytest.fixture(name="jaws")
def a_jaws(world: World) -> Jaws:
    return Jaws(world)


# ---------------------------------------------------------------- 1: a conf was edited and not applied


def test_01_a_conf_was_edited_and_reread_hid_it(jaws: Jaws) -> None:
    """supervisord then holds the new options and runs the old process; `status` shows nothing of it."""
    pids = jaws.begin()
    jaws.age()
    jaws.replace("config/supervisor/rpc-server.conf", "stopwaitsecs=10", "stopwaitsecs=44")
    assert "rpc-server: changed" in jaws.world.supervisorctl("reread")
    assert f"pid {pids['rpc-server']}, uptime" in jaws.world.supervisorctl("status", "rpc-server")

    jaws.mends("rpc-server.conf was edited by hand (mended; no restart)")
    assert "No config updates" in jaws.world.supervisorctl("reread")


def test_01_a_conf_was_edited_and_nobody_restarted_for_it(jaws: Jaws) -> None:
    """Neither the edit nor the restart that somebody gives one daemon later is left as it is."""
    jaws.begin()
    jaws.age()
    jaws.replace("config/jaws-site.conf", "5672", "9999")
    assert jaws.port("rpc-server") == "5672"
    jaws.mends("jaws-site.conf was edited by hand (mended; no restart)")

    jaws.replace("config/jaws-site.conf", "5672", "9999")
    jaws.world.supervisorctl("restart", "rpc-server")
    assert (jaws.port("rpc-server"), jaws.port("task-log")) == ("9999", "5672")
    jaws.mends("jaws-site.conf was edited by hand", restarted=("rpc-server",))
    assert jaws.port("rpc-server") == "5672"


def test_01_a_conf_that_is_as_git_wants_it_and_that_nobody_has_read(jaws: Jaws) -> None:
    """The files agree with git, and the daemons run with what stood there before: they tell it themselves."""
    jaws.begin()
    jaws.edit("rpc_port: 5672", "rpc_port: 5673")
    jaws.replace("config/jaws-site.conf", "5672", "5673")
    assert {jaws.port(name) for name in SITE} == {"5672"}
    jaws.mends("jaws-site.conf changes (desired/defaults.yaml:7)", restarted=SITE)
    assert {jaws.port(name) for name in SITE} == {"5673"}


# ---------------------------------------------------------------- 2: a conf was renamed


def test_02_a_conf_was_renamed_by_hand(jaws: Jaws) -> None:
    """supervisord would find no program, or the program twice: the second one wins, and nobody is told."""
    jaws.begin()
    jaws.age()
    units = jaws.file("config/supervisor")
    (units / "rpc-server.conf").rename(units / "jaws-rpc-server.conf")
    done = jaws.mends("rpc-server.conf was deleted (mended; no restart)")
    assert "clean ROOT/config/supervisor/jaws-rpc-server.conf" in " ".join(done.out.split())
    assert sorted(path.stem for path in units.iterdir()) == sorted(jaws.units)


def test_02_a_conf_was_copied_under_other_names(jaws: Jaws) -> None:
    """supervisord goes by the last one that it reads: what is started is never what git wants, pass after pass."""
    jaws.begin()
    units = jaws.file("config/supervisor")
    text = (units / "rpc-server.conf").read_text().replace("stopwaitsecs=10", "stopwaitsecs=44")
    for name in ("aa", "zy", "zz"):
        (units / f"{name}.conf").write_text(text)
    jaws.edit("rpc-server: {<<: *daemon,", "rpc-server: {<<: *daemon, stop: {grace: 20},")
    jaws.mends("stop.grace 10 -> 20", restarted=("rpc-server",))
    assert sorted(path.stem for path in units.iterdir()) == sorted(jaws.units)


def test_02_the_folder_of_the_confs_was_renamed(jaws: Jaws) -> None:
    """The old daemon would read the old folder for as long as it lives."""
    old = jaws.begin()[""]
    jaws.edit("paths: {root:", f'paths: {{config: "{jaws.world.root}/configs", root:', jaws.layer)
    jaws.mends("restart supervisor", restarted=("", *SERVICES))
    assert not alive(old)
    words = Path(f"/proc/{jaws.world.pids()['']}/cmdline").read_text().split("\0")
    assert str(jaws.file("configs/supervisord.conf")) in words

    jaws.edit("group: jaws-cromwell", "group: jaws-cromwell\n    stop: {grace: 44}")
    jaws.mends("stop.grace 10 -> 44", restarted=("cromwell",))


@contextmanager
def old_daemon(jaws: Jaws) -> Iterator[int]:
    """A second supervisord, of a conf that was renamed; it has started one of the daemons once more."""
    conf = jaws.file("config/supervisord-jaws.conf")
    text = jaws.file("config/supervisord.conf").read_text()
    conf.write_text(text.replace("supervisor.sock", "old.sock").replace("supervisord.", "old."))
    python, world = [jaws.world.python, "-m"], jaws.world
    daemon = subprocess.Popen([*python, "supervisor.supervisord", "-n", "-c", str(conf)], cwd=world.root, env=world.env)
    try:
        until(jaws.file("run/old.sock").exists)
        ctl = [*python, "supervisor.supervisorctl", "-c", str(conf), "start", "rpc-server"]
        until(lambda: subprocess.run(ctl, env=world.env, capture_output=True, check=False).returncode == 0)
        yield daemon.pid
    finally:
        daemon.terminate()
        daemon.wait(20)


def servers(jaws: Jaws) -> set[int]:
    return {one.pid for one in jaws.world.live() if one.service == "rpc-server"}


def test_02_the_scripts_went_on_driving_the_old_daemon(jaws: Jaws) -> None:
    """It starts again whatever is ended under it, so every pass tells of it until somebody ends it."""
    pids = jaws.begin()
    with old_daemon(jaws):
        for _ in range(2):
            (second,) = until(lambda: servers(jaws) - {pids["rpc-server"]})
            told = jaws.world.run("--once").out
            assert f"pid {second} of it runs outside of supervisor" in told
            assert not alive(second)
    assert jaws.world.pids() == pids
    jaws.world.idle()


def test_02_the_old_daemon_is_named(jaws: Jaws) -> None:
    jaws.begin()
    with old_daemon(jaws) as pid:
        assert str(pid) in jaws.world.run("plan").out


# ---------------------------------------------------------------- 3: a service was renamed


@pytest.mark.parametrize("lost", ["nothing", "all that was remembered"])
def test_03_a_service_was_renamed(lost: str, jaws: Jaws) -> None:
    jaws.rename("task-log", "task-logger-receive")
    jaws.world.once()
    before = jaws.world.pids()
    jaws.rename("task-logger-receive", "task-log")
    if lost != "nothing":
        shutil.rmtree(jaws.world.state)
        shutil.rmtree(jaws.file(".reconcile"))
    jaws.tells("renamed from task-logger-receive" if lost == "nothing" else "git no longer has it", code=0)
    after = jaws.world.pids()
    assert after.keys() - {""} == set(SERVICES)
    assert {name for name in after if after[name] != before.get(name)} == {"task-log"}
    assert not alive(before["task-logger-receive"])
    assert "task-logger-receive" not in jaws.world.supervisorctl("status")
    assert [name for name in jaws.world.files() if "task-logger-receive" in name] == []
    jaws.world.idle()


# ---------------------------------------------------------------- 5: supervisord was dead after a reboot


def test_05_supervisord_was_dead_after_a_reboot(jaws: Jaws) -> None:
    """A pid file of before, whose pid somebody else has by now, and a socket where nobody listens."""
    before = jaws.begin()
    jaws.world.power_cut()
    somebody = subprocess.Popen(["sleep", "86399"])
    try:
        jaws.file("run/supervisord.pid").write_text(f"{somebody.pid}\n")
        os.kill(int(jaws.file("run/supervisord.pid").read_text()), 0)  # `kill -0`, which the old scripts asked
        assert jaws.file("run/supervisor.sock").is_socket()
        assert "refused connection" in jaws.world.supervisorctl("status")
        assert {service["state"] for service in jaws.status().values()} == {"absent"}

        jaws.tells("! rpc-server 2.8.1 supervisor was not running", "6 restarted", code=0)
        after = jaws.world.pids()
        assert (after.keys(), set(after.values()) & set(before.values())) == (before.keys(), set())
        assert somebody.poll() is None
        assert jaws.file("run/supervisord.pid").read_text().strip() == str(after[""])
        jaws.world.idle()
    finally:
        somebody.kill()
        somebody.wait()


# ---------------------------------------------------------------- 6: a failed start was hidden


def test_06_a_start_that_failed_is_no_success(jaws: Jaws) -> None:
    """Told with the last lines of its log on every pass, by status too, until a commit mends it."""
    jaws.begin()
    wrong = "services: {rpc-server: {command: '{{ jaws_site }} --config x rpc-sever', supervisor: {startsecs: 1}}}\n"
    jaws.world.commit({STAGING: wrong})
    log = jaws.file("logs/rpc-server.log")
    said = ("did not start: FATAL", "Error: No such command 'rpc-sever'.", f"-> see {log}", "1 step failed. 0 of 1")
    jaws.mends(*said, restarted=("rpc-server",), code=1)
    jaws.mends("is FATAL, its launcher gave up", *said, code=1)
    assert log.read_text().count("No such command") == 2, "it was not tried again"
    assert jaws.status()["rpc-server"]["healthy"] is False
    assert jaws.world.run("status").code == 1
    jaws.world.commit({STAGING: ""})
    jaws.mends("1 restarted, 5 unchanged")
    assert jaws.status()["rpc-server"]["healthy"] is True
