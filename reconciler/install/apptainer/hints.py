"""What to do about what goes wrong where an image is fetched."""

from __future__ import annotations

import re

# The first that fits what was printed.
_HINTS = (
    (
        r"(?i)no space left on device|disk quota exceeded|write error.*full",
        "The file system or the account's quota is full: make room below paths.images; the next pass tries again.",
    ),
    (
        r"the prologue failed|module: command not found",
        "The component's `prologue:` does not work here: try its lines in a fresh shell of this account on this host.",
    ),
    (
        r"could not be started|exec: .*(?:not found|cannot execute|Permission denied)|command not found",
        "Apptainer was not found here: load it by the `prologue:`, or name it: `container: {program: PATH}`.",
    ),
    (
        r"(?i)no such host|dial tcp|connection refused|i/o timeout|network is unreachable|tls handshake timeout",
        "The server cannot be reached from here: set https_proxy, or give another `source:`.",
    ),
    (
        r"(?i)server gave HTTP response|does not look like a TLS handshake",
        "The server speaks http alone: reach it by https, or set APPTAINER_NOHTTPS=1 in the `prologue:`.",
    ),
    (
        r"(?i)x509|certificate",
        "The server's certificate is not trusted here: add its authority to those of this host, or set SSL_CERT_FILE.",
    ),
    (
        r"(?i)unauthorized|authentication required|\b401\b|\b403\b|forbidden|denied: ",
        "The server wants another user and password: `apptainer registry login`, or USER:PASSWORD@HOST in `source:`.",
    ),
    (
        r"(?i)manifest.unknown|name.unknown|not.found|\b404\b|no such image|no such file|does not exist",
        "There is no such image: check `source:`, and whether this version was published.",
    ),
    (
        r"(?i)user namespace|newuidmap|fakeroot",
        "Apptainer may not make a user namespace here: ask those who run this host, or build the image elsewhere.",
    ),
    (
        r"(?i)permission denied|read-only file system",
        "The account may not read or write there: see paths.images and the `source:`, and who owns them.",
    ),
)


def hint(printed: str) -> str:
    """What to do about an error that is known, or nothing."""
    return next((advice for pattern, advice in _HINTS if re.search(pattern, printed)), "")
