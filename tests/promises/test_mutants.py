"""`scripts/mutants` takes guards out by their text: each still stands where it is looked for. It runs shut in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends import sandbox
from tests.promises import mutants

_HARMFUL = """
import os, pytest
from pathlib import Path

def test_nothing_outside_can_be_harmed():
    outside = {outside!r}
    assert Path(outside).read_text() == "keep me"
    for harm in (
        lambda: os.unlink(outside),
        lambda: os.rename(outside, outside + ".gone"),
        lambda: os.chmod(outside, 0o777),
        lambda: Path(outside).write_text("x"),
        lambda: Path(outside + ".new").write_text("x"),
        lambda: os.rmdir(os.path.dirname(outside) + "/empty"),
    ):
        with pytest.raises(OSError, match="Read-only file system"):
            harm()
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert commands and not [one for one in commands if one.startswith(b"sleep")]
    Path("/tmp/inside").write_text("x")
    assert not os.path.exists({hidden!r})
    assert os.path.expanduser("~") == "/tmp/home"
"""


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder of this test's that is not below /tmp, which a sandbox has of its own."""
    folder = tempfile.mkdtemp(prefix="rc-", dir="/var/tmp")
    yield Path(folder)
    shutil.rmtree(folder)


def test_every_guard_stands_once() -> None:
    reconciler = sandbox.CHECKOUT / "reconciler"
    found = {str(one): (reconciler / one.file).read_text().count(one.code) for one in mutants.MUTANTS}
    assert {what: count for what, count in found.items() if count != 1} == {}


def test_what_it_runs_can_harm_nothing_outside(outside: Path, tmp_path: Path) -> None:
    """What it tries to harm is this test's own, in case that it can."""
    if why := sandbox.why_not(tmp_path / "tried"):
        pytest.skip(why)
    (outside / "file").write_text("keep me")
    (outside / "empty").mkdir()
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        with mutants.copy() as folder:
            harmful = folder / "copy/tests/promises/test_77_harmful.py"
            harmful.write_text(_HARMFUL.format(outside=str(outside / "file"), hidden=str(tmp_path)))
            code, said = mutants.run(folder, 77)
        assert (code, "1 passed" in said) == (0, True), said
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()
    assert sorted(os.listdir(outside)) == ["empty", "file"]
    assert (outside / "file").read_text() == "keep me"


@pytest.mark.parametrize("says", ["", "bwrap: No permissions to create new namespace"])
def test_without_a_sandbox_it_runs_nothing(tmp_path: Path, says: str) -> None:
    if says:
        (tmp_path / "bwrap").write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 1\n")
        (tmp_path / "bwrap").chmod(0o755)
    argv = [sys.executable, "-m", "tests.promises.mutants", "0"]
    env = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(argv, cwd=sandbox.CHECKOUT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("scripts/mutants: nothing is run, as it could remove what it should not: ")
    assert (says or "there is no bwrap") in done.stderr
    assert "install bubblewrap" in done.stderr
