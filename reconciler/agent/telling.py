"""Tells receivers what a pass did, and keeps the metrics file. While there is nothing new nobody is told anything.

What could not be delivered waits and is tried again by the next pass: a receiver that is out of reach loses nothing
but what is older than its last `_MOST` messages, and never makes a pass fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple

from reconciler.agent.config import Agent, InvalidInput
from reconciler.agent.enforce import Observer
from reconciler.agent.memory.store import DamagedError, Store
from reconciler.core.report import Notice, PassReport
from reconciler.core.telling import Happening, Message, Standing, commit_state, news
from reconciler.host import files
from reconciler.notify.base import Receiver, Told, Undelivered, message_data

_MOST = 20  # messages that wait for one receiver
_FORGE = "commit_status"  # what it is called beside the names of receivers


class Memory(NamedTuple):
    """What was told, and what is still to be told."""

    standing: Standing = MappingProxyType({})
    shown: tuple[str, ...] = ()  # commit, state and description that are shown beside the commit
    waiting: Mapping[str, tuple[Message, ...]] = MappingProxyType({})  # by receiver, the oldest first
    why: Mapping[str, str] = MappingProxyType({})  # by receiver, why the last delivery failed
    checked: tuple[int, ...] = ()  # the notify file that was found to be in order


def tell(agent: Agent, store: Store, report: PassReport, observer: Observer) -> PassReport:
    """The report, with what keeps people from being told. It never raises for that."""
    notices: list[Notice] = []
    if agent.notify:
        try:
            _Telling(agent, store, observer).of(report)
        except InvalidInput as invalid:
            notices += [Notice(f"nobody can be told: {problem}", failed=True) for problem in invalid.problems]
        except OSError as error:
            notices.append(Notice(f"what was told cannot be noted: {error.filename}: {error.strerror}", failed=False))
    if agent.metrics:
        try:
            _keep_metrics(agent.metrics, report)
        except OSError as error:
            hint = "; its folder has to be there" if isinstance(error, FileNotFoundError) else ""
            named = f" ({agent.naming(agent.metrics)})" if agent.naming(agent.metrics) else ""
            why = f"the metrics cannot be written: {agent.metrics}: {error.strerror}{hint}{named}"
            notices.append(Notice(why, failed=False))
    return report._replace(notices=(*report.notices, *notices)) if notices else report


def _keep_metrics(path: str, report: PassReport) -> None:
    """Written where something changed; else only its time of change moves, which tells when the last pass was."""
    from reconciler.report.metrics import metrics_text

    content = metrics_text(report).encode()
    with suppress(OSError):
        if files.read(path) == content:
            os.utime(path)
            return
    files.write(path, content, 0o644, sync=False)


class _Telling:
    def __init__(self, agent: Agent, store: Store, observer: Observer) -> None:
        self.agent = agent
        self.store = store
        self.observer = observer

    def of(self, report: PassReport) -> None:
        """Raises `InvalidInput` for the notify file, `OSError`."""
        memory = recall(self.store)
        standing, messages = news(memory.standing, report)
        shown = tuple(commit_state(report))
        checked = _identity(self.agent.notify)
        new = memory._replace(standing=standing, checked=checked)
        if messages or memory.waiting or shown != memory.shown or checked != memory.checked:
            told = load(self.agent)
            new = self._shown(told, self._delivered(told, new, messages), shown)
        if new != memory:
            self.store.save_told(_plain(new))

    def _delivered(self, told: Told, memory: Memory, messages: Iterable[Message]) -> Memory:
        """With what could not be told now, and why."""
        queues = {
            receiver: (*memory.waiting.get(receiver.name, ()), *filter(receiver.wants, messages))
            for receiver in told.receivers
        }
        jobs = {receiver.name: _job(receiver, queue) for receiver, queue in queues.items() if queue}
        left = side_by_side(jobs)
        waiting = {name: queue[-_MOST:] for name, (queue, _) in left.items() if queue}
        why = {name: reason for name, (_, reason) in left.items() if reason}
        for name, reason in why.items():
            if memory.why.get(name) != reason:
                self.observer.event("warning", "a message could not be delivered, and waits", to=name, why=reason)
        return memory._replace(waiting=waiting, why={**_of(memory, _FORGE), **why})

    def _shown(self, told: Told, memory: Memory, shown: tuple[str, ...]) -> Memory:
        if told.forge is None or not shown:
            return memory._replace(shown=shown, why={k: v for k, v in memory.why.items() if k != _FORGE})
        if shown == memory.shown:
            return memory
        from reconciler.notify.forge import CommitState, show

        commit, state, description = shown
        why = {name: reason for name, reason in memory.why.items() if name != _FORGE}
        try:
            show(told.forge, commit, CommitState(state), description)
        except Undelivered as error:
            if memory.why.get(_FORGE) != str(error):
                self.observer.event("warning", "the state of the commit could not be shown", why=str(error))
            return memory._replace(why={**why, _FORGE: str(error)})
        return memory._replace(shown=shown, why=why)


def load(agent: Agent) -> Told:
    """The notify file. Raises `InvalidInput`."""
    from reconciler.notify import settings

    told, problems = settings.load(agent.notify, agent.site)
    if problems:  # one without a hint is of the file as a whole
        raise InvalidInput([one._replace(hint=one.hint or agent.naming(one.origin.file)) for one in problems])
    return told


def deliver(receiver: Receiver, message: Message) -> None:
    """Raises `Undelivered`, also for what a library did not foresee: nothing that is told may end a pass."""
    from reconciler.notify import way

    try:
        way(receiver.kind)(receiver, message)
    except Undelivered:
        raise
    except Exception as error:
        raise Undelivered(type(error).__name__) from error


_Left = tuple[tuple[Message, ...], str]  # what is still to be told, and why


def _job(receiver: Receiver, queue: tuple[Message, ...]) -> Callable[[], _Left]:
    """In order: what comes later makes no sense without what it followed."""

    def job() -> _Left:
        for number, message in enumerate(queue):
            try:
                deliver(receiver, message)
            except Undelivered as error:
                return queue[number:], str(error)
        return (), ""

    return job


def side_by_side(jobs: Mapping[str, Callable[[], _Left]]) -> dict[str, _Left]:
    """Each receiver has its own time limit, and none waits for another."""
    if len(jobs) < 2:
        return {name: job() for name, job in jobs.items()}
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=len(jobs)) as pool:
        found = {name: pool.submit(job) for name, job in jobs.items()}
        return {name: future.result() for name, future in found.items()}


def _of(memory: Memory, name: str) -> dict[str, str]:
    return {name: memory.why[name]} if name in memory.why else {}


def _identity(path: str) -> tuple[int, ...]:
    """Changes with the file; empty where it cannot be seen."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


# ---------------------------------------------------------------- what is remembered


def recall(store: Store) -> Memory:
    """Where it is lost or damaged, what is wrong is told once more."""
    try:
        data = store.told()
        return _memory(data) if data is not None else Memory()
    except (DamagedError, KeyError, TypeError, ValueError):
        return Memory()


def _memory(data: Mapping[str, Any]) -> Memory:
    return Memory(
        {name: tuple(subjects) for name, subjects in data["standing"].items()},
        tuple(data["shown"]),
        {name: tuple(map(_message, queue)) for name, queue in data["waiting"].items()},
        dict(data["why"]),
        tuple(data["checked"]),
    )


def _message(data: Mapping[str, Any]) -> Message:
    row: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    row["happenings"] = tuple(Happening(word) for word in data["happenings"])
    return Message(**{key: row[key] for key in Message._fields if key in row or key != "waits"})


def _plain(memory: Memory) -> dict[str, Any]:
    waiting = {name: [dict(message_data(message)) for message in queue] for name, queue in memory.waiting.items()}
    return {**memory._asdict(), "waiting": waiting}
