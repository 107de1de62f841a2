"""What is news: each thing is told once, however often it is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.report import Notice, PassReport
from reconciler.core.telling import Happening, Standing, news

WRONG = st.frozensets(st.sampled_from(["out of reach for 3 h", "rewound", "not valid"]))


def report(wrong: frozenset[str]) -> PassReport:
    notices = tuple(Notice(message, failed=True) for message in sorted(wrong))
    return PassReport("aws", "c0ffee", "", "", "", notices=notices)


@given(st.lists(WRONG, max_size=8))
def test_what_is_wrong_is_told_when_it_begins_and_when_all_is_well_again(found: list[frozenset[str]]) -> None:
    standing: Standing = {}
    before: frozenset[str] = frozenset()
    for wrong in found:
        standing, messages = news(standing, report(wrong))
        told = {happening for message in messages for happening in message.happenings}
        assert (Happening.FAILURE in told) == bool(wrong - before)
        assert (Happening.RECOVERY in told) == bool(before and not wrong)
        assert news(standing, report(wrong)) == (standing, ())
        before = wrong


def test_a_number_that_changes_is_nothing_new() -> None:
    standing, first = news({}, report(frozenset({"out of reach for 25 h"})))
    assert first[0].troubles == ("out of reach for 25 h",)
    assert news(standing, report(frozenset({"out of reach for 26 h"}))) == (standing, ())
