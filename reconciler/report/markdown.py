"""A report as a comment on a merge request: GitLab's and GitHub's Markdown, folded, and never too long for either."""

from __future__ import annotations

import re
from collections.abc import Iterator

from reconciler.core.review import Intent
from reconciler.report.clean import clean, one_line
from reconciler.report.review import FileTold, Place, Remark, Review, Told, alike, stamp
from reconciler.report.words import cause_words, file_words, place_words, who_words

# GitHub takes 65,536 characters of a comment, GitLab 1,000,000. In bytes, so that it fits however they count.
LIMIT = 65_000
_SPARE = 400  # for the words about what is left out
_SPECIAL = re.compile(r"[\\`*_\[\]<>|~@#!$%&^:{}]")
_SIGNS = {"error": "**error**", "warning": "**warning**", "info": "note"}


def markdown(review: Review, limit: int = LIMIT) -> str:
    """The whole report, cut at the end of a part where it would be longer than `limit` bytes."""
    kept: list[str] = []
    size, left_out = 0, 0
    for part in _parts(review):
        length = len(part.encode()) + 1
        if size + length > limit - _SPARE:
            left_out += 1
            continue
        kept.append(part)
        size += length
    if left_out:
        kept.append(
            f"> **Cut here:** {left_out} part{'s' * (left_out != 1)} of this report {'are' if left_out != 1 else 'is'} "
            f"left out, because a comment may not be longer. `reconcile {review.command} -o html` has all of it.\n"
        )
    return "\n".join(kept)


def _parts(review: Review) -> Iterator[str]:
    """Whole parts, the weightiest first: any of them can be left out, and the rest still stands."""
    yield _head(review)
    for problem in review.problems:
        hint = f"  \n  {plain(problem.hint)}" if problem.hint else ""
        yield f"- {code(str(problem.origin))} {plain(problem.message)}{hint}\n"
    yield from (f"- {_remark(remark)}\n" for remark in review.remarks)
    table = list(_table(review))
    yield from ["\n".join(table) + "\n"] if table else []
    for place in review.places:
        yield from (f"- {code(place.name)} {_remark(remark)}\n" for remark in place.remarks)
    if review.causes:
        yield _causes(review)
    yield from (_details(group) for group in alike([told for told in review.told if told.is_change or told.failures]))
    yield from (_file(file) for file in review.files if file.delta.lines)
    if len(review.places) > 1 or review.command != "status":
        yield from (_place(place) for place in review.places if place.summary)


def _head(review: Review) -> str:
    subject = f" {plain(review.subject)}" if review.subject else ""
    return f"### reconcile {review.command} {code(review.title)}{subject}\n\n**{plain(review.verdict)}**\n"


def _remark(remark: Remark) -> str:
    first, *more = clean(remark.text).split("\n")
    return f"{_SIGNS[remark.level]}: {plain(first)}" + (f"\n\n{_fenced(more, '')}\n" if more else "")


def _table(review: Review) -> Iterator[str]:
    shown = review.told if review.command == "status" else review.changes
    if not shown:
        return
    yield "| | service | version | where | why |"
    yield "|---|---|---|---|---|"
    for group in alike(shown):
        told = group[0]
        state = f" {plain(told.health)}" if told.health else ""
        why = "; ".join(plain(reason) for reason in told.brief) or plain(told.state)
        restarts = f"; restarts with it: {', '.join(map(code, told.restarts))}" if told.restarts else ""
        sign = code(told.kind.sign)
        yield (
            f"| {sign}{state} | {_services(group)} | {plain(told.versions)} | "
            f"{plain(place_words(told.places))} | {why}{restarts} |"
        )


def _services(group: list[Told]) -> str:
    return ", ".join(code(told.service) for told in group)


def _causes(review: Review) -> str:
    lines = ["| changed in git | where | by |", "|---|---|---|"]
    lines += [
        f"| {code(cause_words(one))} | {code(str(one.origin))} | {plain(who_words(one.who))} |" for one in review.causes
    ]
    return _folded(f"What changed in git ({len(review.causes)})", "\n".join(lines))


def _details(group: list[Told]) -> str:
    told = group[0]
    lines = [f"{plain(told.kind.value)}: {'; '.join(map(plain, told.reasons))}" if told.reasons else ""]
    if told.intent is not Intent.NONE:
        since = f", since {stamp(told.since)}" if told.since else ""
        lines.append(f"{told.intent.value}{since}")
    lines += [
        f"{code(cause_words(one))} in {code(str(one.origin))} by {plain(who_words(one.who)) or 'nobody known'}"
        for one in told.causes
    ]
    lines += [f"where: {plain(place_words(told.places, 100))}"]
    body = "\n".join(f"- {line}" for line in lines if line)
    body += "".join(f"\n\n{_fenced(failure.split(chr(10)), '')}" for failure in told.failures)
    return _folded(f"{code(told.kind.sign)} {_services(group)} {plain(told.versions)}", body)


def _file(file: FileTold) -> str:
    come, go = file.delta.counts
    title = f"{code(file.delta.name)} {plain(file_words(file.delta))} +{come} -{go}, {plain(place_words(file.places))}"
    return _folded(title, _fenced(list(file.delta.lines), "diff"))


def _place(place: Place) -> str:
    steps = f"\n\n{_fenced(list(place.steps), '')}" if place.steps else ""
    return _folded(code(place.name), f"{plain(place.summary)}{steps}")


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>\n"


def plain(text: str) -> str:
    """A text of others on one line, in which nothing is a mark, a mention, a reference or a link."""
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", one_line(text))


def code(text: str) -> str:
    """A text of others as it is. The tag, as a code span may stand in a table and in a heading that is folded."""
    return f"<code>{plain(text)}</code>" if text else ""


def _fenced(lines: list[str], language: str) -> str:
    """A block that nothing in it can end."""
    text = clean("\n".join(lines)).replace("\r", "\\r")
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
