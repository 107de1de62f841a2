"""Takes known secrets out of what is told: as they are, and in the forms that programs print them in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

MASK = "****"
_SHORTEST = 4  # characters; a shorter one is in too many words to be taken out of them
_WORDS = frozenset(("true", "false", "none", "null"))  # settings that are called like a secret


class Mask:
    """Hides a set of secrets in texts. It says nothing of what is in it."""

    __slots__ = ("_pattern",)

    def __init__(self, secrets: Iterable[str]) -> None:
        told = (secret for secret in secrets if secret.lower() not in _WORDS)
        forms = {form for secret in told for form in _forms(secret) if len(form) >= _SHORTEST}
        longest = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, longest)), re.IGNORECASE) if longest else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text

    def __repr__(self) -> str:
        return "<mask>"


def _forms(secret: str) -> Iterator[str]:
    """Also line by line: of what has several, programs print one at a time."""
    for text in map(str.strip, (secret, *secret.splitlines())):
        yield text
        yield from _encoded(text)


def _encoded(text: str) -> Iterator[str]:
    from base64 import b64encode
    from json import dumps
    from shlex import quote
    from urllib.parse import quote as in_url
    from urllib.parse import quote_plus

    data = text.encode("utf-8", "surrogatepass")
    yield dumps(text)[1:-1]
    yield dumps(text, ensure_ascii=False)[1:-1]
    yield quote(text)
    yield in_url(data, safe="")
    yield in_url(data)
    yield quote_plus(data)
    yield data.hex()
    for before in range(3):  # within a longer text it begins at any of three places
        whole = b64encode(b"\0" * before + data).decode()
        yield whole[-(-before * 8 // 6) :][: len(data) * 8 // 6 - bool(before)]
