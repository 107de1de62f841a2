"""Whether what stands for a process stands for one that has ended, with real processes, sockets and file systems."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import time

import pytest

from reconciler.host import dead, procfs

_LONG_AGO = 1e9  # seconds since the epoch


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def write(path: Path, text: str, when: float = 0.0) -> str:
    path.write_text(text)
    if when:
        os.utime(path, (when, when))
    return path.name


# ---------------------------------------------------------------- pid files


def test_a_pid_of_nobody(tmp_path: Path, folder: int, sleeper: subprocess.Popen[bytes]) -> None:
    path = tmp_path / "a.pid"
    assert not dead.pid_file(folder, write(path, f"{sleeper.pid}\n"))
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert dead.pid_file(folder, path.name)  # what is left of it waits to be collected
    sleeper.wait()
    assert dead.pid_file(folder, path.name)


def test_a_pid_that_was_used_again(tmp_path: Path, folder: int, sleeper: subprocess.Popen[bytes]) -> None:
    assert dead.pid_file(folder, write(tmp_path / "a.pid", f"{sleeper.pid}\n", _LONG_AGO))


@pytest.mark.parametrize("variable", ["RECONCILE_DEPLOYMENT=here/dev", ""])
def test_one_of_ours_is_alive_whatever_the_clocks_say(tmp_path: Path, folder: int, variable: str) -> None:
    """The clock may have been set between its start and now. `variable` empty: it hides its environment."""
    env = dict([variable.split("=")]) if variable else {}
    hide = "" if variable else "import ctypes; ctypes.CDLL(None).prctl(4, 0); "
    code = f"{hide}print('up', flush=True); import time; time.sleep(1000)"
    argv = [sys.executable, "-c", code]
    process = subprocess.Popen(argv, env={**os.environ, **env}, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        found = dead.pid_file(folder, write(tmp_path / "a.pid", str(process.pid), _LONG_AGO))
        assert found is (not variable and os.geteuid() == 0)  # nothing is hidden from root
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("text", ["", "\n", "12 13", "abc", "0", "1", "-5", "99999999999", "1e3", "x" * 200])
def test_what_is_no_pid_tells_nothing(tmp_path: Path, folder: int, text: str) -> None:
    assert not dead.pid_file(folder, write(tmp_path / "a.pid", text, _LONG_AGO))


def test_what_is_no_file_tells_nothing(tmp_path: Path, folder: int) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    assert not dead.pid_file(folder, "pipe")
    assert not dead.pid_file(folder, "folder")
    (tmp_path / "link").symlink_to(write(tmp_path / "a.pid", "4194304"))
    assert not dead.pid_file(folder, "link")


def test_a_note_of_a_stop_tells_the_very_process(tmp_path: Path, folder: int, sleeper: subprocess.Popen[bytes]) -> None:
    started = procfs.read_stat(sleeper.pid).started(procfs.boot())
    path = tmp_path / "a.stop"
    assert not dead.stop_note(folder, write(path, f"{sleeper.pid} {started} {time()}\n"))
    assert dead.stop_note(folder, write(path, f"{sleeper.pid} {started - 60} {time()}\n"))
    for text in ("", f"{sleeper.pid} {started - 60}", "a b c", "inf 1 1", f"{sleeper.pid}.0 1 1"):
        assert not dead.stop_note(folder, write(path, text)), text


# ---------------------------------------------------------------- sockets


def is_dead(path: Path, *, whole: bool = True) -> bool:
    with_folder = os.open(path.parent, os.O_RDONLY)
    try:
        return dead.socket_file(with_folder, path.name, dead.bound_as(str(path), whole=whole))
    finally:
        os.close(with_folder)


def test_a_socket_is_dead_when_nobody_has_it(short_folder: Path) -> None:
    path = short_folder / "a.sock"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        assert not is_dead(path)  # it is about to listen
        made.listen()
        assert not is_dead(path)
    assert is_dead(path)


def test_a_socket_that_was_given_its_name_later(short_folder: Path) -> None:
    """As supervisord does it: bound as PATH.PID, then linked."""
    path = short_folder / "a.sock"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{path}.123")
        os.link(f"{path}.123", path)
        assert not is_dead(path)
        assert not is_dead(short_folder / "a.sock.123", whole=False)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(f"{path}.12")
        assert is_dead(short_folder / "a.sock.12", whole=False)
    assert is_dead(path)


def test_a_socket_by_way_of_a_link(short_folder: Path) -> None:
    (short_folder / "real").mkdir()
    (short_folder / "way").symlink_to("real")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(short_folder / "real/a.sock"))
        assert not is_dead(short_folder / "way/a.sock")


def test_a_queue_that_is_full_and_other_kinds_are_alive(short_folder: Path) -> None:
    path = short_folder / "a.sock"
    with socket.socket(socket.AF_UNIX) as made, socket.socket(socket.AF_UNIX) as first:
        made.bind(str(path))
        made.listen(0)
        first.connect(str(path))
        assert not is_dead(path)
    (short_folder / "plain").touch()
    assert not is_dead(short_folder / "plain")


# ---------------------------------------------------------------- file systems


def test_file_systems_that_only_this_host_has(tmp_path: Path) -> None:
    assert dead.is_local(str(tmp_path))
    assert not dead.is_local("/proc")
    (tmp_path / "way").symlink_to("/proc/sys")
    assert not dead.is_local(str(tmp_path / "way"))


_MOUNTED = """
import os, subprocess, sys
from reconciler.host import dead
folder = sys.argv[1]
mount = lambda *words: subprocess.run(["mount", *words], check=True)
mount("--make-rprivate", "/")
mount("-t", "proc", "shared", f"{folder}/with blank")
assert dead.is_local(folder) and dead.is_local(f"{folder}/with blanks")
assert not dead.is_local(f"{folder}/with blank") and not dead.is_local(f"{folder}/with blank/sys")
mount("-t", "tmpfs", "ours", f"{folder}/with blank")
assert dead.is_local(f"{folder}/with blank")
print("good")
"""


def test_what_is_mounted_on_the_way_counts(tmp_path: Path) -> None:
    """By names with a blank too, and the last of several on one another."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    for name in ("with blank", "with blanks"):
        (tmp_path / name).mkdir()
    argv = ["unshare", "--mount", sys.executable, "-c", _MOUNTED, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr



def test_only_the_very_file_is_taken_away(tmp_path: Path, folder: int) -> None:
    path = tmp_path / "a.pid"
    write(path, "1")
    seen = path.lstat()
    os.replace(tmp_path / write(tmp_path / "b.pid", "2"), path)
    assert not dead.unlink(folder, "a.pid", seen)
    assert path.read_text() == "2"
    assert dead.unlink(folder, "a.pid", path.lstat())
    assert dead.unlink(folder, "a.pid", seen)  # gone is gone
    assert not path.exists()
