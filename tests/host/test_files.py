"""Files are written whole, and what a killed write leaves behind goes with its file."""

from __future__ import annotations

import errno
import os
import pwd
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from reconciler.host import files


def test_a_leftover_goes_with_its_file(tmp_path: Path) -> None:
    """It may hold a secret, and no later pass looks for a file that nothing wants."""
    path = tmp_path / "web.env"
    leftover = Path(files.temporary_name(str(path)))
    files.write(str(path), b"a", 0o600)
    state = files.state(str(path))
    leftover.write_text("secret")
    assert files.state(str(path)) == state
    files.remove(str(path))
    assert os.listdir(tmp_path) == []
    leftover.write_text("secret")
    files.remove(str(path))
    assert os.listdir(tmp_path) == []


def test_a_failed_write_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _content: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    path = str(tmp_path / "app.conf")
    with pytest.raises(OSError, match="No space left") as caught:
        files.write(path, b"content", 0o600)
    assert (caught.value.filename, caught.value.errno) == (path, errno.ENOSPC)
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------- links on the way


needs_two = pytest.mark.skipif(os.getuid() != 0, reason="a second account is needed, and only root is two")


def stranger() -> int:
    """The uid of an account that is not ours."""
    return pwd.getpwnam("nobody").pw_uid


def link(path: Path, target: Path, uid: int) -> None:
    path.symlink_to(target)
    os.chown(path, uid, -1, follow_symlinks=False)


@pytest.mark.parametrize("absolute", [True, False])
def test_links_of_our_own_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, absolute: bool) -> None:
    """Roots lie behind them everywhere: /home, a project's folder on another file system."""
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "one").symlink_to(tmp_path / "two" if absolute else "two")
    (tmp_path / "two").symlink_to("./real/../real")
    monkeypatch.chdir(tmp_path)
    for path in (f"{tmp_path}/one/deep/a", "one/deep/a", "./one//deep/../deep/a"):
        files.write(path, b"x", 0o640)
        files.change_mode(path, 0o600)
        assert (tmp_path / "real/deep/a").read_bytes() == b"x"
        assert files.state(path).mode == 0o600
        files.rename(path, "b")
        files.remove(f"{os.path.dirname(path)}/b")
        assert os.listdir(tmp_path / "real/deep") == []
    files.make_folder("one/new/er", 0o710)
    assert (tmp_path / "real/new/er").stat().st_mode & 0o777 == 0o710


def test_links_without_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels") as caught:
        files.write(str(tmp_path / "a/x"), b"", 0o600)
    assert caught.value.errno == errno.ELOOP


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError) as caught:
        files.write(str(tmp_path / "no/x"), b"", 0o600)
    assert caught.value.filename == str(tmp_path / "no")
    with pytest.raises(NotADirectoryError):
        files.write(str(tmp_path / "file/x"), b"", 0o600)
    files.remove(str(tmp_path / "no/x"))


@needs_two
def test_links_of_strangers_are_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (victim / "sub").mkdir(parents=True)
    (victim / "a").write_text("old")
    before = (victim / "a").stat()
    link(tmp_path / "config", victim, stranger())
    acts: tuple[Callable[[], None], ...] = (
        lambda: files.write(f"{tmp_path}/config/a", b"new", 0o644),
        lambda: files.write(f"{tmp_path}/config/sub/b", b"new", 0o644),
        lambda: files.remove(f"{tmp_path}/config/a"),
        lambda: files.change_mode(f"{tmp_path}/config/a", 0o777),
        lambda: files.rename(f"{tmp_path}/config/a", "b"),
        lambda: files.make_folder(f"{tmp_path}/config/more/of/it", 0o755),
    )
    for act in acts:
        with pytest.raises(OSError, match=f"a link of another account's .uid {stranger()}., to {victim}") as caught:
            act()
        assert caught.value.errno == errno.ELOOP
    assert sorted(os.listdir(victim)) == ["a", "sub"]
    assert (victim / "a").stat() == before
    assert os.listdir(victim / "sub") == []


def test_a_link_in_the_place_of_the_file_is_replaced(tmp_path: Path) -> None:
    """Whoever made it: what it leads to stays as it is."""
    (tmp_path / "victim").write_text("old")
    (tmp_path / "a").symlink_to("victim")
    with pytest.raises(OSError, match=r"not supported|Too many"):
        files.change_mode(str(tmp_path / "a"), 0o777)
    files.write(str(tmp_path / "a"), b"new", 0o600)
    assert (tmp_path / "victim").read_text() == "old"
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "victim").stat().st_mode & 0o777 != 0o777


@contextmanager
def swapped(folder: Path, other: Path) -> Iterator[None]:
    """The folder is now itself, now a stranger's link to another one, as fast as the machine can."""
    aside, ending = folder.with_name("aside"), threading.Event()
    stand_in = folder.with_name("link")

    def swap() -> None:
        while not ending.is_set():
            link(stand_in, other, stranger())
            folder.rename(aside)
            stand_in.rename(folder)
            folder.unlink()
            aside.rename(folder)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


@needs_two
def test_links_that_are_put_there_meanwhile(tmp_path: Path) -> None:
    """Whoever owns the folder above can do that in the middle of a write."""
    victim, folder = tmp_path / "victim", tmp_path / "config"
    victim.mkdir()
    (folder / "sub").mkdir(parents=True)
    (victim / "sub").mkdir()
    written = 0
    with swapped(folder, victim):
        for _ in range(3000):
            with suppress(OSError):
                files.write(str(folder / "sub/a"), b"secret", 0o600, sync=False)
                written += 1
    assert written
    assert os.listdir(victim) == ["sub"]
    assert os.listdir(victim / "sub") == []
