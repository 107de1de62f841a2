"""What `reconcile doctor` says of one thing that a pass needs."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Verdict(Enum):
    OK = "ok"
    WARNING = "warning"  # passes do their work, and a person should look
    ERROR = "error"  # a pass would fail at it, or do harm


class Checked(NamedTuple):
    where: str  # the environment; empty: the host and the agent
    what: str  # a word or two: "folders", "lock"
    verdict: Verdict
    message: str
    mend: str = ""  # what to do about it


def ok(where: str, what: str, message: str) -> Checked:
    return Checked(where, what, Verdict.OK, message)


def warning(where: str, what: str, message: str, mend: str = "") -> Checked:
    return Checked(where, what, Verdict.WARNING, message, mend)


def error(where: str, what: str, message: str, mend: str = "") -> Checked:
    return Checked(where, what, Verdict.ERROR, message, mend)
