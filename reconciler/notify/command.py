"""A command of the site's own: it gets the message as JSON on standard input."""

from __future__ import annotations

import json

from reconciler.core.telling import Message
from reconciler.host.run import CommandFailed, run
from reconciler.notify.base import SECONDS, Receiver, Undelivered, message_data


def send(receiver: Receiver, message: Message) -> None:
    """Raises `Undelivered`."""
    content = json.dumps(message_data(message)).encode() + b"\n"
    try:
        run(["/bin/sh", "-c", receiver.command], timeout=SECONDS, stdin=content)
    except CommandFailed as failed:
        printed = failed.err or failed.out
        said = printed.decode(errors="replace").strip().rpartition("\n")[2]
        raise Undelivered(failed.why + (f": {said}" if said else "")) from None
