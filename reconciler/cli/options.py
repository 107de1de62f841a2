"""From the command line to the agent's configuration."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence

from reconciler.agent.config import Agent, Options, load_agent


def agent_of(options: Namespace, *, needs: Sequence[str] = ("repo", "site")) -> Agent:
    """The agent's file with the options laid over it. Raises `InvalidInput`."""
    return load_agent(given(options), os.environ, needs=needs)


def given(options: Namespace) -> Options:
    values = {name: getattr(options, name, None) for name in Options._fields}
    values["environments"] = tuple(values["environments"] or ())
    return Options(**{name: value for name, value in values.items() if value is not None})
