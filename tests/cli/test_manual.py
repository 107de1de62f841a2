"""`reconcile help`: the pages of the manual, in a terminal and without one; and that the links between them lead on."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from reconciler.cli.main import main
from reconciler.cli.manual import by_section, topics
from reconciler.cli.parser import COMMANDS
from reconciler.report.manual import rendered, sections
from reconciler.report.style import Style
from tests.scenarios.world import in_terminal

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "reconciler" / "manual").glob("*.md"))
PLAIN = Style(colour=False, width=80)


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["help", *words]) == code
    out, err = capsys.readouterr()
    return str(err if code else out)


def test_all_pages_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    listed = re.findall(r"^  ([a-z]+) ", told(capsys), re.MULTILINE)
    assert listed == [path.stem for path in PAGES]
    rows = json.loads(told(capsys, "--json"))["topics"]
    assert {row["topic"]: row["title"] for row in rows} == topics()
    assert all(row["title"] for row in rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_fits_the_terminal_and_loses_nothing(page: Path) -> None:
    """Lines of code are as they are; of tables, the names of the columns are left out."""
    text = page.read_text()
    shown = rendered(text, PLAIN)
    code = [line.strip() for block in _FENCED.findall(text) for line in block.splitlines()]
    assert [line for line in shown.splitlines() if len(line) > 80 and line.strip() not in code] == []
    kept = re.sub(r"^```\w*$|^\|.*\n\|--.*|(?<=\])\([^)\s]+\)", "", text, flags=re.MULTILINE)
    assert re.findall(r"\w+", kept) == re.findall(r"\w+", shown)


_FENCED = re.compile(r"^```.*?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_what_markdown_marks_is_shown_plainly() -> None:
    page = (
        "# A title\n\nSome **bold** word, a [link](other.md#x) and\n[one outside](https://example.org/).\n\n"
        "- first\n  goes on\n- second\n\n| key | default | |\n|---|---|---|\n| `a \\| b` | none | what it is |\n"
        "| | | more |\n\n```\n# code | as it is\n```\n"
    )
    assert rendered(page, PLAIN) == (
        "A title\n\nSome bold word, a link and one outside <https://example.org/>.\n\n"
        "- first goes on\n- second\n\n  `a | b`  none\n      what it is\n      more\n\n    # code | as it is\n"
    )
    assert rendered("# A title\n", Style(colour=True, width=80)) == "\x1b[1mA title\x1b[0m\n"


def test_a_terminal_has_a_pager() -> None:
    """The one that the person has; it gets colours."""
    env = {**os.environ, "PAGER": "sed s/^/paged:/", "TERM": "xterm"}
    done = in_terminal(["sh", "-c", f"{sys.executable} -m reconciler help limits <&1"], env)
    assert done.code == 0
    assert "paged:\x1b[1mLimits" in done.out


@pytest.mark.parametrize("command", sorted(COMMANDS - topics().keys() - by_section().keys()))
def test_a_command_without_a_page_tells_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"usage: reconcile {command}" in told(capsys, command)


@pytest.mark.parametrize(
    ("word", "page"),
    [
        ("trust", "agent"),
        ("Approve", "operating"),
        ("pause", "operating"),
        ("guards", "health"),
        ("rollout", "health"),
        ("rollout and rollback", "health"),
    ],
)
def test_a_section_finds_its_page(word: str, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where a command is called so; an option list is one `--help` away."""
    assert json.loads(told(capsys, word, "--json"))["topic"] == page


def test_titles_of_sections_are_told_apart() -> None:
    """A heading in code is none, and two pages have no section of one title."""
    assert sections("# A\n\n## One\n\n```\n## no\n```\n\n## [Two](x.md)\n") == ("One", "Two")
    titles = [title.lower() for page in PAGES for title in sections(page.read_text())]
    assert sorted(set(titles)) == sorted(titles)


def test_a_page_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no page on `cleanpu`\n    did you mean `cleanup`?" in told(capsys, "cleanpu", code=3)
    assert "did you mean `trust`?" in told(capsys, "truts", code=3)
    assert "`reconcile help` lists all pages" in told(capsys, "../README", code=3)


def test_messages_point_to_pages() -> None:
    """A host has no README; what they point to is there."""
    code = {path: path.read_text() for path in (ROOT / "reconciler").rglob("*.py")}
    assert [path.name for path, text in code.items() if "README" in text] == []
    named = {name for text in code.values() for name in re.findall(r"`reconcile help ([a-z]+)`", text)}
    assert "notify" in named
    assert named <= topics().keys()


# ---------------------------------------------------------------- links


def anchors(path: Path) -> set[str]:
    """As GitHub and GitLab make them of headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    for link in (one for one in found if "://" not in one):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link
