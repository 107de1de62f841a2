"""A work tree as a person edits it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.desired import UnreadableFolder, read_folder


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A folder with two files that count and some that do not."""
    root = tmp_path / "repo"
    for name in ("desired/sites/x.yaml", "templates/a/b.j2", "desired/.x.yaml.swp", ".git/config", "README.md"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def test_reads_what_counts(repo: Path) -> None:
    assert read_folder(str(repo)) == {
        "desired/sites/x.yaml": b"desired/sites/x.yaml",
        "templates/a/b.j2": b"templates/a/b.j2",
    }


def test_follows_links_inside(repo: Path) -> None:
    (repo / "desired/sites/y.yaml").symlink_to("x.yaml")

    assert read_folder(str(repo))["desired/sites/y.yaml"] == b"desired/sites/x.yaml"


def test_tells_everything_at_once(repo: Path) -> None:
    outside = repo.parent / "outside"
    outside.write_text("secret")
    (repo / "desired/out.yaml").symlink_to(outside)
    (repo / "desired/gone.yaml").symlink_to("nowhere")
    (repo / "desired/folder").symlink_to("sites")
    (repo / "desired/big.yaml").write_bytes(b"x" * ((1 << 20) + 1))
    os.mkfifo(repo / "desired/pipe.yaml")
    with pytest.raises(UnreadableFolder) as caught:
        read_folder(str(repo))

    assert [problem.origin.file for problem in caught.value.problems] == [
        f"desired/{name}" for name in ("big.yaml", "folder", "gone.yaml", "out.yaml", "pipe.yaml")
    ]


def test_a_link_around_itself(repo: Path) -> None:
    (repo / "desired/a.yaml").symlink_to("a.yaml")
    with pytest.raises(UnreadableFolder):
        read_folder(str(repo))


def test_too_many_files(repo: Path) -> None:
    for number in range(5001):
        (repo / "templates" / f"{number}.j2").touch()
    with pytest.raises(UnreadableFolder, match="more than 5000 files"):
        read_folder(str(repo))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("missing", "no such folder"),
        ("repo/README.md", "no such folder"),
        ("repo/templates", "no folder `desired`"),
    ],
)
def test_no_repo(name: str, wrong: str, repo: Path) -> None:
    with pytest.raises(UnreadableFolder, match=wrong):
        read_folder(str(repo.parent / name))
