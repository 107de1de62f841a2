"""What the words of a process lead to, by way of links: a folder has several names at times, as `/home` often has."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

_PATH = re.compile(rb"[^\0\s'\"=:,;|&<>()]*/[^\0\s'\"=:,;|&<>()]*")
_LONGEST = 4096  # bytes of a path, as the kernel has it
_LINKS = 40  # on one way, likewise
_KERNELS = (b"/proc/", b"/sys/", b"/dev/")  # their links are of whoever looks


class Aliases:
    """Of many processes at one time: what is asked of the file system is asked once."""

    def __init__(self) -> None:
        self._ways: dict[bytes, tuple[bytes, ...]] = {}
        self._links: dict[bytes, bytes] = {}

    def of(self, words: bytes, folder: bytes = b"") -> Iterator[bytes]:
        """Of each path among words, what it leads to, link by link. `folder`: what counts for paths that do not begin
        with a slash; empty where that is not known, and these say nothing."""
        for word in set(words.split(b"\0")):
            for found in {word, *_PATH.findall(word)} if b"/" in word else ():
                path = found if found.startswith(b"/") else folder + b"/" + found
                is_known = path is found or (folder and b"//" not in found)
                if is_known and len(path) <= _LONGEST and not path.startswith(_KERNELS):
                    yield from self._known(path)

    def _known(self, path: bytes) -> tuple[bytes, ...]:
        if path not in self._ways:
            self._ways[path] = tuple(self._led(path))
        return self._ways[path]

    def _led(self, path: bytes) -> Iterator[bytes]:
        """Each link on the way, without any link before it, and the end; with a slash behind, as a folder may be."""
        at, left, links = b"", path.split(b"/")[::-1], _LINKS
        while left and links:
            name = left.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                at = at.rpartition(b"/")[0]
                continue
            target = self._target(at + b"/" + name)
            if not target:
                at += b"/" + name
                continue
            yield at + b"/" + name + b"/"
            links -= 1
            at = b"" if target.startswith(b"/") else at
            left += target.split(b"/")[::-1]
        yield at + b"/"

    def _target(self, path: bytes) -> bytes:
        """Of a link; empty for anything else."""
        if path not in self._links:
            try:
                self._links[path] = os.readlink(path)
            except OSError:
                self._links[path] = b""
        return self._links[path]
