"""The demo, as a person runs it: it tells the whole story, and leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.demo.ending import carriers, end_all
from reconciler.demo.package import FROM_INDEX

pytestmark = [pytest.mark.supervisor, pytest.mark.git, pytest.mark.scenario, pytest.mark.slow]

DEMO = [sys.executable, "-m", "reconciler", "demo"]
NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}

NO_COMMITS = """\
#!/bin/sh
[ "$1" != commit ] || { echo "no commits today" >&2; exit 5; }
"""


class Told(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def folder(self) -> str:
        found = re.search(r"\S*/reconcile-demo-\w+", self.out)
        assert found, self.out + self.err
        return found[0]


@pytest.fixture
def place(short_folder: Path) -> Iterator[Path]:
    yield short_folder
    end_all(str(short_folder))


def environment(place: Path, more: dict[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(place), **(more or {})}


def run_demo(place: Path, *arguments: str, more: dict[str, str] | None = None) -> Told:
    done = subprocess.run(
        [*DEMO, *arguments], env=environment(place, more), capture_output=True, text=True, timeout=200, check=False
    )
    return Told(done.returncode, done.stdout, done.stderr)


@pytest.mark.network
def test_the_whole_story(place: Path) -> None:
    told = run_demo(place)
    assert told.code == 0, told.out + told.err
    assert [int(number) for number in re.findall(r"^(\d+)\. ", told.out, re.MULTILINE)] == list(range(1, 10))
    assert told.out.count(f"->  bottle {FROM_INDEX.before}\n") == 2
    assert told.out.count(f"->  bottle {FROM_INDEX.after}\n") == 2
    assert re.search(r"1 of \d+ deployments differ", told.out)
    pids = dict(re.findall(r"^  (\S+) +\S+ +\d+ +\d+ +(restarted|the same process)$", told.out, re.MULTILINE))
    assert pids == {
        "clock-local": "the same process",
        "clock-utc": "the same process",
        "web-1": "restarted",
        "web-2": "restarted",
    }
    assert "was stopped by hand" in told.out
    assert "4 unchanged. Nothing to do." in told.out
    assert_nothing_left(place, told)


def test_what_it_says_fits_80_columns(place: Path) -> None:
    told = run_demo(place, more=NO_INDEX)
    assert told.code == 0, told.out + told.err
    assert [line for line in told.out.splitlines() if len(line) > 80 and told.folder not in line] == []


def assert_nothing_left(place: Path, told: Told) -> None:
    assert f"and {told.folder} is removed." in " ".join(told.out.split())
    assert carriers(str(place)) == []
    assert os.listdir(place) == []


@pytest.mark.parametrize(
    ("number", "after"),
    [
        (signal.SIGINT, "1. A git repo"),
        (signal.SIGINT, "3. One pass"),
        (signal.SIGTERM, "The services themselves"),
        (signal.SIGHUP, "5. The next pass"),
    ],
)
def test_it_cleans_up_when_it_is_interrupted(place: Path, number: int, after: str) -> None:
    child = subprocess.Popen(
        DEMO,
        env=environment(place, NO_INDEX),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert child.stdout
    heard = []
    for line in child.stdout:
        heard.append(line)
        if after in line:
            break
    time.sleep(0.4)
    # as a terminal does it: Ctrl-C goes to the demo and to what it runs
    os.killpg(child.pid, number) if number == signal.SIGINT else os.kill(child.pid, number)
    rest, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert_nothing_left(place, Told(130, "".join(heard) + rest, ""))


def test_keep_says_how_to_look_at_it_and_how_to_end_it(place: Path) -> None:
    """Two at a time, as the one that was left running keeps its name."""
    told = run_demo(place, "--keep", more=NO_INDEX)
    assert told.code == 0, told.out + told.err
    assert "makes itself" in told.out
    assert "GET" in told.out
    assert "->  demo-web 1.1.0" in told.out
    other = run_demo(place, more=NO_INDEX)
    assert other.code == 0, other.out + other.err
    commands = re.findall(r"^  (\S.*)$", told.out.partition("It is left running")[2], re.MULTILINE)
    done = subprocess.run(
        ["/bin/sh", "-ec", "\n".join(commands)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"web-1 +running +1\.1\.0", done.stdout)
    assert not os.path.exists(told.folder)
    until = time.monotonic() + 5
    while carriers(told.folder) and time.monotonic() < until:
        time.sleep(0.05)
    assert carriers(told.folder) == []


def test_a_failure_is_told_and_cleaned_up(place: Path) -> None:
    """A git that refuses to commit stands for anything that goes wrong."""
    bin_ = place / "bin"
    bin_.mkdir()
    (bin_ / "git").write_text(NO_COMMITS)
    (bin_ / "git").chmod(0o755)
    told = run_demo(place, more={**NO_INDEX, "PATH": f"{bin_}:{os.environ['PATH']}"})
    assert told.code == 1
    assert "ended with exit status 5" in " ".join(told.out.split())
    assert "no commits today" in told.err
    assert carriers(told.folder) == []
    assert not os.path.exists(told.folder)
