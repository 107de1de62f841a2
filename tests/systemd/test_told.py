"""What systemctl does not tell is not known; names and folders that stand for others; files of a namesake."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.core.observed import Drift, State
from reconciler.launchers.base import BackendError
from reconciler.launchers.systemd.backend import SystemdBackend
from tests.systemd.deployment import service
from tests.systemd.host import Host

pytestmark = pytest.mark.systemd

UNIT = "rpc-dev.service"
REAL = '/usr/bin/systemctl "$@"'


@pytest.mark.parametrize(
    "answer",
    [
        "exit 0",
        "echo what",
        f"{REAL} | head -c 40",
        f"{REAL} | grep -v ^MainPID=",
        f"{REAL} | sed s/^MainPID=.*/MainPID=many/",
        f"{REAL} | grep -v ^ActiveState=",
        f"{REAL} | grep -v ^LoadState=",
        f"{REAL} | sed '/^Id=log-dev/,$d'",
    ],
)
def test_an_answer_that_is_not_whole_is_a_gap(host: Host, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    host.up(service("log"), service("rpc"))
    host.await_state(UNIT, State.RUNNING)
    fake = Path(host.root, "systemctl")
    fake.write_text(f"#!/bin/sh\n{answer}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{host.root}:/usr/bin:/bin")
    look = host.look()
    assert look.units == {}
    (gap,) = look.gaps
    assert gap[:2] == ("launcher", "systemd")
    assert "systemctl show did not tell " in gap.message
    with pytest.raises(BackendError, match="did not tell"):
        host.backend.units(["log-dev.service", UNIT])


def test_a_name_that_stands_for_another_unit_is_taken(host: Host) -> None:
    host.manager.write("theirs.service", f"[Service]\nExecStart=/bin/sleep 1000\n[Install]\nAlias={UNIT}\n")
    host.manager.systemctl("enable", "--now", "theirs.service")
    pid = int(host.manager.show("theirs.service", "MainPID")["MainPID"])
    rendering = host.render()
    address = tuple((key, UNIT if key == "wanted" else value) for key, value in rendering.manager.address)
    host.backend = SystemdBackend(
        rendering.manager._replace(address=address), 20.0, str(host.manager.runtime), str(host.linger)
    )
    look = host.look()
    assert (look.claimed, look.gaps) == ({}, ())
    assert {name: (unit.state, unit.pid) for name, unit in look.units.items()} == {
        ("systemd", UNIT): (State.RUNNING, pid)
    }
    assert (host.unit().state, host.unit().pid) == (State.RUNNING, pid)


def test_the_same_deployment_below_another_root_is_told_and_not_claimed(host: Host) -> None:
    """A second clone of one site: names of units are one space for an account, roots are not."""
    host.run()
    file = host.manager.units / UNIT
    file.write_text(file.read_text().replace(f"root={host.root}\n", "root=/elsewhere\n"))
    look = host.look()
    assert look.claimed == {}
    assert look.units["systemd", UNIT].state is State.RUNNING


def test_a_name_that_systemctl_refuses_blinds_nobody(host: Host) -> None:
    """Copied by hand, header and all; such a name is none of ours."""
    pid = host.run().pid
    text = (host.manager.units / UNIT).read_text()
    host.manager.write("rpc@.service", text.replace(f"unit={UNIT}", "unit=rpc@.service"))
    assert host.seen().pid == pid
    assert list(host.look().claimed) == [("systemd", UNIT)]


def test_a_drop_in_for_all_services_is_no_other_content(host: Host) -> None:
    """Such as a distribution's. The file's times say that it was put back: everything is compared."""
    folder = host.manager.units / "service.d"
    folder.mkdir()
    content = "[Service]\nEnvironment=ALL=1\nEnvironmentFile=-/etc/all\nExecStartPre=/bin/true\nTimeoutStopSec=33\n"
    (folder / "all.conf").write_text(content)
    host.run()
    file = host.manager.units / UNIT
    os.utime(file, (1e9, 1e9))
    host.manager.systemctl("daemon-reload")
    assert host.drift() == ()
    file.write_text(file.read_text().replace("LANG=C.UTF-8", "LANG=C"))
    os.utime(file, (1e9, 1e9))
    (drift,) = host.drift()
    assert (drift.restarts, "Environment" in drift.message) == (True, True)


def test_a_folder_that_systemd_does_not_read_is_told(host: Host) -> None:
    """HOME is another one than the manager's: nothing would start at boot, and what is there must not be cleaned."""
    host.run()
    host.manager.home = host.account.folder(host.manager.home.parent / "other")
    host.render(service("rpc"))
    with pytest.raises(BackendError, match=rf"{host.manager.home}/.config/systemd/user is none of the folders"):
        host.backend.reload()
    host.render(service("log"), service("rpc"))
    with pytest.raises(BackendError, match="is none of the folders"):
        host.backend.reload()


def test_a_folder_by_another_name_is_the_same(host: Host) -> None:
    """The home as systemd knows it may be a link to what this pass calls it."""
    link = host.manager.home.parent / "link"
    link.symlink_to(host.manager.home)
    host.run()
    drop_in = host.manager.units / f"{UNIT}.d"
    home, host.manager.home = host.manager.home, link
    host.render(service("rpc"))
    host.manager.systemctl("daemon-reload")
    assert host.drift() == ()
    drop_in.mkdir()
    (drop_in / "late.conf").write_text("[Service]\nEnvironment=LATE=1\n")
    host.manager.systemctl("daemon-reload")
    host.manager.home = home
    path = f"{link}/.config/systemd/user/{UNIT}.d/late.conf"
    assert host.drift() == (Drift(f"has the drop-in {path}", restarts=True),)
