"""Hand changes around a unit, as a real systemd shows them, and that adding the unit anew mends them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from reconciler.core.observed import Drift, State
from reconciler.launchers.base import BackendError, Outcome
from reconciler.launchers.systemd.control import Control
from tests.systemd.deployment import service
from tests.systemd.host import Host, until

pytestmark = pytest.mark.systemd

UNIT = "rpc-dev.service"


def path(host: Host) -> Path:
    return host.manager.units / UNIT


def mended(host: Host) -> tuple[Drift, ...]:
    assert list(host.backend.add([UNIT])) == [Outcome(UNIT)]
    return host.drift()


def write_older(file: Path, old: str, new: str) -> None:
    """As an editor that keeps what was there, and that is put back later."""
    shutil.copy2(file, f"{file}.bak")
    file.write_text(file.read_text().replace(old, new))
    later = file.stat().st_mtime + 5
    os.utime(file, (later, later))


def test_nothing_was_changed(host: Host) -> None:
    host.run()
    assert host.drift() == ()


def test_nothing_was_changed_about_a_unit_with_all_options(host: Host) -> None:
    options = {"start_seconds": 0, "umask": "027", "nice": 3, "limit_nofile": 512, "restart": "on-failure"}
    host.up(service("rpc", stop_signal="INT", stop_seconds=130, options=options))
    host.await_state(UNIT, State.RUNNING)
    os.utime(path(host), (1e9, 1e9))  # everything is compared
    host.manager.systemctl("daemon-reload")
    assert host.drift() == ()


@pytest.mark.parametrize("words", [("edit", "--runtime"), ("edit",), ("set-property",), ("set-property", "--runtime")])
def test_a_drop_in(host: Host, words: tuple[str, ...]) -> None:
    pid = host.run().pid
    if words[0] == "edit":
        folder = host.manager.runtime / "systemd/user" if "--runtime" in words else host.manager.units
        (folder / f"{UNIT}.d").mkdir(parents=True)
        (folder / f"{UNIT}.d/override.conf").write_text("[Service]\nEnvironment=LATE=1\n")
        host.manager.systemctl("daemon-reload")
    else:
        host.manager.systemctl(*words, UNIT, "CPUWeight=50")
    (drift,) = host.drift()
    assert drift.restarts
    assert drift.message.startswith(f"has the drop-in {host.manager.home if len(words) == 1 else host.manager.runtime}")
    dropped = Path(drift.message.removeprefix("has the drop-in "))
    assert mended(host) == ()
    assert (dropped.exists(), Path(f"{dropped}.orig").exists()) == (False, True)
    assert host.unit().pid == pid


def test_a_drop_in_that_systemd_has_not_read(host: Host) -> None:
    """It never becomes active, and nothing that was moved aside before is lost."""
    host.run()
    folder = host.manager.units / f"{UNIT}.d"
    folder.mkdir()
    (folder / "a.conf.orig").write_text("first")
    (folder / "a.conf").write_text("[Service]\nEnvironment=A=1\n")
    (drift,) = host.drift()
    assert drift == Drift(f"has {folder}/a.conf beside it, which systemd would read next")
    assert mended(host) == ()
    assert sorted(file.name for file in folder.iterdir()) == ["a.conf.orig", "a.conf.orig.1"]
    assert (folder / "a.conf.orig").read_text() == "first"


def test_drop_ins_for_many_are_not_of_this_unit(host: Host) -> None:
    folder = host.manager.units / "service.d"
    folder.mkdir()
    (folder / "all.conf").write_text("[Service]\nEnvironment=ALL=1\n")
    host.run()
    assert host.manager.show(UNIT, "DropInPaths")["DropInPaths"].endswith("service.d/all.conf")
    assert host.drift() == ()


def test_a_mask(host: Host) -> None:
    host.run()
    path(host).unlink()
    host.manager.systemctl("mask", UNIT)
    unit = host.seen()
    assert (unit.state, unit.drift[0]) == (State.RUNNING, Drift("is masked"))
    host.up(service("rpc", options={"start_seconds": 0}))
    assert host.drift() == ()


def test_a_mask_above(host: Host) -> None:
    """Where systemd looks before it looks into the folder of units."""
    host.run()
    folder = host.manager.runtime / "systemd/user.control"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNIT).symlink_to("/dev/null")
    host.manager.systemctl("daemon-reload")
    assert host.drift() == (Drift("is masked"),)
    assert mended(host) == ()
    assert not os.path.lexists(folder / UNIT)


@pytest.mark.parametrize("by_hand", [False, True])
def test_one_that_is_not_enabled(host: Host, by_hand: bool) -> None:
    host.run()
    if by_hand:
        (host.manager.units / f"default.target.wants/{UNIT}").unlink()
    else:
        host.manager.systemctl("disable", UNIT)
    assert host.drift() == (Drift("is not enabled: it would not start at boot"),)
    assert mended(host) == ()
    assert host.manager.show(UNIT, "UnitFileState")["UnitFileState"] == "enabled"


def test_a_file_that_systemd_has_not_read(host: Host) -> None:
    host.run()
    write_older(path(host), "Nice", "Nice")
    assert host.manager.show(UNIT, "NeedDaemonReload")["NeedDaemonReload"] == "yes"
    assert host.drift() == (Drift("has files that systemd has not read since they were changed"),)
    assert mended(host) == ()


@pytest.mark.parametrize(
    ("old", "new", "what", "restarts"),
    [
        ('/bin/rpc-dev"', '/bin/rpc-dev" extra', "ExecStart", True),
        ("LANG=C.UTF-8", "LANG=C", "Environment", True),
        ("[Install]", "[Service]\nExecStartPre=/bin/true\n[Install]", "ExecStartPre", True),
        ("TimeoutStopSec=5", "TimeoutStopSec=7", "TimeoutStopUSec", False),
        ("Restart=always", "Restart=no", "Restart", False),
        ("KillSignal=SIGTERM", "KillSignal=SIGINT", "KillSignal", False),
    ],
)
def test_an_older_file_that_was_put_back(host: Host, old: str, new: str, what: str, restarts: bool) -> None:
    """systemd looks at the time of modification alone, and says that it needs to read nothing."""
    host.run()
    write_older(path(host), old, new)
    host.manager.systemctl("daemon-reload")
    os.replace(f"{path(host)}.bak", path(host))
    back = path(host).stat().st_mtime - 5
    os.utime(path(host), (back, back))
    assert host.manager.show(UNIT, "NeedDaemonReload")["NeedDaemonReload"] == "no"
    message = f"is known to systemd with another {what} than its unit file has"
    assert host.drift() == (Drift(message, restarts=restarts),)
    assert mended(host) == ()


def test_a_file_that_was_edited_and_edited_back(host: Host) -> None:
    """The process may have been started by the edited one."""
    host.run()
    before = path(host).read_text()
    write_older(path(host), "LANG=C.UTF-8", "LANG=C")
    host.manager.systemctl("daemon-reload")
    path(host).write_text(before)
    later = path(host).stat().st_mtime + 9
    os.utime(path(host), (later, later))
    (drift,) = host.drift()
    assert (drift.restarts, "Environment" in drift.message) == (True, True)
    assert mended(host) == ()


def test_a_transient_unit_in_its_name(host: Host) -> None:
    host.render(service("rpc"))
    path(host).rename(f"{path(host)}.bak")
    host.manager.systemctl("daemon-reload")
    transient = host.manager.runtime / "systemd/transient"
    transient.mkdir(parents=True, exist_ok=True)
    (transient / UNIT).write_text("[Service]\nExecStart=/bin/sleep 1000\n")
    host.manager.systemctl("daemon-reload")
    host.manager.systemctl("start", UNIT)
    look = host.look()
    assert (look.claimed, look.units["systemd", UNIT].state) == ({}, State.RUNNING)
    path(host).with_suffix(".service.bak").rename(path(host))
    assert host.drift()[0] == Drift(f"is not started by its unit file but by {transient}/{UNIT}", restarts=True)


def test_another_deployments_unit_is_told_and_not_claimed(host: Host) -> None:
    """A name that git wants may be taken."""
    rendering = host.render(service("rpc"))
    file = host.file(rendering)
    file.write_text(file.read_text().replace("deployment=dori/dev", "deployment=dori/prod"))
    look = host.look()
    assert (look.claimed, look.units["systemd", UNIT].state) == ({}, State.STOPPED)
    file.write_text("[Service]\nExecStart=/bin/sleep 1000\n")
    look = host.look()
    assert (look.claimed, look.units["systemd", UNIT].state, look.units["systemd", UNIT].drift) == (
        {},
        State.STOPPED,
        (),
    )


def test_a_reload_that_did_not_happen(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd says that it has read everything, and has not (systemd#43001)."""
    host.run()
    write_older(path(host), "Nice", "Nice")
    monkeypatch.setattr(Control, "order", lambda *_: "")
    with pytest.raises(BackendError, match=f"has not: {UNIT}"):
        host.backend.reload()


def test_a_reload_that_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run()
    monkeypatch.setattr(Control, "order", lambda *_: "Failed to reload daemon: no")
    with pytest.raises(BackendError, match="could not read its unit files anew: Failed to reload"):
        host.backend.reload()


def test_a_new_unit_is_taken_up_beside_the_others(host: Host) -> None:
    pid = host.run().pid
    both = (service("rpc", options={"start_seconds": 0}), service("log", options={"start_seconds": 0}))
    host.up(*both)
    host.await_state("log-dev.service", State.RUNNING)
    assert host.unit().pid == pid
    until(lambda: len(host.processes()) == 2)
    assert {key: unit.drift for key, unit in host.look().units.items()} == {
        ("systemd", UNIT): (),
        ("systemd", "log-dev.service"): (),
    }
