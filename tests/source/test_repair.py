"""A mirror that was damaged in any of these ways is good again after the next fetch, and nobody had to come."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.source import Damaged, Mirror, Unreachable
from tests.source.conftest import Upstream

pytestmark = pytest.mark.git
MakeMirror = Callable[..., Mirror]

_LOCKS = (
    "HEAD.lock",
    "config.lock",
    "index.lock",
    "shallow.lock",
    "packed-refs.lock",
    "FETCH_HEAD.lock",
    "refs/reconcile/head.lock",
    "refs/reconcile/valid.lock",
    "refs/heads/deep/main.lock",
    "objects/info/commit-graph.lock",
    "objects/maintenance.lock",
    "gc.pid",
)


def _packs(folder: Path, end: str = "pack") -> list[Path]:
    found = list((folder / "objects/pack").glob(f"*.{end}"))
    for path in found:
        path.chmod(0o600)
    assert found
    return found


def truncated_packs(folder: Path) -> None:
    for path in _packs(folder):
        os.truncate(path, path.stat().st_size // 2)


def emptied_packs(folder: Path) -> None:
    for path in _packs(folder):
        os.truncate(path, 0)


def scrambled_packs(folder: Path) -> None:
    for path in _packs(folder):
        content = bytearray(path.read_bytes())
        content[12:-20] = b"\xa5" * len(content[12:-20])
        path.write_bytes(content)


def deleted_packs(folder: Path) -> None:
    for path in _packs(folder):
        path.unlink()


def deleted_indexes(folder: Path) -> None:
    for path in _packs(folder, "idx"):
        path.unlink()


def truncated_indexes(folder: Path) -> None:
    for path in _packs(folder, "idx"):
        os.truncate(path, 30)


def no_objects(folder: Path) -> None:
    shutil.rmtree(folder / "objects")


def no_head(folder: Path) -> None:
    (folder / "HEAD").unlink()


def empty_head(folder: Path) -> None:
    (folder / "HEAD").write_text("")


def head_is_a_folder(folder: Path) -> None:
    (folder / "HEAD").unlink()
    (folder / "HEAD").mkdir()


def no_refs(folder: Path) -> None:
    shutil.rmtree(folder / "refs")


def emptied_refs(folder: Path) -> None:
    for path in (folder / "refs/reconcile").iterdir():
        path.write_text("")


def refs_of_nothing(folder: Path) -> None:
    for path in (folder / "refs/reconcile").iterdir():
        path.write_text("1" * 40 + "\n")


def garbage_config(folder: Path) -> None:
    (folder / "config").write_bytes(b"\x00\xff[[core\n")


def config_of_the_future(folder: Path) -> None:
    (folder / "config").write_text("[core]\n\trepositoryformatversion = 99\n")


def no_config(folder: Path) -> None:
    (folder / "config").unlink()


def garbage_packed_refs(folder: Path) -> None:
    (folder / "packed-refs").write_bytes(b"# pack-refs with: peeled\n\x00\x01 nonsense")


def shallow_nonsense(folder: Path) -> None:
    (folder / "shallow").write_text("nonsense\n")


def leftover_locks(folder: Path) -> None:
    for name in _LOCKS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("4242 dead\n")


def leftover_packs(folder: Path) -> None:
    for name in ("pack/tmp_pack_abc", "pack/tmp_idx_abc", "pack/.tmp-1-pack-x.pack", "pack/pack-1.keep", "tmp_obj_x"):
        (folder / "objects" / name).write_bytes(b"PACK")


def fetch_head_is_a_folder(folder: Path) -> None:
    (folder / "FETCH_HEAD").unlink(missing_ok=True)
    (folder / "FETCH_HEAD").mkdir()


def an_empty_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def half_made(folder: Path) -> None:
    shutil.rmtree(folder / "objects")
    (folder / "HEAD").unlink()
    (folder / "config").write_text("[core")


def half_swapped(folder: Path) -> None:
    """Killed between the two renames."""
    shutil.copytree(folder, folder.with_name(folder.name + ".new"))
    folder.rename(folder.with_name(folder.name + ".old"))


def swapped_and_not_cleaned(folder: Path) -> None:
    shutil.copytree(folder, folder.with_name(folder.name + ".old"))
    folder.with_name(folder.name + ".new").mkdir()


DAMAGE = [
    truncated_packs,
    emptied_packs,
    scrambled_packs,
    deleted_packs,
    deleted_indexes,
    truncated_indexes,
    no_objects,
    no_head,
    empty_head,
    head_is_a_folder,
    no_refs,
    emptied_refs,
    refs_of_nothing,
    garbage_config,
    config_of_the_future,
    no_config,
    garbage_packed_refs,
    shallow_nonsense,
    leftover_locks,
    leftover_packs,
    fetch_head_is_a_folder,
    an_empty_folder,
    a_file,
    half_made,
    half_swapped,
    swapped_and_not_cleaned,
]
# what leaves the objects as they are: then the last valid commit is read though the remote is away
OBJECTS_ARE_WHOLE = [
    no_head,
    empty_head,
    head_is_a_folder,
    no_refs,
    emptied_refs,
    garbage_config,
    config_of_the_future,
    no_config,
    garbage_packed_refs,
    shallow_nonsense,
    leftover_locks,
    leftover_packs,
    half_swapped,
    swapped_and_not_cleaned,
]


@pytest.fixture
def mirror(upstream: Upstream, mirror_of: MakeMirror) -> Mirror:
    made = mirror_of(upstream.path)
    made.pin("valid", made.fetch())
    return made


@pytest.mark.parametrize("news", [False, True], ids=["no news", "news"])
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_fetch_makes_it_good(damage: Callable[[Path], None], news: bool, mirror: Mirror, upstream: Upstream) -> None:
    damage(Path(mirror.folder))
    head = upstream.bump("2") if news else upstream.first
    assert mirror.fetch() == head
    assert "desired/defaults.yaml" in mirror.tree(head)
    assert "desired/defaults.yaml" in mirror.tree(upstream.first)
    mirror.pin("valid", upstream.first)
    mirror.pin("valid", head)
    assert mirror.fetch() == head
    assert _sound(mirror)
    assert os.listdir(os.path.dirname(mirror.folder)) == [os.path.basename(mirror.folder)]


def _sound(mirror: Mirror) -> bool:
    checked = subprocess.run(
        ["git", f"--git-dir={mirror.folder}", "fsck", "--full", "--strict"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    return True


@pytest.mark.parametrize("damage", OBJECTS_ARE_WHOLE, ids=lambda damage: damage.__name__)
def test_the_last_valid_commit_is_read_though_the_remote_is_away(
    damage: Callable[[Path], None], mirror: Mirror, upstream: Upstream
) -> None:
    upstream.path.rename(upstream.path.with_name("away"))
    damage(Path(mirror.folder))
    with pytest.raises(Unreachable):
        mirror.fetch()
    assert "desired/defaults.yaml" in mirror.tree(upstream.first)


@pytest.mark.parametrize("damage", [truncated_packs, deleted_packs, no_objects], ids=lambda damage: damage.__name__)
def test_reading_alone_rebuilds_it(damage: Callable[[Path], None], mirror: Mirror, upstream: Upstream) -> None:
    damage(Path(mirror.folder))
    assert "desired/defaults.yaml" in mirror.tree(upstream.first)
    assert mirror.pinned("valid") == upstream.first


def test_damage_without_a_remote_is_told_and_nothing_is_taken_away(mirror: Mirror, upstream: Upstream) -> None:
    upstream.path.rename(upstream.path.with_name("away"))
    truncated_packs(Path(mirror.folder))
    before = {path.name: path.stat().st_size for path in Path(mirror.folder, "objects/pack").iterdir()}
    with pytest.raises(Damaged, match="cannot be rebuilt now"):
        mirror.tree(upstream.first)
    assert {path.name: path.stat().st_size for path in Path(mirror.folder, "objects/pack").iterdir()} == before
    upstream.path.with_name("away").rename(upstream.path)
    assert "desired/defaults.yaml" in mirror.tree(upstream.first)


def test_a_rebuild_keeps_a_pinned_commit_that_the_remote_has_no_more(mirror: Mirror, upstream: Upstream) -> None:
    """The branch was rewritten and the remote packed; then the mirror's newest pack was lost."""
    upstream.git("checkout", "--quiet", "--orphan", "anew")
    upstream.write({"desired/x.yaml": "x: 1\n"})
    rewritten = upstream.commit("anew")
    upstream.git("branch", "--quiet", "--force", "main", rewritten)
    upstream.git("reflog", "expire", "--expire=now", "--all")
    upstream.git("gc", "--quiet", "--prune=now")
    old = {path.name for path in _packs(Path(mirror.folder))}
    assert mirror.fetch() == rewritten
    for path in _packs(Path(mirror.folder)):
        if path.name not in old:
            path.unlink()
    assert mirror.fetch() == rewritten
    assert mirror.pinned("valid") == upstream.first
    assert "desired/defaults.yaml" in mirror.tree(upstream.first)
    assert not mirror.is_ancestor(upstream.first, rewritten)


def test_a_damaged_ancestor_is_not_taken_for_a_rewound_branch(mirror: Mirror, upstream: Upstream) -> None:
    old = {path.name for path in _packs(Path(mirror.folder))}
    second = upstream.bump("2")
    mirror.fetch()
    for path in _packs(Path(mirror.folder)):
        if path.name in old:
            path.unlink()
    assert mirror.is_ancestor(upstream.first, second)


def test_another_object_format_at_the_same_address(mirror: Mirror, upstream: Upstream) -> None:
    shutil.rmtree(upstream.path)
    anew = Upstream(upstream.path, "--object-format=sha256")
    assert mirror.fetch() == anew.first
    assert "desired/defaults.yaml" in mirror.tree(anew.first)


@pytest.mark.parametrize("after", [0.002, 0.01, 0.02, 0.04, 0.08, 0.12, 0.16, 0.2])
def test_a_killed_fetch_costs_nothing(after: float, mirror: Mirror, upstream: Upstream) -> None:
    """SIGKILL at any instant to the whole pass, git included, while it rebuilds or fetches."""
    head = upstream.bump("2")
    if after > 0.05:
        truncated_packs(Path(mirror.folder))
    code = "import sys; from reconciler.source import Mirror; Mirror(*sys.argv[1:]).fetch()"
    argv = [sys.executable, "-c", code, str(upstream.path), "main", mirror.folder]
    process = subprocess.Popen(argv, start_new_session=True, stderr=subprocess.DEVNULL)
    time.sleep(0.05 + after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert mirror.fetch() == head
    assert "desired/defaults.yaml" in mirror.tree(head)
    assert "desired/defaults.yaml" in mirror.tree(upstream.first)
