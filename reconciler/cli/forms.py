"""In which form an answer is wanted, and the forms that are made of a review."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.report.review import Review

OUTPUTS = ("text", "json", "markdown", "html", "junit")


def form_of(options: Namespace) -> str:
    """`--json` is short for `--output json`."""
    return "json" if hasattr(options, "json") else getattr(options, "output", "text")


def is_file(form: str) -> bool:
    """A form that is kept or sent on: it is made even where nothing is to tell."""
    return form in ("markdown", "html", "junit")


def show(review: Review, form: str) -> None:
    """Print a report in one of these forms, in UTF-8 wherever it goes: that is what its readers take it for."""
    text = _made(review, form)
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def _made(review: Review, form: str) -> str:
    if form == "markdown":
        from reconciler.report.markdown import markdown

        return markdown(review)
    if form == "junit":
        from reconciler.report.junit import junit

        return junit(review)
    from reconciler.report.html.page import html

    return html(review)
