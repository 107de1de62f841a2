"""Gets secrets from where they are. What goes wrong is told without a byte of what was read, printed or decrypted."""

from __future__ import annotations

import os
from collections.abc import Mapping

from reconciler.agent.secrets.document import NotThereError, pick
from reconciler.agent.secrets.private import Unresolved, bounded, private
from reconciler.core.secret import Reference, Source
from reconciler.desired.text import forbidden
from reconciler.host.withheld import everything, variable

SECONDS = 30.0  # that a command may take, and sops
_FORMATS = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".env": "dotenv", ".ini": "ini"}


def fetch(reference: Reference, tree: Mapping[str, bytes], identity: str) -> str:
    """The secret. `identity`: the file with the private key for age. Raises `Unresolved` and nothing else, as the text
    of any other error may quote what it is about."""
    try:
        content = _fetch(reference, tree, identity)
        return _text(_at(content, reference.key) if reference.key else content)
    except Unresolved:
        raise
    except Exception as error:  # noqa: BLE001 - see above
        raise Unresolved(f"a defect in reconcile itself ({type(error).__name__})", "please report it") from None


def _fetch(reference: Reference, tree: Mapping[str, bytes], identity: str) -> bytes:
    if reference.source is Source.FILE:
        return private(reference.target)
    if reference.source is Source.ENV:
        return _variable(reference.target)
    if reference.source is Source.COMMAND:
        return _printed(reference.target)
    content = tree.get(reference.target)
    if content is None:
        raise Unresolved("the commit has no such file")
    if reference.source is Source.AGE:
        from reconciler.agent.secrets.age import decrypted

        return decrypted(content, identity)
    return _by_sops(content, reference)


def _at(content: bytes, key: str) -> bytes:
    try:
        return pick(content, key).encode("utf-8", "surrogatepass")
    except NotThereError as error:
        raise Unresolved(str(error), "look at `key`") from None


def _text(content: bytes) -> str:
    """Without the line end that editors and `echo` put behind it."""
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise Unresolved("it is not text", "encode it, with base64 for example") from None
    if not text:
        raise Unresolved("it is empty")
    if found := forbidden(text):
        raise Unresolved(f"it holds the control character U+{ord(found[0]):04X}")
    return text


# ---------------------------------------------------------------- files and variables


def _variable(name: str) -> bytes:
    value = variable(name)
    if value is None:
        mend = "set it where reconcile is started: a crontab and a timer have an environment of their own"
        raise Unresolved(f"there is no variable {name} in reconcile's own environment", mend)
    return value


# ---------------------------------------------------------------- programs


def _printed(command: str) -> bytes:
    mend = "run it yourself, as this account; what it printed is not shown, as the secret may be in it"
    return _run(["/bin/bash", "-c", command], "the command", mend)


def _by_sops(content: bytes, reference: Reference) -> bytes:
    """The program gets the encrypted file by a pipe and gives the content by another: nothing is put on a disk."""
    form = _FORMATS.get(os.path.splitext(reference.target)[1].lower(), "binary")
    asked = "json" if reference.key and form != "binary" else form
    argv = ["sops", "--decrypt", "--input-type", form, "--output-type", asked, "/dev/stdin"]
    mend = f"try `sops --decrypt {reference.target}` in a checkout, as this account on this host"
    return _run(argv, "sops", mend, content)


def _run(argv: list[str], what: str, mend: str, stdin: bytes = b"") -> bytes:
    """What it prints. Its errors are its own: they may repeat what it was about."""
    from reconciler.host.run import CommandFailed, run

    try:
        env = {os.fsdecode(name): os.fsdecode(value) for name, value in everything().items()}
        return bounded(run(argv, timeout=SECONDS, env=env, stdin=stdin).out)
    except CommandFailed as failed:
        why, missing = failed.why, failed.why.startswith("could not be started")
    except UnicodeEncodeError:
        raise Unresolved(f"{what} cannot be written as text") from None
    if missing:
        raise Unresolved(f"{what} {why}", f"have {argv[0]} on the PATH of the pass, also from cron")
    raise Unresolved(f"{what} ended with {why}" if why.startswith("exit") else f"{what} {why}", mend)
