"""A real file system that is small, so that it can be filled to the last byte or inode. Only root can mount one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_FILLED = "filled"
_MOST = 3000  # inodes that are filled up


@contextmanager
def small_system(place: Path, options: str) -> Iterator[Path]:
    """A tmpfs at a folder that is made, until the end of the block."""
    place.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", options, "reconcile-tests", str(place)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def bytes_left(place: Path, left: int) -> None:
    """Fill it up to so many KiB."""
    with (place / _FILLED).open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    with suppress(OSError):
        os.truncate(place / _FILLED, max(0, (place / _FILLED).stat().st_size - left * 1024))


def inodes_left(place: Path, left: int) -> None:
    made = place / _FILLED
    made.mkdir()
    names = (made / str(number) for number in range(_MOST))
    with suppress(OSError):
        for name in names:
            name.touch()
    for number in range(left):
        (made / str(number)).unlink()


def room(place: Path) -> None:
    """What was filled is free."""
    subprocess.run(["rm", "-rf", str(place / _FILLED)], check=True)
