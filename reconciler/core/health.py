"""Whether a service does its work: from its unit, what it was asked, and what is remembered of it, to one word.

Pure, like all of the core: `now` is an input. What was asked how is `host.prober`'s business, when is
`agent.rollout.health`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from reconciler.core.desired import Watch
from reconciler.core.observed import State, Unit, Verdict, Word


class Answer(NamedTuple):
    """What one probe came to. Nothing of `message` comes from the service, and all of `printed` does."""

    good: bool | None  # None: it could not be asked
    message: str = ""  # "http: status 503"
    printed: str = ""  # a few words of what it said

    def told(self, *, private: bool) -> str:
        return self.message if private or not self.printed else f"{self.message}: {self.printed}"


class History(NamedTuple):
    """What is remembered of one process of a service."""

    pid: int = 0
    started: float = 0.0  # seconds since the epoch
    word: Word = Word.PROGRESSING  # that it was last called
    message: str = ""
    since: float = 0.0  # when it was first called so
    good_since: float = 0.0  # since when every answer was good; 0: the last one was not
    failures: int = 0  # in a row
    proven: bool = False  # it has been healthy
    seen: tuple[str, ...] = ()  # patterns that its log has shown, and need not show again

    @property
    def verdict(self) -> Verdict:
        return Verdict(self.word, self.message, self.since)


def of_state(unit: Unit | None, *, held: bool = False, taken: bool = False) -> Verdict:
    """What its launcher can tell of a service. `held`: it is meant to wait; `taken`: its name is somebody else's."""
    if unit is None:
        return Verdict(Word.UNKNOWN, "its launcher could not be asked")
    if taken:
        return Verdict(Word.MISSING, "what runs under its name is not ours")
    word = _WORDS[unit.state]
    if held and unit.state.down:
        return Verdict(Word.SUSPENDED, "waits for its time", unit.since)
    message = "" if word is Word.HEALTHY else " ".join(filter(None, (unit.state.value, unit.detail)))
    return Verdict(word, message, unit.since)


_WORDS = {
    State.RUNNING: Word.HEALTHY,
    State.STARTING: Word.PROGRESSING,
    State.STOPPING: Word.PROGRESSING,
    State.BACKOFF: Word.DEGRADED,
    State.EXITED: Word.DEGRADED,
    State.FATAL: Word.DEGRADED,
    State.STOPPED: Word.MISSING,
    State.ABSENT: Word.MISSING,
    State.UNKNOWN: Word.UNKNOWN,
}


def judge(watch: Watch, before: History, answers: Sequence[Answer], now: float) -> History:
    """What is to be said of a process that runs, and remembered, now that its probes were answered.

    It is healthy once all answers were good for `settle` seconds. Until then it is progressing while its start
    period lasts, and degraded after that. What was healthy stays so until `retries` answers in a row were bad.
    """
    if unasked := [answer for answer in answers if answer.good is None]:
        return _called(before, Word.UNKNOWN, _joined(watch, unasked), now)
    if bad := [answer for answer in answers if not answer.good]:
        return _failed(watch, before, _joined(watch, bad), now)
    return _went_well(watch, before, now)


def _went_well(watch: Watch, before: History, now: float) -> History:
    good_since = min(before.good_since or now, now)  # a clock that was set back must not make it wait for ever
    after = before._replace(good_since=good_since, failures=0)
    left = watch.settle - (now - good_since)
    if before.word is Word.HEALTHY or left <= 0:
        return _called(after._replace(proven=True), Word.HEALTHY, "", now)
    return _called(after, Word.PROGRESSING, f"answers well, and has to for {watch.settle:g} s", now)


def _failed(watch: Watch, before: History, why: str, now: float) -> History:
    failures = before.failures + 1
    after = before._replace(failures=failures)
    if before.word is Word.HEALTHY and failures < watch.retries:
        return _called(after, Word.HEALTHY, f"{why} ({failures} of {watch.retries} in a row)", now)
    after = after._replace(good_since=0.0)
    if not before.proven and 0 <= now - before.started < watch.start_period:
        return _called(after, Word.PROGRESSING, f"not yet: {why}", now)
    return _called(after, Word.DEGRADED, why, now)


def _called(history: History, word: Word, message: str, now: float) -> History:
    since = history.since if history.word is word and history.since else now
    return history._replace(word=word, message=message, since=since)


def _joined(watch: Watch, answers: Iterable[Answer]) -> str:
    return "; ".join(answer.told(private=watch.private) for answer in answers)


def worst(words: Iterable[Word]) -> Word:
    """Of several services, the one that says most about all of them."""
    return max(words, key=lambda word: word.severity, default=Word.HEALTHY)
