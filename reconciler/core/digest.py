"""One way to digest things, so that digests of different parts can be compared."""

from __future__ import annotations

from _blake2 import blake2b  # the module hashlib takes it from; hashlib itself loads OpenSSL


def digest(data: bytes) -> str:
    """BLAKE2b of 128 bits in hexadecimal: identity, not a signature."""
    return blake2b(data, digest_size=16).hexdigest()


def digest_of(value: object) -> str:
    """The digest of a JSON-like value, independent of the order of its keys."""
    from json import dumps

    return digest(
        dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str).encode(
            "utf-8", "surrogatepass"
        )
    )


def keyed(key: str, data: bytes) -> str:
    """A digest that cannot be guessed at without the key, whatever is digested."""
    return blake2b(data, digest_size=16, key=key.encode()[:64]).hexdigest()
