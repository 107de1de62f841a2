"""The loop: a pass at every interval, and at once when the repo or a rendered file changes.

watchfiles tells of changes where the file system does; on NFS and Lustre no event arrives, and the
interval is what remains. Each pass is as good as `--once`: nothing is kept in memory between two.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from time import monotonic
from types import FrameType

from reconciler.agent.config import Agent, InvalidInput
from reconciler.agent.memory.store import Store
from reconciler.agent.run import Busy, Observer, Pass
from reconciler.core.report import PassReport
from reconciler.source import SourceError, branch_head, is_local

_DEBOUNCE = 200  # milliseconds: a push writes several files
_LONGEST = 86400.0  # seconds that poll is given at a time; it takes no more than 24 days
_CALM = 2.0  # seconds after a pass, until what it wrote itself has been told of


class Loop:
    """Runs passes until it is asked to stop.

    Signal handlers and the watching thread set a plain flag and write to a pipe, which is what the main
    thread waits for: a lock, as an `Event` has one, may be held by the very code that a signal interrupts.
    """

    def __init__(self, agent: Agent, observer: Observer, told: Callable[[PassReport], None]) -> None:
        self.agent = agent
        self.told = told
        self.observer = observer
        self._path = is_local(agent.repo)
        self._ending = False
        self._pushed = False  # refs of a repo on this host have changed
        self._edited = False  # so has something beside a rendered file
        self._bell, self._button = -1, -1  # two ends of a pipe
        self._watched: frozenset[str] = frozenset()
        self._watcher: Thread | None = None
        self._unwatch = Event()

    def run(self) -> int:
        """Returns 0 when SIGTERM or SIGINT asked for the end; the pass at work ends between two steps."""
        self.observer.event("info", "the loop begins", site=self.agent.site, interval=self.agent.interval)
        self.observer.flush()
        with self._alarmed():
            try:
                while not self._ending:
                    self._pushed = False  # whatever was pushed by now, the pass will see
                    head = self._head()
                    self._once()
                    self._rest(head)
            finally:
                self._stop_watching()
        return 0

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        self._ending = True
        self._ring()

    def _once(self) -> None:
        try:
            one = Pass(self.agent, self.observer, asked_to_stop=lambda: self._ending)
            one.is_awaited = self._awaits(monotonic())
            report = one.run()
        except Busy as busy:
            self.observer.event("warning", "another pass is at work", holder=str(busy.holder))
        except (SourceError, InvalidInput, OSError) as error:
            self.observer.event("error", "the pass could not be made", error=str(error))
        else:
            self.told(report)
            self._watch(self._worth_watching(report))
        self.observer.flush()

    def _awaits(self, began: float) -> Callable[[], bool]:
        """Whether a pass that began then is in the way of the next one."""
        return lambda: self._pushed or monotonic() - began > self.agent.interval

    # ------------------------------------------------------------ waiting

    def _rest(self, head: str) -> None:
        """Until the interval is over or there is news, but never closer than a moment after the last pass.

        Files that change during a pass and just after it are its own work. A push then is not, and nothing
        may have told of it: where the watch began with this pass, only the branch itself shows it.
        """
        end = monotonic() + self.agent.interval
        self._wait(min(monotonic() + _CALM, end), lambda: False)
        self._edited = False
        if self._head() == head:
            self._wait(end, lambda: self._pushed or self._edited)

    def _head(self) -> str:
        """The branch of a repo on this host; empty where that cannot be read without git."""
        return branch_head(self._path, self.agent.branch) if self._path else ""

    def _wait(self, end: float, news: Callable[[], bool]) -> None:
        """Until `end` (monotonic seconds), or until there is news or the loop is asked to stop."""
        waiter = select.poll()
        waiter.register(self._bell, select.POLLIN)
        while not self._ending and not news() and (left := end - monotonic()) > 0:
            if waiter.poll(min(left, _LONGEST) * 1000):
                os.read(self._bell, 4096)

    def _ring(self) -> None:
        with suppress(OSError):  # full: then it rings already; or closed: nobody waits any more
            os.write(self._button, b"!")

    @contextmanager
    def _alarmed(self) -> Iterator[None]:
        """SIGTERM and SIGINT are heeded. The wakeup descriptor is for one that comes just before the waiting:
        Python would run its handler only after it."""
        import signal

        self._bell, self._button = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        before = {number: signal.signal(number, self._asked) for number in (signal.SIGTERM, signal.SIGINT)}
        former = signal.set_wakeup_fd(self._button, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(former)
            for number, handler in before.items():
                signal.signal(number, handler)
            bell, button, self._bell, self._button = self._bell, self._button, -1, -1
            os.close(bell)
            os.close(button)

    # ------------------------------------------------------------ watching

    def _worth_watching(self, report: PassReport) -> frozenset[str]:
        """Folders: of the refs of a repo on this host, of every rendered file, and of plans that wait for approval."""
        folders = {os.path.dirname(file.path) for deployment in report.deployments for file in deployment.desired.files}
        store = Store(self.agent.state_dir, self.agent.site)
        folders |= {store.plans_folder(one.plan.environment) for one in report.deployments if one.gate is not None}
        for place in self._repos():
            folders |= {place, *_tree(os.path.join(place, "refs", "heads"))}
        return frozenset(folder for folder in folders if os.path.isdir(folder))

    def _repos(self) -> list[str]:
        """The folder that holds the refs of a repo on this host, bare or not."""
        places = (self._path, os.path.join(self._path, ".git")) if self._path else ()
        return [place for place in places if os.path.isdir(os.path.join(place, "refs", "heads"))]

    def _watch(self, folders: frozenset[str]) -> None:
        if folders == self._watched and self._watcher is not None and self._watcher.is_alive():
            return
        self._stop_watching()
        self._watched, self._unwatch = folders, Event()
        if folders:
            watcher = Thread(target=self._listen, args=(sorted(folders), self._unwatch), daemon=True)
            with suppress(RuntimeError):  # the account may run no more threads: the interval remains, and the next pass
                watcher.start()
                self._watcher = watcher

    def _stop_watching(self) -> None:
        self._unwatch.set()
        if self._watcher is not None:
            self._watcher.join(timeout=5.0)
            self._watcher = None

    def _listen(self, folders: list[str], ended: Event) -> None:
        from watchfiles import watch

        repos = tuple(self._repos())
        # A folder that is taken away while it is watched, or a limit of inotify: the interval remains.
        with suppress(OSError, RuntimeError):
            for changes in watch(
                *folders, stop_event=ended, debounce=_DEBOUNCE, recursive=False, rust_timeout=1000, watch_filter=None
            ):
                self._notice([path for _, path in changes if _is_news(path)], repos)

    def _notice(self, paths: Iterable[str], repos: tuple[str, ...]) -> None:
        for path in paths:
            if any(_is_ref(path, repo) for repo in repos):
                self._pushed = True
            elif os.path.dirname(path) not in repos:
                self._edited = True
        self._ring()


def _tree(folder: str) -> Iterable[str]:
    return (path for path, _, _ in os.walk(folder))


def _is_ref(path: str, repo: str) -> bool:
    """What else git writes into its folder, such as the index at every `git status`, is nobody's concern here."""
    return path == os.path.join(repo, "packed-refs") or path.startswith(os.path.join(repo, "refs", "heads", ""))


def _is_news(path: str) -> bool:
    """Temporary files and locks come and go while nothing has changed yet."""
    name = os.path.basename(path)
    return not name.endswith((".lock", ".new")) and not name.startswith("tmp_")
