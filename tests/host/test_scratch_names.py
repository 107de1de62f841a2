"""The log of what was removed: every name, whole, before it goes, and in bounds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reconciler.core.cleanup import Cleaned, Kept
from reconciler.core.desired import Age, Cleanup
from reconciler.host.scratch.clean import clean, survey
from reconciler.host.scratch.names import LIMIT, Names, escaped, plain
from reconciler.host.scratch.walk import Entry, Task, name_of
from tests.host.small import bytes_left, room, small_system
from tests.host.trees import DAYS

ODD = ("a\nb", "a\\nb", "tab\there", "\udcff", "\x1b[31mred", "blank and ünïcode", "end\\")


def rule(root: Path, **more: object) -> Cleanup:
    return Cleanup("inputs", str(root), DAYS, min_depth=2, max_depth=2)._replace(**more)  # type: ignore[arg-type]


def old(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    os.utime(path, (0, 0))
    os.utime(path.parent, (0, 0))
    return path


def names(log: Path, of: Cleanup, **more: int) -> Names:
    return Names(str(log), "run-7", of.name, of.root, **more)


def cleaned(of: Cleanup, log: Path, **more: int) -> Cleaned:
    return clean(Task(of, Kept(of), time.time(), key="k", names=names(log, of, **more)))


def told(log: Path, word: str = "goes") -> list[str]:
    """The paths that were written down so."""
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    assert all((line[1], line[2]) == ("run-7", "cleanup.inputs") for line in lines)
    return sorted(plain(line[4].encode()) for line in lines if line[3] == word)


@pytest.mark.parametrize("age", Age)
def test_each_name_that_goes_is_written_down_whole(tmp_path: Path, age: Age) -> None:
    root = tmp_path / "root"
    tops = [*(f"ann/run-{number}" for number in range(250)), *(f"ann/{name}" for name in ODD)]
    for top in tops:
        old(root / top / "file")
    files = [f"bob/file-{number}" for number in range(250)]
    for file in files:
        old(root / file)
    (root / "ann/new").mkdir()
    done = cleaned(rule(root, age=age), tmp_path / "log")
    assert (done.top_count, done.failed) == (len(tops) + len(files), 0)
    assert told(tmp_path / "log") == sorted(f"{root}/{path}" for path in (*tops, *files))
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ODD)
def test_a_name_can_be_had_again_from_its_line(name: str) -> None:
    line = escaped(name)
    assert line.isprintable()
    assert plain(line.encode()) == name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file immutable")
def test_what_could_not_be_removed_is_told_to_stay(tmp_path: Path) -> None:
    root, log = tmp_path / "root", tmp_path / "log"
    for path in ("ann/run-1/file", "ann/run-2/file", "bob/file", "bob/kept"):
        old(root / path)
    stuck = [root / "ann/run-1/file", root / "bob/kept"]
    if subprocess.run(["chattr", "+i", *stuck], check=False, capture_output=True).returncode:
        pytest.skip("no file can be made immutable here")
    try:
        assert cleaned(rule(root), log).failed == 2
    finally:
        subprocess.run(["chattr", "-i", *stuck], check=True)
    assert told(log, "stays") == [f"{root}/ann/run-1", f"{root}/bob/kept"]
    assert len(told(log)) == 4


def test_it_grows_to_its_limit_and_one_before_it_is_kept(tmp_path: Path) -> None:
    root, log = tmp_path / "root", tmp_path / "log"
    paths = [f"ann/file-{number:03}" for number in range(200)]
    for path in paths:
        old(root / path)
    log.write_text("cut sho")
    of = rule(root)
    size = len(f"{root}/ann/file-000") + 60
    clean(Task(of, Kept(of), time.time(), names=names(log, of, limit=60 * size)), workers=1)
    before = tmp_path / "log.1"
    assert all(one.stat().st_size <= 60 * size for one in (log, before))
    lines = [line.split("\t")[-1] for one in (before, log) for line in one.read_text().splitlines()]
    assert len(lines) > 60
    assert len(set(lines)) == len(lines)
    assert LIMIT > 1 << 20


KILLED = """
import os, sys, time
from reconciler.core.cleanup import Kept
from reconciler.core.desired import Cleanup
from reconciler.host.scratch.clean import clean
from reconciler.host.scratch.names import Names
from reconciler.host.scratch.walk import Task
of = Cleanup("inputs", sys.argv[1], 14, min_depth=2, max_depth=2)
print(flush=True)
clean(Task(of, Kept(of), time.time(), key="k", names=Names(sys.argv[2], "run-7", of.name, of.root)))
"""


def test_of_a_killed_one_each_name_is_known_and_what_is_left_has_its_own(tmp_path: Path) -> None:
    root, log = tmp_path / "root", tmp_path / "log"
    tops = {f"ann/run-{number}" for number in range(300)}
    for top in tops:
        for number in range(60):
            old(root / top / f"f{number}")
    argv = [sys.executable, "-c", KILLED, str(root), str(log)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while len(list((root / "ann").iterdir())) > 290:
            assert process.poll() is None
        process.kill()
    left = {path.name for path in (root / "ann").iterdir()}
    begun = {name for name in left if name not in {os.path.basename(top) for top in tops}}
    gone = {f"{root}/{top}" for top in tops if os.path.basename(top) not in left}
    assert gone <= set(told(log))
    assert len(gone) > 9

    of = rule(root)
    seen: list[Entry] = []
    survey(Task(of, Kept(of), time.time(), key="k", names=names(log, of)), lambda one, _: seen.append(one))
    assert {entry.named for entry in seen if entry.begun} <= {os.path.relpath(path, root) for path in gone}
    assert len([entry for entry in seen if entry.begun]) == len(begun)
    done = cleaned(of, log)
    assert (done.failed, [top for top in done.tops if "reconcile-gone" in top]) == (0, [])
    assert set(told(log)) == {f"{root}/{top}" for top in tops}


def test_a_name_of_another_folder_with_the_same_inode_is_not_taken_for_it(tmp_path: Path) -> None:
    """Elsewhere there are the same numbers; and a number is used anew."""
    gone = name_of("k", 7)
    log = Names(str(tmp_path / "log"), "", "inputs", "/scratch")
    log.goes("ann/first", gone)
    log.goes("ann/run-1", gone)
    log.goes("bob/run-2", gone)
    Names(str(tmp_path / "log"), "", "other", "/other").goes("ann/run-3", gone)
    assert log.was(f"ann/{gone}") == "ann/run-1"
    assert log.was(f"bob/{gone}") == "bob/run-2"
    assert log.was(f"carl/{gone}") == ""
    assert log.was(f"ann/{name_of('k', 8)}") == ""


def test_where_nothing_can_be_written_it_goes_on_and_writes_when_there_is_room(tmp_path: Path) -> None:
    with small_system(tmp_path / "f", "size=2m,nr_inodes=300") as folder:
        root = folder / "scratch"
        for number in range(20):
            old(root / f"ann/run-{number:02}").write_bytes(bytes(8192))
            os.utime(root / f"ann/run-{number:02}", (0, 0))
        bytes_left(folder, 0)
        done = cleaned(rule(root), folder / "log")
        assert (done.top_count, done.failed) == (20, 0)
        assert told(folder / "log") == [f"{root}/ann/run-{number:02}" for number in range(20)]

        other = tmp_path / "root"
        old(other / "ann/run-1")
        bytes_left(folder, 0)
        (folder / "full").mkdir()
        done = cleaned(rule(other), folder / "full/log")
        assert (done.top_count, done.failed) == (1, 1)
        assert done.troubles[0].endswith("No space left on device")
        room(folder)
