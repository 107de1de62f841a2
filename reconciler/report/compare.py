"""The comparison of two commits, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from reconciler.core.desired import Role
from reconciler.core.report import Comparison
from reconciler.report.clean import clean
from reconciler.report.data import pass_data, problems_data
from reconciler.report.review import FileTold, of_comparison
from reconciler.report.style import Style
from reconciler.report.text.causes import told_causes
from reconciler.report.text.page import Entry, entries, widths
from reconciler.report.text.remarks import problem_lines
from reconciler.report.words import file_words, place_words

_SHOWN = 40  # lines of files that are shown unless all are asked for
_COLOURS = {"+": "green", "-": "red", "@": "dim"}


_MORE = "`--patch` shows all of them, `-o html` as a page."


def compare_text(comparison: Comparison, style: Style, *, whole: bool = False, more: str = _MORE) -> str:
    """What is the same in several deployments is told once. `whole`: every line of every file. `more`: how to see the
    files that are not shown."""
    blocks = list(_blocks(comparison, style))
    blocks += _files(comparison, style, whole=whole, more=more)
    blocks += _problem_blocks(comparison, style)
    changed = sum(len(report.deployments) for report in comparison.reports)
    blocks.append(f"{comparison.range}: {changed} of {comparison.compared} deployments differ.")
    return "\n\n".join(blocks) + "\n"


def _blocks(comparison: Comparison, style: Style) -> Iterator[str]:
    """What is the same by the deployments that have it, in the order in which those come first."""
    reports = comparison.reports
    every = [(f"{report.site}/{one.plan.environment}", one) for report in reports for one in report.deployments]
    width = widths(one for _, one in every)
    where: dict[Entry, list[str]] = {}
    for name, one in every:
        for entry in entries(one, width, style):
            places = where.setdefault(entry, [])
            places += [name] if name not in places else []
    if len(every) > 1:
        causes = dict.fromkeys(cause for _, one in every if one.why for cause in one.why.causes.get("", ()))
        git = "\n".join(told_causes(list(causes), style))
        yield from [f"{style.paint('Changed in git', 'bold')}\n{git}"] if causes else []
    together: dict[tuple[str, ...], list[Entry]] = {}
    for entry, places in sorted(where.items(), key=lambda item: -_WEIGHTS.get(item[0].about, 1)):
        if entry.lines and not (len(every) > 1 and entry.about in _OF_ONE):
            together.setdefault(tuple(places), []).append(entry)
    for names, told in together.items():
        lines = [line for entry in (told if len(every) > 1 else where) for line in entry.lines]
        yield "\n".join([*style.fold(_heading(names, comparison, style), indent="    "), *lines])


_WEIGHTS = {"change": 2, "summary": 0}
_OF_ONE = ("kept", "git")  # told of a single deployment; of several these are counted, and told above


def _heading(names: Sequence[str], comparison: Comparison, style: Style) -> str:
    at = f"at {comparison.after[:8]}" if comparison.after else "in the work tree"
    return f"{style.paint(place_words(names), 'bold')} {at}"


def _files(comparison: Comparison, style: Style, *, whole: bool, more: str) -> Iterator[str]:
    """Unified diffs of what is rendered, as many as fit a screen. What only follows from a version comes last."""
    review = of_comparison(comparison)
    bumped = {told.service for told in review.changes if told.before != told.after}
    told = [file for file in review.files if whole or not _follows(file, bumped)]
    left, shown = _SHOWN, 0
    for file in told:
        if not whole and shown and len(file.delta.lines) > left:
            break
        yield "\n".join(_file(file, style))
        left, shown = left - len(file.delta.lines), shown + 1
    if len(review.files) > shown:
        count = len(review.files) - shown
        what = f"{'more ' * bool(shown)}rendered {'file changes' if count == 1 else 'files change'}"
        yield "\n".join(style.fold(f"{count} {what}: {more}", indent="    "))


def _follows(file: FileTold, bumped: set[str]) -> bool:
    if file.delta.hidden.startswith("only"):
        return True
    return file.delta.role is Role.SHIM and bumped.issuperset(file.delta.services) and file.delta.word == "changed"


def _file(file: FileTold, style: Style) -> Iterator[str]:
    delta = file.delta
    where = f"  ({place_words(file.places)})"
    names = [
        f"--- {delta.name if delta.word != 'new' else '/dev/null'}",
        f"+++ {delta.name if delta.word != 'removed' else '/dev/null'}",
    ]
    yield style.paint(clean(names[0]), "bold")
    yield style.paint(clean(names[1]), "bold") + style.paint(where, "dim")
    if not delta.lines or delta.modes[0] != delta.modes[1] != 0 != delta.modes[0]:
        yield f"  {file_words(delta)}"
    for line in delta.lines:
        yield style.paint(clean(line), _COLOURS.get(line[:1], ""))


def _problem_blocks(comparison: Comparison, style: Style) -> Iterator[str]:
    """Those of either commit; the earlier one's carry its name in their place."""
    before = f"{comparison.before[:8]}:"
    earlier = [problem for problem in comparison.problems if problem.origin.file.startswith(before)]
    later: Sequence[Any] = [problem for problem in comparison.problems if problem not in earlier]
    if earlier:
        heading = f"{comparison.before[:8]} is not valid, so nothing can be compared with it:"
        yield "\n".join([heading, *problem_lines(earlier, style)])
    if later:
        yield "\n".join([f"{comparison.after[:8] or 'the work tree'} is not valid:", *problem_lines(later, style)])


def compare_data(comparison: Comparison) -> dict[str, Any]:
    return {
        "before": comparison.before,
        "after": comparison.after or None,
        "compared": comparison.compared,
        "sites": [pass_data(report) for report in comparison.reports],
        "problems": problems_data(comparison.problems),
    }
