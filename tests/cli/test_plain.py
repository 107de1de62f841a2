"""The call of every cron line is read as argparse would read it, or left to argparse."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli import parser, plain

_NAMES = st.sampled_from((*plain.VALUES, *plain.REPEATED, "--once", "--json", "--interval", "--help", "plan", "--sit"))
_VALUES = st.sampled_from(("a", "", "-", "-x", "--once", "a=b", "a b", "plan"))
_WORDS = st.lists(st.one_of(_NAMES, _VALUES, st.builds("{}={}".format, _NAMES, _VALUES)), max_size=6)


def parsed(argv: list[str]) -> dict[str, object] | None:
    try:
        return vars(parser.parse(argv))
    except (parser.UsageError, SystemExit):
        return None


@given(_WORDS)
def test_it_reads_what_argparse_reads(argv: list[str]) -> None:
    quick = plain.once(["--once", *argv])
    if quick is not None:
        assert vars(quick) == parsed(["--once", *argv])


def test_a_cron_line_is_read() -> None:
    argv = ["--once", "--config", "/a", "--environment=dev", "--environment", "prod", "--state-dir", "/s", "--json"]
    quick = plain.once(argv)
    assert quick is not None
    assert vars(quick) == parsed(argv)


@pytest.mark.parametrize("argv", [[], ["plan"], ["--site", "a"], ["--once", "--accept-rewind"], ["--once", "--site"]])
def test_all_else_is_left_to_argparse(argv: list[str]) -> None:
    assert plain.once(argv) is None


def test_no_option_of_a_pass_is_forgotten() -> None:
    """A new one works either way; but a cron line with it would be slow."""
    known = {option for action in parser._shared()._actions for option in action.option_strings}
    assert known == {*plain.VALUES, *plain.REPEATED, "--json"}
    assert isinstance(parser._shared(), argparse.ArgumentParser)
