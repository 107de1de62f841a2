"""Parts of the page: the detail of a change, a table of causes, a file with its lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from reconciler.core.change import Kind
from reconciler.core.review import Cause, Intent
from reconciler.report.clean import clean, one_line
from reconciler.report.html.colour import diff_rows
from reconciler.report.review import FileTold, Told, stamp
from reconciler.report.words import file_words, place_words

_SIGNS = {Kind.REMOVE: "&minus;"}  # as wide as the plus; a screen reader reads the label
_INTENTS = {
    Intent.INTENTIONAL: "intentional: a commit asks for it",
    Intent.ROLLBACK: "rollback: what a commit asked for failed",
    Intent.CORRECTIVE: "corrective: the host drifted from what was applied",
}


def sign_of(kind: Kind) -> str:
    return _SIGNS.get(kind, kind.sign)


def detail(told: Told, files: Sequence[FileTold], around: tuple[str, str]) -> str:
    """The page of one change."""
    links = f'<a href="#{around[0]}" rel="prev">Previous</a> <a href="#{around[1]}" rel="next">Next</a>'
    name, version = escape(one_line(told.service)), escape(one_line(told.versions))
    heading = f'<span class="sign {told.kind.value}">{sign_of(told.kind)}</span> {name} <span class="version">{version}'
    lines = [
        f'<article id="{told.id}" class="detail" tabindex="-1" aria-label="{name}">',
        f'<nav><a href="#main" class="back">All changes</a><span>{links}</span></nav>',
        f"<h2>{heading}</span></h2>",
        "<dl>",
        *_facts(told),
        "</dl>",
    ]
    lines += [f'<pre class="failure">{escape(clean(failure))}</pre>' for failure in told.failures]
    if told.causes:
        lines.append(f"<h3>Changed in git</h3>{causes_table(told.causes)}")
    if files:
        lines.append("<h3>Rendered files</h3>")
        lines += [
            f'<div class="file" data-file="{file.id}"><a href="#{file.id}">{_title(file)}</a></div>' for file in files
        ]
    return "\n".join([*lines, "</article>"])


def _facts(told: Told) -> Iterator[str]:
    yield _fact("what", told.kind.value)
    if told.reasons:
        yield _fact("why", "<br>".join(escape(one_line(reason)) for reason in told.reasons), raw=True)
    if told.intent is not Intent.NONE:
        yield _fact("asked for", _INTENTS[told.intent])
    if told.since:
        yield _fact("since", stamp(told.since))
    if told.state:
        yield _fact("state", told.state)
    if told.health:
        yield _fact("health", told.health)
    if told.restarts:
        yield _fact("restarts with it", ", ".join(told.restarts))
    yield _fact("where", ", ".join(told.places))


def _fact(name: str, value: str, *, raw: bool = False) -> str:
    return f"<dt>{name}</dt><dd>{value if raw else escape(clean(value))}</dd>"


def causes_table(causes: Iterable[Cause]) -> str:
    rows = "".join(_cause(one) for one in causes)
    head = '<thead><tr><th scope="col">value</th><th scope="col">before</th><th scope="col">after</th>'
    head += '<th scope="col">where</th><th scope="col">commit</th></tr></thead>'
    table = f'<table class="causes">{head}<tbody>{rows}</tbody></table>'
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Values">{table}</div>'


def _cause(cause: Cause) -> str:
    old, new = ("" if text is None else escape(one_line(text)) for text in (cause.old, cause.new))
    if cause.secret:
        old, new = ("" if text is None else "<em>secret</em>" for text in (cause.old, cause.new))
    who = cause.who
    told = ", ".join([one_line(who.author), *([stamp(who.when)] if who.when else [])])
    author = f"<br><small>{escape(told)}</small>" if who.author else ""
    commit = f"<code>{escape(who.commit[:8])}</code> " if who.commit else ""
    return (
        f"<tr><td><code>{escape(one_line(cause.key))}</code></td><td class=old>{old}</td><td class=new>{new}</td>"
        f"<td><code>{escape(one_line(str(cause.origin)))}</code></td>"
        f"<td>{commit}{escape(one_line(who.subject))}{author}</td></tr>"
    )


def file_part(file: FileTold) -> str:
    """One file; folded."""
    rows = "\n".join(diff_rows(file.delta.lines))
    body = f'<div class="scroll" tabindex="0" role="region" aria-label="Lines"><table class="diff">{rows}</table></div>'
    if not file.delta.lines:
        body = f'<p class="quiet">{escape(file_words(file.delta))}</p>'
    where = f'<p class="quiet places">{escape(place_words(file.places, 100))}</p>'
    return f'<details class="file" id="{file.id}"><summary>{_title(file)}</summary>{where}{body}</details>'


def _title(file: FileTold) -> str:
    come, go = file.delta.counts
    counts = f'<span class="counts"><span class="add">+{come}</span> <span class="del">&minus;{go}</span></span>'
    count = len(file.places)
    where = file.places[0] if count == 1 else f"{count} deployments"
    return (
        f"<code>{escape(one_line(file.delta.name))}</code> <span>{escape(file_words(file.delta))}</span> "
        f'{counts if file.delta.lines else ""} <span class="quiet">{escape(one_line(where))}</span>'
    )
