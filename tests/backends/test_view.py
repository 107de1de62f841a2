"""What root's tests can write, and what not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.backends.sandbox import CHECKOUT

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root's tests are shut in, as only root may remove all")
_SHUT_IN = [sys.executable, "-c", "from tests.backends import view; print(view.shut_in('nobody'))"]


def shut_in(*before: str) -> str:
    """What a process is told that wants to be shut in."""
    done = subprocess.run([*before, *_SHUT_IN], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_the_machine_is_read_only_to_this_very_test(tmp_path: Path) -> None:
    if why := shut_in():
        pytest.skip(why)
    (tmp_path / "file").write_text("x")
    for folder in ("/", "/etc", "/usr", "/opt", "/var/lib", os.path.expanduser("~")):
        with pytest.raises(OSError, match="Read-only file system"):
            os.rmdir(tempfile.mkdtemp(prefix="rc-", dir=folder))


def test_where_it_cannot_be_had_the_reason_is_told() -> None:
    assert shut_in("setpriv", "--bounding-set", "-sys_admin", "--") == "Operation not permitted"
