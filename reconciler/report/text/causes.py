"""Lines that say what changed in git and who asked for it, and since when something has drifted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from reconciler.core.change import Change
from reconciler.core.report import DeploymentReport
from reconciler.report.style import Style

if TYPE_CHECKING:
    from reconciler.core.review import Cause, Why

_SHOWN = 8  # values that get a line each; more are counted


def cause_lines(deployment: DeploymentReport, style: Style) -> Iterator[str]:
    """`git  versions.site 2.8.1 -> 2.8.2  desired/environments/dev.yaml:4  9fa0eb5f Bump site (Ann)`."""
    if deployment.why is not None:
        yield from told_causes(deployment.why.causes.get("", ()), style)


def told_causes(causes: Sequence[Cause], style: Style) -> Iterator[str]:
    if not causes:
        return
    from reconciler.report.words import cause_words, who_words

    for cause in causes[:_SHOWN]:
        told = f"    git      {cause_words(cause)}  {cause.origin}  {who_words(cause.who)}".rstrip()
        yield from style.fold(told, indent=" " * 13)
    if len(causes) > _SHOWN:
        yield f"    git      and {len(causes) - _SHOWN} more values"


def since_told(change: Change, why: Why | None) -> Change:
    """With since when it has drifted, where the host tells."""
    since = why.since.get(change.service, 0.0) if why else 0.0
    if not since or not change.reasons:
        return change
    first, *others = change.reasons
    told = time.strftime("%Y-%m-%d %H:%M", time.localtime(since))
    return change._replace(reasons=(f"{first}, since {told}", *others))
