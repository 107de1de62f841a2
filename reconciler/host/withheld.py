"""Variables of reconcile's own environment that are nobody else's business: programs that it runs do not get them.

What the kernel keeps of the environment that this process began with still has them, so that they are not kept twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

# What programs go by that have a right to it, whatever git calls a secret: without these no pass could go on, not
# even to a commit that says otherwise.
_USUAL = frozenset(
    {"HOME", "PATH", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "TMPDIR", "KRB5CCNAME"}
    | {f"{name}_proxy" for name in ("http", "https", "ftp", "all", "no")}
    | {f"{name}_PROXY" for name in ("HTTP", "HTTPS", "FTP", "ALL", "NO")}
)
_FAMILIES = ("LC_", "XDG_", "DBUS_", "SSH_", "GIT", "GH_", "SSL_", "LD_", "PYTHON", "PIP_", "APPTAINER", "SINGULARITY")


def withheld(names: Iterable[str]) -> tuple[str, ...]:
    """Those of them that programs do not get."""
    return tuple(name for name in sorted(names) if name not in _USUAL and not name.startswith(_FAMILIES))


def withhold(names: Iterable[str]) -> None:
    """Have programs that are started from now on not get these."""
    for name in withheld(names):
        os.environ.pop(name, None)


def give_back(names: Iterable[str]) -> None:
    """Have them get these again: git names them no more."""
    for name in names:
        value = variable(name)
        if value is not None:
            os.environb[name.encode()] = value


def everything() -> dict[bytes, bytes]:
    """The environment with what is withheld, for programs that get secrets themselves. Raises `OSError`."""
    return {**_began_with(), **os.environb}


def variable(name: str) -> bytes | None:
    """What a variable is, withheld or not; None where there is none."""
    key = name.encode()
    if key in os.environb:
        return os.environb[key]
    try:
        return _began_with().get(key)
    except OSError:
        return None


def _began_with() -> dict[bytes, bytes]:
    with open("/proc/self/environ", "rb") as environ:
        entries = (entry.partition(b"=") for entry in environ.read().split(b"\0") if b"=" in entry)
        return {name: value for name, _, value in entries}
