"""How systemd is reached and asked, and what is told where that fails."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from reconciler.core.observed import State
from reconciler.core.problem import Gap
from reconciler.host import run
from reconciler.launchers.base import BackendError, Log, Look, Outcome
from reconciler.launchers.systemd import LAUNCHER
from reconciler.launchers.systemd.backend import SystemdBackend
from reconciler.launchers.systemd.unit_file import word
from tests.systemd.deployment import instance, place, service
from tests.systemd.host import Host, until

systemd = pytest.mark.systemd

UNIT = "rpc-dev.service"
ACCOUNT = pwd.getpwuid(os.getuid()).pw_name


# ---------------------------------------------------------------- reaching it


def gap(host: Host) -> str:
    """What is told instead of units."""
    look = host.look()
    assert look.units == {}
    (found,) = look.gaps
    assert found[:2] == ("launcher", "systemd")
    return found.message


def test_without_a_runtime_folder_nothing_is_known(down: Host) -> None:
    rendering = down.render(service("rpc"))
    assert gap(down) == (
        f"no `systemd --user` runs for {ACCOUNT} ({down.manager.runtime}/systemd/private: {down.manager.runtime} does "
        f"not exist); `loginctl enable-linger {ACCOUNT}` makes one run from boot to shutdown, also without a login"
    )
    assert down.look().claimed == {("systemd", UNIT): str(down.file(rendering))}
    with pytest.raises(BackendError, match="enable-linger"):
        down.unit()
    with pytest.raises(BackendError, match="enable-linger"):
        down.backend.reload()


def test_without_a_manager_nothing_is_known(down: Host) -> None:
    down.render(service("rpc"))
    down.manager.runtime.mkdir()
    assert "systemd/private: is not there" in gap(down)


@systemd
def test_a_manager_that_has_died_is_no_absence(host: Host) -> None:
    """Its socket stays, and nobody listens."""
    host.run()
    host.manager.power_cut()
    (host.manager.runtime / "systemd").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(host.manager.runtime / "systemd/private"))
    assert gap(host).startswith(f"no `systemd --user` runs for {ACCOUNT} (Failed to connect to bus: ")
    with pytest.raises(BackendError, match=r"systemctl --user .*: no `systemd --user` runs"):
        host.backend.start([UNIT])


def test_without_systemctl_nothing_is_known(down: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    down.render(service("rpc"))
    (down.manager.runtime / "systemd").mkdir(parents=True)
    (down.manager.runtime / "systemd/private").touch()
    monkeypatch.setenv("PATH", str(down.root))
    assert gap(down) == "systemctl cannot be started: No such file or directory"
    with pytest.raises(BackendError, match="could not be started"):
        down.unit()


def test_an_answer_that_does_not_come_is_a_gap(down: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    rendering = down.render(service("rpc"))
    slow = down.root / "systemctl"
    slow.write_text("#!/bin/sh\necho waiting >&2; exec sleep 100\n")
    slow.chmod(0o755)
    (down.manager.runtime / "systemd").mkdir(parents=True)
    (down.manager.runtime / "systemd/private").touch()
    monkeypatch.setenv("PATH", f"{down.root}:/usr/bin:/bin")
    down.backend = SystemdBackend(rendering.manager, 0.2, str(down.manager.runtime), str(down.linger))
    assert gap(down) == "systemctl did not answer in 0.2 s: waiting"


@systemd
@pytest.mark.parametrize("given", ["", "/nowhere"])
def test_cron_has_no_runtime_folder_to_tell(host: Host, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """And a terminal that was left open for long has one that is gone."""
    if given:
        monkeypatch.setenv("XDG_RUNTIME_DIR", given)
    host.run()
    assert host.seen().state is State.RUNNING


@systemd
def test_another_runtime_folder_that_a_terminal_tells(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    rendering = host.render(service("rpc"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(host.manager.runtime))
    host.backend = SystemdBackend(rendering.manager, 20, f"{host.root}/nowhere", str(host.linger))
    assert host.seen().state is State.STOPPED


# ---------------------------------------------------------------- lingering


def test_an_account_that_does_not_linger_is_told(down: Host) -> None:
    down.render(service("rpc"))
    down.linger.mkdir()
    (warning,) = down.look().warnings
    assert f"run `loginctl enable-linger {ACCOUNT}`" in warning
    (down.linger / ACCOUNT).touch()
    assert down.look().warnings == ()


def test_a_host_without_lingering_is_not_told_of_it(down: Host) -> None:
    down.render(service("rpc"))
    assert down.look().warnings == ()


def test_the_system_manager_does_not_linger(down: Host) -> None:
    down.linger.mkdir()
    address = LAUNCHER.render(place(down.root, {"scope": "system"}), [service("rpc")]).manager
    backend = SystemdBackend(address, 5, str(down.manager.runtime), str(down.linger))
    look = backend.answer({})
    assert look.warnings == ()
    assert backend.log(UNIT) == Log(command=("journalctl", "--system", "-u", UNIT))


# ---------------------------------------------------------------- asking


@systemd
def test_a_look_starts_one_process(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run("rpc")
    both = (service("rpc", options={"start_seconds": 0}), service("log", options={"start_seconds": 0}))
    host.up(*both)
    host.await_state("log-dev.service", State.RUNNING)
    until(lambda: len(host.processes()) == 2)
    started: list[list[str]] = []
    spawn = os.posix_spawnp

    def counted(program: str, argv: list[str], *rest: object, **more: object) -> int:
        started.append(argv)
        return spawn(program, argv, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "posix_spawnp", counted)
    monkeypatch.setattr(run, "run", None)
    assert {unit.state for unit in host.look().units.values()} == {State.RUNNING}
    assert [argv[argv.index("--") + 1 :] for argv in started] == [["log-dev.service", UNIT]]


@systemd
def test_it_is_asked_before_the_answer_is_wanted(host: Host) -> None:
    host.run()
    host.backend.ask()
    assert host.backend.answer({}).units["systemd", UNIT].state is State.RUNNING
    host.backend.ask()
    host.backend.close()
    assert host.backend.answer({}).units["systemd", UNIT].state is State.RUNNING


def test_nothing_to_ask_for_is_no_question(down: Host) -> None:
    """Not even of a manager that is not there: an account that has nothing under systemd needs none."""
    look = down.look()
    assert look == Look()


@systemd
def test_links_and_other_files_are_not_claimed(host: Host) -> None:
    rendering = host.render(service("rpc"))
    units = host.manager.units
    (units / "link.service").symlink_to(host.file(rendering))
    shutil.copy(host.file(rendering), units / "copy.service")
    shutil.copy(host.file(rendering), units / ".hidden.service")
    shutil.copy(host.file(rendering), units / f"{UNIT}.bak")
    assert list(host.look().claimed) == [("systemd", UNIT)]


def test_a_folder_that_cannot_be_listed_is_a_gap(down: Host) -> None:
    shutil.rmtree(down.manager.units)
    down.manager.units.symlink_to(down.manager.units)
    (found, *_) = down.look().gaps
    assert found == Gap(
        "launcher", "systemd", f"{down.manager.units} cannot be listed: Too many levels of symbolic links"
    )


# ---------------------------------------------------------------- driving


@systemd
def test_each_unit_has_its_own_error(host: Host) -> None:
    host.up(service("rpc", options={"start_seconds": 0}))
    unknown = ["one.service", "two.service"]
    errors = {outcome.unit: outcome.error for outcome in host.backend.start(["one.service", UNIT, "two.service"])}
    assert errors == {UNIT: ""} | {name: f"Failed to start {name}: Unit {name} not found." for name in unknown}
    errors = {outcome.unit: outcome.error for outcome in host.backend.add(["one.service", UNIT])}
    assert errors == {UNIT: "", "one.service": "Failed to enable unit: Unit file one.service does not exist."}


@systemd
def test_what_is_gone_already_is_stopped_and_removed(host: Host) -> None:
    host.run()
    (host.manager.units / UNIT).unlink()
    assert list(host.backend.stop([UNIT, "one.service"])) == [Outcome(UNIT), Outcome("one.service")]
    host.await_state(UNIT, State.ABSENT)
    assert list(host.backend.remove([UNIT, "one.service"])) == [Outcome(UNIT), Outcome("one.service")]
    assert not os.path.lexists(host.manager.units / f"default.target.wants/{UNIT}")


@systemd
@pytest.mark.parametrize("root", ["a b", "a%h %%", "a$HOME ${HOME}", "a;#b", "ä\u2028ß", "x" * 200])
def test_a_path_is_read_as_it_is(short_folder: Path, root: str) -> None:
    """By systemd, and by the shell of the shim."""
    host = Host(short_folder, root=root)
    try:
        host.manager.boot()
        unit = host.run()
        process = until(lambda: host.processes().get(unit.pid))
        assert process.mark
        assert process.mark.root == str(host.root)
        assert os.readlink(f"/proc/{unit.pid}/cwd") == str(host.root)
        os.utime(host.manager.units / UNIT, (1e9, 1e9))
        host.manager.systemctl("daemon-reload")
        assert host.drift() == ()
    finally:
        host.end()


@systemd
def test_words_are_quoted_as_systemd_reads_them(host: Host) -> None:
    values = ["a b", 'a"b', "a'b", "a\\b", "%h%%", "$HOME", "", "ä", "a\\", '"', "\\n", "#", ";"]
    text = " ".join(word(f"V{number}={value}") for number, value in enumerate(values))
    host.manager.write("x.service", f"[Service]\nType=oneshot\nEnvironment={text}\nExecStart=/usr/bin/env -0\n"
                       f"StandardOutput=file:{host.root}/out\n")  # fmt: skip
    host.manager.systemctl("start", "x.service")
    printed = dict(entry.partition("=")[::2] for entry in (host.root / "out").read_text().split("\0"))
    assert [printed[f"V{number}"] for number in range(len(values))] == values


# ---------------------------------------------------------------- its log


def test_where_a_unit_writes_to(down: Host) -> None:
    down.render(service("rpc"), instance("db", "/srv/db.sif"))
    assert down.backend.log(UNIT) == Log(command=("journalctl", "--user", "-u", UNIT))
    folder = f"/home/jaws/.apptainer/instances/logs/{os.uname().nodename}/{ACCOUNT}"
    assert down.backend.log("db-dev.service") == Log(
        files=(f"{folder}/db-dev.out", f"{folder}/db-dev.err"),
        command=("journalctl", "--user", "-u", "db-dev.service"),
    )


@systemd
def test_what_a_unit_writes_is_found_there(host: Host, journal: None) -> None:
    host.run(command="sh -c 'echo hello; exec sleep 1000'")
    until(lambda: "hello" in host.manager.journal(UNIT))
    argv = list(host.backend.log(UNIT).command)
    assert subprocess.run([*argv, "--no-pager", "-n1"], check=False, capture_output=True, timeout=20).returncode == 0
