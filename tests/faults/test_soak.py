"""A short one of what `scripts/soak` does for 500 passes, and that nothing is left open where no more can be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.soak import soak

_SCARCE = """
import os, resource, sys
from reconciler.host import background, child
opened = lambda: len(os.listdir("/proc/self/fd"))
before = opened()
start = {"child": lambda: child.start(["true"], {}), "fed": lambda: child.start(["true"], {}, feed=True),
         "background": lambda: background.Background(["true"], {})}[sys.argv[1]]
for more in range(int(sys.argv[2])):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before - 1 + more, hard))
    try:
        start()
    except OSError as error:
        assert error.errno == 24, error
    else:
        raise AssertionError(f"{more} more were enough")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert opened() == before, (more, os.listdir("/proc/self/fd"))
"""


@pytest.mark.scenario
@pytest.mark.supervisor
@pytest.mark.git
@pytest.mark.slow
def test_a_short_soak(short_folder: Path) -> None:
    print(soak(short_folder / "w", passes=25, seed=3))


@pytest.mark.parametrize(("what", "needed"), [("child", 4), ("fed", 6), ("background", 2)])
def test_no_descriptor_stays_open_where_no_more_can_be(what: str, needed: int) -> None:
    argv = [sys.executable, "-c", _SCARCE, what, str(needed)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
