"""What each secret that stands elsewhere goes into."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.core.secret import Secret, Use


def uses(found: Iterable[tuple[frozenset[Secret], str, str]]) -> tuple[Use, ...]:
    """By secret: the files, and the launchers whose daemon is given it."""
    paths: dict[Secret, set[str]] = {}
    launchers: dict[Secret, set[str]] = {}
    for secrets, path, launcher in found:
        for secret in secrets:
            paths.setdefault(secret, set()).add(path)
            launchers.setdefault(secret, set()).update({launcher} - {""})
    ordered = sorted(paths, key=lambda secret: (secret.place, str(secret.reference)))
    return tuple(Use(one, tuple(sorted(paths[one])), tuple(sorted(launchers[one]))) for one in ordered)
