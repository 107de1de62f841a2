"""The call of every cron line, read without argparse: loading that takes as long as the rest of an idle pass's start.

Whatever is not of this very form is for `parser`, which says better what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from argparse import Namespace

# Options with a value, as in the agent's file; and what they are called in the parsed options.
VALUES = {
    "--config": "config",
    "--repo": "repo",
    "--branch": "branch",
    "--site": "site",
    "--state-dir": "state_dir",
    "--timeout": "timeout",
    "--max-staleness": "max_staleness",
}
REPEATED = {"--environment": "environments"}


def once(argv: Sequence[str]) -> Namespace | None:
    """The options of one pass, like those that `parser.parse` gives; None for a call of any other form."""
    options = SimpleNamespace(command=None, once=False, interval=None, accept_rewind=False, ignore_windows=False)
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if word == "--once":
            options.once = True
        elif word == "--json":
            options.json = True
        elif name in VALUES or name in REPEATED:
            value = value if equals else next(words, "-")
            if value[:1] == "-" and not equals:
                return None
            _set(options, name, value)
        else:
            return None
    return cast("Namespace", options) if options.once else None


def _set(options: SimpleNamespace, name: str, value: str) -> None:
    if name in VALUES:
        setattr(options, VALUES[name], value)
    else:
        former: list[str] = getattr(options, REPEATED[name], [])
        setattr(options, REPEATED[name], [*former, value])
