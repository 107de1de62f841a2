"""The comparison of two commits, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconciler.core.report import Comparison
from reconciler.report.data import pass_data, problems_data
from reconciler.report.style import Style
from reconciler.report.text.page import pass_text
from reconciler.report.text.remarks import problem_lines


def compare_text(comparison: Comparison, style: Style) -> str:
    range_ = f"{comparison.before[:8]}..{comparison.after[:8]}"
    blocks = [pass_text(report, style).rstrip() for report in comparison.reports]
    blocks += _problem_blocks(comparison, style)
    changed = sum(len(report.deployments) for report in comparison.reports)
    blocks.append(f"{range_}: {changed} of {comparison.compared} deployments differ.")
    return "\n\n".join(blocks) + "\n"


def _problem_blocks(comparison: Comparison, style: Style) -> Iterator[str]:
    """Those of either commit; the earlier one's carry its name in their place."""
    before = f"{comparison.before[:8]}:"
    earlier = [problem for problem in comparison.problems if problem.origin.file.startswith(before)]
    later = [problem for problem in comparison.problems if problem not in earlier]
    if earlier:
        heading = f"{comparison.before[:8]} is not valid, so nothing can be compared with it:"
        yield "\n".join([heading, *problem_lines(earlier, style)])
    if later:
        yield "\n".join([f"{comparison.after[:8]} is not valid:", *problem_lines(later, style)])


def compare_data(comparison: Comparison) -> dict[str, Any]:
    return {
        "before": comparison.before,
        "after": comparison.after,
        "compared": comparison.compared,
        "sites": [pass_data(report) for report in comparison.reports],
        "problems": problems_data(comparison.problems),
    }
