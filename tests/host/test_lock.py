"""The lock of a pass against the real kernel, and where the file system refuses flock."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.host import lock as lock_module
from reconciler.host.lock import Holder, Lock, _boot, _record, _started

ROOT = Path(__file__).parents[2]
Flock = Callable[[int, int], None]

_HOLD = """
import errno, fcntl, subprocess, sys, time
from reconciler.host.lock import Lock
def refused(descriptor, operation):
    raise OSError(errno.ENOSYS, "not here")
lock = Lock(sys.argv[1], refused if sys.argv[2] == "numbered" else fcntl.flock)
print(lock.acquire(), flush=True)
if "child" in sys.argv:
    child = subprocess.Popen(["sleep", "60"], start_new_session=True, close_fds=False, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
time.sleep(60)
"""


def refused(descriptor: int, operation: int) -> None:
    """What Lustre without its flock option answers."""
    raise OSError(errno.ENOSYS, "not here")


WAYS = pytest.mark.parametrize("flock", [fcntl.flock, refused], ids=["flock", "numbered"])


@contextmanager
def holding(path: Path, flock: Flock, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that tries to take the lock and stays; with what `acquire` gave it."""
    way = "numbered" if flock is refused else "flock"
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), way, *words], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@WAYS
def test_one_at_a_time_and_the_holder_is_told(flock: Flock, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holding(path, flock) as (process, answer):
        assert answer == "None"
        holder = Lock(str(path), flock).acquire()
        assert holder is not None
        assert (holder.host, holder.pid) == (os.uname().nodename, process.pid)
        assert holder.started == _started(process.pid) > 0
        assert abs(holder.since - time.time()) < 120
        assert f"pid {process.pid} on " in str(holder)


@WAYS
def test_the_other_way_round(flock: Flock, tmp_path: Path) -> None:
    lock = Lock(str(tmp_path / "lock"), flock)
    assert lock.acquire() is None
    with holding(tmp_path / "lock", flock) as (_, answer):
        assert answer.startswith(f"pid {os.getpid()} on ")
    lock.release()
    with holding(tmp_path / "lock", flock) as (_, answer):
        assert answer == "None"


@WAYS
def test_it_is_given_back_and_taken_again(flock: Flock, tmp_path: Path) -> None:
    lock, other = Lock(str(tmp_path / "lock"), flock), Lock(str(tmp_path / "lock"), flock)
    for _ in range(5):
        assert lock.acquire() is None
        assert lock.held
        assert other.acquire() is not None
        with pytest.raises(RuntimeError):
            lock.acquire()
        lock.release()
        lock.release()
        assert other.acquire() is None
        other.release()
    assert len(os.listdir(tmp_path)) <= 2


@WAYS
def test_a_killed_holder_does_not_keep_it(flock: Flock, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holding(path, flock) as (process, _):
        process.send_signal(signal.SIGKILL)
        process.wait()
        lock = Lock(str(path), flock)
        assert lock.acquire() is None
        lock.release()


@WAYS
def test_a_killed_holder_that_nobody_has_reaped_does_not_keep_it(flock: Flock, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holding(path, flock) as (process, _):
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Lock(str(path), flock).acquire() is None


@WAYS
def test_a_child_that_lives_on_does_not_keep_it(flock: Flock, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holding(path, flock, "child") as (process, _):
        assert process.stdout
        child = int(process.stdout.readline())
        try:
            assert Lock(str(path), flock).acquire() is not None
            process.kill()
            process.wait()
            os.kill(child, 0)
            lock = Lock(str(path), flock)
            assert lock.acquire() is None
            lock.release()
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_forked_copy_does_not_keep_it_once_it_is_released(tmp_path: Path) -> None:
    """A fork without exec shares the descriptor; releasing takes the lock from both."""
    lock = Lock(str(tmp_path / "lock"))
    assert lock.acquire() is None
    child = os.fork()
    if not child:
        signal.pause()
        os._exit(0)
    try:
        lock.release()
        assert Lock(str(tmp_path / "lock")).acquire() is None
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize(
    "record", [b"", b"\xff\x00garbage", b"reconcile-lock host 12", b"reconcile-lock a b c d e .\n"]
)
def test_a_record_that_says_nothing(record: bytes, tmp_path: Path) -> None:
    """Left by a dead holder it does not matter; under a held lock the holder is unknown."""
    path = tmp_path / "lock"
    path.write_bytes(record)
    lock = Lock(str(path))
    assert lock.acquire() is None
    path.write_bytes(record)
    holder = Lock(str(path)).acquire()
    assert holder is not None
    assert str(holder) == "an unknown process"
    lock.release()


def test_a_living_holders_record_means_nothing_when_the_lock_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(_record(_me()))
    assert Lock(str(path)).acquire() is None


def test_a_file_that_was_replaced_guards_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    replaced = False

    def meanwhile(descriptor: int, operation: int) -> None:
        nonlocal replaced
        if not replaced:
            path.unlink()
            replaced = True
        fcntl.flock(descriptor, operation)

    lock = Lock(str(path), meanwhile)
    assert lock.acquire() is None
    assert path.exists()
    assert Lock(str(path)).acquire() is not None


def test_other_errors_are_not_hidden(tmp_path: Path) -> None:
    def broken(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, "disk")

    with pytest.raises(OSError, match="disk"):
        Lock(str(tmp_path / "lock"), broken).acquire()
    with pytest.raises(FileNotFoundError):
        Lock(str(tmp_path / "none" / "lock")).acquire()


# ---------------------------------------------------------------- numbered files


def _me() -> Holder:
    return Holder(os.uname().nodename, os.getpid(), _started(os.getpid()), time.time(), _boot())


@pytest.mark.parametrize(
    ("change", "free"),
    [
        ({}, False),
        ({"started": 1}, True),  # the pid was used again
        ({"pid": 2**22 + 1}, True),  # no such process
        ({"boot": "0000/" + _boot().partition("/")[2]}, True),  # before a reboot
        ({"pid": 2**22 + 1, "boot": _boot().partition("/")[0] + "/pid:[1]"}, False),  # in some container
        ({"pid": 2**22 + 1, "host": "elsewhere"}, False),  # nothing can be proven from here
        ({"pid": 2**22 + 1, "boot": "-"}, False),
    ],
)
def test_only_a_provably_dead_holder_is_passed_over(change: dict[str, object], free: bool, tmp_path: Path) -> None:
    holder = _me()._replace(**change)  # type: ignore[arg-type]
    (tmp_path / "lock.7").write_text(_record(holder))
    lock = Lock(str(tmp_path / "lock"), refused)
    answer = lock.acquire()
    assert (answer is None) == free
    if answer:
        assert answer.host == holder.host
        assert f"remove {tmp_path}/lock.7" in str(answer)
    lock.release()


def test_a_numbered_record_that_cannot_be_read_is_held(tmp_path: Path) -> None:
    (tmp_path / "lock.3").write_text("")
    assert Lock(str(tmp_path / "lock"), refused).acquire() is not None


def test_a_number_that_others_have_passed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between our look and our file, somebody has taken a higher number and cleared ours away."""
    holder, really = _me(), lock_module._make
    taken = tmp_path / "lock.9"

    def passed(path: str, text: str) -> bool:
        made = really(path, text)
        taken.write_text(_record(holder))
        os.unlink(path)
        return made

    monkeypatch.setattr(lock_module, "_make", passed)
    answer = Lock(str(tmp_path / "lock"), refused).acquire()
    assert answer
    assert answer.pid == holder.pid
    assert sorted(os.listdir(tmp_path)) == ["lock", "lock.9"]


@WAYS
def test_many_contenders_never_hold_it_together(flock: Flock, tmp_path: Path) -> None:
    """Each adds one to a number, slowly, while it holds the lock; some die while they hold it."""
    code = """
import errno, fcntl, os, sys, time, random
from reconciler.host.lock import Lock
def refused(descriptor, operation):
    raise OSError(errno.ENOSYS, "not here")
folder, way = sys.argv[1:]
lock = Lock(folder + "/lock", refused if way == "numbered" else fcntl.flock)
done = 0
while done < 15:
    if lock.acquire() is not None:
        time.sleep(random.random() / 500)
        continue
    os.mkdir(folder + "/inside")  # fails when another one is inside
    time.sleep(0.001)
    os.rmdir(folder + "/inside")
    done += 1
    if done == 15:
        os.kill(os.getpid(), 9)
    lock.release()
"""
    way = "numbered" if flock is refused else "flock"
    argv = [sys.executable, "-c", code, str(tmp_path), way]
    crowd = [subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    said = [process.communicate(timeout=120)[1] for process in crowd]
    assert said == [""] * 6
    assert [process.returncode for process in crowd] == [-signal.SIGKILL] * 6
