"""Whether a process runs from the image that is in its place."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from tests.backends.account import ordinary
from tests.backends.images import image
from tests.install.sif import Wanted, sha256, wanted, write_sif

REPLACED = "its image site.sif was replaced since it started"
Hold = Callable[..., int]


def until(there: Callable[[], bool]) -> None:
    end = monotonic() + 20
    while not there():
        assert monotonic() < end
        sleep(0.01)


def title_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def below(pid: int) -> Iterator[int]:
    """The processes below this one that are there at this moment."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            yield child
            yield from below(child)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


# ---------------------------------------------------------------- stand-ins: a title and open files


@pytest.fixture
def hold() -> Iterator[Hold]:
    """A process with these files open and this title."""
    started: list[subprocess.Popen[bytes]] = []

    def hold(*paths: Path, title: str = "Apptainer runtime parent: site.sif") -> int:
        descriptors = [os.open(path, os.O_RDONLY) for path in paths]
        started.append(subprocess.Popen([title, "86399"], executable="/bin/sleep", pass_fds=descriptors))
        for descriptor in descriptors:
            os.close(descriptor)
        pid = started[-1].pid
        until(lambda: title_of(pid).startswith(title.encode()))  # the kernel says that it began before it has its title
        return pid

    yield hold
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def one(tmp_path: Path) -> Wanted:
    """An image in its place."""
    made = wanted(tmp_path / "images", write_sif(tmp_path / "source.sif"))
    made.build()
    return made


def replace(one: Wanted, content: bytes = b"2") -> None:
    os.replace(write_sif(one.path.with_name("new"), content), one.path)


def test_it_runs_from_what_is_there(one: Wanted, hold: Hold) -> None:
    assert one.outdated(hold(one.path)) == ""


def test_it_was_replaced(one: Wanted, hold: Hold) -> None:
    pid = hold(one.path)
    replace(one)
    assert one.outdated(pid) == REPLACED
    assert one.outdated(hold(one.path)) == ""


def test_it_was_moved_away_and_another_one_put_there(one: Wanted, hold: Hold) -> None:
    pid = hold(one.path)
    one.path.rename(one.path.with_name("site.sif.old"))
    write_sif(one.path, b"2")
    assert one.outdated(pid) == REPLACED


def test_another_version_has_an_image_of_its_own(one: Wanted, hold: Hold, tmp_path: Path) -> None:
    """It is no reason beside the version that what runs holds the old one."""
    new = wanted(one.path.parent, one.install.source, image="site-2.sif")
    new.build()
    assert new.outdated(hold(one.path)) == ""


def test_it_is_gone(one: Wanted, hold: Hold) -> None:
    pid = hold(one.path)
    one.path.unlink()
    assert one.outdated(pid) == "its image site.sif is gone"


def test_it_was_built_anew(one: Wanted, hold: Hold, tmp_path: Path) -> None:
    pid = hold(one.path)
    wanted(one.path.parent, write_sif(tmp_path / "other.sif")).build()
    assert one.outdated(pid) == REPLACED


def test_git_wants_another_one(one: Wanted, hold: Hold, tmp_path: Path) -> None:
    """Before it is there, so that one pass installs it and restarts what runs from the old one."""
    other = wanted(one.path.parent, write_sif(tmp_path / "other.sif", b"2"))
    assert other.outdated(hold(one.path)) == "its image site.sif is not the one that git wants"


def test_a_digest_tells(one: Wanted, hold: Hold) -> None:
    """What only lacks its marker, or was touched, is what git wants: nothing restarts for that."""
    digest, pid = sha256(one.path), hold(one.path)
    assert wanted(one.path.parent, sha256=digest).outdated(pid) == ""
    assert wanted(one.path.parent, "/x.sif", sha256=digest).outdated(pid) == ""
    os.utime(one.path, (1, 1))
    assert wanted(one.path.parent, sha256=digest).outdated(pid) == ""
    wrong = wanted(one.path.parent, sha256="0" * 64)
    assert wrong.outdated(pid) == "its image site.sif is not the one that git wants"


def test_other_files_do_not_confuse(one: Wanted, hold: Hold, tmp_path: Path) -> None:
    others = [write_sif(tmp_path / f"overlay-{number}.sif") for number in range(2)]
    (tmp_path / "log").write_text("x")
    assert one.outdated(hold(*others, one.path, tmp_path / "log")) == ""
    assert one.outdated(hold(*others)) == ""  # which of them would be it?
    assert one.outdated(hold(tmp_path / "log")) == ""


def test_a_script_that_is_not_that_far_yet(one: Wanted, hold: Hold, tmp_path: Path) -> None:
    """Its parent is the launcher, or a shell of somebody who reads images."""
    other = write_sif(tmp_path / "other.sif")
    shell = hold(other, title="/bin/sh")
    assert one.outdated(shell, hold(other, title="supervisord")) == ""


def test_of_an_instance_the_parent_is_asked(one: Wanted, hold: Hold) -> None:
    holder, first = hold(one.path, title="Apptainer instance: ann [site]"), hold(title="appinit")
    assert one.outdated(first, holder) == ""
    replace(one)
    assert one.outdated(first, holder) == REPLACED


def test_a_folder_that_is_reached_by_a_link(one: Wanted, hold: Hold, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(one.path.parent)
    through = wanted(tmp_path / "link", sha256=sha256(one.path))
    pid = hold(through.path)
    assert through.outdated(pid) == ""
    replace(one)
    assert through.outdated(pid) == REPLACED


def test_a_process_that_is_gone(one: Wanted) -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    assert one.outdated(process.pid, 0) == ""


def as_nobody(do: Callable[[], object]) -> int:
    """The exit status of a child that does this: 0, or 42 where it may not."""
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            do()
            os._exit(0)
        except PermissionError:
            os._exit(42)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_the_remains_of_a_process(one: Wanted) -> None:
    """They are closed even to their owner, until the launcher collects them."""

    def look_at_a_zombie() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        until(lambda: b") Z " in Path(f"/proc/{pid}/stat").read_bytes())
        with pytest.raises(PermissionError):
            os.listdir(f"/proc/{pid}/fd")
        assert one.outdated(pid) == ""

    assert as_nobody(look_at_a_zombie) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_what_cannot_be_looked_at_is_an_error(one: Wanted, hold: Hold) -> None:
    pid = hold(one.path)
    assert as_nobody(lambda: one.outdated(pid)) == 42


# ---------------------------------------------------------------- real ones


class Box:
    """Containers of an ordinary user's."""

    def __init__(self, folder: Path) -> None:
        self.account = ordinary()
        self.folder = self.account.folder(folder)
        self.account.folder(folder / "home")
        self.one = wanted(self.account.folder(folder / "images"), image(folder, "1.0", "source"))
        self.one.build()
        self._ends: list[Callable[[], object]] = []

    def _given(self) -> dict[str, Any]:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder / "home")}
        env |= {"APPTAINER_CONFIGDIR": str(self.folder / "config")}
        return {"cwd": self.folder, "env": env, "stdin": subprocess.DEVNULL, **self.account.become}

    def run(self) -> int:
        words = ["apptainer", "-s", "run", "--no-home", str(self.one.path), "sleep", "86399"]
        process = subprocess.Popen(words, **self._given())
        self._ends += [process.wait, process.terminate]
        # before that it becomes several programs, some of which have the image open too
        until(lambda: any(title_of(pid).startswith(b"sleep\0") for pid in below(process.pid)))
        assert title_of(process.pid).startswith(b"Apptainer runtime parent")
        return process.pid

    def instance(self) -> int:
        note = self.folder / "pid"
        words = ["apptainer", "-s", "instance", "start", "--no-home", "--pid-file", str(note)]
        subprocess.run([*words, str(self.one.path), "held", "sleep", "86399"], check=True, timeout=60, **self._given())
        pid = int(note.read_text())
        self._ends.append(lambda: os.kill(pid, 9))
        return pid

    def replace(self) -> None:
        shutil.copyfile(self.one.path, self.one.path.with_name("new"))
        os.replace(self.one.path.with_name("new"), self.one.path)

    def end(self) -> None:
        for end in reversed(self._ends):
            with suppress(ProcessLookupError):
                end()


@pytest.fixture
def box(short_folder: Path) -> Iterator[Box]:
    made = Box(short_folder)
    yield made
    made.end()


@pytest.mark.apptainer
@pytest.mark.parametrize("mode", ["run", "instance"])
def test_a_real_container(mode: str, box: Box) -> None:
    pid = box.run() if mode == "run" else box.instance()
    assert box.one.outdated(pid, parent(pid)) == ""
    box.replace()
    assert box.one.outdated(pid, parent(pid)) == REPLACED
    box.one.path.unlink()
    assert box.one.outdated(pid, parent(pid)) == "its image site.sif is gone"
    assert wanted(box.one.path.parent, image="site-2.sif").outdated(pid, parent(pid)) == ""


@pytest.mark.apptainer
@pytest.mark.parametrize("mode", ["run", "instance"])
def test_a_real_one_whose_image_was_moved_away(mode: str, box: Box) -> None:
    pid = box.run() if mode == "run" else box.instance()
    box.one.path.rename(box.one.path.with_name("old.sif"))
    shutil.copyfile(box.one.path.with_name("old.sif"), box.one.path)
    assert box.one.outdated(pid, parent(pid)) == REPLACED
