"""One report in five forms: nothing that others wrote is more than text in any of them, and no secret is in one."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from reconciler.report.compare import compare_data, compare_text
from reconciler.report.html.page import html
from reconciler.report.junit import junit
from reconciler.report.markdown import LIMIT, markdown
from reconciler.report.review import Review, of_comparison
from reconciler.report.style import Style
from tests.report.repos import CANARY, DEFAULTS, compared, evil_review, repo

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


@pytest.fixture(name="evil", scope="module")
def an_evil_review() -> Review:
    return evil_review()


class _Tags(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_a_page_has_no_tag_that_others_wrote(evil: Review) -> None:
    page = html(evil)
    tags = _Tags()
    tags.feed(page)
    assert (tags.tags.count("script"), tags.tags.count("img"), tags.tags.count("style")) == (1, 0, 1)
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    assert not [value for name, value in tags.attributes if name in ("href", "src") and (value or "")[:1] != "#"]
    assert _CONTROL.search(page) is None


def test_a_comment_has_no_mark_that_others_wrote(evil: Review) -> None:
    comment = markdown(evil)
    assert _CONTROL.search(comment) is None
    outside: list[str] = []
    fences: list[str] = []
    for line in comment.split("\n"):
        if fences and line == fences[-1]:
            fences.pop()
        elif not fences and (fence := re.match(r"`{3,}", line)):
            fences.append(fence[0])
        elif not fences:
            outside.append(line)
    assert not fences, "each block is closed"
    for line in outside:
        assert not line.startswith("/"), "GitLab would take it for a command"
        bare = re.sub(r"&#\d+;", "", line).removeprefix("###")
        assert not re.search(r"[`@~]|javascript:|#\d", bare), line
    tags = _Tags()
    tags.feed("\n".join(outside))
    assert set(tags.tags) <= {"details", "summary", "code"}
    rows = [line for line in outside if line.startswith("|")]
    assert {len(re.sub(r"&#124;", "", row).split("|")) for row in rows} <= {5, 7}, "a pipe would begin a column"


def test_junit_is_xml_whatever_is_in_it(evil: Review) -> None:
    tree = ET.fromstring(junit(evil))
    known = {"testsuites", "testsuite", "testcase", "failure", "error", "system-out"}
    assert {element.tag for element in tree.iter()} <= known
    for suite in tree:
        assert suite.get("tests") == str(len(suite))
        assert suite.get("failures") == str(len(suite.findall("*/failure")))
        assert suite.get("errors") == str(len(suite.findall("*/error")))
    assert [suite.get("name") for suite in tree] == ["aws/dev", "aws/prod", "dori/dev", "dori/prod"]


def test_no_form_shows_a_secret() -> None:
    after = {"desired/defaults.yaml": DEFAULTS.replace(f"{CANARY}-old", f"{CANARY}-new")}
    found = compared(repo("aws"), repo("aws", changes=after))
    review = of_comparison(found)
    forms = [form(review) for form in (html, markdown, junit)]
    forms += [compare_text(found, Style(colour, 0), whole=True) for colour in (False, True)]
    forms.append(json.dumps(compare_data(found)))
    for text in forms:
        assert "db_password" in text.replace("&#95;", "_")
        assert "secret" in text
        assert CANARY not in text


def test_what_only_marks_a_process_is_not_shown() -> None:
    """A digest of all that a service is made of could be guessed at home, if a secret is in it."""
    after = {"desired/defaults.yaml": DEFAULTS.replace(f"{CANARY}-old", f"{CANARY}-new")}
    found = compared(repo("aws"), repo("aws", changes=after))
    deployments = [one for report in found.reports for one in report.deployments]
    digests = {service.spec for one in deployments for service in one.desired.services}
    assert digests
    text = html(of_comparison(found)) + compare_text(found, Style(colour=False, width=0), whole=True)
    assert not [digest for digest in digests if digest in text]


def test_a_comment_is_never_too_long() -> None:
    sites = [f"site{number:02}" for number in range(20)]
    lines = "".join(f"line {{{{ site }}}} {number} {{{{ level }}}}\n" for number in range(400))
    changes = {"desired/defaults.yaml": DEFAULTS.replace("INFO", "DEBUG"), "templates/app.conf.j2": lines}
    review = of_comparison(compared(repo(*sites), repo(*sites, changes=changes)))
    comment = markdown(review)
    assert LIMIT - 20_000 < len(comment.encode()) <= LIMIT < 65_536
    assert "Cut here" in comment
    assert comment.count("<details>") == comment.count("</details>"), "parts are left out as a whole"
    assert "20 sites" not in comment
    assert "40 of 40 deployments differ" in comment
    assert len(html(review)) > LIMIT
    short = markdown(review, limit=3000)
    assert len(short.encode()) <= 3000
    assert "Cut here" in short


def test_equal_changes_are_told_once() -> None:
    after = {"desired/defaults.yaml": DEFAULTS.replace('app: "1.0"', 'app: "1.1"')}
    found = compared(repo("aws", "dori", "jgi"), repo("aws", "dori", "jgi", changes=after))
    review = of_comparison(found)
    assert [(told.service, len(told.places)) for told in review.told] == [("reader", 6), ("web", 6), ("worker", 6)]
    assert all(len(file.places) == 6 for file in review.files)
    text = compare_text(found, Style(colour=False, width=80))
    assert text.count("~ web") == 1
    assert "aws, dori, jgi (dev, prod) at bbbbbbbb" in text
    assert text.count("versions.app 1.0 -> 1.1") == 1
    assert max(map(len, text.splitlines())) <= 80


def test_nothing_that_changes_is_said() -> None:
    same = repo("aws")
    found = compared(same, {**same, "desired/README": b"words\n"})
    assert (found.exit_code, found.reports) == (0, ())
    review = of_comparison(found)
    for text in (markdown(review), html(review)):
        assert "Nothing changes in any of 2 deployments." in text
    assert ET.fromstring(junit(review)).find("*/failure") is None
    assert "0 of 2 deployments differ" in compare_text(found, Style(colour=False, width=80))
