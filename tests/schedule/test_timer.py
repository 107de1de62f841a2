"""A schedule in a real `systemd --user`, through the command line."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backends.manager import Manager
from tests.launchers.test_cron import cron
from tests.scenarios.world import Done, World, until

pytestmark = [
    pytest.mark.scenario,
    pytest.mark.git,
    pytest.mark.systemd,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can mount"),
]


@pytest.fixture(name="manager")
def a_manager(users_world: World) -> Manager:
    """One that lingers, seen as from cron."""
    users_world.commit()
    return users_world.boot()


def schedule(world: World, *words: str, lingers: bool = True) -> Done:
    return cron(world, "schedule", *words, lingers=lingers)


def units(world: World) -> dict[str, bytes | str]:
    """All that lies where units do, links too."""
    folder = world.home / ".config/systemd/user"
    found = (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes() for path in found
    }


def name(world: World) -> str:
    return f"reconcile-{world.site}"


def test_it_is_installed_once_and_taken_away_whole(users_world: World, manager: Manager) -> None:
    manager.write("other.timer", "[Timer]\nOnCalendar=daily\n")
    before = units(users_world)
    done = schedule(users_world, "install")
    assert (done.code, "chosen: systemd can be used" in done.out) == (0, True), done.said
    timer = f"{name(users_world)}.timer"
    shown = manager.show(timer, "ActiveState", "UnitFileState", "AccuracyUSec")
    assert shown == {"ActiveState": "active", "UnitFileState": "enabled", "AccuracyUSec": "1s"}
    installed = units(users_world)
    assert set(installed) - set(before) == {timer, f"{name(users_world)}.service", f"timers.target.wants/{timer}"}
    assert schedule(users_world, "install").out.startswith("nothing to change: systemd, every 5m")
    assert units(users_world) == installed
    status = schedule(users_world, "status", "--json").json()
    assert (status["stands"], status["findings"], bool(status["next_run"])) == (True, [], True)
    for said in ("removed: systemd", "nothing to remove"):
        assert schedule(users_world, "remove").out == f"{said}\n"
        assert units(users_world) == before
    assert manager.show(timer, "LoadState") == {"LoadState": "not-found"}
    assert schedule(users_world, "status").code == 2


def test_systemd_has_nothing_against_the_units(users_world: World, manager: Manager) -> None:
    schedule(users_world, "install")
    paths = sorted(str(path) for path in manager.units.glob("reconcile-*"))
    argv = ["systemd-analyze", "verify", "--user", *paths]
    done = subprocess.run(argv, env=manager.env, capture_output=True, text=True, timeout=60, check=False)
    assert (len(paths), done.returncode) == (2, 0)
    assert [line for line in done.stderr.splitlines() if "reconcile-" in line] == []


def test_it_makes_passes_and_their_services_outlive_them(users_world: World, manager: Manager) -> None:
    users_world.commit(users_world.services("one"))
    assert schedule(users_world, "install", "--every", "1d").code == 0
    manager.systemctl("start", f"{name(users_world)}.service", code=None)
    until(lambda: "one" in users_world.pids())
    until(lambda: manager.show(f"{name(users_world)}.service", "ActiveState")["ActiveState"] != "activating")
    shown = manager.show(f"{name(users_world)}.service", "ActiveState", "Result")
    assert shown == {"ActiveState": "inactive", "Result": "success"}
    assert "one" in users_world.pids()


def test_a_boot_starts_it(users_world: World, manager: Manager) -> None:
    schedule(users_world, "install")
    users_world.power_cut()
    assert schedule_unseen(users_world)
    manager.boot()
    assert manager.show(f"{name(users_world)}.timer", "ActiveState") == {"ActiveState": "active"}
    assert schedule(users_world, "status").code == 0


def schedule_unseen(world: World) -> bool:
    """Without a manager it does not stand, and the reason is told."""
    done = world.run("schedule", "status")
    return done.code == 1 and "no `systemd --user` runs for" in done.out


def removed(world: World, _: Manager) -> str:
    (world.home / f".config/systemd/user/{name(world)}.timer").unlink()
    return "missing"


def edited(world: World, _: Manager) -> str:
    with (world.home / f".config/systemd/user/{name(world)}.service").open("a") as file:
        file.write("Nice=3\n")
    return "changed by hand"


def disabled(world: World, manager: Manager) -> str:
    manager.systemctl("disable", f"{name(world)}.timer")
    return "not enabled"


def masked(world: World, manager: Manager) -> str:
    (world.home / f".config/systemd/user/{name(world)}.timer").unlink()
    manager.systemctl("mask", f"{name(world)}.timer")
    return "masked"


def masked_until_reboot(world: World, manager: Manager) -> str:
    manager.systemctl("mask", "--runtime", f"{name(world)}.service")
    return "masked"


@pytest.mark.parametrize("happens", [removed, edited, disabled, masked, masked_until_reboot])
def test_what_happened_to_it_is_told_and_mended(
    happens: Callable[[World, Manager], str], users_world: World, manager: Manager
) -> None:
    schedule(users_world, "install")
    cron(users_world, "--once")
    before = units(users_world)
    trouble = happens(users_world, manager)
    status = schedule(users_world, "status", "--json")
    assert (status.code, {f["trouble"] for f in status.json()["findings"]}) == (1, {trouble}), status.said
    for words in ("plan", "status", "--once"):
        done = cron(users_world, words)
        assert (done.code, "the schedule does not stand any more" in done.out) == (0, True), done.said
    keep = f'policy: {{keep_schedule: true}}\nenvironments: [dev]\npaths: {{root: "{users_world.root}"}}\n'
    users_world.commit({f"desired/sites/{users_world.site}.yaml": keep})
    done = cron(users_world, "--once")
    assert (done.code, "it was mended" in done.out) == (0, True), done.said
    assert cron(users_world, "--once") == (0, "", "")
    assert (units(users_world), schedule(users_world, "status").code) == (before, 0)


def test_a_timer_that_was_only_stopped_is_for_status(users_world: World, manager: Manager) -> None:
    """No file tells it; systemctl does."""
    schedule(users_world, "install")
    manager.systemctl("stop", f"{name(users_world)}.timer")
    status = schedule(users_world, "status")
    assert (status.code, f"{name(users_world)}.timer is inactive" in status.out) == (1, True), status.said
    assert schedule(users_world, "install").code == 0
    assert schedule(users_world, "status").code == 0


def test_lingering_that_is_off_is_told_with_what_turns_it_on(users_world: World, manager: Manager) -> None:
    command = f"loginctl enable-linger {users_world.account.name}"
    done = schedule(users_world, "install", "--with", "systemd", lingers=False)
    assert (done.code, command in done.out) == (0, True), done.said
    cron(users_world, "--once")
    for words, code in ((("schedule", "status"), 1), (("--once",), 0), (("status",), 0)):
        done = cron(users_world, *words, lingers=False)
        assert (done.code, command in done.out) == (code, True), done.said
        assert command not in cron(users_world, *words).out
    done = schedule(users_world, "install", lingers=False)
    assert (done.code, command in done.out) == (0, True), done.said


def test_lingering_that_cannot_be_mended_is_told(users_world: World, manager: Manager) -> None:
    """Here no logind answers."""
    keep = f'policy: {{keep_schedule: true}}\nenvironments: [dev]\npaths: {{root: "{users_world.root}"}}\n'
    users_world.commit({f"desired/sites/{users_world.site}.yaml": keep})
    schedule(users_world, "install")
    done = cron(users_world, "--once", lingers=False)
    assert (done.code, "it could not be mended: loginctl enable-linger" in done.out) == (0, True), done.said


def test_a_drop_in_is_peoples_own(users_world: World, manager: Manager) -> None:
    """A proxy for git, say."""
    schedule(users_world, "install")
    manager.write(
        f"{name(users_world)}.service.d/proxy.conf", "[Service]\nEnvironment=https_proxy=http://127.0.0.1:1\n"
    )
    assert schedule(users_world, "status").code == 0
    assert schedule(users_world, "install").out.startswith("nothing to change")
    schedule(users_world, "remove")
    assert set(units(users_world)) == {f"{name(users_world)}.service.d/proxy.conf"}


def test_names_that_are_taken_stay_their_owners(users_world: World, manager: Manager) -> None:
    """Another agent of the same site, and a unit of somebody else's."""
    manager.write(f"{name(users_world)}.service", "[Service]\nExecStart=/bin/true\n")
    before = units(users_world)
    states = (users_world.state, users_world.folder / "s2")
    for users_world.state in states:
        assert schedule(users_world, "install").code == 0
    names = [path for path in units(users_world) if path.endswith(".timer") and "/" not in path]
    assert len(names) == 2
    assert f"{name(users_world)}.timer" not in names
    for users_world.state in states:
        assert schedule(users_world, "remove").code == 0
    assert units(users_world) == before


def test_what_is_not_noted_any_more_is_found(users_world: World, manager: Manager) -> None:
    schedule(users_world, "install")
    (users_world.state / users_world.site / "schedule.json").unlink()
    done = schedule(users_world, "status")
    assert (done.code, "nothing is noted of it, but systemd has" in done.out) == (1, True), done.said
    assert schedule(users_world, "remove").out == "removed: systemd\n"
    assert units(users_world) == {}


def test_odd_paths(users_world: World, manager: Manager) -> None:
    config = Path(users_world.folder) / "a $b %h \"c\" 'd'.yaml"
    config.write_text(f"repo: {users_world.url}\nsite: {users_world.site}\nstate_dir: {users_world.state}\n")
    users_world.commit(users_world.services("one"))
    assert schedule(users_world, "install", "--config", str(config)).code == 0
    manager.systemctl("start", f"{name(users_world)}.service")
    assert "one" in users_world.pids()
