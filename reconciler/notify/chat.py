"""Slack and Mattermost, by an incoming webhook: a JSON object with `text`.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
https://developers.mattermost.com/integrate/webhooks/incoming/
"""

from __future__ import annotations

from reconciler.core.telling import Message
from reconciler.notify.base import Receiver, message_text
from reconciler.notify.http import first_line, post

_MOST = 3000  # characters: what Slack shows of a text without a cut


def send(receiver: Receiver, message: Message) -> None:
    """Raises `Undelivered`."""
    url = first_line(receiver.url_file) if receiver.url_file else receiver.url
    post(url, {"text": _text(receiver.kind, message)}, {})


def _text(kind: str, message: Message) -> str:
    """A headline and a block of plain text, in which no character means anything else."""
    body = message_text(message).replace("```", "'''")
    if len(body) > _MOST:
        body = body[:_MOST].rpartition("\n")[0] + "\n…"
    strong = "*" if kind == "slack" else "**"
    text = f"{strong}{message.title}{strong}\n```\n{body}\n```"
    if kind == "slack":  # it has three of its own, in blocks too
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text
