"""The journal: one line of JSON for every pass that did something, bounded in size."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from reconciler.host import files

LIMIT = 1 << 20  # bytes of one journal; the one before it is kept beside it


def append(path: str, entry: Mapping[str, object]) -> None:
    """Add an entry. Raises `OSError`. A line cut short by a crash is ended first, so that it spoils no other."""
    files.make_folder(os.path.dirname(path), 0o700)
    line = json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    _rotate(path, len(line))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def _rotate(path: str, more: int) -> None:
    try:
        full = os.stat(path).st_size + more > LIMIT
    except FileNotFoundError:
        return
    if full:
        os.replace(path, path + ".1")


def read(path: str) -> list[dict[str, object]]:
    """All whole entries that are kept, oldest first."""
    entries = []
    for name in (path + ".1", path):
        try:
            content = files.read(name)
        except FileNotFoundError:
            continue
        for line in content.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                entries.append(entry)
    return entries
