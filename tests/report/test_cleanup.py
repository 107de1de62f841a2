"""What a rule for a scratch folder would remove, as a person reads it."""

from __future__ import annotations

from reconciler.core.cleanup import Cleaned, Figures
from reconciler.core.report import Scratch
from reconciler.report.cleanup import figure_lines, scratch_data
from reconciler.report.style import Style

NOON = 1_700_000_000.0
PLAIN = Style(colour=False, width=80)


def told(figures: Figures, *troubles: str) -> list[str]:
    return list(figure_lines(Scratch("inputs", "/scratch", figures, troubles=troubles), PLAIN))


def test_how_much_would_go_how_old_that_is_and_the_largest_of_it() -> None:
    largest = ((123_456_789, "ann/run-1"), (1500, "bob/run\n2"))
    figures = Figures(2, 1250, 123_458_289, NOON, NOON + 86400, largest)
    assert told(figures) == [
        f"      1,250 entries, 123 MB, {days(figures)}; the largest:",
        "        123 MB  ann/run-1",
        "        1.5 kB  bob/run\\n2",
    ]


def days(figures: Figures) -> str:
    from time import localtime, strftime

    first, last = (strftime("%Y-%m-%d", localtime(date)) for date in (figures.oldest, figures.newest))
    return f"from {first} to {last}"


def test_a_walk_that_ended_early_and_what_it_could_not_see() -> None:
    assert told(Figures(1, 1, 10, whole=False), "ann/shut: Permission denied") == [
        "      at least 1 entry, 10 B",
        "      not seen: ann/shut: Permission denied",
    ]


def test_machines_get_names_as_they_are() -> None:
    """A line break and what stands for one are two names."""
    names = ["ann/a\nb", "ann/a\\nb", "ann/é", "ann/\udcff"]
    data = scratch_data(Scratch("inputs", "/scratch", Figures(largest=tuple((1, name) for name in names))))
    assert [one["path"] for one in data["would"]["largest"]] == names
    cleaned = Cleaned(troubles=(names[1],))
    assert scratch_data(Scratch("inputs", "/scratch", None, cleaned, tuple(names)))["troubles"] == [*names, names[1]]
