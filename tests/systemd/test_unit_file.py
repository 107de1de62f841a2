"""Unit files as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.launchers.systemd import unit_file

TEXTS = st.text(st.characters(exclude_characters="\0\n", codec="utf-8"))


@given(st.lists(TEXTS))
def test_words_are_read_back(texts: list[str]) -> None:
    value = " ".join(unit_file.word(text) for text in texts)
    assert list(unit_file.words(value)) == texts


@given(st.dictionaries(st.from_regex(r"[A-Z]+", fullmatch=True), TEXTS))
def test_a_file_is_read_back(variables: dict[str, str]) -> None:
    text = "# a comment\n" + unit_file.write({"Service": [("Environment", unit_file.environment(variables))]})
    value = unit_file.read(text)["Service"]["Environment"]
    assert list(unit_file.words(value)) == [f"{key}={variable}" for key, variable in variables.items()]


def test_a_value() -> None:
    assert unit_file.escape("/a b/%h") == "/a b/%%h"
    assert unit_file.unescape("/a b/%%h") == "/a b/%h"
    assert unit_file.word('a "b" \\ %h $c') == '"a \\"b\\" \\\\ %%h $c"'


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "\x7f", " a", "a "])
def test_what_no_unit_file_can_hold(text: str) -> None:
    assert unit_file.check_text(text)


@pytest.mark.parametrize("path", ["/a'b", '/a"b', "/a\\b", "/a\tb"])
def test_what_no_program_can_be_called(path: str) -> None:
    assert unit_file.check_program(path)


def test_what_a_program_can_be_called() -> None:
    assert unit_file.check_program("/a b;#%$x/ä") == ""
