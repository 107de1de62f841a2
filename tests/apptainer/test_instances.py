"""Instances that the loop starts, keeps and stops, with a real Apptainer, through the command line."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.apptainer.site import Site
from tests.backends.images import image
from tests.backends.instances import children, helpers, instances
from tests.scenarios.world import until

pytestmark = [pytest.mark.scenario, pytest.mark.apptainer]

TELLS = """command: 'sh -c "trap \\"echo got USR1; exit\\" USR1; echo up; while :; do sleep 0.05; done"'"""
DEAF = """command: 'sh -c "trap \\"echo got TERM\\" TERM; echo up; while :; do sleep 0.05; done"'"""


def gone(site: Site, pid: int) -> bool:
    """Nothing of an instance is left: no process inside or around it."""
    return not os.path.exists(f"/proc/{pid}/fd/1") and not list(helpers(site.world.folder))


# ---------------------------------------------------------------- started and kept


def test_instances_are_started_kept_and_found_again(site: Site) -> None:
    site.commit(one="", two="after: [one]")
    assert site.converge() == {"one": "create", "two": "create"}
    before = site.pids()
    found = site.instance("two-dev")
    assert found.image == str(site.world.root / "images/app-1.0.sif")
    marks = {key: found.env[f"RECONCILE_{key}"] for key in ("DEPLOYMENT", "ROOT", "SERVICE", "PID", "VERSION", "STOP")}
    assert marks == {
        "DEPLOYMENT": f"{site.world.site}/dev",
        "ROOT": str(site.world.root),
        "SERVICE": "two",
        "PID": "1",
        "VERSION": "1.0",
        "STOP": "TERM 10",
    }
    site.world.idle()
    for path in sorted(site.world.state.rglob("*"), reverse=True):  # the state directory is lost
        path.rmdir() if path.is_dir() else path.unlink()
    assert set(site.converge().values()) == {"keep"}
    assert site.pids() == before


def test_a_bump_restarts_what_it_concerns(site: Site) -> None:
    site.commit(one="", two="")
    site.converge()
    before = site.pids()
    image(site.world.folder, "1.1")
    site.commit(two="env: {A: b}")
    assert site.converge() == {"one": "keep", "two": "update"}
    changed = site.pids()
    assert (changed["one"], changed["two"] != before["two"]) == (before["one"], True)
    site.commit(app="1.1")
    assert site.converge() == {"one": "update", "two": "update"}
    assert site.instance("one-dev").image.endswith("app-1.1.sif")


def test_a_dozen_start_at_once(site: Site) -> None:
    names = [f"s{number}" for number in range(12)]
    site.commit(**dict.fromkeys(names, ""))
    began = monotonic()
    assert site.converge() == dict.fromkeys(names, "create")
    assert monotonic() - began < 20
    assert sorted(site.pids()) == sorted(names)
    site.world.idle()


def test_a_service_may_need_some_time_to_count_as_started(site: Site) -> None:
    slowly = """command: "sh -c 'sleep 0.5; exit 3'", apptainer: {start_seconds: 2}"""
    site.commit(one=slowly)
    said = site.fail()
    assert "its service ended as soon as it was started" in said


def test_a_person_may_run_the_start_script(site: Site) -> None:
    site.commit(one='env: {A: "b c"}')
    site.converge()
    os.kill(site.pids()["one"], signal.SIGKILL)
    until(lambda: not site.record("one-dev").exists())
    site.run_by_hand(str(site.world.root / "bin/one-dev"))
    by_hand = site.pids()
    assert site.converge() == {"one": "keep"}
    assert site.pids() == by_hand


@pytest.mark.supervisor
def test_in_the_foreground_supervisord_keeps_what_stands_in_front(site: Site) -> None:
    """Its marks are in what Apptainer was told; with `--pid`, an `appinit` inside is not the main process."""
    keys = "component: app, launcher: supervisor, command: sleep 86399, supervisor: {startsecs: 0}"
    lines = [f"  one: {{{keys}}}", f"  two: {{{keys}, container: {{options: [--pid]}}}}"]
    site.world.commit({"desired/environments/dev.yaml": "\n".join(['versions: {app: "1.0"}', "services:", *lines])})
    assert site.converge() == {"one": "create", "two": "create"}
    site.world.idle()
    services = site.world.run("status", "--json").json()["deployments"][0]["services"]
    assert {each["service"]: each["version"] for each in services} == {"one": "1.0", "two": "1.0"}
    assert {Path(f"/proc/{each['pid']}/comm").read_text() for each in services} == {"starter\n"}


# ---------------------------------------------------------------- stopped


def test_the_stop_signal_is_the_one_that_runs_were_told(site: Site) -> None:
    site.commit(one=f"{TELLS}, stop: {{signal: USR1, grace: 30}}", two="")
    site.converge()
    pid = site.pids()["one"]
    until(lambda: site.printed("one-dev") == "up\n")
    del site.services["one"]
    site.commit()
    began = monotonic()
    assert site.converge() == {"one": "remove", "two": "keep"}
    assert monotonic() - began < 15
    assert site.printed("one-dev") == "up\ngot USR1\n"
    assert not os.path.exists(f"/proc/{pid}/fd/1")
    assert not site.record("one-dev").exists()
    assert [path.name for path in site.world.root.rglob("one-dev*")] == ["one-dev.start.log"]
    site.world.idle()


def test_what_takes_no_notice_is_killed_after_its_grace(site: Site) -> None:
    site.commit(one=f"{DEAF}, stop: {{grace: 1}}")
    site.converge()
    pid = site.pids()["one"]
    until(lambda: site.printed("one-dev") == "up\n")
    site.services.clear()
    site.commit()
    began = monotonic()
    assert site.converge() == {"one": "remove"}
    assert 1 <= monotonic() - began < 8
    assert site.printed("one-dev") == "up\ngot TERM\n"
    until(lambda: gone(site, pid))


def test_a_stop_goes_on_where_a_killed_pass_left_it(site: Site) -> None:
    site.commit(one=f"{DEAF}, stop: {{grace: 4}}")
    site.converge()
    until(lambda: site.printed("one-dev") == "up\n")
    site.services.clear()
    site.commit()
    began = monotonic()
    process = site.world.start("--once")
    until(lambda: "got TERM" in site.printed("one-dev"))
    until((site.world.root / "run/one-dev.stop").exists)  # killed before that, the next pass signals once more
    process.kill()
    process.communicate()
    sleep(1)
    assert site.converge() == {"one": "remove"}
    assert monotonic() - began < 8
    assert site.printed("one-dev") == "up\ngot TERM\n"  # once


def test_a_stray_instance_is_ended_whole(site: Site) -> None:
    site.commit(one="")
    site.converge()
    marks = marks_of(site, "one-dev")
    del marks["RECONCILE_LAUNCHER"]
    before = site.pids()
    stray = site.start_by_hand("left-over", {**marks, "RECONCILE_STOP": "INT 5"})
    site.world.run("--once")  # it asks every launcher there is whose that may be, and misses those that are not here
    assert not os.path.exists(f"/proc/{stray.pid}/fd/1")
    assert not os.path.exists(f"/proc/{stray.parent}/fd/1")
    assert not site.record("left-over").exists()
    assert site.pids() == before
    site.world.idle()


# ---------------------------------------------------------------- ended by itself


def test_a_killed_instance_is_started_again(site: Site) -> None:
    site.commit(one="", two="")
    site.converge()
    before = site.pids()
    os.kill(before["one"], signal.SIGKILL)
    assert site.converge() == {"one": "restart", "two": "keep"}
    after = site.pids()
    assert (after["one"] != before["one"], after["two"]) == (True, before["two"])
    site.world.idle()


def test_an_instance_whose_service_has_ended_is_started_again(site: Site) -> None:
    """Apptainer keeps the empty instance, and calls it running."""
    site.commit(one="")
    site.converge()
    before = site.pids()["one"]
    for pid in children(before):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not children(before))
    status = site.world.run("status", "--json").json()["deployments"][0]["services"][0]
    assert status["state"] == "exited"
    assert site.converge() == {"one": "restart"}
    assert site.pids()["one"] != before
    site.world.idle()


def test_an_empty_instance_that_git_no_longer_wants_goes(site: Site) -> None:
    site.commit(one="")
    site.converge()
    before = site.pids()["one"]
    for pid in children(before):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not children(before))
    site.services.clear()
    site.commit()
    assert site.converge() == {"one": "remove"}
    until(lambda: gone(site, before))


def test_after_a_reboot_records_are_stale(site: Site) -> None:
    """Their pids are other processes by now."""
    site.commit(one="", two="", three="")
    site.converge()
    records = {name: site.record(f"{name}-dev").read_bytes() for name in ("one", "two")}
    for name in ("one", "two"):
        os.kill(site.pids()[name], signal.SIGKILL)
        until(lambda name=name: not site.record(f"{name}-dev").exists())  # type: ignore[misc]
    three = site.instance("three-dev")
    import json

    first, second = (json.loads(records[name]) for name in ("one", "two"))
    site.write_record("one-dev", {**first, "pid": three.pid, "ppid": three.parent})  # another instance
    site.write_record("two-dev", {**second, "pid": os.getpid(), "ppid": os.getpid()})  # another account's
    assert site.converge() == {"one": "restart", "two": "restart", "three": "keep"}
    assert site.pids()["three"] == three.pid
    site.world.idle()


# ---------------------------------------------------------------- what fails


def test_what_apptainer_says_is_told(site: Site) -> None:
    """Without what is secret in it."""
    site.commit(one='env: {TOKEN: /hush-hush}, container: {options: [--bind, "/hush-hush:/x"]}')
    said = site.fail()
    assert "its start script ended with exit status 255" in said
    assert "FATAL" in said
    assert "hush" not in said


def test_a_service_that_ends_at_once_is_told_with_its_log(site: Site) -> None:
    site.commit(one="""command: "sh -c 'echo nothing to do here; exit 3'", apptainer: {start_seconds: 1}""")
    said = site.fail()
    assert "its service ended as soon as it was started" in said
    assert "nothing to do here" in said


def test_a_pass_that_is_killed_while_it_starts_costs_nothing(site: Site) -> None:
    site.commit(one='prologue: "sleep 1.5"')
    process = site.world.start("--once")
    until((site.world.root / "logs/one-dev.start.log").exists)
    process.kill()
    process.communicate()
    site.converge()
    sleep(2)
    site.converge()
    assert site.pids().keys() == {"one"}
    site.world.idle()


# ---------------------------------------------------------------- others' instances and records


def test_a_half_written_record_is_nobodys_harm(site: Site) -> None:
    site.write_record("one-dev", b"")
    theirs = site.write_record("other", b'{"pid": 12')
    site.commit(one="")
    assert site.converge() == {"one": "create"}
    assert theirs.read_bytes() == b'{"pid": 12'
    site.write_record("one-dev", b"")
    site.world.idle()
    before = site.pids()
    assert site.converge() == {"one": "keep"}
    assert site.pids() == before
    site.services.clear()
    site.commit()
    assert site.converge() == {"one": "remove"}
    assert site.pids() == {}


def test_another_hosts_records_are_left_alone(site: Site) -> None:
    site.commit(one="")
    path = site.write_record("one-dev", {"pid": os.getpid(), "ppid": os.getpid()}, host="elsewhere")
    assert site.converge() == {"one": "create"}
    os.kill(site.pids()["one"], signal.SIGKILL)
    assert site.converge() == {"one": "restart"}
    assert path.exists()


def marks_of(site: Site, name: str) -> dict[str, str]:
    return {key: value for key, value in site.instance(name).env.items() if key.startswith("RECONCILE_")}


def test_the_same_deployment_below_another_root_is_somebody_elses(site: Site) -> None:
    site.commit(one="")
    site.converge()
    marks = marks_of(site, "one-dev")
    theirs = site.start_by_hand("two-dev", {**marks, "RECONCILE_SERVICE": "two", "RECONCILE_ROOT": "/elsewhere"})
    site.commit(two="")
    assert site.converge(code=1) == {"one": "keep", "two": "blocked"}
    assert site.instance("two-dev").pid == theirs.pid
    os.kill(theirs.pid, signal.SIGKILL)
    until(lambda: not site.record("two-dev").exists())


def test_an_instance_that_another_launcher_keeps_is_left_to_it(site: Site) -> None:
    """To look at, one of systemd's differs by one mark only."""
    site.commit(one="")
    site.converge()
    marks = marks_of(site, "one-dev")
    del marks["RECONCILE_LAUNCHER"]
    site.start_by_hand("three", {**marks, "RECONCILE_SERVICE": "three", "RECONCILE_PID": "0"})
    assert site.converge() == {"one": "keep"}
    assert site.instance("three").name == "three"


@pytest.mark.parametrize("record", ["whole", "half-written"])
def test_somebody_elses_instance_keeps_its_name(site: Site, record: str) -> None:
    theirs = site.start_by_hand("one-dev")
    if record != "whole":
        site.write_record("one-dev", b"{")
    site.commit(one="", two="")
    assert site.converge(code=1) == {"one": "blocked", "two": "create"}
    assert site.instance("one-dev").pid == theirs.pid
    assert site.record("one-dev").exists()
    assert site.services.pop("one") == ""
    site.commit()
    assert site.converge() == {"two": "keep"}
    assert site.instance("one-dev").pid == theirs.pid
    os.kill(theirs.pid, signal.SIGKILL)
    until(lambda: not any(one.pid == theirs.pid for one in instances()))
    assert Path(site.configdir).exists()
