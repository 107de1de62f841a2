"""Patterns of `exclude` mean what `find -name` and `-path` make of them, which ask the C library."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.cleanup import Kept, Stay
from reconciler.core.desired import Cleanup
from reconciler.core.globs import GlobError, check, compiled

LIBRARY = ctypes.CDLL(None)
RULE = Cleanup("inputs", "/scratch", 14)


def matches(pattern: str, name: str) -> bool:
    return bool(LIBRARY.fnmatch(pattern.encode(), name.encode(), 0) == 0)


@pytest.mark.parametrize(
    ("pattern", "kept", "goes"),
    [
        ("[^a]keep", "bkeep", "akeep"),
        ("[!a]keep", "bkeep", "akeep"),
        (r"data\[1\]", "data[1]", "data1"),
        (r"\*", "*", "x"),
        ("[[:digit:]]*", "7x", "x7"),
        ("[^[:digit:][:upper:]]", "a", "A"),
        ("[]x]", "]", "y"),
        ("[a-]", "-", "b"),
        (r"[\]]", "]", "\\"),
        ("*.keep", "a\nb.keep", "a.keep.old"),
        ("[[:alpha:]]", "é", "7"),
    ],
)
def test_a_pattern_keeps_what_it_keeps_with_find(pattern: str, kept: str, goes: str) -> None:
    assert (matches(pattern, kept), matches(pattern, goes)) == (True, False)
    rule = Kept(RULE._replace(exclude=(pattern,)))
    assert (rule.stays(kept, f"u/{kept}"), rule.stays(goes, f"u/{goes}")) == (Stay.ALL, Stay.NO)


@pytest.mark.parametrize("pattern", ["./shared", "./shared/", "shared/", "./sha*d"])
def test_a_path_may_begin_as_find_prints_it(pattern: str) -> None:
    kept = Kept(RULE._replace(exclude=(pattern,)))
    assert (kept.stays("shared", "shared"), kept.stays("shared", "u/shared")) == (Stay.ALL, Stay.NO)


_TEXTS = st.text(st.sampled_from("ab-[]!^\\*?:.=/"), max_size=12) | st.lists(
    st.sampled_from(["a", "b", "[", "]", "[:alpha:]", "[^", "a-b", "*", "?", "\\"]), max_size=6
).map("".join)


@given(pattern=_TEXTS, name=st.text(st.sampled_from("ab-[]!^\\:.=/"), max_size=6))
def test_whatever_is_taken_means_the_same_as_in_the_c_library(pattern: str, name: str) -> None:
    try:
        check(pattern)
    except GlobError:
        return
    assert bool(compiled(pattern).fullmatch(name)) == matches(pattern, name)


@pytest.mark.parametrize(
    "pattern", ["a\\", "**/keep", "[z-a]", "[[:digits:]]", "[[.a.]]", "[[=a=]]", "a//b", "a/./b", "a[b", "a[[:x]"]
)
def test_what_has_no_certain_meaning_is_refused(pattern: str) -> None:
    with pytest.raises(GlobError):
        check(pattern)
