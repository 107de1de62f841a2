"""`reconcile doctor`: one line for each thing that a pass needs, as it is looked at."""

from __future__ import annotations

from argparse import Namespace

from reconciler.agent.doctor import doctor as examined
from reconciler.agent.here import this_host
from reconciler.cli.options import agent_of
from reconciler.cli.terminal import print_json, style
from reconciler.core.checked import Verdict
from reconciler.report.checked import checked_data, checked_lines, summary

_WIDTH = 80  # columns, where no terminal says otherwise


def doctor(options: Namespace) -> int:
    """Exit status 1 where a pass would fail at something, or do harm; warnings leave it at 0."""
    agent, look = agent_of(options), style()
    look = look._replace(width=look.width or _WIDTH)
    found = []
    for one in examined(agent, this_host()):
        found.append(one)
        if not hasattr(options, "json"):
            print("\n".join(checked_lines(one, look)), flush=True)
    if hasattr(options, "json"):
        print_json(checked_data(found))
    else:
        print(summary(found))
    return 1 if any(one.verdict is Verdict.ERROR for one in found) else 0
