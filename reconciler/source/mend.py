"""Puts a mirror right that a killed process, a full disk or a power cut has left behind.

Nothing here takes an object away. Whoever calls holds the lock of the state directory, so a lock
file inside the mirror has no living owner of ours.
"""

from __future__ import annotations

import os
import os.path
from contextlib import suppress

from reconciler.source import refs
from reconciler.source.command import is_commit

NEW, OLD = ".new", ".old"  # a mirror in the making, and the one it replaced


def discard(path: str) -> None:
    """Remove a file or a whole folder; it need not be there."""
    if os.path.isdir(path) and not os.path.islink(path):
        import shutil

        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            os.unlink(path)


def settle(folder: str) -> None:
    """End a swap that was cut off: the old mirror goes back where no new one took its place.

    One that was still in the making goes: nothing tells whether it is complete.
    """
    old = folder + OLD
    if os.path.lexists(old):
        if os.path.lexists(folder):
            discard(old)
        else:
            os.rename(old, folder)
    if os.path.lexists(folder + NEW):
        discard(folder + NEW)


def swap(folder: str) -> None:
    """Put the finished mirror in the place of the old one. Killed between, `settle` goes on."""
    old = folder + OLD
    if os.path.lexists(folder):
        os.rename(folder, old)
    os.rename(folder + NEW, folder)
    discard(old)


def leftovers(folder: str) -> None:
    """Remove what dead processes of git leave: lock files, packs that were never finished, marks of a gc."""
    _remove(folder, (".lock", "gc.pid"), ())
    _remove(os.path.join(folder, "objects"), (".lock",), ("tmp_", "incoming-"))
    _remove(os.path.join(folder, "objects", "info"), (".lock",), ("tmp_",))
    # a .keep is index-pack's way to guard a pack until its refs are written; a dead one guards for ever
    _remove(os.path.join(folder, "objects", "pack"), (".lock", ".keep"), ("tmp_", ".tmp-"))
    for place, _, names in os.walk(os.path.join(folder, "refs")):
        if any(name.endswith(".lock") for name in names):
            _remove(place, (".lock",), ())


def _remove(folder: str, ends: tuple[str, ...], begins: tuple[str, ...]) -> None:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name.endswith(ends) or (begins and name.startswith(begins)):
            discard(os.path.join(folder, name))


def skeleton(folder: str) -> None:
    """Write anew what makes a folder a repository, and drop refs that name nothing; its objects stay.

    So commits can be read though the remote is away. Raises `OSError`.
    """
    sha256 = _is_sha256(folder)
    for name in ("HEAD", "config", "packed-refs"):
        if os.path.isdir(os.path.join(folder, name)):
            discard(os.path.join(folder, name))
    for name in ("objects", "refs"):
        if not os.path.isdir(os.path.join(folder, name)):
            discard(os.path.join(folder, name))
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    whole = refs.packed(folder)
    _broken_refs(folder)
    _write(folder, "HEAD", "ref: refs/heads/none\n")
    _write(folder, "config", config(sha256=sha256))
    _write(folder, "packed-refs", "".join(f"{commit} {name}\n" for name, commit in sorted(whole.items())))
    discard(os.path.join(folder, "shallow"))  # a mirror is never shallow; a broken one hides history


def config(*, sha256: bool) -> str:
    text = f"[core]\n\trepositoryformatversion = {int(sha256)}\n\tfilemode = true\n\tbare = true\n"
    return text + "[extensions]\n\tobjectformat = sha256\n" if sha256 else text


def _is_sha256(folder: str) -> bool:
    try:
        return any(len(commit) == 64 for commit in refs.below(folder, "refs/reconcile").values())
    except OSError:
        return False


def _broken_refs(folder: str) -> None:
    """Loose refs that hold no object name: cut off by a power cut, most often empty."""
    for place, _, names in os.walk(os.path.join(folder, "refs")):
        for name in names:
            path = os.path.join(place, name)
            try:
                good = is_commit(_text(path).strip())
            except OSError:
                good = False
            if not good:
                discard(path)


def _text(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read(256)


def _write(folder: str, name: str, text: str) -> None:
    path = os.path.join(folder, name)
    with open(path + ".mended", "w", encoding="ascii") as file:
        file.write(text)
    os.replace(path + ".mended", path)
