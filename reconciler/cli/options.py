"""From the command line to the agent's configuration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reconciler.agent.config import Agent, InvalidInput, Options, flag, load_agent
from reconciler.core.problem import Origin, Problem

if TYPE_CHECKING:
    from argparse import Namespace


def agent_of(options: Namespace, *, needs: Sequence[str] = ("repo", "site")) -> Agent:
    """The agent's file with the options laid over it. Raises `InvalidInput`."""
    return load_agent(given(options), os.environ, needs=needs)


def given(options: Namespace) -> Options:
    """Raises `InvalidInput` for an option without a value: a variable of somebody's script was not set."""
    values = {name: getattr(options, name, None) for name in Options._fields}
    values["environments"] = tuple(values["environments"] or ())
    empty = [name for name, value in values.items() if value == "" or (isinstance(value, tuple) and "" in value)]
    if empty:
        raise InvalidInput(
            [Problem(Origin(flag(name), 0, 0), "has no value", "leave it out or give one") for name in empty]
        )
    return Options(**{name: value for name, value in values.items() if value is not None})
