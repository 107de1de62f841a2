"""What receivers are, and what is told of them when they cannot be reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from reconciler.core.telling import Happening, Message

SECONDS = 10.0  # that one delivery may take
_LISTS = ("changes", "troubles", "waits")


class Undelivered(Exception):  # noqa: N818 - it says what happened
    """Something could not be told. The text says why, without an address: that of a chat is its password."""


class Receiver(NamedTuple):
    """Somebody who wants to be told. Settings of all kinds stand side by side; which count is the kind's business."""

    name: str
    kind: str  # of `KINDS`
    on: tuple[Happening, ...]
    environments: tuple[str, ...] = ()  # empty: every one, and what is of none
    url: str = ""
    url_file: str = ""  # absolute; its first line is the address
    token_file: str = ""  # absolute; its first line is sent as a bearer token
    to: tuple[str, ...] = ()
    sender: str = ""
    sendmail: str = ""
    command: str = ""

    def wants(self, message: Message) -> bool:
        here = not self.environments or message.environment in ("", *self.environments)
        return here and bool(set(self.on) & set(message.happenings))


class Forge(NamedTuple):
    """Where the state of a commit is shown."""

    kind: str  # gitlab or github
    url: str  # of its interface, without a slash at the end
    project: str  # "group/project" or its number; of GitHub "owner/repository"
    token_file: str  # absolute
    context: str  # under which it is shown; one for each site


class Told(NamedTuple):
    """What the notify file says."""

    receivers: tuple[Receiver, ...]
    forge: Forge | None = None


def message_data(message: Message) -> Mapping[str, object]:
    """A message as JSON, for programs. New keys may be added."""
    return {
        "reconcile": "message",
        "title": message.title,
        "happenings": [happening.value for happening in message.happenings],
        **{key: value for key, value in message._asdict().items() if key not in ("happenings", *_LISTS)},
        **{key: list(getattr(message, key)) for key in _LISTS},
    }


def message_text(message: Message) -> str:
    """A message for people, without the title."""
    told = [*message.changes]
    if message.troubles:
        told += ["", "wrong now:"] if told else ["wrong now:"]
        told += [f"  {line}" for line in message.troubles]
    if message.waits:
        told += ["", "waits for approval:"] if told else ["waits for approval:"]
        told += [f"  {line}" for line in message.waits]
    commit = f"commit {message.commit[:8]}" if message.commit else ""
    if commit and message.subject:
        commit += f" {message.subject}" + (f" ({message.author})" if message.author else "")
    told += ["", *filter(None, (commit, message.place))]
    return "\n".join(told).strip("\n")
