"""A report as JUnit XML, which pipelines show: a suite for each deployment, a case for each service.

The form is the one that GitLab and Jenkins read: https://github.com/windyroad/JUnit-Schema
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from reconciler.core.change import Kind
from reconciler.report.clean import clean
from reconciler.report.review import Place, Review, Told
from reconciler.report.words import cause_words, who_words

# What XML 1.0 cannot hold, even as an entity.
_NEVER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(review: Review) -> str:
    """What differs is a failed case: a pipeline that expects no drift shows it so. What is broken is an error."""
    suites = [_suite(review, place) for place in review.places]
    problems = list(_problems(review))
    if problems or not suites:
        suites.insert(0, _wrapped(f"{review.command} {review.title}", problems or [_case("desired state", "all", "")]))
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', _tag("testsuites", name="reconcile"), *suites]) + (
        "\n</testsuites>\n"
    )


def _problems(review: Review) -> Iterator[str]:
    for problem in review.problems:
        place = f"{problem.origin.file}:{problem.origin.line}"
        yield _case("desired state", place, _child("error", problem.message, str(problem)))
    for remark in review.remarks:
        if remark.level == "error":
            yield _case("desired state", "notice", _child("error", remark.text, remark.text))


def _suite(review: Review, place: Place) -> str:
    told = {one.id: one for one in review.told}
    cases = [_service(review, place, name, told.get(id_)) for name, id_ in sorted(place.cells.items())]
    for remark in place.remarks:
        child = _child("error", remark.text, remark.text) if remark.level == "error" else ""
        cases.append(_case(place.name, f"{remark.level}: {remark.text[:80]}", child or _out(remark.text)))
    return _wrapped(place.name, cases)


def _service(review: Review, place: Place, name: str, told: Told | None) -> str:
    if told is None or (told.kind is Kind.KEEP and told.health in ("", "healthy")):
        return _case(place.name, name, "")
    message = f"{told.kind.value} {told.versions}: {'; '.join(told.reasons)}".rstrip(": ")
    lines = [message, *(f"restarts with it: {name}" for name in told.restarts), *told.failures]
    lines += [f"{cause_words(cause)} ({cause.origin}) {who_words(cause.who)}" for cause in told.causes]
    text = "\n".join(lines)
    if told.failures or told.kind is Kind.BLOCKED or told.health in ("degraded", "missing", "unknown"):
        return _case(place.name, name, _child("error", message, text))
    if review.command == "apply":
        return _case(place.name, name, _out(text))  # it was carried out
    return _case(place.name, name, _child("failure", message, text))


def _wrapped(name: str, cases: list[str]) -> str:
    failures, errors = (sum(f"<{word} " in case for case in cases) for word in ("failure", "error"))
    head = _tag("testsuite", name=name, tests=str(len(cases)), failures=str(failures), errors=str(errors))
    return "\n".join([f"  {head}", *cases, "  </testsuite>"])


def _case(classname: str, name: str, child: str) -> str:
    return f"    {_tag('testcase', classname=classname, name=name)}{child}</testcase>"


def _child(tag: str, message: str, text: str) -> str:
    return f"{_tag(tag, message=message.partition(chr(10))[0])}{_text(text)}</{tag}>"


def _out(text: str) -> str:
    return f"<system-out>{_text(text)}</system-out>"


def _tag(tag: str, /, **attributes: str) -> str:
    return "<" + " ".join([tag, *(f'{key}="{_text(value)}"' for key, value in attributes.items())]) + ">"


def _text(text: str) -> str:
    text = _NEVER.sub("?", clean(text))
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text
