"""The end of a log and what comes after it: of a file that grows, or of what a program prints.

Files are looked at again and again: the file systems of clusters tell no events.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from reconciler.host.child import Child

_CHUNK = 1 << 16
_SEEN = 256  # bytes: if these still stand where they were read, the file was not begun anew
_PATIENCE = 1e9  # seconds: a program that is not followed is read to its end


class TailError(Exception):
    """A log cannot be read. The text says which and why."""


class NotThereYet(TailError):  # noqa: N818 - it says what is so
    """There is no such file; it may come."""


class Tail(Protocol):
    """One log. `last` comes first, then `more` as often as one likes."""

    def last(self) -> Iterator[bytes]:
        """Pieces from the first of the last lines to the end. Raises `TailError`."""

    def more(self) -> Iterator[bytes]:
        """Pieces that have come since, without waiting for any. Raises `TailError`, and may be asked again."""

    def notes(self) -> bytes:
        """What was said about the log, and is not part of it, since this was asked last."""

    @property
    def over(self) -> bool:
        """Nothing will ever come any more."""

    def close(self) -> None: ...


# ---------------------------------------------------------------- files


class FileTail:
    """A file, through rotation: PATH is renamed to PATH.1, that one to PATH.2, or PATH is emptied.

    Its last lines may lie in the files that were rotated away. `lines` None: all that there is.
    """

    over = False  # it may always grow

    def __init__(self, path: str, lines: int | None) -> None:
        self.path = path
        self._lines = lines
        self._file: _Opened | None = None

    def last(self) -> Iterator[bytes]:
        self._file = self._open()
        files = [self._file]
        try:
            missing = self._file.go_to_last(self._lines)
            for older in self._rotated() if missing != 0 else ():
                files.append(older)
                missing = older.go_to_last(missing)
                if missing == 0:
                    break
            for file in reversed(files):
                yield from file.rest()
        except OSError as error:
            raise self._failed(error) from error
        finally:
            for file in files[1:]:
                file.close()

    def more(self) -> Iterator[bytes]:
        """The path is opened each time: over NFS nothing else asks the server how long the file is now."""
        try:
            fresh = self._open()
        except NotThereYet:
            if self._file is not None:  # renamed, and the new one is not there yet
                yield from self._file.rest()
            return
        old, self._file = self._file, fresh
        if old is None:
            yield from fresh.rest()
            return
        try:
            if fresh.identity == old.identity:
                fresh.go_on(old)
            else:
                yield from self._unread(old)
            yield from fresh.rest()
        except OSError as error:
            raise self._failed(error) from error
        finally:
            old.close()

    def _unread(self, old: _Opened) -> Iterator[bytes]:
        """The rest of a file that another one stands in the place of, and files that came and went in between."""
        with suppress(OSError):  # over NFS it may be gone with its name
            yield from old.rest()
        between = []
        for file in self._rotated():
            if file.identity == old.identity:
                file.close()
                break
            between.append(file)
        else:
            while between:  # it is not among them, so nobody knows what was seen
                between.pop().close()
        while between:
            yield from between[-1].rest()
            between.pop().close()

    def _rotated(self) -> Iterator[_Opened]:
        """The files before this one, the youngest first. One that is renamed meanwhile is not met twice."""
        seen = {self._file.identity} if self._file else set()
        number = 1
        with suppress(OSError):
            while True:
                file = _Opened(f"{self.path}.{number}")
                number += 1
                if file.identity in seen:
                    file.close()
                    continue
                seen.add(file.identity)
                yield file

    def _open(self) -> _Opened:
        try:
            return _Opened(self.path)
        except FileNotFoundError:
            raise NotThereYet(f"{self.path} is not there yet") from None
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> TailError:
        return TailError(f"{self.path} cannot be read: {error.strerror or error}")

    def notes(self) -> bytes:
        return b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


class _Opened:
    """A file and how far it was read. Whatever is renamed, it stays this file."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        info = os.fstat(self._descriptor)
        self.identity = (info.st_dev, info.st_ino)
        self.size = info.st_size
        self.at = 0
        self._seen = b""  # the last bytes before `at`

    def go_on(self, old: _Opened) -> None:
        """Stand where the reading of it ended; at the beginning, where it was emptied since, as for a new start of
        an instance: it may have grown longer than it was."""
        seen = old._seen
        if self.size >= old.at and os.pread(self._descriptor, len(seen), old.at - len(seen)) == seen:
            self.at, self._seen = old.at, seen

    def go_to_last(self, lines: int | None) -> int | None:
        """Stand at the beginning of the last lines; how many more were wanted, None for all."""
        missing = self._find_last(lines)
        begin = max(self.at - _SEEN, 0)
        self._seen = os.pread(self._descriptor, self.at - begin, begin)
        return missing

    def _find_last(self, lines: int | None) -> int | None:
        if not lines:
            self.at = self.size if lines == 0 else 0
            return lines
        self.at = 0
        end = self.size
        while end:
            begin = max(end - _CHUNK, 0)
            block = os.pread(self._descriptor, end - begin, begin)
            found = len(block) - 1 if end == self.size else len(block)  # the last newline begins no line
            while (found := block.rfind(b"\n", 0, found)) >= 0:
                lines -= 1
                if lines == 0:
                    self.at = begin + found + 1
                    return 0
            end = begin
        return lines - 1 if self.size else lines

    def rest(self) -> Iterator[bytes]:
        """What lies between here and the end of now: one that grows faster than it is read has an end too."""
        end = os.fstat(self._descriptor).st_size
        while self.at < end and (chunk := os.pread(self._descriptor, min(_CHUNK, end - self.at), self.at)):
            self.at += len(chunk)
            self._seen = (self._seen + chunk)[-_SEEN:]
            yield chunk

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


# ---------------------------------------------------------------- programs


class CommandTail:
    """What a program prints. `argv` says how many lines, and with `follow` that it goes on by itself."""

    def __init__(self, argv: Sequence[str], *, follow: bool) -> None:
        self._argv = list(argv)
        self._follow = follow
        self._child: Child | None = None
        self._told = 0  # bytes of its standard error that were passed on
        self.over = False

    def last(self) -> Iterator[bytes]:
        """All that it prints; of one that goes on, nothing yet: only it knows where the last lines end."""
        self._child = child = self._start()
        if self._follow:
            return
        while line := child.line(monotonic() + _PATIENCE):
            yield line
        yield from self._end(child)

    def _start(self) -> Child:
        from reconciler.host.child import start

        try:
            return start(self._argv, os.environ)
        except OSError as error:
            self.over = True
            why = "it is not on PATH" if isinstance(error, FileNotFoundError) else error.strerror
            raise TailError(f"{self} cannot be run: {why}") from error

    def more(self) -> Iterator[bytes]:
        """Whole lines, as far as they are there."""
        child = self._child
        if child is None or self.over:
            return
        ended = _has_ended(child)
        while line := child.line(monotonic()):
            yield line
        if ended:
            yield from self._end(child)

    def _end(self, child: Child) -> Iterator[bytes]:
        """What it printed without an end of line. Raises `TailError` where it ended badly, or ended at all and
        should have gone on."""
        self.over = True
        ended = child.finish(monotonic() + _PATIENCE)
        if ended.out:
            yield ended.out
        if ended.code or self._follow:
            how = f"exit status {ended.code}" if ended.code >= 0 else f"ended by signal {-ended.code}"
            raise TailError(f"{self}: {how}")

    def __str__(self) -> str:
        return " ".join(self._argv)

    def notes(self) -> bytes:
        said = self._child.said[self._told :] if self._child is not None else b""
        self._told += len(said)
        return said

    def close(self) -> None:
        if self._child is not None:
            self._child.end()


def _has_ended(child: Child) -> bool:
    """Without taking its exit status away from whoever waits for it."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
