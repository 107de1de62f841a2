"""What a pass that changed nothing has printed last where nobody sat before it: cron would mail it at each run.

One file, `STATE/SITE/printed`, with a digest of the report; when it was printed is its time of change. It is there
while passes have something to tell and change nothing. Losing it has the report printed once more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

from reconciler.core.digest import digest
from reconciler.core.report import PassReport
from reconciler.host import files

AGAIN = 86400.0  # seconds after which the same is told once more
WRONG_AGAIN = 21600.0  # likewise, where something is wrong


class Printed:
    def __init__(self, folder: str) -> None:
        """`folder`: of the site, in the state directory."""
        self._path = os.path.join(folder, "printed")

    @property
    def is_there(self) -> bool:
        """The last pass had something to tell, which this one may have too."""
        return os.path.exists(self._path)

    def is_new(self, report: PassReport, text: str) -> bool:
        """Whether a report is to be printed. `text`: empty where it has nothing to tell."""
        if report.did or not text:
            return True
        again = AGAIN if report.exit_code in (0, 2) else WRONG_AGAIN
        try:
            age = time.time() - os.stat(self._path).st_mtime
            return not 0 <= age < again or files.read(self._path) != _content(report, text)
        except OSError:
            return True

    def note(self, report: PassReport, text: str) -> None:
        """It was printed, or there was nothing to tell. Best effort: what cannot be noted is told again."""
        with suppress(OSError):
            if report.did or not text:
                os.unlink(self._path)
            else:
                files.write(self._path, _content(report, text), 0o600, sync=False)


def _content(report: PassReport, text: str) -> bytes:
    """What is held is known by its words, what is wrong by less of them."""
    if report.exit_code != 2:
        text = "\n".join(_wrong(report))
    return digest(text.encode("utf-8", "surrogatepass")).encode() + b"\n"


def _wrong(report: PassReport) -> Iterator[str]:
    """Of what is wrong, what programs printed is no news, and numbers are none either: times, pids, how often."""
    from reconciler.core.telling import NUMBERS, troubles

    yield f"{report.exit_code} {report.head or report.commit}"
    for notice in report.notices:
        yield NUMBERS.sub("#", notice.message)
    for environment, found in sorted(troubles(report).items()):
        yield from (f"{environment} {subject} {NUMBERS.sub('#', line)}" for subject, line in sorted(found.items()))
    for one in report.deployments:
        yield f"{one.plan.environment} {one.gate.id if one.gate else ''}"
        yield from (f"{change.kind.value} {change.held} {change.service}" for change in one.plan.diff.changes)
        yield from (NUMBERS.sub("#", line) for line in (*one.plan.diff.waiting, *one.plan.diff.warnings))
