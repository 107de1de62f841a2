"""Reading the end of files that grow and rotate, and of what programs print."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.agent.logs import tails
from reconciler.host.tail import CommandTail, FileTail, NotThereYet, TailError
from reconciler.launchers.base import Log as Place
from tests.backends.beds import a_journal, a_manager  # noqa: F401
from tests.backends.manager import Manager
from tests.scenarios.world import until


def last(path: Path, lines: int | None) -> bytes:
    tail = FileTail(str(path), lines)
    try:
        return b"".join(tail.last())
    finally:
        tail.close()


class Log:
    """A file and its tail, at its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"old\n")
        self.tail = FileTail(str(path), 0)
        assert list(self.tail.last()) == []

    def write(self, text: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(text)

    def rotate(self, keep: int = 5) -> None:
        """As supervisord does it."""
        for number in range(keep - 1, 0, -1):
            if (older := self.path.with_name(f"log.{number}")).exists():
                older.rename(self.path.with_name(f"log.{number + 1}"))
        self.path.rename(self.path.with_name("log.1"))

    def more(self) -> bytes:
        return b"".join(self.tail.more())


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path / "log")
    yield made
    made.tail.close()


# ---------------------------------------------------------------- the last lines


@pytest.mark.parametrize("text", [b"", b"\n", b"a", b"a\n", b"a\nb", b"a\n\nb\n", b"\n\n\n", b"x" * 70000 + b"\ny\n"])
@pytest.mark.parametrize("lines", [0, 1, 2, 3, 9])
def test_the_last_lines_are_those_of_tail(text: bytes, lines: int, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(text)
    expected = subprocess.run(["tail", "-n", str(lines), path], capture_output=True, check=True).stdout
    assert last(path, lines) == expected
    assert last(path, None) == text


@pytest.mark.parametrize("lines", [1, 13106, 13107, 13108, 20000, 50000])
def test_long_files_are_read_from_their_end(lines: int, tmp_path: Path) -> None:
    """Around the size of a block, 65536 bytes, of five to a line."""
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"%04d\n" % (number % 10000) for number in range(40000)))
    expected = subprocess.run(["tail", "-n", str(lines), path], capture_output=True, check=True).stdout
    assert last(path, lines) == expected


def test_rotated_files_go_before(tmp_path: Path) -> None:
    """A line that rotation has cut in two is whole again; a gap in the numbers ends it."""
    (tmp_path / "log.4").write_bytes(b"never\n")
    (tmp_path / "log.2").write_bytes(b"a\nb\n")
    (tmp_path / "log.1").write_bytes(b"c\nhalf a ")
    (tmp_path / "log").write_bytes(b"line\n")
    assert last(tmp_path / "log", None) == b"a\nb\nc\nhalf a line\n"
    assert last(tmp_path / "log", 4) == b"b\nc\nhalf a line\n"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    tail = FileTail(str(tmp_path / "log"), 5)
    with pytest.raises(NotThereYet, match="log is not there yet"):
        list(tail.last())
    assert list(tail.more()) == []
    (tmp_path / "log").write_bytes(b"here\n")
    assert list(tail.more()) == [b"here\n"]
    tail.close()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(TailError, match="cannot be read"):
            list(FileTail(str(path), 5).last())


# ---------------------------------------------------------------- what comes after


def test_what_is_added(log: Log) -> None:
    for text in (b"a\n", b"half", b" a line\n", b"", b"z" * 200000):
        log.write(text)
        assert log.more() == text


def test_rotation(log: Log) -> None:
    """The rest of the old file, then the new one; also where the new one is late."""
    log.write(b"a\n")
    log.rotate()
    assert log.more() == b"a\n"
    log.write(b"b\n")
    assert log.more() == b"b\n"
    log.write(b"c\n")
    log.rotate()
    log.write(b"d\n")
    assert log.more() == b"c\nd\n"


def test_many_rotations_between_two_looks(log: Log) -> None:
    for text in (b"a\n", b"b\n", b"c\n"):
        log.write(text)
        log.rotate()
    log.write(b"d\n")
    assert log.more() == b"a\nb\nc\nd\n"


def test_a_file_that_was_rotated_out_of_sight(log: Log) -> None:
    """What came in between is lost with it; nothing is told twice."""
    log.write(b"a\n")
    log.path.unlink()
    log.path.with_name("log.1").write_bytes(b"not seen\n")
    log.write(b"b\n")
    assert log.more() == b"a\nb\n"


def test_a_file_that_is_emptied(log: Log) -> None:
    os.truncate(log.path, 0)
    assert log.more() == b""
    log.write(b"new\n")
    assert log.more() == b"new\n"


@pytest.mark.parametrize("lines", [0, 1])
def test_a_file_that_is_emptied_and_grows_longer_than_it_was(lines: int, tmp_path: Path) -> None:
    """Between two looks, as when an instance starts anew: nothing of it is missed."""
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    tail = FileTail(str(path), lines)
    list(tail.last())
    for text in (b"begins anew\n", b"and once more, longer\n"):
        path.write_bytes(text)
        assert [list(tail.more()), list(tail.more())] == [[text], []]
    tail.close()


def test_a_file_that_becomes_unreadable_and_comes_back(log: Log) -> None:
    log.path.unlink()
    log.path.mkdir()
    for _ in range(2):
        with pytest.raises(TailError, match="Is a directory"):
            log.more()
    log.path.rmdir()
    log.write(b"back\n")
    assert log.more() == b"back\n"


def test_no_descriptor_is_left_open(log: Log) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        log.write(b"a\n")
        log.rotate()
        log.write(b"b\n")
        assert log.more() == b"a\nb\n"
        assert last(log.path, None).endswith(b"b\n")
    assert len(os.listdir("/proc/self/fd")) == before
    log.tail.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1


# ---------------------------------------------------------------- programs


def test_what_a_program_prints() -> None:
    tail = CommandTail(["sh", "-c", "echo note >&2; echo a; printf b"], follow=False)
    assert b"".join(tail.last()) == b"a\nb"
    assert (tail.notes(), tail.notes(), tail.over) == (b"note\n", b"", True)
    tail.close()


def test_a_program_that_fails() -> None:
    """What it printed is given all the same."""
    tail = CommandTail(["sh", "-c", "echo a; echo why >&2; exit 3"], follow=False)
    printed: list[bytes] = []
    with pytest.raises(TailError, match=r"^sh -c .*: exit status 3$"):
        printed += tail.last()
    assert (printed, tail.notes()) == ([b"a\n"], b"why\n")
    tail.close()


def test_a_program_that_is_not_there() -> None:
    tail = CommandTail(["no-such-journalctl", "--lines=1"], follow=True)
    with pytest.raises(TailError, match="no-such-journalctl --lines=1 cannot be run: it is not on PATH"):
        list(tail.last())
    assert (list(tail.more()), tail.notes(), tail.over) == ([], b"", True)
    tail.close()


def test_a_program_that_goes_on(tmp_path: Path) -> None:
    """Whole lines as they come, never waiting; it ends with us, and it is an error when it ends before."""
    os.mkfifo(tmp_path / "fifo")
    tail = CommandTail(["sh", "-c", f"echo a; printf half; read x <{tmp_path}/fifo; echo $x; exit 0"], follow=True)
    assert list(tail.last()) == []
    assert until(lambda: list(tail.more())) == [b"a\n"]
    (tmp_path / "fifo").write_text("done\n")
    printed: list[bytes] = []
    with pytest.raises(TailError, match="exit status 0"):
        until(lambda: printed.extend(tail.more()))
    assert printed == [b"halfdone\n"]
    assert (list(tail.more()), tail.over) == ([], True)
    tail.close()
    tail = CommandTail(["sleep", "86399"], follow=True)
    list(tail.last())
    child = tail._child
    assert child
    tail.close()
    assert not Path(f"/proc/{child.pid}").exists()


@pytest.mark.systemd
@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize(("lines", "expected"), [(2, [2, 3]), (None, [1, 2, 3]), (0, [])])
def test_the_journal_itself(lines: int | None, expected: list[int], manager: Manager) -> None:
    """The options that are added are those of the real journalctl."""
    unit = f"tail{os.getpid()}-{lines}.service"
    manager.write(unit, "[Service]\nExecStart=/bin/sh -c 'for n in 1 2 3; do echo line $n; done; exec sleep 86399'\n")
    manager.systemctl("start", unit)
    until(lambda: [line for line in manager.journal(unit) if line == "line 3"])
    place = Place(command=("journalctl", "--output=cat", f"_SYSTEMD_USER_UNIT={unit}", "_TRANSPORT=stdout"))
    for follow in (False, True):
        ((name, tail),) = tails(place, lines, follow=follow, bare=True)
        assert name == " ".join(place.command)
        printed = list(tail.last())
        while follow and len(printed) < len(expected):
            printed += until(lambda: list(tail.more()))  # noqa: B023
        tail.close()
        assert b"".join(printed).splitlines() == [f"line {number}".encode() for number in expected]


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, reconciler.host.tail; print('subprocess' in sys.modules, 'signal' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
