"""A file system that is really full, out of inodes or read-only, below the state directory or below the root."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.host.lock import Lock
from tests.faults.bench import Bench
from tests.faults.strace import Ran
from tests.host.small import bytes_left, inodes_left, room, small_system

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git, pytest.mark.slow]

_OPTIONS = "size=128m,nr_inodes=2000,mode=0755"


@pytest.fixture
def small(short_folder: Path) -> Iterator[Path]:
    """A file system of 128 MiB and 2000 inodes: enough for what the preflight asks for, while it is empty."""
    with small_system(short_folder / "f", _OPTIONS) as place:
        yield place


@pytest.mark.parametrize("below", ["state", "root"])
@pytest.mark.parametrize(("fill", "ample"), [(bytes_left, 80 * 1024), (inodes_left, 900)])
def test_a_full_file_system(
    fill: Callable[[Path, int], None], ample: int, below: str, small: Path, short_folder: Path
) -> None:
    """From not a byte to as much as a pass needs: a bump fails at another place each time, until one goes well."""
    bench = Bench(short_folder / "w", **{below: small / "d"})
    try:
        codes = []
        for left in (0, 1, 4, 32, ample):
            bench.bump()
            before = bench.seen()
            fill(small, left)
            done = bench.world.run("--once")
            room(small)
            codes.append(done.code)
            said = done.out + done.err
            assert done.code == 0 or "No space left" in said or "too little room" in said, done.said
            bench.judge("bump", before, Ran(done.code, done.out, done.err, ""))
        assert (codes[0], codes[-1]) == (1, 0), codes
    finally:
        bench.end()


def test_a_numbered_lock_is_given_back(small: Path) -> None:
    """Where flock is refused, the lock is a file: it must not stay held by a loop that could not write `free`."""

    def refused(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "no flock here")

    one = Lock(str(small / "lock"), refused)
    assert one.acquire() is None
    bytes_left(small, 0)
    one.release()
    room(small)
    assert Lock(str(small / "lock"), refused).acquire() is None
    assert [path.name for path in small.iterdir() if path.name not in ("lock", "lock.2")] == []


@pytest.mark.parametrize("below", ["state", "root"])
def test_a_read_only_file_system(below: str, small: Path, short_folder: Path) -> None:
    bench = Bench(short_folder / "w", **{below: small / "d"})
    try:
        bench.bump()
        before = bench.seen()
        # over itself: what is open there already, such as logs, would keep it from being mounted anew
        subprocess.run(["mount", "--bind", str(small), str(small)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(small)], check=True)
        done = bench.world.run("--once")
        seen = bench.seen()
        subprocess.run(["umount", "--lazy", str(small)], check=True)
        assert (done.code, "Read-only" in done.out + done.err) == (1, True), done.said
        if below == "root":
            assert seen == before
        bench.judge("bump", before, Ran(done.code, done.out, done.err, ""))
    finally:
        bench.end()
