"""`reconcile help`: the pages of the manual, which come with the program: a host may have no way out to read them."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from contextlib import suppress

from reconciler.agent.config import InvalidInput
from reconciler.cli.parser import COMMANDS, parse
from reconciler.cli.terminal import print_json, style
from reconciler.core.problem import Origin, Problem
from reconciler.desired.problems import suggest
from reconciler.report.manual import rendered, sections, title

_PAGES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "manual")


def manual(options: Namespace) -> int:
    """A page, through a pager where a terminal is; of a command without one, its options; without a word, what
    there is. Pages call one another's sections by their titles, so such a title finds its page too."""
    if options.topic is None:
        _list(as_json=hasattr(options, "json"))
    elif page := _found(options.topic):
        _page(page, as_json=hasattr(options, "json"))
    elif options.topic in COMMANDS:
        with suppress(SystemExit):
            parse([options.topic, "--help"])
    else:
        known = [*topics(), *COMMANDS, *(name for name in by_section() if " " not in name)]
        hint = suggest(options.topic, known, otherwise="`reconcile help` lists all pages")
        raise InvalidInput([Problem(Origin("TOPIC", 0, 0), f"there is no page on `{options.topic}`", hint)])
    return 0


def _found(topic: str) -> str:
    """The page of that name, or with a section of that title, or of one that begins so; empty: there is none."""
    if topic in topics():
        return topic
    word, titles = topic.lower(), by_section()
    if word in titles or topic in COMMANDS:
        return titles.get(word, "")
    return next((page for name, page in titles.items() if name.startswith(f"{word} ")), "")


def by_section() -> dict[str, str]:
    """The page of each section, by its title in small letters."""
    return {section.lower(): name for name in topics() for section in sections(_text(name))}


def topics() -> dict[str, str]:
    """What each page is about, by name."""
    names = sorted(name.removesuffix(".md") for name in os.listdir(_PAGES) if name.endswith(".md"))
    return {name: title(_text(name)) for name in names}


def _text(topic: str) -> str:
    with open(os.path.join(_PAGES, f"{topic}.md"), encoding="utf-8") as page:
        return page.read()


def _list(*, as_json: bool) -> None:
    found = topics()
    if as_json:
        print_json({"topics": [{"topic": name, "title": about} for name, about in found.items()]})
        return
    width = max(map(len, found))
    print("reconcile help TOPIC shows a page of the manual:\n")
    for name, about in found.items():
        print(f"  {style().paint(name.ljust(width), 'bold')}  {about}")
    print("\nreconcile COMMAND --help tells the options of a command.")


def _page(topic: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"topic": topic, "text": _text(topic)})
    elif sys.stdout.isatty():
        from pydoc import pager

        os.environ.setdefault("LESS", "FRX")  # as git has it: colours, and no screen of its own for a short page
        pager(rendered(_text(topic), style()))
    else:
        print(rendered(_text(topic), style()), end="")
