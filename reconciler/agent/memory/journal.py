"""The journal: one line of JSON for every pass that did something, bounded in size."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from reconciler.agent.alone import Busy, alone
from reconciler.host import files

LIMIT = 1 << 20  # bytes of one journal; the one before it is kept beside it
_ENTRY = 256 << 10  # bytes of one line: a pass that fails in many words must not push all others out
_TEXTS = (16 << 10, 4 << 10, 1 << 10, 256, 64)  # characters that texts are cut to, until the entry is short enough


def append(path: str, entry: Mapping[str, object]) -> None:
    """Add an entry. Raises `OSError`."""
    files.make_folder(os.path.dirname(path), 0o700)
    line = _line(entry)
    _rotate(path, len(line))
    files.append_line(path, line, 0o600)


def last(path: str) -> Mapping[str, Any]:
    """What the last pass noted of its steps; nothing where there is none that can be read."""
    try:
        for line in reversed(files.tail(path, 2 * _ENTRY).splitlines()):
            entry = json.loads(line)
            if not isinstance(entry, dict) or "steps" in entry:
                return entry if isinstance(entry, dict) else {}
    except (OSError, ValueError):
        pass
    return {}


def _line(entry: Mapping[str, object]) -> bytes:
    """The entry as a line; one that is too long with its texts cut, and where there are too many, without most."""
    line = _encoded(entry)
    for most in _TEXTS:
        if len(line) <= _ENTRY:
            return line
        line = _encoded(_cut(entry, most))
    items = max((len(part) for part in entry.values() if isinstance(part, list | dict)), default=0)
    while len(line) > _ENTRY and items:
        items //= 2
        line = _encoded({"cut": True, **{key: _first(_cut(part, _TEXTS[-1]), items) for key, part in entry.items()}})
    return line


def _encoded(entry: object) -> bytes:
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _cut(part: object, most: int) -> object:
    if isinstance(part, str):
        return part if len(part) <= most else part[: most - 1] + "…"
    if isinstance(part, Mapping):
        return {key: _cut(value, most) for key, value in part.items()}
    return [_cut(value, most) for value in part] if isinstance(part, list | tuple) else part


def _first(part: object, items: int) -> object:
    if isinstance(part, dict):
        return dict(list(part.items())[:items])
    return part[:items] if isinstance(part, list) else part


def _rotate(path: str, more: int) -> None:
    """Put a full one aside. A clean-up by hand notes what it did beside passes: of two that would do so, one does, and
    looks again first; where it is being done just now the line goes into either file."""
    if _is_full(path, more):
        with suppress(Busy), alone(lock_path(path)):
            if _is_full(path, more):
                os.replace(path, path + ".1")


def _is_full(path: str, more: int) -> bool:
    try:
        return os.stat(path).st_size + more > LIMIT
    except FileNotFoundError:
        return False


def lock_path(path: str) -> str:
    """What is held while a full journal is put aside."""
    return path + ".lock"


def read(path: str) -> list[dict[str, Any]]:
    """All whole entries that are kept, oldest first. Raises `OSError`."""
    kept = look(path)
    if kept.unreadable:
        raise OSError(kept.unreadable[0])
    return [entry for _, entry in kept.entries]


class Kept(NamedTuple):
    """What is left of a journal."""

    entries: tuple[tuple[str, dict[str, Any]], ...]  # with the file that each stands in, oldest first
    damaged: Mapping[str, int]  # by file, how many lines are no entry
    unreadable: tuple[str, ...]  # files, and why


def exists(path: str) -> bool:
    return any(map(os.path.exists, _files(path)))


def look(path: str) -> Kept:
    """Everything that can be read, and what cannot."""
    entries: list[tuple[str, dict[str, Any]]] = []
    damaged: dict[str, int] = {}
    unreadable = []
    for name in _files(path):
        try:
            content = files.read(name)
        except FileNotFoundError:
            continue
        except OSError as error:
            unreadable.append(f"{name} cannot be read: {error.strerror or error}")
            continue
        for line in _whole(content):
            entry = _decoded(line)
            if entry is None:
                damaged[name] = damaged.get(name, 0) + 1
            else:
                entries.append((name, entry))
    return Kept(tuple(entries), damaged, tuple(unreadable))


def _files(path: str) -> tuple[str, str]:
    """The one before comes first."""
    return path + ".1", path


def _whole(content: bytes) -> list[bytes]:
    """The lines; without a last one that has no end, which a pass is writing just now, or was killed at."""
    return [line for line in content.split(b"\n")[:-1] if line.strip()]


def _decoded(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None
