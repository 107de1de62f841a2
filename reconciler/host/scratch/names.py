r"""The log of what clean-ups remove, by name. Each name is written just before it goes, so that it is known whatever
comes: what is only told at the end is lost with whoever was to tell it.

A line for each entry that goes by itself, its parts apart by tabs:

    2026-11-29T20:20:11Z  RUN  cleanup.inputs  goes   /scratch/inputs/ann/run-1  .reconcile-gone-0f3c…

The last part is what a folder is called while it goes. `stays` follows where it could not be removed after all. A
newline in a name is `\n`, a tab `\t`, a backslash `\\`, any other byte that cannot be printed `\x` and two digits.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from threading import Lock

LIMIT = 16 << 20  # bytes; the log before it is kept beside it
_PARTS = 6  # of a line of a folder
_HELD = 1 << 20  # bytes of lines that wait for room on a full file system
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_WORDS = {"\n": "\\n", "\t": "\\t", "\\": "\\\\"}
_BYTES = {word[1:].encode(): one.encode() for one, word in _WORDS.items()}
_ESCAPED = re.compile(rb"\\(n|t|\\|x[0-9a-f]{2})")


class Names:
    """The log as one clean-up writes it. Nobody else does meanwhile."""

    def __init__(self, path: str = "", run: str = "", rule: str = "", root: str = "", limit: int = LIMIT) -> None:
        """`path`: empty: nothing is written, and nothing known. `run`: which pass this is."""
        self._path, self._about, self._root, self._limit = path, f"{run or '-'}\tcleanup.{rule}", root, limit
        self._lock = Lock()
        self._file, self._size = -1, 0  # it is opened with the first line
        self._waiting = bytearray()
        self._when, self._began = 0, ""  # how a line begins in this second
        self._failed: OSError | None = None  # why something waits

    def goes(self, path: str, gone: str = "") -> None:
        """To be called before it does. `gone`: what it is called from then on; paths are from the root on."""
        self._note("goes", path, gone)

    def stays(self, path: str) -> None:
        """What was told to go could not be removed."""
        self._note("stays", path, "")

    def close(self) -> OSError | None:
        """The end of it; why not all could be written."""
        with self._lock:
            self._write()
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
            return self._failed if self._waiting else None

    def was(self, path: str) -> str:
        """What a folder was called that has the name of what goes by now; empty where that is not known."""
        folder, gone = os.path.split(path)
        place = os.path.join(self._root, folder)
        for name in (self._path, f"{self._path}.1") if self._path else ():
            with suppress(OSError, ValueError):  # an empty one cannot be mapped
                if found := _last(name, gone, place):
                    return os.path.join(folder, found)
        return ""

    def _note(self, word: str, path: str, gone: str) -> None:
        if not self._path:
            return
        whole = escaped(os.path.join(self._root, path))
        with self._lock:
            if len(self._waiting) < _HELD:
                self._waiting += f"{self._begin()}\t{word}\t{whole}\t{gone}".rstrip("\t").encode() + b"\n"
            self._write()

    def _begin(self) -> str:
        now = int(time.time())
        if now != self._when:
            self._when = now
            self._began = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(now))}\t{self._about}"
        return self._began

    def _write(self) -> None:
        """What waits. Where there is no room for it the clean-up goes on all the same, as it makes some."""
        try:
            while self._waiting:
                self._ready(len(self._waiting))
                done = os.write(self._file, self._waiting)
                self._size += done
                del self._waiting[:done]
        except OSError as error:
            self._failed = error

    def _ready(self, more: int) -> None:
        if self._file >= 0 and self._size + more > self._limit:
            os.close(self._file)
            self._file = -1
        if self._file < 0:
            self._open(more)

    def _open(self, more: int) -> None:
        with suppress(FileNotFoundError):
            if os.stat(self._path).st_size + more > self._limit:
                os.replace(self._path, f"{self._path}.1")
        self._file = os.open(self._path, _FLAGS, 0o600)
        self._size = os.fstat(self._file).st_size
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":  # a crash has cut it short
            self._size += os.write(self._file, b"\n")


NO_NAMES = Names()


def begun(path: str) -> Iterator[tuple[str, str, str]]:
    """Each folder that a log tells of: the rule, its path, and its name from then on."""
    for name in (f"{path}.1", path):
        with suppress(OSError), open(name, "rb") as lines:
            for line in lines:
                parts = line.rstrip(b"\n").split(b"\t")
                if len(parts) == _PARTS and parts[3] == b"goes":
                    yield os.fsdecode(parts[2]).removeprefix("cleanup."), plain(parts[4]), os.fsdecode(parts[5])


def _last(file: str, gone: str, place: str) -> str:
    """The name in a folder that was last told to be called so from then on. Inodes are used anew, by others too."""
    end = f"\t{gone}\n".encode()
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        with mmap(descriptor, 0, access=ACCESS_READ) as content:
            at = content.rfind(end)
            while at >= 0:
                path = plain(content[content.rfind(b"\t", 0, at) + 1 : at])
                if os.path.dirname(path) == place:
                    return os.path.basename(path)
                at = content.rfind(end, 0, at)
    finally:
        os.close(descriptor)
    return ""


def escaped(path: str) -> str:
    """In one line, from which the path can be had again."""
    return path if path.isprintable() and "\\" not in path else "".join(map(_one, path))


def _one(letter: str) -> str:
    if letter.isprintable() and letter != "\\":
        return letter
    return _WORDS.get(letter) or "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))


def plain(text: bytes) -> str:
    """The path that was escaped."""
    return os.fsdecode(_ESCAPED.sub(lambda found: _BYTES.get(found[1]) or bytes.fromhex(found[1][1:].decode()), text))
