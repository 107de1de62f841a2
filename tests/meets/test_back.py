"""Rollbacks beside supervisord, and where they meet what holds, adopts, drains and cleans up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.adopt.byhand import ByHand, Place
from tests.meets.bed import TIMES, Apptainer, Bed, Slurm, on
from tests.scenarios.test_replicas import grown

pytestmark = [pytest.mark.scenario]


@on("apptainer", "slurm", "slurm-22.05")
def test_what_fails_goes_back(bed: Bed) -> None:
    """To the image of the former version, or within the job; twice told, and nothing more done."""
    bed.good("1.0")
    bed.commit({"web": bed.watched(), "other": bed.keys("tool")})
    bed.once()
    bed.world.idle()
    before = bed.pids()
    bed.commit(app="2.0")
    said = bed.once(code=1)
    assert "rolled-back: web: 2.0" in said
    assert bed.running() == {"web": "1.0", "other": "1.0"}
    assert {name for name, pid in bed.pids().items() if before[name] != pid} == {"web"}
    if isinstance(bed, Apptainer):
        assert bed.image("web").endswith("/app-1.0.sif")
    bed.still()
    bed.good("3.0")
    bed.commit(app="3.0")
    bed.once()
    assert bed.running() == {"web": "3.0", "other": "1.0"}
    bed.world.idle()


@on("systemd", "apptainer", "slurm", "slurm-22.05")
def test_what_does_not_start_goes_back(bed: Bed) -> None:
    """What did not start has nothing to drain, though Apptainer has left its empty instance behind."""
    log = bed.world.folder / "drained"
    starts = "sh -c 'test $V = 1.0 && exec sleep 86399'"
    drain = f"{{command: {json.dumps(f'echo $V >> {log}')}}}"
    web = bed.keys(command=starts, env='{V: "{{ version }}"}', strategy="{rollback: true}", drain=drain, **bed.quickly)
    bed.commit({"web": web, "other": bed.keys("tool")})
    bed.once()
    bed.commit(app="2.0")
    said = bed.once(code=1)
    assert "rolled-back: web: 2.0" in said
    assert bed.running() == {"web": "1.0", "other": "1.0"}
    assert log.read_text() == "2.0\n"  # what was rendered by then: git's word of now counts
    bed.still()


# ---------------------------------------------------------------- the job itself


@on("slurm", "slurm-22.05")
def test_a_job_that_comes_to_nothing_goes_back(bed: Slurm) -> None:
    """With all that it carries; another job is tried at once. Also where it begins, and what it carries does not do."""
    bed.good("1.0")
    bed.settings = "prologue: export TURN=1"
    plain = bed.keys("tool")
    turn = "sh -c 'test $TURN != 3 && exec sleep 86399'"
    picky = bed.keys(command=turn, strategy="{rollback: true}", **bed.quickly)
    bed.commit({"web": bed.watched(), "other": plain, "picky": picky})
    bed.once()
    bed.world.idle()
    bed.settings, bed.policy = "prologue: 'echo no such module >&2; exit 3'", "policy: {sync: manual}"
    bed.commit()
    plan = bed.waits()  # meanwhile it is no proof of the new job that all is well in the old one
    bed.approve(plan)
    said = bed.once(code=1)
    assert "no such module" in said
    assert "did not start: the job ended as soon as it began; 1.0 is kept until a commit changes it" in said
    assert bed.running() == {"web": "1.0", "other": "1.0", "picky": "1.0"}
    bed.still()
    bed.settings, bed.policy = "prologue: export TURN=2", ""
    bed.commit()
    bed.once()
    bed.world.idle()
    script = bed.world.root / "config/slurm/job.sh"
    before = script.read_text()
    bed.settings = "prologue: export TURN=3"
    bed.commit(app="1.0")
    said = bed.once(code=1)
    assert "rolled-back: picky: 1.0" in said
    assert bed.running() == {"web": "1.0", "other": "1.0", "picky": "1.0"}
    assert script.read_text() == before
    bed.still()


# ---------------------------------------------------------------- what stands in its way


@on("supervisor")
def test_a_guard_refuses_the_way_back(bed: Bed) -> None:
    """It is told and asked again by each pass, and nothing ends before it is content."""
    bed.good("1.0")
    folder = bed.world.folder
    (folder / "let-1.0").touch()
    guard = f"{{let: {{command: 'test -e {folder}/let-$V'}}}}"
    bed.commit({"web": bed.watched(guard=guard), "other": bed.keys("tool")})
    bed.once()
    bed.commit(app="2.0")
    said = bed.once(code=1)
    assert "guard let: exit status 1" in said
    assert bed.running() == {"web": "2.0", "other": "1.0"}
    before = bed.snapshot()
    for _ in range(2):
        said = bed.once(code=1)
        assert "guard let: exit status 1" in said
        assert "1.0 waits to take its place" in said
        assert "1 rolled back" not in said
        assert bed.snapshot() == before
    (folder / "let-2.0").touch()
    assert "rolled-back: web: 2.0" in bed.once(code=1)
    assert bed.running() == {"web": "1.0", "other": "1.0"}
    bed.still()


@on("apptainer")
def test_a_drain_that_hangs_does_not_keep_what_failed(bed: Bed) -> None:
    bed.good("1.0")
    drain = "{command: 'test $V = 1.0 || sleep 86397', timeout: 1s}"
    bed.commit({"web": bed.watched(drain=drain)})
    bed.once()
    bed.commit(app="2.0")
    said = bed.once(code=1)
    assert "rolled-back: web: 2.0" in said
    assert "its drain took longer than 1 s and was ended" in said
    assert bed.running() == {"web": "1.0"}
    bed.still()


@on("apptainer")
def test_the_version_to_go_back_to_stays_where_none_is_kept(bed: Apptainer) -> None:
    bed.good("1.0", "1.5")
    bed.versions["tool"] = "7.0"  # a version that anything runs stays, whatever has it
    bed.component = "keep: 0"
    bed.commit({"web": bed.watched(), "other": bed.keys("tool")})
    bed.once()
    bed.commit(app="1.5")
    bed.once()
    bed.once()  # what ran when a pass began goes with the next one
    assert bed.images() == {"app-1.5.sif", "tool-7.0.sif"}
    bed.commit(app="2.0")
    assert "rolled-back: web: 2.0" in bed.once(code=1)
    assert bed.running() == {"web": "1.5", "other": "7.0"}
    bed.still()
    assert bed.images() == {"app-1.5.sif", "app-2.0.sif", "tool-7.0.sif"}
    bed.good("3.0")
    bed.commit(app="3.0")
    bed.once()
    bed.once()
    assert bed.images() == {"app-3.0.sif", "tool-7.0.sif"}
    bed.world.idle()


FEW = """
[unix_http_server]
file=%(here)s/s.sock
[supervisord]
logfile=%(here)s/supervisord.log
pidfile=%(here)s/supervisord.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:one]
command=%(here)s/prog one
[program:two]
command=%(here)s/prog two
"""


@pytest.mark.supervisor
def test_what_was_adopted_goes_back_to_what_was_adopted(short_folder: Path) -> None:
    """Under the launcher that git names, as with each change: its old program stays stopped."""
    hand, place = ByHand(short_folder / "h", FEW), Place(short_folder / "p")
    try:
        hand.start()
        place.adopt("supervisor", str(hand.conf))
        probe = f"test -e {short_folder}/good-{{{{ version }}}}"
        health = f"    health: {{exec: {{command: {json.dumps(probe)}}}, {TIMES}}}\n"
        text = place.layer.read_text()
        place.layer.write_text(text.replace("    component: one\n", f"    component: one\n{health}"))
        place.commit()
        (short_folder / "good-adopted").touch()
        first = hand.pids()
        for _ in range(2):
            assert place.deployment("--once")["steps"] == []
        assert hand.pids() == first
        place.bump(["one"], "2.0")
        (change,) = [c for c in place.deployment("--once", code=1)["changes"] if c["service"] == "one"]
        assert (change["rollout"], change["failed_version"]) == ("rolled-back", "2.0")
        assert hand.pids() == {"two": first["two"]}
        own = place.own_pids()
        assert place.deployment("--once", code=1)["steps"] == []
        assert (set(own), place.own_pids()) == ({"", "one"}, own)
        (running,) = [s for s in place.deployment("status", code=1)["services"] if s["service"] == "one"]
        assert (running["version"], running["healthy"]) == ("adopted", True)
    finally:
        place.end()
        hand.end()


# ---------------------------------------------------------------- replicas


@on("systemd", "apptainer")
def test_a_canary_that_fails_is_the_only_one_that_was_touched(bed: Bed) -> None:
    bed.good("1.0")
    web = bed.watched(replicas="3", strategy="{canary: true, max_unavailable: 2}")
    bed.commit({"web": web, "other": bed.keys("tool")})
    bed.once()
    grown(bed.world)
    before = bed.pids()
    bed.commit(app="2.0")
    planned = [step["id"] for step in bed.report("plan", code=2)["steps"]]
    steps = bed.report(code=1)["steps"]
    assert [step["id"] for step in steps] == planned
    assert next(step["status"] for step in steps if step["id"] == "restart:web-2") == "blocked"
    assert {name for name, pid in bed.pids().items() if before[name] != pid} == {"web-1"}
    assert set(bed.running().values()) == {"1.0"}
    bed.still()
    bed.good("3.0")
    bed.commit(app="3.0")
    steps = bed.report()["steps"]
    order = [step["id"] for step in steps]
    assert order.index("check:web-1:healthy") < order.index("restart:web-2")
    assert {version for name, version in bed.running().items() if name != "other"} == {"3.0"}
    bed.world.idle()
    bed.commit({"web": web.replace("replicas: 3", "replicas: 1"), "other": bed.keys("tool")})
    assert "git wants fewer replicas of web" in bed.once()
    assert set(bed.running()) == {"web-1", "other"}
    bed.world.idle()
