"""Folders that are taken away with all that is in them, and what is beside them, behind links or mounted in them."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from reconciler.host import trees
from tests.apply.test_executor import unprivileged

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a link to another account, and mount")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Somebody's folder, as it must stay."""
    made = tmp_path / "victim"
    (made / "sub").mkdir(parents=True)
    (made / "sub/file").write_text("keep me")
    (made / "sub").chmod(0o755)
    return made


def is_whole(victim: Path) -> bool:
    return (victim / "sub/file").read_text() == "keep me" and (victim / "sub").stat().st_mode & 0o777 == 0o755


def test_all_of_it_goes_and_nothing_beside_it(tmp_path: Path, victim: Path) -> None:
    made = tmp_path / "made"
    (made / "a/b").mkdir(parents=True)
    (made / "a/b/file").write_text("x")
    (made / "a/away").symlink_to(victim)
    (made / "a/gone").symlink_to("nowhere")
    trees.remove(str(made))
    assert os.listdir(tmp_path) == ["victim"]
    assert is_whole(victim)


def test_folders_that_are_closed_to_their_owner_go_too(short_folder: Path) -> None:
    made = short_folder / "made"
    (made / "a/closed/b").mkdir(parents=True)
    (made / "a/closed/b/file").write_text("x")
    for path in (made / "a/closed/b", made / "a/closed", made):
        path.chmod(0)
    with unprivileged(short_folder):
        trees.remove(str(made))
    assert os.listdir(short_folder) == []


@pytest.mark.parametrize("kind", ["file", "link", "nothing", "nothing at all"])
def test_what_is_no_folder(tmp_path: Path, victim: Path, kind: str) -> None:
    """A link goes, and what it leads to stays as it is."""
    place = tmp_path / ("no/made" if kind == "nothing at all" else "made")
    if kind == "file":
        place.write_text("x")
    elif kind == "link":
        place.symlink_to(victim)
    trees.remove(str(place))
    assert os.listdir(tmp_path) == ["victim"]
    assert is_whole(victim)


@needs_root
def test_a_link_of_a_strangers_on_the_way_is_not_followed(tmp_path: Path, victim: Path) -> None:
    way = tmp_path / "way"
    way.symlink_to(victim)
    os.chown(way, pwd.getpwnam("nobody").pw_uid, -1, follow_symlinks=False)
    with pytest.raises(OSError, match="a link of another account's"):
        trees.remove(str(way / "sub"))
    assert is_whole(victim)


@needs_root
def test_what_is_mounted_in_it_stays(tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "a/mounted").mkdir(parents=True)
    (made / "a/file").write_text("x")
    argv = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(made / "a/mounted")]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        (made / "a/mounted/file").write_text("keep me")
        with pytest.raises(OSError, match=r"is another file system, and stays: .*/made/a/mounted"):
            trees.remove(str(made))
        assert (made / "a/mounted/file").read_text() == "keep me"
    finally:
        subprocess.run(["umount", str(made / "a/mounted")], check=True)


def test_what_cannot_go_is_told_and_all_else_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "made"
    made.mkdir()
    for name in ("a", "b", "c"):
        (made / name).write_text("x")
    unlink = os.unlink

    def refused(path: str, *, dir_fd: int | None = None) -> None:
        if path == "b":
            raise PermissionError(1, "Operation not permitted", path)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refused)
    with pytest.raises(PermissionError):
        trees.remove(str(made))
    assert os.listdir(made) == ["b"]
