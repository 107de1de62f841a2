"""What was changed behind the back is told with its reason, mended by one pass, and left alone by the second."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenarios.site import SERVICES, SITE_SERVICES, Site, service, until

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]

RESTARTED = {"rpc-server"}


# ---------------------------------------------------------------- processes


def test_stopped_by_hand(site: Site) -> None:
    site.converge()
    site.stop("rpc-server")
    assert site.status()["rpc-server"]["state"] == "stopped"
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"rpc-server": "restart"}, set())
    assert passed.why("rpc-server") == "was stopped by hand"
    assert "rpc-server" in passed.after


def test_killed_is_its_launchers_business(site: Site) -> None:
    site.converge()
    pid = site.kill("rpc-server")
    until(lambda: site.pids().get("rpc-server", (pid,)) != (pid,))
    assert site.converge().kinds == {}


def test_ended_for_good(site: Site) -> None:
    site.services["rpc-server"] = service("site", supervisor={"autorestart": "false"})
    site.commit()
    site.converge()
    site.kill("rpc-server")
    site.await_state("rpc-server", "EXITED")
    assert site.converge().why("rpc-server").startswith("has exited")


def test_a_program_removed_from_supervisord(site: Site) -> None:
    site.converge()
    with site.supervisor() as client:
        client.stopProcessGroup("rpc-server")
        client.removeProcessGroup("rpc-server")
    assert site.status()["rpc-server"]["state"] == "absent"
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"rpc-server": "restart"}, set())
    assert passed.why("rpc-server") == "is gone from supervisor"


def test_supervisord_was_killed(site: Site) -> None:
    """Its children live on. Afterwards each service is one process again, and a new one."""
    site.converge()
    left = site.pids()
    site.kill("")
    passed = site.converge()
    assert passed.kinds == dict.fromkeys(SERVICES, "restart")
    assert passed.changed == set(SERVICES)
    assert "supervisor was not running" in passed.why("cromwell")
    assert f"pid {left['cromwell'][0]} of it runs outside of supervisor" in passed.why("cromwell")
    assert {len(pids) for pids in passed.after.values()} == {1}


def test_supervisord_was_killed_and_started_by_hand(site: Site) -> None:
    """The new one runs nothing, and does not know what the old one left."""
    site.converge()
    site.kill("")
    run_by_hand = [sys.executable, "-m", "supervisor.supervisord", "-c", str(site.root / "config/supervisord.conf")]
    noted = site.root / "run/supervisord.pid"
    old = noted.read_text()
    subprocess.run(run_by_hand, cwd=site.root, env={"PATH": "/usr/bin:/bin"}, check=True, timeout=30)
    until(lambda: noted.read_text() not in (old, ""))  # the last thing that it writes
    try:
        passed = site.converge(settled=False)
        assert passed.changed == set(SERVICES)
        assert {len(pids) for pids in passed.after.values()} == {1}
        site.settled()
    finally:
        site.shut_down()


def test_a_reboot(site: Site) -> None:
    """Everything is gone at once; a stale pid file and a dead socket stay."""
    site.converge()
    site.end()
    (site.root / "run/supervisord.pid").write_text("1\n")
    assert (site.root / "run/supervisor.sock").is_socket()
    assert {found["state"] for found in site.status().values()} == {"absent"}
    passed = site.converge()
    assert (passed.kinds, passed.changed) == (dict.fromkeys(SERVICES, "restart"), set())
    assert passed.why("cromwell") == "supervisor was not running"


def test_a_second_process_started_by_hand(site: Site) -> None:
    site.converge()
    shim, env = site.root / "bin/rpc-server", dict(site.environ("rpc-server"))
    for mark in ("RECONCILE_PID", "RECONCILE_SPEC"):
        env.pop(mark)
    pid = os.posix_spawn("/bin/sh", ["sh", str(shim)], env, setsid=True)
    until(lambda: len(site.pids()["rpc-server"]) == 2 and Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    kept = next(one for one in site.pids()["rpc-server"] if one != pid)
    plan = site.plan()
    report = site.once()
    os.waitpid(pid, 0)
    (change,) = [c for c in plan["deployments"][0]["changes"] if c["kind"] != "keep"]
    assert change["reasons"] == [f"pid {pid} of it runs outside of supervisor, under pid {os.getpid()}"]
    assert report["deployments"][0]["converged"]
    assert site.pid("rpc-server") == kept
    site.settled()


# ---------------------------------------------------------------- files


def test_an_edited_file_that_was_not_read_is_mended_alone(site: Site) -> None:
    site.converge()
    site.grow_old("task-log")
    path = site.root / "config/shared.conf"
    path.write_text("level=DEBUG\n")
    passed = site.converge()
    assert passed.changed == set()
    assert passed.why("rpc-server") == "shared.conf was edited by hand"
    assert path.read_text() == "level=INFO\n"


def test_an_edited_file_that_was_read_restarts_its_readers(site: Site) -> None:
    site.converge()
    site.grow_old("task-log")
    (site.root / "config/shared.conf").write_text("level=DEBUG\n")
    until(lambda: os.stat(site.root / "config/shared.conf").st_ctime + 1.1 < _now(site))
    site.restart("rpc-server")
    passed = site.converge()
    assert passed.changed == RESTARTED
    assert passed.kinds == {"rpc-server": "restart", "task-log": "update"}
    assert passed.why("rpc-server") == "shared.conf was edited by hand"


def _now(site: Site) -> float:
    """The file system's clock."""
    probe = site.folder / "now"
    probe.write_text("")
    return probe.stat().st_ctime


def test_a_deleted_file(site: Site) -> None:
    site.converge()
    site.grow_old("task-log")
    (site.root / "config/own.conf").unlink()
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"task-log": "update"}, set())
    assert passed.why("task-log") == "own.conf was deleted"


def test_another_mode(site: Site) -> None:
    site.converge()
    path = site.root / "config/own.conf"
    path.chmod(0o666)
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"task-log": "update"}, set())
    assert passed.why("task-log") == "own.conf has mode 0666, not 0640"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_whole_folder_deleted(site: Site) -> None:
    site.converge()
    site.grow_old("task-log")
    for path in (site.root / "bin").iterdir():
        path.unlink()
    (site.root / "bin").rmdir()
    passed = site.converge()
    assert (set(passed.kinds), passed.changed) == (set(SERVICES), set())


def test_the_folder_of_the_logs_deleted(site: Site) -> None:
    """Nothing can be started without it; it is made again for the next start."""
    site.services["cromwell"] = service("cromwell", supervisor={"startretries": 0})
    site.commit()
    site.converge()
    shutil.rmtree(site.root / "logs")
    site.kill("cromwell")
    site.await_state("cromwell", "FATAL")
    assert site.converge().why("cromwell").startswith("is FATAL")


def test_the_socket_deleted(site: Site) -> None:
    """supervisord lives and cannot be asked: that is told, and nothing is done to what it runs."""
    site.converge()
    (site.root / "run/supervisor.sock").unlink()
    files, pids = site.snapshot(), site.pids()
    told, again = site.run("--once"), site.run("--once")
    assert (told.code, again.code) == (1, 1)
    assert ("does not answer" in told.out, again.out) == (True, "")  # the same is told once
    assert (site.snapshot(), site.pids()) == (files, pids)
    site.kill("", signal.SIGKILL)
    passed = site.converge()
    assert {len(found) for found in passed.after.values()} == {1}


def test_a_link_in_the_place_of_a_file(site: Site) -> None:
    """It is not followed: what it points to may be anybody's."""
    site.converge()
    site.grow_old("task-log")
    other, path = site.folder / "other.conf", site.root / "config/own.conf"
    other.write_text("threads=1\n")
    path.unlink()
    path.symlink_to(other)
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"task-log": "update"}, set())
    assert (path.is_symlink(), path.read_text(), other.read_text()) == (False, "threads=4\n", "threads=1\n")


def test_a_pipe_in_the_place_of_a_file(site: Site) -> None:
    """It does not hold the pass up."""
    site.converge()
    site.grow_old("task-log")
    path = site.root / "config/own.conf"
    path.unlink()
    os.mkfifo(path)
    site.once()
    assert (path.is_file(), path.read_text()) == (True, "threads=4\n")
    site.settled()


def test_an_edited_stanza(site: Site) -> None:
    """Nobody has loaded it: it is put back, and nothing restarts."""
    site.converge()
    site.grow_old("rpc-server")
    _edit_stanza(site)
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"rpc-server": "update"}, set())
    assert passed.why("rpc-server") == "rpc-server.conf was edited by hand"
    assert _kept_waiting(site) == 10


def test_an_edited_stanza_that_was_loaded(site: Site) -> None:
    site.converge()
    site.grow_old("rpc-server")
    _edit_stanza(site)
    site.update("rpc-server")
    site.start("rpc-server")
    until(lambda: "rpc-server" in site.pids())
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"rpc-server": "restart"}, RESTARTED)
    assert passed.why("rpc-server") == "rpc-server.conf was edited by hand"
    assert _kept_waiting(site) == 10


def test_an_edited_stanza_that_was_reread(site: Site) -> None:
    """supervisord then reports the file's options for the old process: it proves nothing."""
    site.converge()
    site.grow_old("rpc-server")
    _edit_stanza(site)
    with site.supervisor() as client:
        client.reloadConfig()
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"rpc-server": "update"}, set())
    assert _kept_waiting(site) == 10


def _edit_stanza(site: Site) -> None:
    path = site.unit_folder / "rpc-server.conf"
    path.write_text(path.read_text().replace("stopwaitsecs=10", "stopwaitsecs=44"))


def _kept_waiting(site: Site) -> int:
    with site.supervisor() as client:
        return next(int(c["stopwaitsecs"]) for c in client.getAllConfigInfo() if c["name"] == "rpc-server")


def test_a_deleted_stanza(site: Site) -> None:
    site.converge()
    site.grow_old("rpc-server")
    (site.unit_folder / "rpc-server.conf").unlink()
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"rpc-server": "update"}, set())


def test_a_deleted_stanza_and_its_program(site: Site) -> None:
    site.converge()
    (site.unit_folder / "rpc-server.conf").unlink()
    with site.supervisor() as client:
        client.reloadConfig()
        client.stopProcessGroup("rpc-server")
        client.removeProcessGroup("rpc-server")
    passed = site.converge()
    assert passed.kinds == {"rpc-server": "restart"}
    assert passed.why("rpc-server") == "is gone from supervisor"


def test_an_edited_shim_that_runs(site: Site) -> None:
    """An older mark in it is what an older specification looks like; another command does not show in a mark."""
    site.converge()
    site.grow_old("rpc-server")
    shim = site.root / "bin/rpc-server"
    shim.write_text(shim.read_text().replace("sleep 1000", "sleep 1001"))
    until(lambda: shim.stat().st_ctime + 1.1 < _now(site))
    site.restart("rpc-server")
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"rpc-server": "restart"}, RESTARTED)
    assert Path(f"/proc/{site.pid('rpc-server')}/cmdline").read_bytes() == b"sleep\x001000\x00"


def test_an_edited_configuration_of_supervisord(site: Site) -> None:
    """It runs from what it was started with: the file is put back, and nothing restarts."""
    site.converge()
    site.grow_old("")
    path = site.root / "config/supervisord.conf"
    was = path.read_text()
    path.write_text(was + "; a word\n")
    passed = site.converge()
    assert (passed.changed, path.read_text()) == (set(), was)


# ---------------------------------------------------------------- an older specification than the files say


def test_rendered_and_never_restarted(site: Site) -> None:
    """A pass for the next version is killed between rendering and restarting."""
    site.converge()
    site.layer["versions"]["site"] = "2.9.0"
    site.commit()
    site.run_until_ended("render:")
    assert site.pids()["rpc-server"]
    assert "2.9.0" in (site.root / "bin/rpc-server").read_text()
    passed = site.converge()
    assert passed.changed == set(SITE_SERVICES)
    assert "version 2.8.1 -> 2.9.0" in passed.why("rpc-server")


def test_runs_an_older_specification_than_its_files(site: Site) -> None:
    """Nothing in the inventory tells of it: the process does."""
    site.converge()
    site.services["rpc-server"]["env"] = {"A": "old"}
    site.commit()
    site.converge()
    saved = {path: path.read_bytes() for path in site.files_of("rpc-server")}
    site.services["rpc-server"]["env"] = {"A": "new"}
    site.commit()
    site.converge()
    fresh = {path: path.read_bytes() for path in saved}
    for path, content in saved.items():
        path.write_bytes(content)
    site.restart("rpc-server")
    for path, content in fresh.items():
        path.write_bytes(content)
    assert site.environ("rpc-server")["A"] == "old"
    passed = site.converge()
    assert (passed.kinds, passed.changed) == ({"rpc-server": "update"}, RESTARTED)
    assert site.environ("rpc-server")["A"] == "new"


# ---------------------------------------------------------------- states


def test_states_are_told_apart(site: Site) -> None:
    """And each is mended, or told, as what it is."""
    fails = f"sh -c 'test ! -e {site.root}/broken && exec sleep 1000'"
    site.layer["services"] = {
        "runs": service("site"),
        "starts": service("site", startsecs=4),
        "leaves": service("site", supervisor={"autorestart": "false"}),
        "fails": service("site", fails, startsecs=1, supervisor={"startretries": 0}),
        "retries": service("site", fails, startsecs=1, supervisor={"startretries": 1000}),
        "rests": service("site"),
    }
    site.commit()
    site.converge()
    (site.root / "broken").touch()
    for name in ("fails", "retries", "starts"):
        site.stop(name)
    site.stop("rests")
    site.kill("leaves", signal.SIGTERM)
    for name in ("fails", "retries"):
        site.start(name)
    site.await_state("fails", "FATAL")
    site.await_state("leaves", "EXITED")
    until(lambda: site.state_of("retries") == "BACKOFF")
    site.start("starts")
    states = {name: found["state"] for name, found in site.status().items()}
    assert states.pop("retries") in ("backoff", "starting")
    assert states == {
        "runs": "running",
        "starts": "starting",
        "leaves": "exited",
        "fails": "fatal",
        "rests": "stopped",
    }
    told = site.run("status").out
    assert all(word in told for word in ("running", "exited", "fatal", "stopped"))
    reasons = {c["service"]: c["reasons"] for c in site.plan()["deployments"][0]["changes"] if c["reasons"]}
    assert reasons["rests"] == ["was stopped by hand"]
    assert reasons["leaves"][0].startswith("has exited")
    assert reasons["fails"][0].startswith("is FATAL")
    assert "Exited too quickly" in reasons["fails"][0]
    (site.root / "broken").unlink()
    site.await_state("retries", "RUNNING")
    site.await_state("starts", "RUNNING")
    assert site.converge().kinds == dict.fromkeys(("rests", "leaves", "fails"), "restart")


def test_a_start_that_fails_is_told_and_tried_again(site: Site) -> None:
    log = site.root / "logs/rpc-server.log"
    fails = f"sh -c 'test -e {site.root}/mended || {{ echo no database; exit 1; }}; exec sleep 1000'"
    site.services["rpc-server"] = service("site", fails, startsecs=1, supervisor={"startretries": 0})
    site.commit()
    passed = site.converge(1, settled=False)
    step = passed.steps["start:rpc-server"]
    assert (step["status"], step["hint"]) == ("failed", f"see {log}")
    assert "did not start: FATAL (Exited too quickly" in step["message"]
    assert "no database" in log.read_text()
    assert passed.after.keys() == {"", *SERVICES} - {"rpc-server"}
    told = site.run("--once")
    assert told.code == 1
    assert f"see {log}" in told.out
    assert "did not start: FATAL" in told.out
    (site.root / "mended").touch()
    passed = site.converge()
    assert set(passed.kinds) == {"rpc-server"}
    assert passed.changed == set()


def test_a_bump_to_a_version_that_does_not_start(site: Site) -> None:
    """The others of its component go on in the new version; the next commit mends it."""
    site.services["rpc-server"] = service(
        "site", "sh -c 'test {{ version }} != 2.9.0 && exec sleep 1000'", startsecs=1, supervisor={"startretries": 0}
    )
    site.commit()
    site.converge()
    site.layer["versions"]["site"] = "2.9.0"
    site.commit()
    told = site.run("--once", "--json")
    assert told.code == 1
    assert "rpc-server" not in site.pids()
    assert site.status()["rpc-server"]["wanted"] == "2.9.0"
    site.layer["versions"]["site"] = "2.9.1"
    site.commit()
    assert site.converge().changed == set(SITE_SERVICES) - {"rpc-server"}


def test_a_program_that_cannot_be_found_stops_nothing(site: Site) -> None:
    """The preflight passes before the old process is stopped."""
    site.converge()
    before = site.pids()
    site.services["rpc-server"]["command"] = "no-such-program"
    site.services["cromwell"]["env"] = {"HEAP": "4G"}
    site.commit()
    for _ in range(2):
        told = site.run("--once", "--json")
        assert told.code == 1
        assert "command not found: no-such-program" in told.out
    after = site.pids()
    assert after["rpc-server"] == before["rpc-server"]
    assert after["cromwell"] != before["cromwell"]
    site.services["rpc-server"]["command"] = "sleep 1001"
    site.commit()
    assert site.converge().changed == RESTARTED


def test_a_program_that_flaps_is_told_and_left_to_its_launcher(site: Site) -> None:
    site.services["rpc-server"] = service(
        "site",
        f"sh -c 'test ! -e {site.root}/broken && exec sleep 1000'",
        startsecs=1,
        supervisor={"startretries": 1000},
    )
    site.commit()
    site.converge()
    (site.root / "broken").touch()
    site.kill("rpc-server")
    site.await_state("rpc-server", "BACKOFF")
    before = site.pids()
    report = site.run("--once", "--json")
    after = site.pids()
    assert report.code in (0, 1)  # it may just have been started again
    assert {name: pids for name, pids in after.items() if name != "rpc-server"} == {
        name: pids for name, pids in before.items() if name != "rpc-server"
    }
    (site.root / "broken").unlink()
    site.await_state("rpc-server", "RUNNING")
    assert site.converge().kinds == {}
