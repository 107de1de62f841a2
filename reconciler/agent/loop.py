"""The loop: a pass at every interval, and at once when the repo or a rendered file changes.

watchfiles tells of changes where the file system does; on NFS and Lustre no event arrives, and the
interval is what remains. Each pass is as good as `--once`: nothing is kept in memory between two.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from types import FrameType

from reconciler.agent.config import Agent
from reconciler.agent.run import Busy, Observer, Pass
from reconciler.core.report import PassReport
from reconciler.source import SourceError, is_local

_DEBOUNCE = 200  # milliseconds: a push writes several files
_CALM = 2.0  # seconds after a pass in which what it wrote itself is not news


class Loop:
    """Runs passes until it is asked to stop."""

    def __init__(self, agent: Agent, observer: Observer, told: Callable[[PassReport], None]) -> None:
        self.agent = agent
        self.told = told
        self.observer = observer
        self._stop = Event()
        self._news = Event()
        self._watched: frozenset[str] = frozenset()
        self._watcher: Thread | None = None
        self._unwatch = Event()

    def run(self) -> int:
        """Returns 0 when SIGTERM or SIGINT asked for the end; the pass at work ends between two steps."""
        import signal

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked)
        try:
            while not self._stop.is_set():
                self._once()
                self._wait()
        finally:
            self._stop_watching()
        return 0

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()
        self._news.set()

    def _once(self) -> None:
        try:
            one = Pass(self.agent, self.observer, asked_to_stop=self._stop.is_set)
            report = one.run()
        except Busy as busy:
            self.observer.event("warning", "another pass is at work", holder=str(busy.holder))
        except (SourceError, OSError) as error:
            self.observer.event("error", "the pass could not be made", error=str(error))
        else:
            self.told(report)
            self._watch(self._worth_watching(report))
        self.observer.flush()

    def _wait(self) -> None:
        """Until the interval is over or there is news, but never closer than a moment after the last pass."""
        if self._stop.wait(min(_CALM, self.agent.interval)):
            return
        self._news.wait(max(self.agent.interval - _CALM, 0.0))
        self._news.clear()

    # ------------------------------------------------------------ watching

    def _worth_watching(self, report: PassReport) -> frozenset[str]:
        """Folders: of the refs of a repo on this host, and of every rendered file."""
        folders = {os.path.dirname(file.path) for deployment in report.deployments for file in deployment.desired.files}
        path = is_local(self.agent.repo)
        for place in (path, path and os.path.join(path, ".git")):
            if place and os.path.isdir(os.path.join(place, "refs", "heads")):
                folders |= {place, *_tree(os.path.join(place, "refs", "heads"))}
        return frozenset(folder for folder in folders if os.path.isdir(folder))

    def _watch(self, folders: frozenset[str]) -> None:
        if folders == self._watched and self._watcher is not None and self._watcher.is_alive():
            return
        self._stop_watching()
        self._watched, self._unwatch = folders, Event()
        if folders:
            self._watcher = Thread(target=self._listen, args=(sorted(folders), self._unwatch), daemon=True)
            self._watcher.start()

    def _stop_watching(self) -> None:
        self._unwatch.set()
        if self._watcher is not None:
            self._watcher.join(timeout=5.0)
            self._watcher = None

    def _listen(self, folders: list[str], ended: Event) -> None:
        from watchfiles import watch

        # A folder that is taken away while it is watched, or a limit of inotify: the interval remains.
        with suppress(OSError, RuntimeError):
            for changes in watch(
                *folders, stop_event=ended, debounce=_DEBOUNCE, recursive=False, rust_timeout=1000, watch_filter=None
            ):
                if _is_news(Path(path).name for _, path in changes):
                    self._news.set()


def _tree(folder: str) -> Iterable[str]:
    return (path for path, _, _ in os.walk(folder))


def _is_news(names: Iterable[str]) -> bool:
    """Temporary files and locks come and go while nothing has changed yet."""
    return any(not name.endswith((".lock", ".new")) and not name.startswith("tmp_") for name in names)
