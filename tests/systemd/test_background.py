"""Programs that run while other work is done."""

from __future__ import annotations

import os
from time import monotonic

import pytest

from reconciler.host.background import Background

ENV = {"PATH": "/usr/bin:/bin"}


def test_what_it_prints_is_read_later_however_much_it_is() -> None:
    """More than a pipe takes, before anybody reads."""
    program = Background(["sh", "-c", "head -c 3000000 /dev/zero; echo late >&2; exit 3"], ENV)
    ended = program.finish(monotonic() + 20)
    assert (ended.code, len(ended.out), ended.err, ended.late) == (3, 3_000_000, b"late\n", False)


def test_its_signal_is_told() -> None:
    assert Background(["sh", "-c", "kill -9 $$"], ENV).finish(monotonic() + 20).code == -9


def test_it_has_no_terminal_and_nothing_to_read() -> None:
    ended = Background(["sh", "-c", "cat; ps -o sid= -p $$ | tr -d ' '; echo $$"], ENV).finish(monotonic() + 20)
    session, pid = ended.out.split()
    assert session == pid


def test_what_takes_too_long_is_killed_with_its_children() -> None:
    program = Background(["sh", "-c", "sleep 1000 & echo $!; echo waiting >&2; wait"], ENV)
    began = monotonic()
    ended = program.finish(began + 0.3)
    assert (ended.late, ended.err) == (True, b"waiting\n")
    assert monotonic() - began < 5


def test_what_nobody_wants_to_know_any_more_is_killed() -> None:
    program = Background(["sleep", "1000"], ENV)
    pid = program._pid
    program.end()
    program.end()
    assert not os.path.exists(f"/proc/{pid}")


def test_a_program_that_is_not_there() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        Background(["no-such-program"], ENV)
    assert len(os.listdir("/proc/self/fd")) == before
