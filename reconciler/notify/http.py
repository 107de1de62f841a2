"""One request of HTTP, with limits. Proxies are taken from the environment, as other programs take them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from reconciler import __version__
from reconciler.host import files
from reconciler.notify.base import SECONDS, Undelivered

_MOST = 65536  # bytes of an answer that are read
_SHOWN = 200  # characters of it that are told


def first_line(path: str) -> str:
    """What a file of one line holds: an address, a token. Raises `Undelivered`."""
    try:
        line = files.read(path).decode(errors="replace").partition("\n")[0].strip()
    except OSError as error:
        raise Undelivered(f"{path}: {error.strerror or error}") from error
    if not line or not line.isprintable():
        raise Undelivered(f"{path}: its first line is empty, or no plain text")
    return line


class Refused(Undelivered):
    """An answer that says no."""

    def __init__(self, status: int, said: str) -> None:
        self.status, self.said = status, said
        super().__init__(f"HTTP {status}" + (f": {said[:_SHOWN]}" if said else ""))


def post(url: str, body: object, headers: Mapping[str, str]) -> None:
    """Post JSON. Redirects are not followed: a token would go along.

    Raises `Refused` for any status but 2xx, `Undelivered`. Their texts never have the address: a chat's is a password.
    """
    import urllib3

    sent = {"Content-Type": "application/json", "User-Agent": f"reconcile/{__version__}", **headers}
    try:
        with _manager(url) as manager:
            answer = manager.request(
                "POST",
                url,
                body=json.dumps(body).encode(),
                headers=sent,
                timeout=urllib3.Timeout(total=SECONDS),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            said = answer.read(_MOST, decode_content=True)
            answer.close()
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise Undelivered(_why(error)) from None
    if not 200 <= answer.status < 300:
        raise Refused(answer.status, " ".join(said.decode(errors="replace").split()))


def _manager(url: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - either of two of urllib3's, which is loaded late
    import urllib3

    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme, "")
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()


def _why(error: Exception) -> str:
    """The kind of it and the system's own words: the library's have the address in them."""
    kinds = {
        "ConnectTimeoutError": f"no connection within {SECONDS:g} s",
        "ReadTimeoutError": f"no answer within {SECONDS:g} s",
        "NewConnectionError": "no connection",
        "NameResolutionError": "the name of the host is not known",
        "SSLError": "the certificate is not trusted",
        "LocationParseError": "the address is none",
        "LocationValueError": "the address is none",
    }
    return kinds.get(type(error).__name__, type(error).__name__)
