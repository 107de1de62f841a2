"""What cannot be prepared, and why."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.problem import Origin, Problem


class Refused(Exception):  # noqa: N818 - it says what is so
    """Nothing was committed; `problems` say why, and what to do instead."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, problems)))


def refused(place: str | Origin, message: str, hint: str = "") -> Refused:
    """For one reason. A place is a file, an option, or what a command was given."""
    origin = Origin(place, 0, 0) if isinstance(place, str) else place
    return Refused([Problem(origin, message, hint)])
