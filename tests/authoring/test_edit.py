"""One version in the text of a layer: that token changes, or one line comes, and every other byte stays."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.authoring.edit import set_version
from reconciler.authoring.refused import Refused
from reconciler.desired.nodes import Scalar
from reconciler.desired.problems import Problems
from reconciler.desired.text import parse


def edited(text: str, version: str = "2.8.2", component: str = "site") -> str:
    return set_version(text.encode(), "f.yaml", component, version).decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('versions:\n  site: "1"  # why\n', 'versions:\n  site: "2.8.2"  # why\n'),
        ("versions:\r\n  site: '1'\r\n", "versions:\r\n  site: '2.8.2'\r\n"),
        ("versions: {a: b, site: 1.x, c: d}\n", 'versions: {a: b, site: "2.8.2", c: d}\n'),
        ('{"versions": {"site":"1"}}', '{"versions": {"site":"2.8.2"}}'),
        ('\ufeffversions:\n  "site" : !!str 1\n', '\ufeffversions:\n  "site" : !!str "2.8.2"\n'),
        ('versions:\n  a: &v "1"\n  site: *v\n', 'versions:\n  a: &v "1"\n  site: "2.8.2"\n'),
        ('versions:\n  site: &unused "1"\n', 'versions:\n  site: &unused "2.8.2"\n'),
        ("versions:\n  ? site\n  : '1'\n", "versions:\n  ? site\n  : '2.8.2'\n"),
        ("versions:\n  site:\n  a: b\n", 'versions:\n  site: "2.8.2"\n  a: b\n'),
        ("versions:\n  site: null\n", 'versions:\n  site: "2.8.2"\n'),
        ('a: {site: "1"}\nversions:\n  a: {site: "1"}\n  site: "1"\n',
         'a: {site: "1"}\nversions:\n  a: {site: "1"}\n  site: "2.8.2"\n'),
    ],
)  # fmt: skip
def test_a_version_that_is_there(before: str, after: str) -> None:
    assert edited(before) == after
    assert edited(after) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'versions:\n  site: "2.8.2"\n'),
        ("# only a comment", '# only a comment\nversions:\n  site: "2.8.2"\n'),
        ("vars: {a: 1}", 'vars: {a: 1}\nversions:\n  site: "2.8.2"\n'),
        ("versions:\n    a: 'b' # why\n\n# below\nvars: {}\n",
         "versions:\n    a: 'b' # why\n    site: '2.8.2'\n\n# below\nvars: {}\n"),
        ('versions:\r\n  "a": "b"', 'versions:\r\n  "a": "b"\r\n  "site": "2.8.2"\r\n'),
        ("versions:\nvars: {}\n", 'versions:\n  site: "2.8.2"\nvars: {}\n'),
        ("versions: {}\n", 'versions: {"site": "2.8.2"}\n'),
        ("versions: {a: b,}\n", 'versions: {a: b, site: "2.8.2",}\n'),
        ('{\n "versions": {\n  "a": "b"\n }\n}', '{\n "versions": {\n  "a": "b",\n  "site": "2.8.2"\n }\n}'),
        ('{"vars": {}}', '{"vars": {}, "versions": {"site": "2.8.2"}}'),
        ("{}", '{"versions": {"site": "2.8.2"}}'),
        ("versions:\n  a: |-\n    b\n", 'versions:\n  site: "2.8.2"\n  a: |-\n    b\n'),
        ('b: &b {site: "1"}\nversions: {<<: *b}\n', 'b: &b {site: "1"}\nversions: {<<: *b, site: "2.8.2"}\n'),
    ],
)  # fmt: skip
def test_a_version_that_is_not_there_yet(before: str, after: str) -> None:
    assert edited(before) == after
    assert edited(after) == after


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ('versions:\n  site: &v "1"\n  a: *v\n', "f.yaml:2:12", "is used elsewhere"),
        ("versions:\n  site: |-\n    1\n", "f.yaml:2:9", "more than one line"),
        ('versions:\n  site: "{{ release }}"\n', "f.yaml:2:9", "is worked out"),
        ("versions:\n  site: {a: b}\n", "f.yaml:2:9", "is no text"),
        ("versions: null\n", "f.yaml:1:11", "is not written as a mapping"),
        ("b: &b {site: x}\nversions: *b\n", "f.yaml:2:11", "is not written as a mapping"),
        ("vars: {}\n...\n", "f.yaml:1:1", "cannot be edited here"),
        ("versions: [", "f.yaml:2:1", "not YAML"),
        ("- a\n", "f.yaml:1:1", "a layer is a mapping"),
    ],
)
def test_what_takes_more_than_that_is_refused_with_its_place(text: str, place: str, why: str) -> None:
    with pytest.raises(Refused) as error:
        edited(text)
    assert why in str(error.value)
    assert str(error.value).startswith(place)


@pytest.mark.parametrize("version", ["", "2 8", '"', "2\n", "-1", "a#b", "{{ x }}", "1: 2", "é"])
def test_what_is_no_version_reaches_no_file(version: str) -> None:
    with pytest.raises(Refused, match="cannot be a version"):
        edited('versions:\n  site: "1"\n', version)


# ---------------------------------------------------------------- whatever it looks like

NAMES = ("site", "cromwell", "a.b", "x-y", "87", "null")
VERSIONS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,8}", fullmatch=True)
OTHERS = (
    "vars:\n  text: |\n    versions:\n      site: '0'\n\n  deep: {a: [1, 2], b: 'versions: {site: 1}'}\n",
    "paths: {root: '/srv'}  # site: '1'\n",
    "services:\n- site: '1'\n-   - versions\n",
    "first: &first\n  site: '1'\nsecond: *first\nthird: {<<: *first, b: 'ü\U0001f600'}\n",
    "'quoted key': 'in several\n\n    lines: 1'\n",
    "# versions:\n#   site: '1'\n\n",
    "? odd\n: >-\n    folded\n    text\n",
    "empty:\n",
)


class Layout(NamedTuple):
    text: str
    names: tuple[str, ...]
    block: bool


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Versions in every way that a person may write them, among other things."""
    names = tuple(draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4)))
    block = draw(st.booleans())
    section = draw(_block(names) if block else _flow(names)) if names else ""
    others = draw(st.lists(st.sampled_from(OTHERS), unique=True, max_size=4))
    at = draw(st.integers(0, len(others)))
    text = "".join((*others[:at], section, *others[at:]))
    text = draw(st.sampled_from(("", "---\n", "\n\n", "# head\n"))) + text
    text = text.rstrip("\n") if draw(st.booleans()) and not text.endswith("text\n") else text
    text = text.replace("\n", draw(st.sampled_from(("\n", "\r\n"))))
    return Layout(draw(st.sampled_from(("", "\ufeff"))) + text, names, block)


def _quotes(draw: st.DrawFn, word: str) -> str:
    plain = word not in ("87", "null") and not word.startswith("-")
    return draw(st.sampled_from((f'"{word}"', f"'{word}'", *([word] if plain else []))))


@st.composite
def _block(draw: st.DrawFn, names: tuple[str, ...]) -> str:
    indent = " " * draw(st.integers(1, 6))
    lines = ["versions:" + draw(st.sampled_from(("", " # those", "   ")))]
    for name in names:
        lines += draw(st.lists(st.sampled_from(("", f"{indent}# site: '1'", "# at the margin")), max_size=2))
        gap, space = " " * draw(st.integers(0, 2)), " " * draw(st.integers(1, 3))
        tail = draw(st.sampled_from(("", "  # 'why': {it}", " ")))
        lines.append(f"{indent}{_quotes(draw, name)}{gap}:{space}{_quotes(draw, draw(VERSIONS))}{tail}")
    return "\n".join(lines) + "\n"


@st.composite
def _flow(draw: st.DrawFn, names: tuple[str, ...]) -> str:
    join = draw(st.sampled_from((", ", ",", " ,\n  ", ", # why\n    ")))
    begin, end = draw(st.sampled_from((("{", "}"), ("{ ", " }"), ("{\n  ", "\n  }"), ("\n  {", "}  # why"))))
    entries = [f"{_quotes(draw, name)}: {_quotes(draw, draw(VERSIONS))}" for name in names]
    return f"versions: {begin}{join.join(entries)}{end}\n"


def versions_of(text: str) -> dict[str, object]:
    problems = Problems()
    layer = parse(text.encode(), "f.yaml", problems)
    assert layer is not None, problems.told(1)
    return {name: node.value for name, node in layer.section("versions").items() if isinstance(node, Scalar)}


@settings(max_examples=150, deadline=None)
@given(layouts(), VERSIONS, st.data())
def test_exactly_one_line_changes(layout: Layout, version: str, data: st.DataObject) -> None:
    """`set_version` itself sees to it that nothing else is said than before: it refuses where it would be."""
    name = data.draw(st.sampled_from(NAMES))
    after = edited(layout.text, version, name)
    assert versions_of(after) == {**versions_of(layout.text), name: version}
    old, new = layout.text.splitlines(keepends=True), after.splitlines(keepends=True)
    assert edited(after, version, name) == after
    if name in layout.names:
        assert len(old) == len(new)
        assert sum(one != other for one, other in zip(old, new, strict=True)) == (old != new)
    else:
        pairs = enumerate(zip(layout.text, after, strict=False))
        same = next((at for at, (one, other) in pairs if one != other), len(layout.text))
        rest = layout.text[same:]
        assert after.endswith(rest)
        assert after[same : len(after) - len(rest)].count("\n") <= 3  # a section, below a line without an end
