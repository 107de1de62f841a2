"""`policy.windows` end to end: what a commit brings waits for its time, what breaks meanwhile is mended."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.scenarios.world import World, a_world

__all__ = ["a_world"]
pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]

OPEN, SHUT = 5 * 3600, -600  # seconds from now at which a deny window of two hours begins


def denied(begins: int, more: str = "") -> str:
    """The layer of everywhere, with a deny window that begins so many seconds from now."""
    at = time.gmtime(time.time() + begins)
    window = f'{{deny: "{at.tm_min} {at.tm_hour} * * *", for: 2h, zone: UTC{more}}}'
    return f"policy: {{windows: {{nights: {window}}}}}\n"


def policy(world: World, text: str) -> dict[str, str | bytes | None]:
    """It goes into a layer of its own, so that the others can be changed beside it."""
    return {f"desired/sites/{world.site}.dev.yaml": text}


def running(world: World) -> World:
    world.commit(world.services("web", "job", job="component: tool, command: sleep 86398"))
    world.once()
    return world


def marks(world: World) -> dict[str, str]:
    return {one.service: one.marks["RECONCILE_VERSION"] for one in world.live() if one.service}


def test_a_bump_waits_and_comes_when_the_window_opens(world: World) -> None:
    running(world)
    pids, files = world.pids(), world.files()
    world.commit(world.versions("2.0") | policy(world, denied(SHUT)))
    for _ in range(2):
        done = world.once(code=2)
        assert "held until" in done.out
        assert "UTC (policy.windows.nights)" in done.out
        assert (world.pids(), world.files()) == (pids, files)
    (deployment,) = world.once("--json", code=2).json()["deployments"]
    (change,) = [one for one in deployment["changes"] if one["kind"] != "keep"]
    assert (change["service"], change["kind"], change["held_by"]) == ("web", "blocked", "window")
    assert (deployment["converged"], deployment["steps"]) == (False, [])
    assert change["reasons"][0].startswith("version 1.0 -> 2.0")

    plan = world.run("plan")
    assert (plan.code, "1 is held by policy.windows" in plan.out) == (2, True), plan.said
    assert world.run("status").code == 2

    world.commit(policy(world, denied(OPEN)))
    world.once()
    assert marks(world) == {"web": "2.0", "job": "1.0"}
    assert world.pids()["job"] == pids["job"]
    world.idle()


def test_what_breaks_meanwhile_is_mended(world: World) -> None:
    running(world)
    world.commit(world.versions("2.0") | policy(world, denied(SHUT)))
    pids = world.pids()
    world.supervisorctl("stop", "web", "job")
    done = world.once("--json", code=2).json()["deployments"][0]
    assert [step["id"] for step in done["steps"] if step["action"] != "check"] == ["start:job", "start:web"]
    assert {step["status"] for step in done["steps"]} == {"done"}
    assert marks(world) == {"web": "1.0", "job": "1.0"}
    assert world.pids()[""] == pids[""]


def test_everything_comes_back_as_it_was_after_a_reboot(world: World) -> None:
    running(world)
    files = world.files()
    world.commit(world.versions("2.0", tool="2.0") | policy(world, denied(SHUT) + "supervisor: {minfds: 2048}\n"))
    assert "the configuration of supervisor itself changes" in world.once(code=2).out
    world.power_cut()
    world.once(code=2)
    assert marks(world) == {"web": "1.0", "job": "1.0"}
    assert world.files() == files
    pids = world.pids()
    world.once(code=2)
    assert world.pids() == pids
    world.commit(policy(world, denied(OPEN) + "supervisor: {minfds: 2048}\n"))
    world.once()
    assert marks(world) == {"web": "2.0", "job": "2.0"}
    world.idle()


def test_a_window_that_holds_all_leaves_a_stopped_service(world: World) -> None:
    running(world)
    world.commit(policy(world, denied(SHUT, ", holds: all")))
    world.supervisorctl("stop", "web")
    assert "held until" in world.once(code=1).out  # it is down
    assert set(world.pids()) == {"", "job"}
    world.commit(policy(world, denied(OPEN)))
    world.once()
    assert set(world.pids()) == {"", "job", "web"}


def test_an_override_does_not_wait(world: World) -> None:
    running(world)
    world.commit(world.versions("2.0") | policy(world, denied(SHUT)))
    assert "held until" not in world.run("plan", "--ignore-windows").out
    world.once("--ignore-windows")
    assert marks(world)["web"] == "2.0"
    world.idle()


def test_a_plan_that_was_saved_with_the_override_is_applied_with_it(world: World) -> None:
    running(world)
    world.commit(world.versions("2.0") | policy(world, denied(SHUT)))
    saved = str(world.folder / "plan")
    assert world.run("plan", "--ignore-windows", "--out", saved).code == 2
    assert world.run("apply", saved).code == 2  # without it, it is another plan
    assert marks(world)["web"] == "1.0"
    done = world.run("apply", "--ignore-windows", saved)
    assert (done.code, marks(world)["web"]) == (0, "2.0"), done.said


def test_a_first_pass_waits_for_an_allowed_time(world: World) -> None:
    allowed = denied(OPEN).replace("deny", "allow")
    world.commit(world.services("web") | policy(world, allowed))
    done = world.once(code=2)
    assert "held until" in done.out
    assert world.live() == []
    assert not (world.root / "config").exists()
    world.commit(policy(world, denied(SHUT).replace("deny", "allow")))
    world.once()
    assert set(world.pids()) == {"", "web"}


def test_a_removal_and_its_files_wait(world: World) -> None:
    running(world)
    files = world.files()
    world.commit(world.services("web") | policy(world, denied(SHUT)))
    world.once(code=2)
    assert set(world.pids()) == {"", "web", "job"}
    assert world.files() == files
    world.commit(policy(world, denied(OPEN)))
    world.once()
    assert set(world.pids()) == {"", "web"}
    assert "bin/job" not in world.files()
    world.idle()


def test_a_file_edited_by_hand_is_mended_meanwhile(world: World) -> None:
    running(world)
    world.commit(world.versions("1.0", tool="2.0") | policy(world, denied(SHUT)))
    path = world.root / "config/app.conf"
    path.write_text("mine\n")
    world.once(code=2)
    assert path.read_text().startswith("# for ")
    assert marks(world)["job"] == "1.0"


def test_a_killed_service_whose_new_version_waits_is_known_again(world: World) -> None:
    """Its process is another one by then: what it runs is read from itself."""
    running(world)
    world.commit(world.versions("2.0") | policy(world, denied(SHUT)))
    world.supervisorctl("stop", "web")
    world.once(code=2)
    os.kill(world.pids()["web"], signal.SIGKILL)
    world.commit(policy(world, denied(OPEN)))
    world.once()
    assert marks(world)["web"] == "2.0"


def test_no_slurm_to_ask_is_a_gap_that_holds(world: World) -> None:
    running(world)
    world.env["PATH"] = "/usr/bin:/bin"
    pids = world.pids()
    world.commit(world.versions("2.0") | policy(world, "policy: {windows: {mnt: {slurm_reservation: true}}}\n"))
    done = world.once(code=1)
    assert "cannot be told" in done.out
    assert "policy.windows.mnt" in done.out
    assert world.pids() == pids
