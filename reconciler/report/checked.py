"""What `reconcile doctor` found, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from reconciler.core.checked import Checked, Verdict
from reconciler.report.style import Style

_COLOURS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.ERROR: "red"}


def checked_lines(one: Checked, style: Style) -> Iterator[str]:
    """A line for each thing, folded where it must, and below it how to mend it."""
    word = style.paint(f"{one.verdict.value:<8}", _COLOURS[one.verdict])
    what = f"{one.where} {one.what}".strip()
    yield from style.fold(f"{word}{what}: {one.message}", indent=" " * 10)
    if one.mend:
        yield from style.fold(f"{'':<8}-> {one.mend}", indent=" " * 11)


def summary(found: Sequence[Checked]) -> str:
    """`12 ok, 1 warning, 0 errors`."""
    counts = [sum(one.verdict is verdict for one in found) for verdict in Verdict]
    words = ("ok", "warning" + "s" * (counts[1] != 1), "error" + "s" * (counts[2] != 1))
    return ", ".join(f"{count} {word}" for count, word in zip(counts, words, strict=True))


def checked_data(found: Sequence[Checked]) -> dict[str, Any]:
    return {
        "ready": not any(one.verdict is Verdict.ERROR for one in found),
        "checks": [
            {
                "environment": one.where or None,
                "check": one.what,
                "verdict": one.verdict.value,
                "message": one.message,
                "mend": one.mend or None,
            }
            for one in found
        ],
    }
