"""A call of `reconcile` that is a fork is the same as one that is a program executed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends import warm
from tests.backends.account import ordinary, python_for

RECONCILE = "-m", "reconciler"
_VALID = {"desired/defaults.yaml": "", "desired/environments/dev.yaml": "", "desired/sites/here.yaml": "vars: {a: b}\n"}


def test_it_says_what_a_program_says(tmp_path: Path) -> None:
    """Its words, its folder, its environment, both of its outputs, and its exit status."""
    for name, text in _VALID.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COLUMNS": "70"}
    for words in (["--version"], ["validate"], ["validate", "--json", "nowhere"], ["plan"], ["no-such-command"]):
        argv = [sys.executable, "-m", "reconciler", *words]
        real = subprocess.run(argv, env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert warm.run(argv, env=env, cwd=tmp_path) == (real.returncode, real.stdout, real.stderr), words


@pytest.mark.parametrize("code", ["print(1)", "1/0", "exit('no')", "exit(3)", "import os; os.kill(os.getpid(), 9)"])
def test_a_few_lines_end_as_they_do_elsewhere(code: str, tmp_path: Path) -> None:
    argv, env = [sys.executable, "-c", code, "word"], {"PATH": os.environ["PATH"]}
    real = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, check=False)
    done = warm.run(argv, env=env, cwd=tmp_path)
    last = [(said.splitlines() or [b""])[-1] for said in (real.stderr, done.err)]
    assert (done.code, done.out, last[1]) == (real.returncode, real.stdout, last[0])


def test_the_kernel_tells_its_words_and_its_environment(tmp_path: Path) -> None:
    code = "print(*(open(f'/proc/self/{name}').read() for name in ('cmdline', 'environ')), sep='\\n', end='')"
    env = {"WORD": "one two", "PATH": os.environ["PATH"]}
    argv = [sys.executable, "-c", code, "", "a b"]
    done = warm.run(argv, env=env, cwd=tmp_path)
    words, values = ("".join(f"{each}\0" for each in many) for many in (argv, [f"{n}={v}" for n, v in env.items()]))
    assert done == (0, f"{words}\n{values}".encode(), b"")


def test_it_is_who_it_should_be(short_folder: Path) -> None:
    account = ordinary()
    account.own(short_folder)
    home = account.folder(short_folder / "h")
    env = {"PATH": os.environ["PATH"], "HOME": str(home)}
    where = ["--state-dir", str(home / "s"), "--site", "here", "--repo", str(home)]
    words = ["pause", "--for", "1h", "--reason", "a test", *where]
    done = warm.run([python_for(account), *RECONCILE, *words], env=env, cwd=home, become=account.become)
    assert done.code == 0, done.err
    made = [home / "s", *(home / "s").rglob("*")]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(account.uid, account.gid)}


def test_one_that_takes_too_long_is_ended(short_folder: Path) -> None:
    """Here one that goes on for ever."""
    env = {"PATH": os.environ["PATH"], "HOME": str(short_folder)}
    words = ["--state-dir", str(short_folder / "s"), "--site", "here", "--repo", str(short_folder)]
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run([sys.executable, *RECONCILE, *words], env=env, cwd=short_folder, timeout=1)
    again = warm.run([sys.executable, *RECONCILE, "--once", *words], env=env, cwd=short_folder)
    assert again.code != 75, "it still holds the lock"


def test_what_only_an_executed_program_can_show_is_executed(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPROFILEIMPORTTIME": "1"}
    assert b"import time:" in warm.run([sys.executable, *RECONCILE, "--version"], env=env, cwd=tmp_path).err
