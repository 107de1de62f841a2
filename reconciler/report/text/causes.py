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
_WIDEST = 78  # who asked for it stands in a line of its own where both do not fit in 80 columns, also in a mail


def cause_lines(deployment: DeploymentReport, style: Style) -> Iterator[str]:
    """`git  versions.site 2.8.1 -> 2.8.2  desired/environments/dev.yaml:4  9fa0eb5f Bump site (Ann)`."""
    if deployment.why is not None:
        yield from told_causes(deployment.why.causes.get("", ()), style)


def told_causes(causes: Sequence[Cause], style: Style) -> Iterator[str]:
    if not causes:
        return
    from reconciler.report.words import cause_words, who_words

    for cause in causes[:_SHOWN]:
        told, who = f"    git      {cause_words(cause)}  {cause.origin}", who_words(cause.who)
        parts = (told, " " * 13 + who) if who and len(told) + len(who) > _WIDEST else (f"{told}  {who}".rstrip(),)
        for part in parts:
            yield from style.fold(part, indent=" " * 13)
    if len(causes) > _SHOWN:
        more = len(causes) - _SHOWN
        yield f"    git      and {more} more value{'s' * (more != 1)}"


def since_told(change: Change, why: Why | None) -> str:
    """Since when it has drifted, where the host tells."""
    since = why.since.get(change.service, 0.0) if why else 0.0
    return time.strftime(", since %Y-%m-%d %H:%M", time.localtime(since)) if since and change.reasons else ""
