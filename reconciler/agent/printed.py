"""What a pass that is only held has printed last where nobody sat before it: cron would mail it at each run.

One file, `STATE/SITE/printed`, with a digest of the report; when it was printed is its time of change. It is there
only while the last pass was held. Losing it has the report printed once more.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from reconciler.core.digest import digest
from reconciler.core.report import PassReport
from reconciler.host import files

AGAIN = 86400.0  # seconds after which the same is told once more


class Printed:
    def __init__(self, folder: str) -> None:
        """`folder`: of the site, in the state directory."""
        self._path = os.path.join(folder, "printed")

    def is_new(self, report: PassReport, text: str) -> bool:
        """Whether a report is to be printed; only of what is held some are not."""
        if not report.is_held:
            return True
        try:
            age = time.time() - os.stat(self._path).st_mtime
            return not 0 <= age < AGAIN or files.read(self._path) != _content(text)
        except OSError:
            return True

    def note(self, report: PassReport, text: str) -> None:
        """It was printed, or there was nothing to tell. Best effort: what cannot be noted is told again."""
        with suppress(OSError):
            if report.is_held:
                files.write(self._path, _content(text), 0o600, sync=False)
            else:
                os.unlink(self._path)


def _content(text: str) -> bytes:
    return digest(text.encode("utf-8", "surrogatepass")).encode() + b"\n"
