"""From a unit, answers and history to one word: by a table, and as properties over many courses of events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.desired import Ask, Probe, Watch
from reconciler.core.health import Answer, History, judge, of_state, worst
from reconciler.core.observed import State, Unit, Word

WATCH = Watch("web", (Probe(Ask.TCP, 1.0, "localhost:1"),), 30.0, 10.0, 3, 5.0, private=False, env_file="")
GOOD, BAD, NONE = Answer(True), Answer(False, "tcp: Connection refused"), Answer(None, "tcp: could not be asked")
START = 1000.0


def fresh() -> History:
    return History(7, START)


def course(watch: Watch, *events: tuple[float, Answer]) -> History:
    """What is said after answers that came so many seconds after the start."""
    history = fresh()
    for seconds, answer in events:
        history = judge(watch, history, [answer], START + seconds)
    return history


def test_the_order_of_severity() -> None:
    words = [Word.HEALTHY, Word.SUSPENDED, Word.PROGRESSING, Word.MISSING, Word.DEGRADED, Word.UNKNOWN]
    assert sorted(Word, key=lambda word: word.severity) == words
    assert [word for word in words if word.is_failure] == [Word.MISSING, Word.DEGRADED, Word.UNKNOWN]
    assert worst([Word.HEALTHY, Word.DEGRADED, Word.MISSING]) is Word.DEGRADED
    assert worst([]) is Word.HEALTHY


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (State.RUNNING, Word.HEALTHY),
        (State.STARTING, Word.PROGRESSING),
        (State.STOPPING, Word.PROGRESSING),
        (State.BACKOFF, Word.DEGRADED),
        (State.EXITED, Word.DEGRADED),
        (State.FATAL, Word.DEGRADED),
        (State.STOPPED, Word.MISSING),
        (State.ABSENT, Word.MISSING),
        (State.UNKNOWN, Word.UNKNOWN),
    ],
)
def test_what_a_launcher_can_tell(state: State, word: Word) -> None:
    unit = Unit("supervisor", "web", state, detail="spawn error")
    told = of_state(unit)
    assert told.word is word
    assert bool(told.message) is (word is not Word.HEALTHY)


def test_what_is_meant_to_wait_is_suspended_and_a_stranger_is_not_ours() -> None:
    unit = Unit("supervisor", "web", State.ABSENT)
    assert of_state(unit, held=True).word is Word.SUSPENDED
    assert of_state(unit._replace(state=State.RUNNING), held=True).word is Word.HEALTHY
    assert of_state(unit._replace(state=State.RUNNING), taken=True).word is Word.MISSING
    assert of_state(None).word is Word.UNKNOWN


@pytest.mark.parametrize(
    ("events", "word"),
    [
        pytest.param([(1, BAD)], Word.PROGRESSING, id="it still has time"),
        pytest.param([(30, BAD)], Word.DEGRADED, id="its time is over, and nothing else is waited for"),
        pytest.param([(1, GOOD)], Word.PROGRESSING, id="it has to settle"),
        pytest.param([(1, GOOD), (6, GOOD)], Word.HEALTHY, id="it has settled"),
        pytest.param([(1, GOOD), (4, BAD), (6, GOOD)], Word.PROGRESSING, id="it settles anew"),
        pytest.param([(29, GOOD), (31, GOOD)], Word.PROGRESSING, id="the start period does not cut settling off"),
        pytest.param([(29, GOOD), (31, BAD)], Word.DEGRADED, id="it did not settle and has no time left"),
        pytest.param([(0, GOOD), (5, GOOD), (9, BAD), (9, BAD)], Word.HEALTHY, id="fewer than retries in a row"),
        pytest.param([(0, GOOD), (5, GOOD), (9, BAD), (9, BAD), (9, BAD)], Word.DEGRADED, id="as many as retries"),
        pytest.param([(0, GOOD), (5, GOOD), (6, BAD), (7, BAD), (8, GOOD), (9, BAD)], Word.HEALTHY, id="not in a row"),
        pytest.param([(31, BAD), (40, GOOD)], Word.PROGRESSING, id="better, and not yet for long"),
        pytest.param([(31, BAD), (40, GOOD), (45, GOOD)], Word.HEALTHY, id="better"),
        pytest.param([(31, BAD), (40, GOOD), (43, BAD)], Word.DEGRADED, id="no better"),
        pytest.param([(0, GOOD), (5, GOOD), (9, NONE)], Word.UNKNOWN, id="it could not be asked"),
        pytest.param([(0, GOOD), (5, GOOD), (9, NONE), (10, GOOD)], Word.HEALTHY, id="it can be asked again"),
    ],
)
def test_courses_of_events(events: list[tuple[float, Answer]], word: Word) -> None:
    assert course(WATCH, *events).word is word


def test_a_message_says_why_and_for_how_long() -> None:
    history = course(WATCH, (0, GOOD), (5, GOOD), (9, BAD))
    assert history.message == "tcp: Connection refused (1 of 3 in a row)"
    assert history.since == START + 5
    assert course(WATCH, (1, BAD)).message == "not yet: tcp: Connection refused"


def test_what_a_private_service_says_is_not_told() -> None:
    said = Answer(False, "http: status 503", "password=hunter2")
    assert judge(WATCH, fresh(), [said], START).message == "not yet: http: status 503: password=hunter2"
    assert judge(WATCH._replace(private=True), fresh(), [said], START).message == "not yet: http: status 503"


ANSWERS = st.sampled_from([GOOD, BAD, NONE])
EVENTS = st.lists(st.tuples(st.floats(0, 20), ANSWERS), max_size=30)
WATCHES = st.builds(
    lambda period, retries, settle: WATCH._replace(start_period=period, retries=retries, settle=settle),
    st.floats(0, 60),
    st.integers(1, 5),
    st.floats(0, 30),
)


@given(WATCHES, EVENTS)
def test_it_never_flaps(watch: Watch, events: list[tuple[float, Answer]]) -> None:
    """It becomes healthy only after `settle` seconds without a bad answer, however the answers come."""
    history, now, good_since = fresh(), START, None
    for seconds, answer in events:
        now += seconds
        before, history = history, judge(watch, history, [answer], now)
        good_since = None if answer.good is False else now if answer.good and good_since is None else good_since
        if history.word is Word.HEALTHY and before.word in (Word.DEGRADED, Word.PROGRESSING):
            assert good_since is not None
            assert now - good_since >= watch.settle - 1e-6


@given(WATCHES, EVENTS)
def test_what_was_healthy_is_degraded_by_so_many_bad_answers_and_no_fewer(
    watch: Watch, events: list[tuple[float, Answer]]
) -> None:
    history, now, bad = fresh(), START, 0
    for seconds, answer in events:
        now += seconds
        before, history = history, judge(watch, history, [answer], now)
        bad = 0 if answer.good else bad + (answer.good is False)
        if before.word is Word.HEALTHY and answer.good is False:
            assert history.word is (Word.HEALTHY if bad < watch.retries else Word.DEGRADED)


@given(WATCHES, EVENTS)
def test_progressing_ends(watch: Watch, events: list[tuple[float, Answer]]) -> None:
    """Nothing is on its way for longer than its start period, but for settling."""
    history, now = fresh(), START
    for seconds, answer in events:
        now += seconds
        history = judge(watch, history, [answer], now)
        if history.word is Word.PROGRESSING and now - START > watch.start_period:
            assert history.good_since
            assert now - history.good_since < watch.settle


@given(EVENTS)
def test_a_clock_that_is_set_back_does_no_harm(events: list[tuple[float, Answer]]) -> None:
    history, now = fresh(), START
    for seconds, answer in events:
        now -= seconds
        history = judge(WATCH, history, [answer], now)
    for step in range(3):
        history = judge(WATCH, history, [GOOD], now + step * 5)
    assert history.word is Word.HEALTHY
