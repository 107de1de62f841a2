"""The surgery on a crontab as text: our own lines between two marks, and all else byte for byte as it was.

Pure, and for scrontab too. A line ends with a newline; what else is in it, a carriage return say, is part of it.
Several agents of one account live side by side in one table: a mark names the agent by its site and state directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.schedule.base import Trouble

_BEGIN, _END = b"# BEGIN reconcile schedule: ", b"# END reconcile schedule: "
_DISABLED = b"#DISABLED: "  # what Slurm writes before each line of an entry whose job was cancelled


def block(label: bytes, lines: Sequence[bytes]) -> bytes:
    """The lines of an agent between its marks."""
    return b"".join(line + b"\n" for line in (_BEGIN + label, *lines, _END + label))


def put(table: bytes, label: bytes, block: bytes, *, first: bool) -> bytes:
    """The table with this block in the place of the agent's former one.

    A new one comes to the beginning or the end, but never behind a last line that has no newline: that line would
    have to be changed for it.
    """
    rows = _rows(table)
    old = list(_ours(rows, label, block))
    if old:
        place = old[0][0]
    elif first:
        place = 0
    else:
        place = len(rows) - (bool(rows) and not rows[-1].endswith(b"\n"))
    return _without(rows[:place], old, 0) + block + _without(rows[place:], old, place)


def take(table: bytes, label: bytes, block: bytes = b"") -> bytes:
    """The table without the agent's lines. `block` is what was written, where that is known."""
    rows = _rows(table)
    return _without(rows, list(_ours(rows, label, block)), 0)


def has(table: bytes, label: bytes) -> bool:
    return any(_ours(_rows(table), label, b""))


def trouble(table: bytes, label: bytes, block: bytes) -> Trouble | None:
    """What has become of this block; None where it stands as it was written."""
    rows = _rows(table)
    found = [rows[first:after] for first, after in _ours(rows, label, block)]
    if not found:
        return Trouble.MISSING
    if found == [_rows(block)]:
        return None
    enabled = [[_enabled(row) for row in each] for each in found]
    return Trouble.DISABLED if enabled == [_rows(block)] else Trouble.CHANGED


def _rows(table: bytes) -> list[bytes]:
    """Lines with their ends; only a newline ends one."""
    return [row + b"\n" for row in table.split(b"\n")[:-1]] + [row for row in table.split(b"\n")[-1:] if row]


def _enabled(row: bytes) -> bytes:
    return row.removeprefix(_DISABLED)


def _mark(row: bytes) -> bytes:
    """What may be a mark, also where an editor has given every line a carriage return, as the table or as Debian's
    crontab(1) shows it."""
    return _enabled(row).rstrip().removesuffix(b"\\r")


def _ours(rows: Sequence[bytes], label: bytes, block: bytes) -> Iterator[tuple[int, int]]:
    """Where the agent's lines stand: the first of each stretch, and the first that is not of it any more.

    Where somebody has taken one of two marks away, nobody can say how far the stretch goes: it is the mark, and
    the following lines as far as they are those that were written.
    """
    body = _rows(block)[1:-1]
    index = 0
    while index < len(rows):
        mark = _mark(rows[index])
        if mark == _BEGIN + label:
            after = _closed(rows, index, label) or _known(rows, index + 1, body)
            yield index, after
            index = after
        else:
            if mark == _END + label:
                yield index, index + 1
            index += 1


def _closed(rows: Sequence[bytes], begin: int, label: bytes) -> int:
    """Behind the end mark that belongs to this begin mark; 0 where there is none."""
    for index in range(begin + 1, len(rows)):
        mark = _mark(rows[index])
        if mark == _END + label:
            return index + 1
        if mark.startswith((_BEGIN, _END)):
            break
    return 0


def _known(rows: Sequence[bytes], index: int, body: Sequence[bytes]) -> int:
    for row in body:
        if index == len(rows) or _enabled(rows[index]) != row:
            break
        index += 1
    return index


def _without(rows: Sequence[bytes], stretches: Sequence[tuple[int, int]], start: int) -> bytes:
    """These rows, the first of which is number `start`, but for the stretches."""
    gone = {index for first, after in stretches for index in range(first, after)}
    return b"".join(row for index, row in enumerate(rows, start) if index not in gone)
