"""Why something changes, as JSON."""

from __future__ import annotations

from typing import Any

from reconciler.core.review import Cause, Delta, Why


def of_deployment(why: Why) -> dict[str, Any]:
    return {
        "causes": [cause_data(cause) for cause in why.causes.get("", ())],
        "files": [_delta(delta) for delta in why.deltas],
    }


def of_service(why: Why, service: str) -> dict[str, Any]:
    return {
        "intent": why.intents[service].value if service in why.intents else None,
        "since": why.since.get(service) or None,
        "causes": [cause_data(cause) for cause in why.causes.get(service, ())],
    }


def cause_data(cause: Cause) -> dict[str, Any]:
    """Neither value of a secret is told."""
    who = cause.who
    return {
        "key": cause.key,
        "before": None if cause.secret else cause.old,
        "after": None if cause.secret else cause.new,
        "secret": cause.secret,
        "file": cause.origin.file,
        "line": cause.origin.line,
        "commit": who.commit or None,
        "author": who.author or None,
        "subject": who.subject or None,
        "when": who.when or None,
    }


def _delta(delta: Delta) -> dict[str, Any]:
    return {
        "file": delta.name,
        "role": delta.role.value,
        "services": list(delta.services),
        "change": delta.word,
        "secret": delta.hidden.startswith("secret"),
        "hidden": delta.hidden or None,
        "mode_before": f"{delta.modes[0]:04o}" if delta.modes[0] else None,
        "mode_after": f"{delta.modes[1]:04o}" if delta.modes[1] else None,
        "diff": list(delta.lines),
    }
