"""Any program that takes JSON by HTTP."""

from __future__ import annotations

from reconciler.core.telling import Message
from reconciler.notify.base import Receiver, message_data
from reconciler.notify.http import first_line, post


def send(receiver: Receiver, message: Message) -> None:
    """Raises `Undelivered`."""
    url = first_line(receiver.url_file) if receiver.url_file else receiver.url
    token = first_line(receiver.token_file) if receiver.token_file else ""
    post(url, message_data(message), {"Authorization": f"Bearer {token}"} if token else {})
