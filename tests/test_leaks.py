"""The look for processes left behind can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LEAK = """
import os, subprocess
def test_leak(short_folder):
    env = {"RECONCILE_DEPLOYMENT": 'MARK', "RECONCILE_ROOT": str(short_folder), "PATH": os.environ["PATH"]}
    env = {name: value for name, value in env.items() if value}
    subprocess.Popen(["sleep", "5"], env=env, start_new_session=True)
"""


@pytest.mark.parametrize(("mark", "code"), [("site/dev", 1), ("", 0)])
def test_a_process_left_behind_fails_the_session(tmp_path: Path, mark: str, code: int) -> None:
    """A process of a deployment does, any other does not."""
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_leak.py").write_text(LEAK.replace("'MARK'", repr(mark)))
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "ignore::ResourceWarning",
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    env = os.environ | {"RECONCILE_TEST_INDEX": "not asked"}
    done = subprocess.run(
        [*argv, f"--rootdir={tmp_path}"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("processes left behind" in done.stdout) is bool(code)
    assert ("sleep 5" in done.stdout) is bool(code)
