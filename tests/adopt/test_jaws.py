"""A site that git describes and that runs by hand comes in, the way it runs, and nothing of it runs twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adopt.byhand import ByHand, Place
from tests.adopt.jaws import DAEMONS, PASSWORD, SERVICES, Jaws
from tests.scenarios.site import until

SetUp = Callable[..., ByHand]


@pytest.fixture
def jaws(short_folder: Path, place: Place) -> Jaws:
    return Jaws(short_folder, place)


@pytest.fixture
def set_up(jaws: Jaws) -> Iterator[SetUp]:
    """What people have done: supervisord runs, started."""
    made: list[ByHand] = []

    def begin(**how: Any) -> ByHand:
        made.append(jaws.set_up(**how))
        made[-1].start()
        return made[-1]

    yield begin
    for one in made:
        one.end()


def changes(found: dict[str, Any], *, kind: str = "") -> set[str]:
    """The services of a plan that are not just kept."""
    return {c["service"] for c in found["changes"] if c["kind"] == kind or (not kind and c["kind"] != "keep")}


def idle(jaws: Jaws, by_hand: ByHand) -> None:
    """Nothing is to be done, and nothing is done, twice."""
    pids, own = by_hand.pids(), jaws.place.own_pids()
    for arguments in (("plan",), ("--once",), ("plan",), ("--once",)):
        found = jaws.place.deployment(*arguments)
        assert found["steps"] == [], arguments
        assert changes(found) == set()
    assert (by_hand.pids(), jaws.place.own_pids()) == (pids, own)


def test_what_runs_as_git_says_is_ours(jaws: Jaws, set_up: SetUp) -> None:
    by_hand = set_up()
    pids = by_hand.pids()
    for fate in ("same", "adopted", "adopted"):
        told = jaws.adopt(by_hand.conf)
        assert {one["service"]: (one["fate"], one["differs"]) for one in told["services"]} == dict.fromkeys(
            SERVICES, (fate, [])
        )
        assert (told["files"], told["private_files"], told["others"]) == ([], [], [])
        idle(jaws, by_hand)
    assert jaws.place.git("status", "--porcelain") == ""
    assert by_hand.pids() == pids
    status = {one["service"]: one for one in jaws.place.deployment("status")["services"]}
    assert {name: status[name]["version"] for name in ("rpc-server", "cromwell")} == {
        "rpc-server": "2.8.1",
        "cromwell": "87",
    }
    assert {one["pid"] for one in status.values()} == set(pids.values())
    assert not (jaws.root / "venvs").exists()

    # One line of one bump moves just its own.
    jaws.bump("cromwell", "88")
    found = jaws.place.deployment("plan", code=2)
    assert changes(found) == {"cromwell"}
    jaws.place.deployment("--once")
    assert set(jaws.place.own_pids()) == {"", "cromwell"}
    assert by_hand.pids() == {name: pid for name, pid in pids.items() if name != "cromwell"}
    idle(jaws, by_hand)

    moved = jaws.place.own_pids()["cromwell"]
    jaws.bump("site", "2.8.2")
    jaws.place.deployment("--once")
    assert set(jaws.place.own_pids()) == {"", *SERVICES}
    assert jaws.place.own_pids()["cromwell"] == moved
    assert by_hand.pids() == {}
    idle(jaws, by_hand)


def test_nothing_is_started_twice_without_it(jaws: Jaws, set_up: SetUp) -> None:
    """A pass comes before anybody has adopted anything: it leaves what runs, and the files that it runs from."""
    by_hand = set_up()
    conf = jaws.root / "config/jaws-site.conf"
    conf.write_text(conf.read_text() + "# by hand\n")
    pids = by_hand.pids()
    for _ in range(2):
        told = jaws.place.run("--once", "--json")
        assert told.code == 1
        steps = {step["id"]: step for step in told.json["deployments"][0]["steps"]}
        assert {steps[f"check:{name}"]["status"] for name in SERVICES} == {"failed"}
        assert f"runs as pid {pids['cromwell']}" in steps["check:cromwell"]["message"]
        assert set(jaws.place.own_pids()) <= {""}
        assert by_hand.pids() == pids
    assert conf.read_text().endswith("# by hand\n")
    assert "reconcile adopt" in jaws.place.run("--once").out


# ---------------------------------------------------------------- where it runs otherwise


def otherwise(set_up: SetUp) -> ByHand:
    """An older version, with another log level and another locale."""
    return set_up(version="2.8.0", level="INFO", locale="C")


def test_it_waits_until_somebody_approves(jaws: Jaws, set_up: SetUp) -> None:
    by_hand = otherwise(set_up)
    pids = by_hand.pids()
    for _ in range(2):
        told = {one["service"]: one for one in jaws.adopt(by_hand.conf)["services"]}
        assert {name: one["fate"] for name, one in told.items()} == dict.fromkeys(SERVICES, "waits")
        assert told["rpc-server"]["differs"] == [
            "runs version 2.8.0, and git wants 2.8.1",
            "runs with `INFO`, and git says `DEBUG`",
            "runs with another LANG: 'C', and git says 'C.UTF-8'",
            "runs with another LC_ALL: 'C', and git says 'C.UTF-8'",
        ]
        assert told["cromwell"]["differs"] == told["rpc-server"]["differs"][2:]
        for arguments in (("plan",), ("--once",), ("--once",), ("plan",)):
            found = jaws.place.deployment(*arguments, code=2)
            assert found["steps"] == []
            assert changes(found, kind="blocked") == SERVICES
            told_of = {change["service"]: change for change in found["changes"]}
            assert told["rpc-server"]["differs"] == told_of["rpc-server"]["reasons"][:4]
            assert "reconcile approve" in told_of["rpc-server"]["reasons"][4]
        assert (by_hand.pids(), jaws.place.own_pids()) == (pids, {})
    status = {one["service"]: one for one in jaws.place.deployment("status", code=2)["services"]}
    assert (status["rpc-server"]["version"], status["rpc-server"]["wanted"]) == ("2.8.0", "2.8.1")
    assert status["rpc-server"]["pid"] == pids["jaws-site:rpc-server"]

    # Its own supervisord starts it again: it waits on.
    os.kill(pids["cromwell"], signal.SIGKILL)
    until(lambda: by_hand.pids().get("cromwell", pids["cromwell"]) != pids["cromwell"])
    found = jaws.place.deployment("--once", code=2)
    assert (found["steps"], changes(found, kind="blocked")) == ([], SERVICES)

    (waiting,) = jaws.place.run("approve", "--json").json["waiting"]
    assert jaws.place.run("approve", waiting["plan"][:8], "--reason", "seen").code == 0
    shown = changes(jaws.place.deployment("plan", code=2))
    assert shown == SERVICES
    jaws.place.deployment("--once")
    assert set(jaws.place.own_pids()) == {"", *SERVICES}
    assert by_hand.pids() == {}
    idle(jaws, by_hand)


def test_a_pass_that_is_killed_on_the_way_is_finished(jaws: Jaws, set_up: SetUp) -> None:
    """Ended when the old process was, and the new one was not begun: nobody is asked again."""
    by_hand = otherwise(set_up)
    jaws.adopt(by_hand.conf)
    jaws.place.deployment("--once", code=2)
    (waiting,) = jaws.place.run("approve", "--json").json["waiting"]
    assert jaws.place.run("approve", waiting["plan"][:8]).code == 0
    jaws.place.run_until_ended("remove:")
    assert len(by_hand.pids()) < len(SERVICES)
    jaws.place.deployment("--once")
    assert set(jaws.place.own_pids()) == {"", *SERVICES}
    assert by_hand.pids() == {}
    idle(jaws, by_hand)


def test_what_waits_and_is_bumped_moves_alone(jaws: Jaws, set_up: SetUp) -> None:
    """Who says something new of it in git has asked for it."""
    by_hand = otherwise(set_up)
    jaws.adopt(by_hand.conf)
    jaws.place.deployment("--once", code=2)
    pids = by_hand.pids()
    jaws.bump("cromwell", "88")
    found = jaws.place.deployment("plan", code=2)
    assert changes(found, kind="blocked") == set(DAEMONS)
    (moves,) = [change for change in found["changes"] if change["kind"] == "update"]
    assert moves["service"] == "cromwell"
    assert any("another LANG" in reason for reason in moves["reasons"])
    jaws.place.deployment("--once", code=2)
    assert set(jaws.place.own_pids()) == {"", "cromwell"}
    assert by_hand.pids() == {name: pid for name, pid in pids.items() if name != "cromwell"}


def test_what_waits_and_has_ended_is_started(jaws: Jaws, set_up: SetUp) -> None:
    by_hand = otherwise(set_up)
    jaws.adopt(by_hand.conf)
    jaws.place.deployment("--once", code=2)
    by_hand.call("stopProcess", "cromwell")
    jaws.place.deployment("--once", code=2)
    assert set(jaws.place.own_pids()) == {"", "cromwell"}
    # Somebody starts the old one again: it is ended, and the new one goes on.
    own = jaws.place.own_pids()
    by_hand.call("startProcess", "cromwell")
    jaws.place.deployment("--once", code=2)
    assert jaws.place.own_pids() == own
    assert "cromwell" not in by_hand.pids()


def test_it_is_kept_until_git_says_something_new(jaws: Jaws, set_up: SetUp) -> None:
    by_hand = otherwise(set_up)
    pids = by_hand.pids()
    jaws.adopt(by_hand.conf)
    jaws.place.deployment("--once", code=2)
    for _ in range(2):  # a person has thought about it
        told = jaws.adopt(by_hand.conf, "--differing", "keep")
        assert {one["fate"] for one in told["services"]} == {"kept"}
        idle(jaws, by_hand)
    assert by_hand.pids() == pids
    jaws.bump("cromwell", "88")
    found = jaws.place.deployment("plan", code=2)
    assert changes(found) == {"cromwell"}
    (moves,) = [change for change in found["changes"] if change["service"] == "cromwell"]
    assert any("another LANG" in reason for reason in moves["reasons"]), moves
    jaws.place.deployment("--once")
    assert set(jaws.place.own_pids()) == {"", "cromwell"}
    assert by_hand.pids() == {name: pid for name, pid in pids.items() if name != "cromwell"}
    idle(jaws, by_hand)


def test_git_is_made_to_say_what_runs(jaws: Jaws, set_up: SetUp) -> None:
    by_hand = otherwise(set_up)
    pids = by_hand.pids()
    told = jaws.adopt(by_hand.conf, "--differing", "write")
    assert {one["fate"] for one in told["services"]} == {"written"}
    assert told["files"] == [f"desired/sites/{jaws.place.site}.dev.yaml"]
    # Git does not have it yet: passes that come meanwhile leave all as it is.
    for _ in range(2):
        found = jaws.place.deployment("--once", code=2)
        assert (found["steps"], changes(found, kind="blocked")) == ([], SERVICES)
        assert by_hand.pids() == pids
    jaws.place.commit()
    idle(jaws, by_hand)
    again = jaws.adopt(by_hand.conf, "--differing", "write")
    assert {one["fate"] for one in again["services"]} == {"adopted"}
    assert jaws.place.git("status", "--porcelain") == ""
    # What it runs is not what a bump of the component would change.
    jaws.bump("site", "2.8.2")
    idle(jaws, by_hand)
    assert by_hand.pids() == pids
    # Without what was written it is git's again, and so a change that somebody asked for.
    jaws.own_layer.write_text("")
    jaws.place.commit()
    assert changes(jaws.place.deployment("plan", code=2)) == SERVICES
    jaws.place.deployment("--once")
    assert set(jaws.place.own_pids()) == {"", *SERVICES}
    assert by_hand.pids() == {}
    idle(jaws, by_hand)


def test_git_is_made_to_want_the_version_that_runs(jaws: Jaws, set_up: SetUp) -> None:
    """Where that is all that differs: one line for each component."""
    by_hand = set_up(version="2.8.0", jar="86")
    pids = by_hand.pids()
    told = {one["service"]: one for one in jaws.adopt(by_hand.conf)["services"]}
    assert told["cromwell"]["differs"] == ["runs version 86, and git wants 87"]
    assert told["rpc-server"]["differs"] == ["runs version 2.8.0, and git wants 2.8.1"]
    adopted = jaws.adopt(by_hand.conf, "--differing", "write")
    assert adopted["versions"] == {"site": "2.8.0", "cromwell": "86"}
    assert jaws.own_layer.read_text() == 'versions:\n  cromwell: "86"\n  site: "2.8.0"\n'
    found = jaws.place.deployment("--once", code=2)
    assert (found["steps"], changes(found, kind="blocked"), by_hand.pids()) == ([], SERVICES, pids)
    jaws.place.commit()
    idle(jaws, by_hand)
    again = jaws.adopt(by_hand.conf, "--differing", "write")
    assert ({one["fate"] for one in again["services"]}, again["files"]) == ({"adopted"}, [])
    text = jaws.own_layer.read_text()
    jaws.own_layer.write_text(text.replace('"86"', '"87"'))
    jaws.place.commit()
    assert changes(jaws.place.deployment("plan", code=2)) == {"cromwell"}
    jaws.place.deployment("--once")
    assert by_hand.pids() == {name: pid for name, pid in pids.items() if name != "cromwell"}
    assert set(jaws.place.own_pids()) == {"", "cromwell"}
    idle(jaws, by_hand)


def test_no_secret_is_told(jaws: Jaws, set_up: SetUp) -> None:
    conf = jaws.root / "config/jaws-site.conf"
    jaws.set_up()
    conf.write_text(conf.read_text().replace("${JAWS_DB_PASSWORD}", PASSWORD))
    assert PASSWORD in conf.read_text()
    by_hand = set_up(configuration=False)
    told = jaws.place.run("adopt", "supervisor", str(by_hand.conf))
    assert told.code == 0
    assert "is another one than git's, in 1 line (password)" in " ".join(told.out.split())
    plan = jaws.place.run("plan")
    assert plan.code == 2
    inventory = "".join(path.read_text(errors="replace") for path in jaws.place.state.rglob("*") if path.is_file())
    for text in (told.out, told.err, plan.out, plan.err, inventory):
        assert PASSWORD not in text


# ---------------------------------------------------------------- names, and more than one daemon


def test_other_names(jaws: Jaws, set_up: SetUp) -> None:
    """What git has by another name is not made one more service, nor started twice."""
    by_hand = set_up(names={"rpc-server": "jaws-site-rpc", "cromwell": "engine"})
    pids = by_hand.pids()
    told = jaws.adopt(by_hand.conf, code=3)
    assert "jaws-site:jaws-site-rpc does what rpc-server of git is to do" in told.err
    assert "--as jaws-site-rpc=rpc-server" in told.err
    assert "--as engine=cromwell" in told.err
    assert not jaws.place.state.exists()
    names = ("--as", "jaws-site-rpc=rpc-server", "--as", "engine=cromwell")
    for fate in ("same", "adopted"):
        told = jaws.adopt(by_hand.conf, *names)
        assert {one["service"]: one["fate"] for one in told["services"]} == dict.fromkeys(SERVICES, fate)
        idle(jaws, by_hand)
    assert by_hand.pids() == pids
    jaws.bump("cromwell", "88")
    jaws.place.deployment("--once")
    assert by_hand.pids() == {name: pid for name, pid in pids.items() if name != "engine"}
    assert set(jaws.place.own_pids()) == {"", "cromwell"}


def test_says_what_is_wrong_with_names(jaws: Jaws, set_up: SetUp) -> None:
    by_hand = set_up(services=("rpc-server", "task-log"))
    for words, said in (
        (("--as", "rpc=rpc-server"), "has no program rpc"),
        (("--as", "rpc-server"), "is no PROGRAM=SERVICE"),
        (("--as", "rpc-server=a b"), "is no PROGRAM=SERVICE"),
        (("--as", "task-log=rpc-server"), "jaws-site:task-log would both be service rpc-server"),
        (("--as", "task-log=a", "--as", "task-log=b"), "names that program once more"),
        (("nothing",), "known: jaws-site:rpc-server, jaws-site:task-log"),
    ):
        told = jaws.adopt(by_hand.conf, *words, code=3)
        assert said in told.err, told.err
    assert not jaws.place.state.exists()
    told = jaws.adopt(by_hand.conf)
    assert told["others"] == sorted(SERVICES - {"rpc-server", "task-log"})


def test_what_cannot_be_one_service_is_refused(jaws: Jaws, set_up: SetUp) -> None:
    """Several processes of one section, one name in two groups, a program that only its own supervisord can run."""
    more = """
[program:worker]
command={root}/wrappers/task-log
numprocs=2
process_name=task-log_%(process_num)d
[program:other]
command=/bin/sleep 86391
process_name=runs
[eventlistener:transfer-daemon]
command=/bin/cat
events=TICK_3600
"""
    by_hand = set_up(services=("run-daemon", "task-log"), more=more)
    for words, said in (
        ((), "jaws-site:runs and other:runs would both be service run-daemon"),
        (("worker",), "worker:task-log_0 does what task-log of git is to do say `--as task-log_0=task-log`"),
        (("worker", "--as", "task-log_0=task-log", "--as", "task-log_1=task-log"), "would both be service task-log"),
        (("transfer-daemon",), "transfer-daemon cannot become service transfer-daemon: it is an event listener"),
    ):
        told = jaws.adopt(by_hand.conf, *words, code=3)
        assert said in " ".join(told.err.split()), told.err
    assert not jaws.place.state.exists()
    told = jaws.adopt(by_hand.conf, "runs", "--as", "other:runs=sleeper", "--as", "jaws-site:runs=run-daemon")
    assert {one["service"]: one["fate"] for one in told["services"]} == {"run-daemon": "same", "sleeper": "new"}
    told = jaws.adopt(by_hand.conf, "transfer-daemon", "--as", "transfer-daemon=listener")
    assert [(one["service"], one["managed"]) for one in told["services"]] == [("listener", False)]


def test_two_supervisords_in_turn(jaws: Jaws, set_up: SetUp, short_folder: Path) -> None:
    """JAWS and its workflow engine each have their own."""
    site = set_up(services=tuple(DAEMONS))
    engine = jaws.second(short_folder / "engine")
    try:
        engine.start()
        pids = {**site.pids(), **engine.pids()}
        told = jaws.adopt(site.conf)
        assert told["second_ones"] == {"cromwell": pids["cromwell"]}
        # A pass that comes in between starts no second one.
        jaws.place.deployment("--once", code=1)
        assert {**site.pids(), **engine.pids()} == pids
        for fate in ("same", "adopted"):
            told = jaws.adopt(engine.conf)
            assert [(one["service"], one["fate"]) for one in told["services"]] == [("cromwell", fate)]
            assert told["others"] == []
            idle(jaws, site)
            assert {**site.pids(), **engine.pids()} == pids
        assert {one["fate"] for one in jaws.adopt(site.conf)["services"]} == {"adopted"}
        jaws.bump("cromwell", "88")
        jaws.place.deployment("--once")
        assert engine.pids() == {}
        assert site.pids() == {name: pid for name, pid in pids.items() if name != "cromwell"}
        idle(jaws, site)
        # One of the two cannot be asked any more: what the other runs is not affected.
        site.kill()
        assert jaws.place.deployment("plan")["steps"] == []
    finally:
        for pid in {*pids.values()} - {pids["cromwell"]}:
            os.kill(pid, signal.SIGKILL)
        engine.end()


def test_what_is_down_is_git_s_to_start(jaws: Jaws, set_up: SetUp) -> None:
    """And when its supervisord starts it all the same, that one is the second and goes."""
    by_hand = set_up()
    by_hand.call("stopProcess", "cromwell")
    told = {one["service"]: one for one in jaws.adopt(by_hand.conf)["services"]}
    assert (told["cromwell"]["fate"], told["rpc-server"]["fate"]) == ("down", "same")
    by_hand.call("startProcess", "cromwell")
    jaws.place.deployment("--once")
    assert set(jaws.place.own_pids()) == {"", "cromwell"}
    assert "cromwell" not in by_hand.pids()
    idle(jaws, by_hand)
    # Adopted once more, it is ours, and not taken back.
    by_hand.call("startProcess", "cromwell")
    told = jaws.adopt(by_hand.conf, code=3)
    assert "cromwell runs under reconcile already, and cromwell runs too" in told.err


def test_what_git_does_not_want_to_run_is_left_alone(jaws: Jaws, set_up: SetUp) -> None:
    by_hand = set_up()
    text = jaws.layer.read_text()
    jaws.layer.write_text(text.replace("  perf-metrics-daemon: {", "  perf-metrics-daemon: {enabled: false, "))
    jaws.place.commit()
    pids = by_hand.pids()
    told = {one["service"]: one for one in jaws.adopt(by_hand.conf)["services"]}
    assert told["perf-metrics-daemon"]["fate"] == "alone"
    assert "`enabled: false`" in told["perf-metrics-daemon"]["why"]
    for _ in range(2):
        assert jaws.place.deployment("--once")["steps"] == []
    assert by_hand.pids() == pids


def test_the_files_of_the_old_daemon_stay(jaws: Jaws, set_up: SetUp) -> None:
    """Git would put its own supervisord.conf where theirs is."""
    by_hand = set_up()
    text = jaws.layer.read_text()
    jaws.layer.write_text(f"paths: {{config: {jaws.root}/configs}}\n{text}")
    jaws.place.commit()
    told = jaws.adopt(by_hand.conf, code=3)
    assert "it is of the daemon that is to be adopted" in told.err
