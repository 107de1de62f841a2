"""Decrypts what was encrypted with age, by pyrage where that is installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from reconciler.agent.secrets.private import Unresolved, private

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_AGE = "AGE-SECRET-KEY-"
_OF_SSH = b"-----BEGIN "
_UNPROTECTED = "a key with a passphrase cannot be used by a pass that nobody watches"


def decrypted(content: bytes, identity: str) -> bytes:
    """The content, with the private key in the file `identity`. Raises `Unresolved`."""
    if not identity:
        raise Unresolved("the agent's file names no `age_identity`", "say there which file has the private key")
    try:
        import pyrage
    except ImportError:
        raise Unresolved("pyrage is not installed", "pip install 'reconcile[age]', or pyrage") from None
    keys = list(_keys(pyrage, identity))
    if not keys:
        raise Unresolved(f"{identity} has no private key of age or SSH in it", "make one with `age-keygen`")
    wrong = f"it is not encrypted for a key of {identity}, or is damaged"
    mend = "encrypt it for this host's key too: `age -r KEY`, and commit it"
    return bytes(_guarded(lambda: pyrage.decrypt(content, keys), wrong, mend))


def _keys(pyrage: Any, identity: str) -> Iterator[Any]:
    content = private(identity)
    wrong = f"a key in {identity} cannot be used"
    if content.lstrip().startswith(_OF_SSH):
        yield _guarded(lambda: pyrage.ssh.Identity.from_buffer(content), wrong, _UNPROTECTED)
        return
    for line in content.decode(errors="replace").splitlines():
        if line.strip().upper().startswith(_OF_AGE):
            yield _guarded(partial(pyrage.x25519.Identity.from_str, line.strip()), wrong, "see that it is whole")


def _guarded(act: Callable[[], Any], wrong: str, mend: str) -> Any:
    """What a library in Rust raises may be no `Exception`, and may quote what it was given."""
    try:
        return act()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - see above
        raise Unresolved(wrong, mend) from None
