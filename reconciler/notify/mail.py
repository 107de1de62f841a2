"""Mail, by the host's own sendmail: it knows where mail goes."""

from __future__ import annotations

from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from reconciler.core.telling import Happening, Message
from reconciler.host.run import CommandFailed, run
from reconciler.notify.base import SECONDS, Receiver, Undelivered, message_text

# So that vacation replies and the like do not answer a program (RFC 3834, section 5).
_AUTOMATIC = {"Auto-Submitted": "auto-generated", "Precedence": "bulk"}


def send(receiver: Receiver, message: Message) -> None:
    """Raises `Undelivered`. The addressees stand in the mail: sendmail takes them from there (`-t`), as everywhere."""
    try:
        run([receiver.sendmail, "-t", "-i"], timeout=SECONDS, stdin=_mail(receiver, message).as_bytes())
    except CommandFailed as failed:
        said = (failed.err or failed.out).decode(errors="replace").strip().rpartition("\n")[2]
        raise Undelivered(f"{receiver.sendmail}: {failed.why}" + (f": {said}" if said else "")) from None


def _mail(receiver: Receiver, message: Message) -> EmailMessage:
    mail = EmailMessage()
    mail["To"] = ", ".join(receiver.to)
    if receiver.sender:
        mail["From"] = receiver.sender
    mail["Subject"] = f"reconcile: {message.title}"
    mail["Date"] = formatdate(localtime=True)
    mail["Message-ID"] = make_msgid(domain="reconcile.invalid")
    for key, value in _AUTOMATIC.items():
        mail[key] = value
    if Happening.FAILURE in message.happenings:
        mail["Importance"] = "high"
    mail.set_content(message_text(message) + "\n")
    return mail
