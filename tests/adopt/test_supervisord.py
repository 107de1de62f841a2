"""A supervisord with programs of every shape comes in without a restart, and each leaves it with its first change."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adopt.byhand import ENVIRONMENT, SECRET, ByHand, Place, runs
from tests.scenarios.site import until

LEFT = {"listener", "loud"}  # cannot be services


def test_comes_in_without_a_restart(by_hand: ByHand, place: Place) -> None:
    before, said = by_hand.pids(), by_hand.said()
    assert len(before) >= 20, before
    told = place.adopt("supervisor", str(by_hand.conf)).json
    managed = {one["service"]: one for one in told["services"] if one["managed"]}
    assert {one["unit"] for one in told["services"] if not one["managed"]} == LEFT
    assert not managed["idle"]["enabled"]
    place.commit()

    for arguments in (("plan",), ("plan",), ("--once",), ("--once",), ("plan",)):
        found = place.deployment(*arguments)
        assert found["steps"] == [], (arguments, found["steps"])
        assert {c["kind"] for c in found["changes"]} == {"keep"}, found["changes"]
        assert by_hand.pids() == before
    assert {path.name for path in place.root.iterdir()} == {".reconcile", "secrets"}
    quiet = place.run("--once")
    assert (quiet.code, quiet.out) == (0, "")

    # One bump restarts that one, under a supervisord of reconcile's own. All others go on.
    place.bump(["plain"], "1.1")
    found = place.deployment("plan", code=2)
    changed = {c["service"]: c for c in found["changes"] if c["kind"] != "keep"}
    assert set(changed) == {"plain"}
    assert changed["plain"]["restarts"] == ["plain"]
    assert "version adopted -> 1.1" in changed["plain"]["reasons"][0]
    place.deployment("--once")
    assert by_hand.pids() == {name: pid for name, pid in before.items() if name != "plain"}
    own = place.own_pids()
    assert set(own) == {"", "plain"}
    assert place.deployment("--once")["steps"] == []

    # All of them at last: each is started with the very words, variables, folder and umask that it had.
    rest = {one["service"] for name, one in managed.items() if one["enabled"]} - {"plain"}
    place.bump(_components(place) - {"plain", "idle"}, "1.1")
    place.deployment("--once")
    assert set(place.own_pids()) == {"", "plain", *rest}
    assert place.own_pids()["plain"] == own["plain"]
    assert set(by_hand.pids()) == LEFT
    # What had `/` as its folder, as a daemon does, has the deployment's.
    gone = {name: text for name, text in said.items() if name not in LEFT}
    moved = {name: text.replace("-- cwd / ", f"-- cwd {place.root} ") for name, text in gone.items()}
    assert by_hand.said() == said | moved
    assert place.deployment("--once")["steps"] == []
    for path in place.repo.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


def _components(place: Place) -> set[str]:
    from ruamel.yaml import YAML

    found = YAML(typ="safe", pure=True).load(place.layer.read_text())
    return set(found["versions"])


def test_environment_is_not_made_for_other_sites(by_hand: ByHand, place: Place) -> None:
    (place.repo / "desired/sites").mkdir(parents=True)
    (place.repo / "desired/sites/there.yaml").write_text("vars: {a: b}\n")
    told = place.adopt("supervisor", str(by_hand.conf), code=3)
    assert f"there is no environment {ENVIRONMENT} yet" in told.err


# ---------------------------------------------------------------- what happens to the old daemon meanwhile


FEW = """
[unix_http_server]
file=%(here)s/s.sock
username=me
password=p%%w
[supervisord]
logfile=%(here)s/supervisord.log
pidfile=%(here)s/supervisord.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:one]
command=%(here)s/prog one
autorestart=true
[program:two]
command=%(here)s/prog two
[program:three]
command=%(here)s/prog three
"""


@pytest.fixture
def few(short_folder: Path) -> Iterator[ByHand]:
    made = ByHand(short_folder / "h", FEW, ("me", "p%w"))
    try:
        made.start()
        yield made
    finally:
        made.end()


def test_is_nobodys_before_git_has_it(few: ByHand, place: Place) -> None:
    """Between the writing and the commit passes go on, of a site that has the environment already."""
    _write(place, "desired/defaults.yaml", f'paths: {{root: "{place.root}"}}\npolicy: {{max_removals: 100}}\n')
    _write(place, f"desired/environments/{ENVIRONMENT}.yaml", "")
    _write(place, f"desired/sites/{place.site}.yaml", "")
    place.commit()
    place.deployment("--once")
    before = few.pids()
    place.adopt("supervisor", str(few.conf))
    place.deployment("--once")
    assert few.pids() == before
    place.commit()
    assert place.deployment("--once")["steps"] == []
    # Now it is ours: what git has no more goes, there where it runs.
    _write(place, str(place.layer.relative_to(place.repo)), "")
    place.commit()
    found = place.deployment("--once")
    assert {change["kind"] for change in found["changes"]} == {"remove"}
    assert few.pids() == {}
    assert place.deployment("--once")["changes"] == []


def test_status_tells_what_runs_while_a_plan_says_that_it_leaves(few: ByHand, place: Place) -> None:
    """Git says something new of it, and a pause holds that: it runs as before, and is no less up for it."""
    place.adopt("supervisor", str(few.conf))
    place.commit()
    place.deployment("--once")
    text = place.layer.read_text()
    place.layer.write_text(text.replace("    component: one\n", "    component: one\n    prologue: 'true'\n", 1))
    place.commit()
    assert place.run("pause", "--for", "1h", "--reason", "wait").code == 0
    held = {c["service"]: c for c in place.deployment("--once", code=2)["changes"]}["one"]
    status = place.deployment("status", code=2)
    told = {one["service"]: one for one in status["services"]}["one"]
    assert (told["state"], told["pid"], told["version"]) == ("running", few.pids()["one"], "adopted")
    assert told["reasons"] == held["reasons"]
    assert any("leaves adopted-supervisor" in reason for reason in told["reasons"])
    for one in status["services"]:
        assert one["healthy"], one


def test_goes_on_whatever_its_daemon_does(few: ByHand, place: Place) -> None:
    place.adopt("supervisor", str(few.conf))
    place.commit()
    assert place.deployment("--once")["steps"] == []
    first = few.pids()

    # Started again by its own daemon, in the same way: it counts on, as the process that it is now.
    os.kill(first["one"], signal.SIGKILL)
    until(lambda: few.pids().get("one", first["one"]) != first["one"])
    assert place.deployment("--once")["steps"] == []
    assert place.run("status").code in (0, 2)  # its daemon calls it starting for a second: that is not down
    until(lambda: place.run("status").code == 0)
    status = {one["service"]: one for one in place.deployment("status")["services"]}
    assert {name: one["pid"] for name, one in status.items()} == few.pids()

    # The daemon is killed, and what it ran goes on; so does the site.
    pids = few.pids()
    few.kill()
    assert place.deployment("plan")["steps"] == []
    assert all(map(runs, pids.values()))

    # One of them ends, and nobody is there to start it: the service starts as git says it.
    os.kill(pids["two"], signal.SIGKILL)
    until(lambda: not runs(pids["two"]))
    found = place.deployment("--once")
    assert {c["service"]: c["kind"] for c in found["changes"] if c["kind"] != "keep"} == {"two": "restart"}
    assert set(place.own_pids()) == {"", "two"}
    assert place.deployment("--once")["steps"] == []

    # The old daemon comes back, with all that its files say: a second `two` and so on is ended, there.
    for name in ("one", "three"):
        os.kill(pids[name], signal.SIGKILL)
    few.start()
    found = place.deployment("--once")
    assert few.pids().keys() == {"one", "three"}, found
    assert [step["id"] for step in found["steps"]] == ["remove:adopted-supervisor/two"]
    found = place.deployment("--once")
    assert found["steps"] == []
    assert "take its section out" in found["warnings"][0]
    few.conf.write_text(few.conf.read_text().replace("[program:two]", "[program:not-two]"))
    few.call("reloadConfig")
    few.call("removeProcessGroup", "two")
    assert place.deployment("--once")["warnings"] == []


def test_its_daemon_keeps_as_many_copies_of_a_log_as_it_says(few: ByHand, place: Place) -> None:
    """It may write where ours would: its copies are its own until it has none of what was adopted."""
    logs = place.root / "logs"
    logs.mkdir(parents=True)
    copies = [logs / f"{name}.log.{number}" for name in ("one", "supervisord") for number in range(1, 16)]
    for path in copies:
        path.write_text("its own")
    place.adopt("supervisor", str(few.conf))
    place.commit()
    for _ in range(2):
        assert place.deployment("--once")["steps"] == []
    place.bump(["one"], "1.1")
    assert not [step for step in place.deployment("--once")["steps"] if step["action"] == "clean"]
    assert all(path.exists() for path in copies)
    place.bump(["two", "three"], "1.1")
    place.deployment("--once")
    assert place.deployment("--once")["steps"] == []
    few.conf.write_text(few.conf.read_text().partition("[program:one]")[0])
    few.call("reloadConfig")
    for name in ("one", "two", "three"):
        few.call("removeProcessGroup", name)
    place.deployment("--once")
    place.deployment("--once")
    left = {path.name for path in copies if path.exists()}
    assert left == {*(f"one.log.{number}" for number in range(1, 11)), *(f"supervisord.log.{n}" for n in (1, 2, 3))}


def test_a_killed_pass_costs_nothing(few: ByHand, place: Place) -> None:
    """Ended when the old processes were, before the new ones: the next pass goes on, and so does all else."""
    place.adopt("supervisor", str(few.conf))
    place.commit()
    place.deployment("--once")
    before = few.pids()
    place.bump(["one", "two"], "1.1")
    place.run_until_ended("remove:")
    assert few.pids() == {"three": before["three"]}
    found = place.deployment("--once")
    changed = {c["service"] for c in found["changes"] if c["kind"] != "keep"}
    assert changed <= {"one", "two"}, "the one that went first may have been started by then"
    assert set(place.own_pids()) == {"", "one", "two"}
    assert few.pids() == {"three": before["three"]}
    assert place.deployment("--once")["steps"] == []


def test_started_otherwise_it_leaves(few: ByHand, place: Place) -> None:
    """Somebody edits the section and updates it: what runs is not what was adopted."""
    place.adopt("supervisor", str(few.conf))
    place.commit()
    place.deployment("--once")
    few.conf.write_text(few.conf.read_text().replace("prog three", "prog three --edited"))
    few.call("reloadConfig")
    for method in ("stopProcessGroup", "removeProcessGroup", "addProcessGroup"):
        few.call(method, "three")
    until(lambda: "three" in few.pids())
    found = place.deployment("--once")
    assert {c["service"]: c["kind"] for c in found["changes"] if c["kind"] != "keep"} == {"three": "restart"}
    assert set(place.own_pids()) == {"", "three"}
    assert set(few.pids()) == {"one", "two"}


def test_says_what_stands_against_it(few: ByHand, place: Place) -> None:
    """Each with what to do, and nothing is written."""
    for words, said in (
        (("supervisor",), "which supervisord?"),
        (("supervisor", "/nowhere.conf"), "cannot be read: No such file"),
        (("supervisor", str(few.conf), "four"), "known: one, three, two"),
        (("supervisor", str(few.folder / "prog")), "supervisor cannot read it"),
        (("supervisor", str(few.folder)), "cannot be read: Is a directory"),
        (("systemd",), "which units"),
    ):
        assert said in place.adopt(*words, code=3).err
    told = place.run("adopt", "supervisor", str(few.conf), "--dry-run", "--root", str(place.root))
    assert told.code == 0, told.err
    assert f"--- desired/sites/{place.site}.{ENVIRONMENT}.yaml" in told.out
    assert "say it with --root FOLDER" in place.run("adopt", "supervisor", str(few.conf)).err
    assert not place.root.exists()
    assert not (place.repo / "desired").exists()
    # One after the other, and once more.
    place.adopt("supervisor", str(few.conf), "one")
    again = place.adopt("supervisor", str(few.conf)).json
    fates = {one["service"]: one["fate"] for one in again["services"]}
    assert fates == {"one": "adopted", "two": "new", "three": "new"}
    layer = place.layer.read_text()
    assert place.adopt("supervisor", str(few.conf)).json["files"] == []
    assert place.layer.read_text() == layer
    place.commit()
    assert place.deployment("--once")["steps"] == []
    assert len(place.deployment("plan")["changes"]) == 3


def _write(place: Place, path: str, text: str) -> None:
    target = place.repo / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def test_odd_sections_are_left_as_they_are(short_folder: Path, place: Place) -> None:
    """Nothing of them is guessed, and nothing of it is a traceback."""
    odd = {
        "rt": "stopsignal=RTMIN",
        "dots": 'environment=T_A="x",a.b="y"',
        "twice": "command=sh -c 'exec sleep 1000' A=b",
        "assigns": "command=/usr/bin/env T_B=c sleep 1000",
        "rooted": "directory=/",
        "ours": 'environment=RECONCILE_X="y"',
        "long": "stopwaitsecs=86400\nstartsecs=0\nstdout_logfile=NONE",
    }
    text = FEW.partition("[program:one]")[0]
    text += "".join(f"[program:{name}]\ncommand=sleep 1000\n{more}\n" for name, more in odd.items())
    made = ByHand(short_folder / "h", text, ("me", "p%w"))
    try:
        made.start()
        told = place.adopt("supervisor", str(made.conf)).json
        assert {s["service"] for s in told["services"] if not s["managed"]} == {"rt", "dots", "ours"}, told["services"]
        place.commit()
        pids = made.pids()
        for arguments in (("plan",), ("--once",), ("--once",)):
            assert place.deployment(*arguments)["steps"] == []
        assert made.pids() == pids
        assert len(pids) == len(odd)
        # for another account it is refused, and nothing is noted
        elsewhere = Place(short_folder / "e")
        _write(elsewhere, "desired/defaults.yaml", "account: somebody-else\n")
        _write(elsewhere, f"desired/environments/{ENVIRONMENT}.yaml", "")
        told_no = elsewhere.adopt("supervisor", str(made.conf), code=3)
        assert "as somebody-else, not here" in told_no.err
        assert not elsewhere.root.exists()
    finally:
        made.end()
