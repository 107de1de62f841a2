"""What has gone wrong in JAWS, where it did so under systemd; the other stories are in `test_went_wrong`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.backends.beds import a_journal, a_users_world  # noqa: F401
from tests.backends.manager import Manager
from tests.jaws.daemons import SERVICES, STAGING, Jaws, alive
from tests.scenarios.world import World, until

pytestmark = [pytest.mark.scenario, pytest.mark.systemd, pytest.mark.git]

RPC = "rpc-server-staging.service"
OLD, NEW = "task-logger-receive-staging.service", "task-log-staging.service"


class Dori(Jaws):
    """JAWS under a `systemd --user` of its own."""

    def __init__(self, world: World) -> None:
        self.manager: Manager = world.boot()
        super().__init__(world, "systemd")

    def unit(self, name: str) -> Path:
        return self.manager.units / name

    def main_pid(self, unit: str) -> int:
        return int(self.manager.show(unit, "MainPID")["MainPID"])

    def edit_unit(self, old: str, new: str) -> None:
        text = self.unit(RPC).read_text()
        assert old in text
        self.manager.write(RPC, text.replace(old, new))


@pytest.fixture(name="dori")
def a_dori(users_world: World) -> Dori:
    return Dori(users_world)


# ---------------------------------------------------------------- 1: a conf was edited and not applied


def test_01_a_unit_file_was_edited_and_not_applied(dori: Dori) -> None:
    """Whether systemd has read it or not, what runs is what ran before, and `is-active` says that all is well."""
    pids = dori.begin()
    dori.age()
    for reload in ("not yet", "done"):
        dori.edit_unit("Restart=always", "Restart=no")
        if reload == "done":
            dori.manager.systemctl("daemon-reload")
        assert dori.manager.systemctl("is-active", RPC) == "active\n"
        assert dori.main_pid(RPC) == pids["rpc-server"]
        dori.mends(f"{RPC} was edited by hand")
        assert dori.manager.show(RPC, "Restart", "NeedDaemonReload") == {"Restart": "always", "NeedDaemonReload": "no"}


def test_01_an_edited_unit_file_that_somebody_restarted(dori: Dori) -> None:
    dori.begin()
    dori.age()
    dori.edit_unit("ExecStart=", "ExecStart=/bin/sleep 86399\n#")
    dori.manager.systemctl("daemon-reload")
    dori.manager.systemctl("restart", RPC)
    until(lambda: Path(f"/proc/{dori.main_pid(RPC)}/comm").read_text() == "sleep\n")
    before = {unit: dori.main_pid(unit) for unit in (RPC, NEW)}
    dori.tells("! rpc-server", f"{RPC} was edited by hand", code=0)
    assert not alive(before[RPC])
    assert dori.main_pid(NEW) == before[NEW]
    assert dori.port("rpc-server") == "5672"
    dori.world.idle()


def test_01_an_older_unit_file_was_put_back(dori: Dori) -> None:
    """systemd compares times only: it goes by the edited file, and says that there is nothing to read."""
    dori.begin()
    dori.age()
    right, times = dori.unit(RPC).read_text(), dori.unit(RPC).stat()
    dori.edit_unit("Restart=always", "Restart=no")
    dori.manager.systemctl("daemon-reload")
    dori.manager.write(RPC, right)
    os.utime(dori.unit(RPC), ns=(times.st_atime_ns, times.st_mtime_ns))
    assert dori.manager.show(RPC, "Restart", "NeedDaemonReload") == {"Restart": "no", "NeedDaemonReload": "no"}
    dori.mends("is known to systemd with another Restart than its unit file has (mended; no restart)")
    assert dori.manager.show(RPC, "Restart") == {"Restart": "always"}


# ---------------------------------------------------------------- 3: a service was renamed


@pytest.mark.parametrize("lost", ["nothing", "all that was remembered"])
def test_03_a_service_was_renamed(lost: str, dori: Dori) -> None:
    dori.rename("task-log", "task-logger-receive")
    dori.world.once()
    old = dori.main_pid(OLD)
    dori.rename("task-logger-receive", "task-log")
    if lost != "nothing":
        shutil.rmtree(dori.world.state)
        shutil.rmtree(dori.file(".reconcile"))
    before = dori.world.pids()
    dori.tells("renamed from task-logger-receive" if lost == "nothing" else "git no longer has it", code=0)
    after = dori.world.pids()
    assert after.keys() == set(SERVICES)
    assert {name for name in after if after[name] != before.get(name)} == {"task-log"}
    gone(dori, old)
    dori.world.idle()


def gone(dori: Dori, old: int) -> None:
    """Nothing of the old name is left: no process, no unit, and none that would come back at boot."""
    assert not alive(old)
    for words in (("list-units",), ("list-units", "--state=failed"), ("list-unit-files",)):
        assert OLD not in dori.manager.systemctl(*words, "--no-legend")
    assert sorted({path.name for path in dori.manager.units.rglob("task-log*")}) == [NEW]
    assert dori.manager.systemctl("is-enabled", NEW) == "enabled\n"


@pytest.mark.parametrize("lost", ["nothing", "all that was remembered"])
def test_03_both_names_run_side_by_side(lost: str, dori: Dori) -> None:
    """As the documentation shows them: the new unit was made from the old one, and nobody stopped that."""
    dori.rename("task-log", "task-logger-receive")
    dori.world.once()
    text = dori.unit(OLD).read_text()
    for name in (OLD, "task-logger-receive"):
        text = text.replace(name, name.replace("task-logger-receive", "task-log"))
    dori.manager.write(NEW, text.replace("bin/task-log-staging", "bin/task-logger-receive-staging"))
    dori.manager.systemctl("daemon-reload")
    dori.manager.systemctl("enable", "--now", NEW)
    old = dori.main_pid(OLD)
    assert alive(old)
    assert alive(dori.main_pid(NEW))
    dori.rename("task-logger-receive", "task-log")
    if lost != "nothing":
        shutil.rmtree(dori.world.state)
        shutil.rmtree(dori.file(".reconcile"))
    before = dori.world.pids()
    dori.tells("- task-logger-receive 2.8.1 git no longer has it", "1 updated, 1 removed, 5 unchanged", code=0)
    after = dori.world.pids()
    assert after.keys() == set(SERVICES)
    assert {name for name in after if after[name] != before.get(name)} == {"task-log"}
    gone(dori, old)
    dori.world.idle()


def test_03_systemd_forgets_the_old_unit(dori: Dori) -> None:
    """As long as it is known, `start` starts it, and so does the target that wanted it."""
    dori.rename("task-log", "task-logger-receive")
    dori.world.once()
    dori.rename("task-logger-receive", "task-log")
    shutil.rmtree(dori.world.state)
    shutil.rmtree(dori.file(".reconcile"))
    dori.world.once()
    assert OLD not in dori.manager.systemctl("list-dependencies", "--plain", "default.target")
    until(lambda: dori.manager.show(OLD, "LoadState") == {"LoadState": "not-found"}, 2)


def test_03_the_new_name_is_taken_by_a_unit_of_somebody_else(dori: Dori) -> None:
    """One that the old scripts have made, say: it is told, and neither of the two is touched."""
    dori.rename("task-log", "task-logger-receive")
    dori.world.once()
    theirs = "[Service]\nExecStart=/bin/sleep 86399\n"
    dori.manager.write(NEW, theirs)
    dori.manager.systemctl("start", NEW)
    pid = dori.main_pid(NEW)
    dori.rename("task-logger-receive", "task-log")
    dori.refuses("its name is taken by a systemd unit that is not ours (set `name:` to another one)")
    assert (dori.main_pid(NEW), dori.unit(NEW).read_text()) == (pid, theirs)
    dori.manager.systemctl("stop", NEW)
    dori.unit(NEW).unlink()
    dori.manager.systemctl("daemon-reload")
    dori.tells("renamed from task-logger-receive", code=0)
    dori.world.idle()


# ---------------------------------------------------------------- 5: nothing ran after a reboot


def test_05_a_reboot(dori: Dori) -> None:
    """What is enabled comes back by itself; what somebody has disabled would not, and is told before that."""
    dori.begin()
    dori.manager.systemctl("disable", RPC)
    dori.mends("is not enabled: it would not start at boot (mended; no restart)")
    before = dori.world.pids()
    dori.world.power_cut()
    assert dori.world.pids() == {}
    lingers = f"`loginctl enable-linger {dori.world.account.name}` makes one run from boot to shutdown"
    dori.tells("? no `systemd --user` runs for", lingers, "6 blocked. Nothing can be done now.", code=1)
    dori.manager.boot()
    until(lambda: len(dori.world.live()) == len(SERVICES))
    after = dori.world.pids()
    assert (after.keys(), set(after.values()) & set(before.values())) == (before.keys(), set())
    dori.mends()


# ---------------------------------------------------------------- 6: a failed start was hidden


def test_06_a_start_that_failed_is_no_success(dori: Dori, journal: None) -> None:
    """systemctl says that it was started; the journal knows better, and so does the report."""
    dori.begin()
    wrong = "command: '{{ jaws_site }} --config x rpc-sever', systemd: {start_limit_burst: 1}"
    dori.world.commit({STAGING: f"services: {{rpc-server: {{{wrong}}}}}\n"})
    said = ("did not start: ", "Error: No such command 'rpc-sever'.", f"-> see journalctl --user -u {RPC}")
    dori.mends(*said, "1 step failed. 0 of 1", restarted=("rpc-server",), code=1)
    dori.mends(*said, code=1)
    assert dori.status()["rpc-server"]["healthy"] is False
    assert dori.world.run("status").code == 1
    dori.world.commit({STAGING: ""})
    dori.mends()
    assert dori.status()["rpc-server"]["healthy"] is True
