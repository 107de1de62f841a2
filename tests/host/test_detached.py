"""Programs that are started and left alone."""

from __future__ import annotations

import fcntl
import os
import pwd
import signal
from pathlib import Path
from time import monotonic, sleep

import pytest

from reconciler.host import detached

ENV = {"PATH": "/usr/bin:/bin"}


def code_of(pid: int) -> int:
    until = monotonic() + 20
    while (code := detached.ended(pid)) is None:
        assert monotonic() < until
        sleep(0.01)
    return code


def test_its_output_and_its_end(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_text("of an earlier one, which was longer")
    pid = detached.start(["/bin/sh", "-c", "echo one; echo two >&2; read x || exit 7"], ENV, str(output))
    assert code_of(pid) == 7
    assert (output.read_text(), output.stat().st_mode & 0o077) == ("one\ntwo\n", output.stat().st_mode & 0o077)


def test_a_new_output_is_closed_to_others(tmp_path: Path) -> None:
    assert code_of(detached.start(["/bin/true"], ENV, str(tmp_path / "out"))) == 0
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("umask", [0o077, 0])
def test_its_umask_is_not_that_of_whoever_started_us(tmp_path: Path, umask: int) -> None:
    """A terminal has one, and cron another."""
    before = os.umask(umask)
    try:
        pid = detached.start(["/bin/sh", "-c", "umask"], ENV, str(tmp_path / "out"))
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert code_of(pid) == 0
    assert (tmp_path / "out").read_text().strip() == "0022"


def test_one_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        detached.start([str(tmp_path / "none")], ENV, str(tmp_path / "out"))


def test_it_holds_nothing_of_whoever_started_us(tmp_path: Path) -> None:
    """As cron does it: flock FILE reconcile --once."""
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(lock, True)
    fcntl.flock(lock, fcntl.LOCK_EX)
    pid = detached.start(["/bin/sleep", "1000"], ENV, str(tmp_path / "out"))
    os.close(lock)
    again = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(again)
    detached.end([pid])


def test_the_deaf_are_killed_with_their_children(tmp_path: Path) -> None:
    output = tmp_path / "out"
    deaf = "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 0.05; done"
    pids = [detached.start(["/bin/sh", "-c", deaf], ENV, str(output)) for _ in range(2)]
    until = monotonic() + 10
    while not output.read_text():
        assert monotonic() < until
        sleep(0.01)
    began = monotonic()
    detached.end([*pids, detached.start(["/bin/sleep", "1000"], ENV, str(tmp_path / "other"))])
    assert monotonic() - began < 4
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, 0)
    while os.path.exists(f"/proc/{output.read_text().split()[0]}"):  # until init has collected it
        assert monotonic() < until
        sleep(0.01)


def test_a_signal_is_told(tmp_path: Path) -> None:
    pid = detached.start(["/bin/sleep", "1000"], ENV, str(tmp_path / "out"))
    os.kill(pid, signal.SIGUSR1)
    assert code_of(pid) == -signal.SIGUSR1


def test_an_account_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    assert detached.environment()["HOME"] == pwd.getpwuid(os.getuid()).pw_dir
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setenv("HOME", "/h")
    assert detached.environment()["HOME"] == "/h"
