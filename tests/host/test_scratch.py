"""What the clean-up of scratch folders removes, held against `find` itself, and what it never touches."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR
from threading import Event, Thread
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reconciler.core.cleanup import Cleaned, Kept, Why
from reconciler.core.desired import Age, Cleanup, RootIs, Sort
from reconciler.core.retention import GONE
from reconciler.host.scratch import aside
from reconciler.host.scratch.clean import anything, clean, survey
from reconciler.host.scratch.root import RootError, open_root
from reconciler.host.scratch.used import in_use
from reconciler.host.scratch.walk import DEEPEST, Task, name_of
from tests.host.trees import DAYS, FOLDERS, LIMIT, Folder, build, listed, with_all_below

NOBODY = 65534  # no account's
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rule(root: Path, **more: object) -> Cleanup:
    return Cleanup("inputs", str(root), DAYS, min_depth=2)._replace(**more)  # type: ignore[arg-type]


def task(of: Cleanup, now: float, in_use: Sequence[str] = ()) -> Task:
    return Task(of, Kept(of, in_use), now)


def cleaned(of: Cleanup, now: float | None = None, in_use: Sequence[str] = (), workers: int = 4) -> Cleaned:
    return clean(task(of, time.time() if now is None else now, in_use), workers=workers)


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rc-scratch-") as folder:
        yield Path(folder)


def made(place: Path, plan: Folder, now: float) -> Path:
    shutil.rmtree(place)
    (place / "outside").mkdir(parents=True)
    build(os.fsencode(place / "root"), plan, now, place / "outside")
    return place / "root"


# ---------------------------------------------------------------- what goes


class Words(NamedTuple):
    """What a rule says of depth and type."""

    least: int
    more: int | None  # how much deeper entries may lie; None: any
    sort: Sort

    def rule(self, root: Path, **more: object) -> Cleanup:
        most = 0 if self.more is None else self.least + self.more
        return rule(root, min_depth=self.least, max_depth=most, sort=self.sort, **more)

    @property
    def find(self) -> list[str]:
        most = [] if self.more is None else ["-maxdepth", str(self.least + self.more)]
        return ["-mindepth", str(self.least), *most, *([] if self.sort is Sort.ANY else ["-type", self.sort.value])]


WORDS = st.builds(Words, st.integers(1, 3), st.none() | st.integers(0, 2), st.sampled_from(Sort))


@SLOW
@given(plan=FOLDERS, words=WORDS, workers=st.integers(1, 3))
def test_by_its_own_date_what_goes_is_what_find_finds(place: Path, plan: Folder, words: Words, workers: int) -> None:
    now = time.time()
    root = made(place, plan, now)
    outside = listed(place / "outside")
    before = listed(root)
    argv = ["find", str(root), *words.find, "-mtime", f"+{DAYS}", "-print0"]
    printed = subprocess.run(argv, capture_output=True, check=True).stdout
    assume(time.time() - now < 0.9)  # else a second has passed for `find` that has not for us
    found = {os.path.relpath(path, os.fsencode(root)) for path in printed.split(b"\0") if path}

    of = words.rule(root)
    expected = with_all_below(before, found)
    assert anything(task(of, now)) is bool(expected)
    figures, _ = survey(task(of, now))
    assert figures.entries == len(expected)
    done = cleaned(of, now, workers=workers)
    assert listed(root) == before - expected
    assert (done.entries, done.failed, done.stopped) == (len(expected), 0, False)
    assert listed(place / "outside") == outside


def newer(root: Path, before: set[bytes], now: float) -> set[bytes]:
    """Everything that is no folder and not old, with all folders above it."""
    found = set()
    for path in before:
        info = os.lstat(os.path.join(os.fsencode(root), path))
        if not S_ISDIR(info.st_mode) and info.st_mtime > now - LIMIT:
            found |= {path, *above(path)}
    return found


def above(path: bytes) -> Iterator[bytes]:
    while path := os.path.dirname(path):
        yield path


@SLOW
@given(plan=FOLDERS, words=WORDS)
def test_by_the_newest_file_no_folder_goes_that_holds_a_newer_one(place: Path, plan: Folder, words: Words) -> None:
    now = time.time()
    root = made(place, plan, now)
    before = listed(root)
    kept = newer(root, before, now)
    of = words.rule(root, age=Age.NEWEST)
    figures, _ = survey(task(of, now))
    done = cleaned(of, now)
    left = listed(root)
    assert kept <= left
    assert (done.entries, done.failed) == (len(before) - len(left), 0)
    assert figures.entries == done.entries
    assert cleaned(of, now).entries == 0  # nothing goes that a second look finds


def old(path: Path, content: str | None = None, age: float = 40 * 86400) -> Path:
    """An entry that is old; a folder where there is no content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.mkdir(exist_ok=True)
    else:
        path.write_text(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def paths(root: Path) -> list[str]:
    return sorted(map(os.fsdecode, listed(root)))


def test_what_is_excluded_or_in_use_stays_with_what_holds_it(place: Path) -> None:
    for name in ("a/run-1/log", "a/run-2/log", "a/run-3/deep/run-9/log", "a/x.keep", "b/run-4/log", "b/loose"):
        old(place / name, "x")
    for name in ("a/run-3/deep/run-9", "a/run-3/deep", "a/run-1", "a/run-2", "a/run-3", "b/run-4"):
        old(place / name)
    of = rule(place, exclude=("*.keep", "b/loo*"))
    lines = ["run-1", "run-9", f"{place}/b/run-4", "/elsewhere/a/run-2", "", "nothing-of-the-kind"]
    done = cleaned(of, in_use=lines)
    assert paths(place) == [
        "a", "a/run-1", "a/run-1/log", "a/run-3", "a/run-3/deep", "a/run-3/deep/run-9", "a/run-3/deep/run-9/log",
        "a/x.keep", "b", "b/loose", "b/run-4", "b/run-4/log",
    ]  # fmt: skip
    assert done.entries == 2


def test_it_stays_in_use_whatever_way_a_line_names_it(place: Path) -> None:
    """A root by way of a link, paths where that leads to, another link to it, `..`, and columns that are padded."""
    real, root, other = place / "disk" / "inputs", place / "inputs", place / "other"
    runs = [real / "ann" / f"run-{number}" for number in range(8)]
    for run in runs:
        old(run / "log", "x")
        old(run)
    root.symlink_to(real)
    other.symlink_to(place / "disk")
    (real / "latest").symlink_to("ann/run-6")
    lines = [
        str(runs[0]), f"{root}/ann/run-1", f"{other}/inputs/ann/run-2", f"{root}/bob/../ann/run-3", "     run-4  \r",
        "ann/../ann/run-5", f"{root}/latest/log",
    ]  # fmt: skip
    (place / "list").write_text("\n".join(lines))
    of = rule(root, in_use_file=str(place / "list"))
    cleaned(of, in_use=in_use(of, {}))
    assert [path for path in paths(real) if path.count("/") == 1] == [f"ann/run-{number}" for number in range(7)]


@pytest.mark.parametrize("line", ["disk/inputs", "disk", "."])
def test_nothing_goes_where_the_root_is_in_use_by_another_name(place: Path, line: str) -> None:
    old(place / "disk" / "inputs" / "ann" / "run" / "log", "x")
    old(place / "disk" / "inputs" / "ann" / "run")
    (place / "inputs").symlink_to(place / "disk" / "inputs")
    (place / "list").write_text(str(place / line))
    of = rule(place / "inputs", in_use_file=str(place / "list"))
    assert cleaned(of, in_use=in_use(of, {})).entries == 0


# ---------------------------------------------------------------- what is in the way


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file immutable, or mount something")
def test_what_cannot_go_is_told_and_all_else_goes(place: Path) -> None:
    fixed = old(place / "a" / "run" / "deep" / "fixed", "x")
    old(place / "a" / "run" / "other", "x")
    old(place / "a" / "gone", "x")
    old(place / "a" / "run")
    if subprocess.run(["chattr", "+i", str(fixed)], capture_output=True, check=False).returncode:
        pytest.skip("this file system knows no immutable files")
    try:
        done = cleaned(rule(place))
        assert (done.failed, [line.partition(":")[0] for line in done.troubles]) == (1, ["a/run/…/fixed"])
        assert paths(place) == ["a", "a/run", "a/run/deep", "a/run/deep/fixed"]  # under its own name again
        assert time.time() - (place / "a" / "run").stat().st_mtime > LIMIT  # and as old as it was
    finally:
        subprocess.run(["chattr", "-i", str(fixed)], check=True)
    assert cleaned(rule(place)).failed == 0
    assert paths(place) == ["a"]


@pytest.fixture
def mounted(place: Path) -> Iterator[Path]:
    """A file system of its own, and a folder of the same one that is mounted a second time."""
    if os.geteuid():
        pytest.skip("only root can mount something")
    folder = place / "mounted"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-R", str(folder)], check=True)


def test_another_file_system_is_never_entered_nor_the_same_one_mounted_twice(place: Path, mounted: Path) -> None:
    precious = old(place / "precious" / "file", "x")
    root = place / "root"
    for name in ("bind", "move"):
        old(root / "a" / name / "below" / "file", "x")
    old(root / "a" / "top")
    subprocess.run(["mount", "--bind", str(mounted), str(root / "a" / "top")], check=True)
    subprocess.run(["mount", "--bind", str(precious.parent), str(root / "a" / "bind" / "below")], check=True)
    subprocess.run(["mount", "--bind", str(mounted), str(root / "a" / "move" / "below")], check=True)
    old(mounted / "file", "x")
    try:
        old(root / "a" / "bind")
        old(root / "a" / "move")
        old(mounted)
        done = cleaned(rule(root))
        assert done.failed == 3
        assert all("another file system" in line for line in done.troubles)
    finally:
        for name in ("bind/below", "move/below", "top"):
            subprocess.run(["umount", str(root / "a" / name)], check=True)
    assert precious.exists()
    assert (mounted / "file").exists()


@pytest.mark.parametrize(("age", "why"), [(Age.SELF, Why.SCHEDULE), (Age.NEWEST, Why.SCHEDULE), (Age.SELF, Why.FREE)])
@pytest.mark.parametrize("where", ["a/run-3", "a/run-3/below", "a"])
def test_what_is_mounted_while_it_is_cleaned_up_is_never_entered(
    place: Path, mounted: Path, age: Age, why: Why, where: str
) -> None:
    """At whatever step: as a user may do with FUSE, who does not own the tree."""
    root = place / "root"
    for name in (".", "below", "run-3", "run-3/below"):
        old(mounted / name / "precious", "x")
    for name in ("run-3/below", "run-3", "below", "."):
        old(mounted / name)
    when = (time.time() - 30 * 86400,) * 2
    (mounted / "loose").write_text("x")
    os.utime(mounted / "loose", when)
    before, mounts = listed(mounted), 0
    for step in range(1, 30):
        calls = 0
        (root / "a").mkdir(parents=True, exist_ok=True)
        (root / "a" / "loose").write_text("x")  # a file that looks the same on both sides
        os.utime(root / "a" / "loose", when)
        for number in range(5):
            old(root / "a" / f"run-{number}" / "below" / "file", "x", age=(40 + number) * 86400)
            old(root / "a" / f"run-{number}" / "below")
            old(root / "a" / f"run-{number}", age=(40 + number) * 86400)

        def mount(step: int = step) -> bool:
            nonlocal calls, mounts
            calls += 1
            if calls == step and (root / where).exists():
                mounts += 1
                subprocess.run(["mount", "--bind", str(mounted), str(root / where)], check=True)
            return False

        of = rule(root, age=age, max_depth=2, free_bytes=1 << 60)
        try:
            clean(Task(of, Kept(of), time.time(), why=why), asked_to_stop=mount, workers=1)
        finally:
            if (root / where).exists() and (root / where).is_mount():
                subprocess.run(["umount", str(root / where)], check=True)
            for gone in (root / "a").glob(f"{GONE}*"):
                for folder in (gone / "below", gone):
                    if folder.is_mount():
                        subprocess.run(["umount", str(folder)], check=True)
        assert listed(mounted) == before, step
    assert mounts > 1


@pytest.mark.parametrize("act", [anything, clean])
def test_whoever_looks_through_a_large_folder_can_be_stopped(place: Path, act: Callable[..., object]) -> None:
    """Also where it is only looked for what must stay."""
    for number in range(1000):
        old(place / "a" / "run" / "deep" / f"f{number}", "x")
    old(place / "a" / "run")
    of, asked = rule(place, max_depth=2, exclude=("f999",)), 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 8

    act(task(of, time.time()), asked_to_stop=stop)
    assert asked == 9
    assert len(paths(place)) == 1003


@pytest.mark.parametrize("place", ["/etc", "/usr/bin"])
def test_a_way_that_leads_to_the_system_is_refused(place: str, tmp_path: Path) -> None:
    """It is only opened: where the guard fails, nothing of this machine may be at stake."""
    link = tmp_path / "scratch"
    link.symlink_to(place)
    with pytest.raises(RootError, match="belongs to the system"):
        open_root(rule(link))


def test_no_root_is_what_must_never_be_one(place: Path, mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only opened here, and never cleaned up."""
    with pytest.raises(RootError, match="is the root of all"):
        open_root(rule(Path("/"), root_is=RootIs.MOUNT))
    with pytest.raises(RootError, match="is no folder"):
        open_root(rule(old(place / "file", "x")))
    assert open_root(rule(place / "missing")) is None
    bound = old(place / "bound")
    subprocess.run(["mount", "--bind", str(old(place / "other")), str(bound)], check=True)
    try:
        with pytest.raises(RootError, match="is a mount point"):  # which its file system does not tell
            open_root(rule(bound))
    finally:
        subprocess.run(["umount", str(bound)], check=True)
    home = pwd.getpwuid(os.geteuid()).pw_dir
    monkeypatch.setenv("HOME", str(place / "elsewhere"))
    (place / "link").symlink_to(home)
    for path in (Path(home), place / "link"):
        with pytest.raises(RootError, match="is the home"):
            open_root(rule(path, root_is=RootIs.MOUNT))


def test_a_mount_point_or_a_home_is_a_root_only_where_the_rule_says_so(
    mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = old(mounted / "a" / "file", "x")
    with pytest.raises(RootError, match="is a mount point"):
        cleaned(rule(mounted))
    monkeypatch.setenv("HOME", str(mounted))
    with pytest.raises(RootError, match="is the home"):
        cleaned(rule(mounted, root_is=RootIs.MOUNT))
    assert file.exists()
    assert cleaned(rule(mounted, root_is=RootIs.HOME)).entries == 1


def test_it_frees_what_is_asked_for_the_oldest_first(mounted: Path) -> None:
    for number in range(8):
        old(mounted / "a" / f"run-{number}" / "file", "x" * 100_000)
        old(mounted / "a" / f"run-{number}", age=(40 + number) * 86400)
    old(mounted / "a" / "new", "x" * 100_000, age=0)
    free = os.statvfs(mounted).f_bavail * os.statvfs(mounted).f_frsize
    of = rule(mounted, root_is=RootIs.MOUNT, free_bytes=free + 250_000)
    done = clean(Task(of, Kept(of), time.time(), why=Why.FREE))
    assert (done.short, done.stopped) == (False, False)
    left = sorted(name for name in os.listdir(mounted / "a"))
    assert left == ["new", *(f"run-{number}" for number in range(8 - done.top_count))]
    assert 2 < done.top_count < 8
    of = of._replace(free_bytes=1 << 40)
    assert clean(Task(of, Kept(of), time.time(), why=Why.FREE)).short
    assert os.listdir(mounted / "a") == ["new"]


@pytest.mark.parametrize(("age", "folders"), [(Age.SELF, False), (Age.SELF, True), (Age.NEWEST, True)])
def test_what_was_used_since_it_was_looked_at_stays_while_space_is_freed(
    place: Path, age: Age, *, folders: bool
) -> None:
    """All are looked at before the first goes, so that may be long ago."""
    for number in range(6):
        run = place / "a" / f"run-{number}"
        old(run / "file" if folders else run, "x", age=(40 + number) * 86400)
        old(run, None if folders else "x", age=(40 + number) * 86400)

    used: list[Path] = []

    def use() -> bool:
        left = sorted((place / "a").iterdir())
        if len(left) < 6 and not used:
            used.extend(left)
            for run in left:
                (run / "file" if folders else run).touch()
                os.utime(run)
        return False

    of = rule(place, free_bytes=1 << 60, age=age, max_depth=2)
    assert clean(Task(of, Kept(of), time.time(), why=Why.FREE), asked_to_stop=use).top_count == 1
    assert paths(place / "a") == sorted(f"run-{n}{part}" for n in range(5) for part in ("", "/file")[: 1 + folders])


def test_what_lies_deep_goes_too(place: Path) -> None:
    """Deeper than folders may be held open, and than a path may be long."""
    here = os.open(old(place / "a" / "deep"), os.O_RDONLY)
    for _ in range(400):
        os.mkdir("level-name", dir_fd=here)
        inner = os.open("level-name", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    old(place / "a" / "deep")
    assert cleaned(rule(place)).entries == 401
    assert paths(place) == ["a"]


def test_what_lies_too_deep_in_folders_that_stay_is_told(place: Path) -> None:
    deep = place.joinpath("a", *["d"] * (DEEPEST + 3))
    old(deep / "file", "x")
    for age in Age:
        done = cleaned(rule(place, age=age, sort=Sort.FILE))
        assert (done.entries, done.failed, f"deeper than {DEEPEST}" in done.troubles[0]) == (0, 1, True)


def test_nothing_goes_after_the_last_minute(place: Path) -> None:
    old(place / "a" / "file", "x")
    old(place / "a" / "run" / "file", "x")
    old(place / "a" / "run")
    before = listed(place)
    for why in Why:
        of = rule(place, minutes=0, free_bytes=1 << 60)
        done = clean(Task(of, Kept(of), time.time(), why=why))
        assert (done.entries, done.stopped) == (0, True)
    assert listed(place) == before


def test_only_what_was_put_aside_is_removed_as_such(place: Path) -> None:
    version = old(place / "version" / "file", "x").parent
    with pytest.raises(ValueError, match="version"):
        aside.remove(str(version), lambda: False)
    assert listed(place) == {b"version", b"version/file"}
    assert aside.remove(aside.put_aside(str(version)), lambda: False) == aside.Removed()
    assert not listed(place)


def test_a_folder_that_cannot_be_read_is_told(place: Path) -> None:
    """Asked of an ordinary user where this one may read everything."""
    secret = old(place / "a" / "secret" / "file", "x").parent
    old(place / "a" / "empty")
    old(place / "a" / "gone", "x")
    secret.chmod(0)
    (place / "a" / "empty").chmod(0)
    os.utime(secret, (0, 0))
    os.utime(place / "a" / "empty", (0, 0))
    done = as_somebody(place, lambda: cleaned(rule(place)))
    assert done.startswith("1 failed: a/secret: Permission denied")
    secret.chmod(0o700)
    assert paths(place) == ["a", "a/secret", "a/secret/file"]


def as_somebody(place: Path, act: Callable[[], Cleaned]) -> str:
    """What comes of it in a process that is not root."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            if not os.geteuid():
                chown = ["chown", "-R", "-h", f"{NOBODY}:{NOBODY}", str(place)]
                subprocess.run(chown, capture_output=True, check=False)
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            done = act()
            os.write(theirs, f"{done.failed} failed: {' '.join(done.troubles)}".encode())
        except BaseException as error:  # noqa: BLE001 - the parent asserts on it
            os.write(theirs, repr(error).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    os.waitpid(child, 0)
    with os.fdopen(ours) as told:
        return told.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file immutable, and see what is left")
@settings(SLOW, max_examples=100)
@given(plan=FOLDERS, words=WORDS, picks=st.lists(st.integers(0, 9), min_size=1))
def test_all_goes_that_find_finds_but_what_cannot_go(place: Path, plan: Folder, words: Words, picks: list[int]) -> None:
    """For an ordinary account, with folders that cannot be read and files that cannot be removed."""
    now = time.time()
    root = made(place, plan, now)
    before = listed(root)
    subprocess.run(["chown", "-R", "-h", f"{NOBODY}:{NOBODY}", str(place)], check=True)
    full = {path: os.path.join(os.fsencode(root), path) for path in before}
    chosen = {path for number, path in enumerate(sorted(before)) if number in picks}
    fixed = [full[path] for path in chosen if os.path.isfile(full[path]) and not os.path.islink(full[path])]
    closed = {path for path in chosen if os.path.isdir(full[path]) and not os.path.islink(full[path])}
    stuck = {path for path in before if any(path.startswith(folder + b"/") for folder in closed)}
    try:
        if fixed and subprocess.run(["chattr", "+i", *fixed], capture_output=True, check=False).returncode:
            pytest.skip("this file system knows no immutable files")
        for path in closed:
            os.chmod(full[path], 0)
        argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        argv += ["find", str(root), *words.find, "-mtime", f"+{DAYS}", "-print0"]
        printed = subprocess.run(argv, capture_output=True, check=False).stdout
        assume(time.time() - now < 0.9)
        found = {os.path.relpath(path, os.fsencode(root)) for path in printed.split(b"\0") if path}
        stuck |= {os.path.relpath(path, os.fsencode(root)) for path in fixed}
        expected = with_all_below(before, found) - stuck - {folder for path in stuck for folder in above(path)}
        said = as_somebody(place, lambda: cleaned(words.rule(root), now))
        left = listed(root)
    finally:
        subprocess.run(["chattr", "-R", "-i", str(root)], capture_output=True, check=False)
    assert " failed:" in said
    assert before - left == expected, said
    assert left <= before  # each under its own name


# ---------------------------------------------------------------- attacks, and sudden ends


@pytest.mark.parametrize("age", Age)
def test_what_only_has_the_name_of_something_that_goes_is_judged_by_its_dates(place: Path, age: Age) -> None:
    """Whoever may rename another's folder must not have it removed that way; nor may it happen by mistake."""
    forged = f"{GONE}0123456789abcdef"
    for name in (f"a/{forged}", f"a/run/{forged}", f"a/{forged}/{forged}"):
        old(place / name / "new", "x", age=0)
    left = old(place / "a" / "left" / "new", "x", age=0).parent
    copy = old(place / "b" / "copy" / "new", "x", age=0).parent
    key = "0123456789abcdef"
    name = name_of(key, left.stat().st_ino)
    left.rename(place / "a" / name)
    copy.rename(place / "b" / name)  # by the name of another
    before = listed(place)
    of = rule(place, age=age)
    assert clean(Task(of, Kept(of), time.time(), key="another key")).entries == 0
    assert clean(Task(of._replace(min_depth=3), Kept(of), time.time(), key=key)).entries == 0  # not at that depth
    assert clean(Task(of._replace(sort=Sort.FILE), Kept(of), time.time(), key=key)).entries == 0
    assert listed(place) == before
    assert clean(Task(of, Kept(of), time.time(), key=key)).entries == 2
    assert before - listed(place) == {os.fsencode(f"a/{name}"), os.fsencode(f"a/{name}/new")}


@pytest.mark.parametrize("age", Age)
@pytest.mark.parametrize("why", Why)
def test_a_folder_that_takes_the_place_of_an_old_one_stays(place: Path, age: Age, why: Why) -> None:
    """At whatever step of the removal they are swapped."""
    root, calls, swapped = place / "root", 0, 0
    for step in range(1, 40):
        shutil.rmtree(root, ignore_errors=True)
        for name in ("run/file", "other/file", "other/deep/file"):
            old(root / "a" / name, "x")
        for name in ("run", "other/deep", "other"):
            old(root / "a" / name)
        young = old(place / "young" / "precious", "x", age=0).parent
        calls = 0

        def swap(step: int = step, young: Path = young) -> bool:
            nonlocal calls, swapped
            calls += 1
            if calls == step and (root / "a" / "run").exists():
                (root / "a" / "run").rename(place / "aside")
                young.rename(root / "a" / "run")
                swapped += 1
            return False

        of = rule(root, max_depth=2, age=age, free_bytes=1 << 60)
        clean(Task(of, Kept(of), time.time(), why=why), asked_to_stop=swap, workers=1)
        assert young.exists() or paths(root) == ["a", "a/run", "a/run/precious"]
        shutil.rmtree(place / "aside", ignore_errors=True)
        if calls < step:
            break
    assert swapped > 3
    assert calls < step


def test_a_folder_that_stays_after_all_never_keeps_the_name_of_what_goes(place: Path) -> None:
    """Not even where its own was taken meanwhile."""
    run = old(place / "a" / "run" / "deep" / "file", "x").parent.parent
    old(place / "a" / "run")
    of = rule(place, max_depth=2)

    def write() -> bool:
        for folder in (place / "a").glob(f"{GONE}*"):
            (folder / f"new-{time.time_ns()}").write_text("x")  # so it cannot be removed as a whole
            run.mkdir(exist_ok=True)
        return False

    done = clean(Task(of, Kept(of), time.time()), asked_to_stop=write, workers=1)
    assert any("as its name is taken" in line for line in done.troubles)
    assert not [name for name in os.listdir(place / "a") if name.startswith(GONE)]
    left = listed(place)
    assert cleaned(of).entries == 0
    assert listed(place) == left


def test_folders_that_are_swapped_for_links_ten_thousand_times_lose_nothing_outside(place: Path) -> None:
    """Whoever owns part of the tree swaps folders, at every depth, for links that lead out of it."""
    outside = place / "outside"
    for number in range(50):
        old(outside / f"precious-{number}" / "file", "x")
        old(outside / "deep" / f"precious-{number}", "x")
    before = listed(outside)
    root = place / "root"
    swaps, removed, rounds = 0, 0, 0
    stop = Event()

    def attack() -> None:
        nonlocal swaps
        spots = [root / "u" / f"run-{n}" / "deep" for n in range(8)]
        spots += [root / "u" / f"run-{n}" for n in range(8)] + [root / "u"]
        while not stop.is_set():
            for spot in spots:
                aside = f"{spot}.aside"
                with suppress(OSError):
                    os.rename(spot, aside)
                    os.symlink(outside, spot)
                    swaps += 1
                with suppress(OSError):
                    os.unlink(spot)
                    os.rename(aside, spot)

    attacker = Thread(target=attack)
    attacker.start()
    try:
        while swaps < 10_000 or not removed:
            rounds += 1
            for number in range(8):
                for name in ("deep/file-1", "deep/file-2", "file"):
                    with suppress(OSError):
                        old(root / "u" / f"run-{number}" / name, "x")
                with suppress(OSError):
                    old(root / "u" / f"run-{number}")
            removed += cleaned(rule(root, age=Age.SELF if rounds % 2 else Age.NEWEST), workers=2).entries
    finally:
        stop.set()
        attacker.join()
    assert listed(outside) >= before  # the makers of this tree may have been led there, the remover never


KILLED = """
import sys, time
from reconciler.core.cleanup import Kept
from reconciler.core.desired import Age, Cleanup
from reconciler.host.scratch import aside
from reconciler.host.scratch.clean import clean
from reconciler.host.scratch.walk import Task
of = Cleanup("x", sys.argv[1], 14, min_depth=2, max_depth=2, age=Age(sys.argv[2]))
print(flush=True)
clean(Task(of, Kept(of), time.time()))
"""


@pytest.mark.parametrize("age", Age)
def test_killed_at_any_instant_the_next_pass_goes_on(place: Path, age: Age) -> None:
    """Also with folders that look new, as the killed pass has removed something in them."""
    root = place / "root"
    for number in range(30):
        for file in range(40):
            old(root / f"u{number % 3}" / f"run-{number}" / f"deep-{file % 4}" / f"f{file}", "x")
        for deep in range(4):
            old(root / f"u{number % 3}" / f"run-{number}" / f"deep-{deep}")
        old(root / f"u{number % 3}" / f"run-{number}")
    old(root / "u0" / "new" / "file", "x", age=0)
    old(root / "u0" / "new", age=0)
    kills, delay, rng = 0, 0.002, random.Random(7)
    while len(listed(root)) > 5 and kills < 40:
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(root), age.value], stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0, delay))  # at no boundary of any kind
            process.kill()
        kills += 1
        delay *= 1.6
    assert kills > 1
    of = rule(root, max_depth=2, age=age)
    assert cleaned(of).failed == 0
    assert paths(root) == ["u0", "u0/new", "u0/new/file", "u1", "u2"]
    assert cleaned(of)._replace(size=0) == Cleaned()  # others write to the file system too


def test_a_pass_stops_at_its_limit_and_the_next_one_goes_on_there(place: Path) -> None:
    for number in range(600):
        old(place / f"u{number % 10}" / f"f{number}", "x")
    of, begin, passes = rule(place, entries=200), "", 0
    while True:
        done = clean(Task(of, Kept(of), time.time(), begin), workers=2)
        passes += 1
        if not done.stopped:
            break
        assert done.at
        assert 200 <= done.entries <= 201  # two work on it
        begin = done.at
    assert 3 <= passes <= 6
    assert [path for path in paths(place) if "/" in path] == []


def test_nothing_is_removed_where_what_is_in_use_cannot_be_told(place: Path) -> None:
    of = rule(place)
    for bad, why in (
        (of._replace(in_use_command="echo a; false | cat"), "exit status 1"),
        (of._replace(in_use_command="no-such-program"), "not found"),
        (of._replace(in_use_file=str(place / "missing")), "No such file"),
        (of._replace(in_use_file=str(place)), "Is a directory"),
    ):
        with pytest.raises(RootError, match=why):
            in_use(bad, {"PATH": os.environ["PATH"]})
    with (place / "list").open("wb") as endless:
        endless.truncate((64 << 20) + 1)
    with pytest.raises(RootError, match="the list is too long"):
        in_use(of._replace(in_use_file=str(place / "list")), {})
    (place / "list").write_bytes(b"a\n\nb\xff\n")
    assert in_use(of._replace(in_use_file=str(place / "list")), {}) == ("a", "b\udcff")
    assert in_use(of._replace(in_use_command="printf 'a\\nb\\n'"), {}) == ("a", "b")


@pytest.mark.parametrize("why", Why)
@pytest.mark.parametrize("age", Age)
@pytest.mark.parametrize("line", ["run-5", "a/run-5/deep/file", "a"])
def test_what_has_come_into_use_since_the_first_went_stays(
    place: Path, monkeypatch: pytest.MonkeyPatch, age: Age, line: str, why: Why
) -> None:
    """A clean-up may take hours, and what is to go was found long before."""
    monkeypatch.setattr("reconciler.host.scratch.clean.AGAIN", 0.0)
    monkeypatch.setattr("reconciler.host.scratch.crew._TICK", 0.001)
    for number in range(10):
        old(place / f"a/run-{number}/deep/file", "x")
        old(place / f"a/run-{number}/deep")
        old(place / f"a/run-{number}", age=(60 - number) * 86400)
    used, known = Event(), Event()
    answers: list[Kept] = []

    def again() -> Kept:
        if answers:
            known.set()  # the answer before this one counts by now
        if used.is_set():
            answers.append(Kept(of, [line]))
        return answers[-1] if answers else Kept(of)

    def use() -> bool:
        """As soon as one has gone whoever removes waits until it is known what is in use now."""
        if len(os.listdir(place / "a")) < 10:
            used.set()
            assert known.wait(30)
        return False

    of = rule(place, max_depth=2, age=age, free_bytes=1 << 60)
    clean(Task(of, Kept(of), time.time(), why=why, again=again), asked_to_stop=use, workers=1)
    left = sorted(os.listdir(place / "a"))
    assert (place / "a/run-5/deep/file").exists()
    assert left == ["run-5"] if line != "a" else len(left) == 9


def test_nothing_more_goes_once_nobody_can_tell_what_is_in_use(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.host.scratch.clean.AGAIN", 0.0)
    monkeypatch.setattr("reconciler.host.scratch.crew._TICK", 0.001)
    for number in range(10):
        old(place / f"a/run-{number}", "x")
    failed = Event()

    def again() -> Kept:
        if len(os.listdir(place / "a")) == 10:
            return Kept(of)
        failed.set()
        raise RootError("what is in use cannot be told: no such program", "nothing is removed until it succeeds")

    def wait() -> bool:
        if len(os.listdir(place / "a")) < 10:
            assert failed.wait(30)
        return False

    of = rule(place)
    done = clean(Task(of, Kept(of), time.time(), again=again), asked_to_stop=wait, workers=1)
    assert (done.stopped, done.failed) == (True, 1)
    assert "what is in use cannot be told" in done.troubles[0]
    assert len(os.listdir(place / "a")) in (8, 9)
    assert done.at.startswith("a/run-")
