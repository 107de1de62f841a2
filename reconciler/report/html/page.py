"""The page: a matrix of services and deployments, a detail of each change, the files that differ."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from reconciler.core.change import Kind
from reconciler.core.review import Intent
from reconciler.report.clean import clean, one_line
from reconciler.report.html.parts import causes_table, detail, file_part, sign_of
from reconciler.report.review import Place, Remark, Review, Told

_KEYS = (
    ("/", "search"),
    ("j k", "next, previous change"),
    ("Enter", "open"),
    ("Esc", "back, or clear the search"),
    ("t", "dark or light"),
    ("?", "these keys"),
)
_BADNESS = ("healthy", "suspended", "progressing", "missing", "degraded", "unknown")
_FEW = 6  # values that changed in git: so few stand before all that follows from them
_NAMES = {
    Kind.CREATE: "create",
    Kind.UPDATE: "update",
    Kind.RESTART: "restart",
    Kind.REMOVE: "remove",
    Kind.BLOCKED: "blocked",
    Kind.KEEP: "unchanged",
}


def html(review: Review) -> str:
    """The whole file."""
    style, script = (_asset(name) for name in ("style.css", "script.js"))
    body = "\n".join(_body(review))
    title = escape(clean(f"reconcile {review.command} {review.title}"))
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n<script>{script}</script>\n"
        "</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return files("reconciler.report.html").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Only this very text runs: what came into the page in another way does not."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _body(review: Review) -> Iterator[str]:
    yield from _header(review)
    yield '<main id="main">\n<div id="overview">'
    yield from _troubles(review)
    shown = _shown(review)
    early = len(review.causes) <= _FEW
    yield from _causes(review) if early else ()
    if shown:
        yield from _filters(shown)
        yield from _matrix(review)
        yield from _list(shown, "Services" if review.command == "status" else "Changes")
        yield '<p id="none" class="quiet" hidden>Nothing here matches. <kbd>Esc</kbd> clears the search.</p>'
    else:
        yield f'<p class="allwell">{escape(review.verdict)}</p>'
    yield from () if early else _causes(review)
    if review.files:
        yield f'<section id="files"><h2>Rendered files <small>{len(review.files)}</small></h2>'
        yield from map(file_part, review.files)
        yield "</section>"
    yield from _places(review.places)
    yield "</div>"
    known = {file.id: file for file in review.files}
    yield '<div id="details">'
    for at, told in enumerate(shown):
        ids = [shown[(at + step) % len(shown)].id for step in (-1, 1)]
        yield detail(told, [known[id_] for id_ in told.files], (ids[0], ids[1]))
    yield "</div>\n</main>"
    yield from _help()


def _header(review: Review) -> Iterator[str]:
    subject = f'<p class="subject">{escape(one_line(review.subject))}</p>' if review.subject else ""
    state = {0: "good", 2: "differs"}.get(review.exit_code, "bad")
    yield '<a class="skip" href="#main">Skip to the report</a>'
    yield f'<header><div><p class="tool">reconcile {escape(review.command)}</p>'
    yield f"<h1>{escape(one_line(review.title))}</h1>{subject}"
    yield f'<p class="verdict {state}">{escape(clean(review.verdict))}</p></div>'
    yield '<div class="tools"><button id="theme" type="button">Dark or light</button>'
    yield '<button id="keys" type="button">Keys</button></div></header>'


def _causes(review: Review) -> Iterator[str]:
    if review.causes:
        yield f"<section><h2>Changed in git <small>{len(review.causes)}</small></h2>"
        yield f"{causes_table(review.causes)}</section>"


def _troubles(review: Review) -> Iterator[str]:
    if review.problems:
        yield '<section><h2>Not valid</h2><ul class="remarks">'
        for problem in review.problems:
            place = f"{problem.origin.file}:{problem.origin.line}" if problem.origin.line else problem.origin.file
            hint = f"<br><small>{escape(clean(problem.hint))}</small>" if problem.hint else ""
            yield f'<li class="error"><code>{escape(clean(place))}</code> {escape(clean(problem.message))}{hint}</li>'
        yield "</ul></section>"
    remarks = [(None, remark) for remark in review.remarks]
    remarks += [(place, remark) for place in review.places for remark in place.remarks]  # type: ignore[misc]
    if remarks:
        yield f'<section><h2>To know <small>{len(remarks)}</small></h2><ul class="remarks">'
        yield from (_remark(place, remark) for place, remark in remarks)
        yield "</ul></section>"


def _remark(place: Place | None, remark: Remark) -> str:
    where = f"<b>{escape(one_line(place.name))}</b> " if place else ""
    first, *more = clean(remark.text).split("\n")
    printed = f"<pre>{escape(chr(10).join(more))}</pre>" if more else ""
    return f'<li class="{remark.level}"><span class="level">{remark.level}</span> {where}{escape(first)}{printed}</li>'


def _filters(shown: Sequence[Told]) -> Iterator[str]:
    yield '<section class="bar"><input id="search" type="search" placeholder="Search services, sites, values, authors"'
    yield ' aria-label="Search"><div class="chips" role="group" aria-label="Kinds">'
    for kind, name in _NAMES.items():
        count = sum(told.kind is kind for told in shown)
        if count:
            yield (
                f'<button type="button" class="chip {kind.value}" data-kind="{kind.value}" aria-pressed="true">'
                f"{sign_of(kind)} {name} <b>{count}</b></button>"
            )
    yield "</div></section>"


def _matrix(review: Review) -> Iterator[str]:
    """Two rows of headings: the site, and its environments."""
    told = {one.id: one for one in review.told}
    yield '<section><h2>Services and deployments</h2><div class="scroll" tabindex="0" role="region" '
    yield 'aria-label="Services and deployments"><table id="matrix"><thead><tr><td rowspan="2"></td>'
    sites = list(dict.fromkeys(place.site for place in review.places))
    for site in sites:
        width = sum(place.site == site for place in review.places)
        yield f'<th scope="colgroup" colspan="{width}" class="site">{escape(one_line(site))}</th>'
    yield "</tr><tr>"
    first = {next(place.name for place in review.places if place.site == site) for site in sites}
    for place in review.places:
        edge = ' class="edge"' if place.name in first else ""
        yield f'<th scope="col"{edge}>{escape(one_line(place.environment))}</th>'
    yield "</tr></thead><tbody>"
    for service in review.services:
        yield f'<tr data-service="{escape(one_line(service))}"><th scope="row">{escape(one_line(service))}</th>'
        for place in review.places:
            edge = "edge" if place.name in first else ""
            yield _cell(service, place, told.get(place.cells.get(service, "")), edge)
        yield "</tr>"
    yield "</tbody></table></div></section>"


def _cell(service: str, place: Place, told: Told | None, edge: str) -> str:
    if told is None:
        kept = service in place.cells
        return f'<td class="{edge}">{"<span class=same title=unchanged>=</span>" if kept else ""}</td>'
    label = escape(one_line(f"{service} on {place.name}: {_NAMES[told.kind]} {told.versions} {told.health}".strip()))
    ill = " ill" if told.failures or told.health in ("degraded", "missing", "unknown") else ""
    return (
        f'<td class="{edge}"><a class="cell {told.kind.value} {told.health}{ill}" href="#{told.id}" title="{label}" '
        f'aria-label="{label}">{sign_of(told.kind)}</a></td>'
    )


def _shown(review: Review) -> Sequence[Told]:
    """What runs, the worst first; else what changes."""
    if review.command != "status":
        return review.changes
    return sorted(review.told, key=lambda told: -_BADNESS.index(told.health) if told.health in _BADNESS else 0)


def _list(shown: Sequence[Told], title: str) -> Iterator[str]:
    yield f'<section><h2>{title} <small id="count"></small></h2><ol id="changes">'
    for told in shown:
        why = "; ".join(told.brief) or told.state
        words = [told.service, told.versions, why, told.health, told.intent.value, *told.places, *told.restarts]
        words += [word for one in told.causes for word in (one.key, str(one.origin), one.who.author, one.who.subject)]
        find = escape(clean(" ".join(words)).lower())
        tag = told.health or ("drift" if told.intent is Intent.CORRECTIVE else "")
        health = f'<span class="health {tag}">{tag}</span>' if tag else ""
        count = len(told.places)
        yield (
            f'<li data-kind="{told.kind.value}" data-find="{find}"><a href="#{told.id}">'
            f'<span class="sign {told.kind.value}">{sign_of(told.kind)}</span>'
            f'<span class="name">{escape(one_line(told.service))}</span>'
            f'<span class="version">{escape(one_line(told.versions))}</span>{health}'
            f'<span class="why">{escape(one_line(why))}</span>'
            f'<span class="where">{escape(one_line(told.places[0]) if count == 1 else f"{count} deployments")}</span>'
            "</a></li>"
        )
    yield "</ol></section>"


def _places(places: Sequence[Place]) -> Iterator[str]:
    told = [place for place in places if place.summary]
    if not told:
        return
    yield f"<section><h2>Deployments <small>{len(places)}</small></h2>"
    for place in told:
        steps = "".join(f"<li>{escape(one_line(step))}</li>" for step in place.steps)
        listed = f"<ol>{steps}</ol>" if steps else ""
        yield (
            f'<details class="place"><summary><b>{escape(one_line(place.name))}</b> '
            f"<span>{escape(clean(place.summary))}</span></summary>{listed}</details>"
        )
    yield "</section>"


def _help() -> Iterator[str]:
    yield '<dialog id="help" aria-label="Keys"><h2>Keys</h2><dl>'
    for keys, does in _KEYS:
        pressed = " ".join(f"<kbd>{key}</kbd>" for key in keys.split())
        yield f"<dt>{pressed}</dt><dd>{does}</dd>"
    yield '</dl><form method="dialog"><button>Close</button></form></dialog>'
