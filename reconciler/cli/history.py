"""`reconcile history` and `show`: what the passes on this host have done."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterable

from reconciler.agent.config import Agent, InvalidInput
from reconciler.agent.history import find_run, read_history, with_subjects
from reconciler.cli.options import agent_of
from reconciler.cli.terminal import print_json, style
from reconciler.core.problem import Origin, Problem
from reconciler.report.history import history_data, history_lines, run_data, run_lines


def history(options: Namespace) -> int:
    """The newest first. Exit status 0, whatever they came to."""
    if options.service == "":
        raise InvalidInput([Problem(Origin("SERVICE", 0, 0), "has no value", "leave it out or give one")])
    agent = agent_of(options, needs=("site",))
    found = read_history(agent, options.service or "")
    shown = with_subjects(agent, found._replace(runs=found.runs[: options.lines]))
    if hasattr(options, "json"):
        print_json(history_data(agent.site, found, shown.runs))
        return 0
    _warn(found.warnings)
    if not found.runs and not found.warnings:
        print(f"no pass has done anything yet on {_where(agent)}")
    if shown.runs:
        print("\n".join(history_lines(shown.runs, style(), time.time())))
    if len(found.runs) > len(shown.runs):
        print(f"{len(found.runs) - len(shown.runs)} more: -n all")
    for path in found.names:
        print(f"names of what clean-ups removed: {path}")
    return 0


def show(options: Namespace) -> int:
    """One pass. Exit status 0, whatever it came to."""
    agent = agent_of(options, needs=("site",))
    found = read_history(agent)
    run = find_run(found, options.run or "")
    (run,) = with_subjects(agent, found._replace(runs=(run,))).runs
    if hasattr(options, "json"):
        print_json({**run_data(agent.site, run), "warnings": list(found.warnings)})
        return 0
    _warn(found.warnings)
    print("\n".join(run_lines(agent.site, run, style(), time.time())))
    return 0


def _where(agent: Agent) -> str:
    return " ".join((agent.site, ", ".join(agent.environments))).rstrip()


def _warn(warnings: Iterable[str]) -> None:
    look = style()
    for warning in warnings:
        for line in look.fold(f"{look.paint('warning', 'yellow')}: {warning}", indent="    "):
            print(line)
