"""`reconcile approve`: what waits for a person is listed, shown, or let through."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from reconciler.agent.config import InvalidInput
from reconciler.agent.here import this_host
from reconciler.agent.holding import approve as approving
from reconciler.agent.holding.approve import Found
from reconciler.agent.run import Pass
from reconciler.cli.options import agent_of
from reconciler.cli.terminal import likes_colour, print_json, style
from reconciler.core.approval import SHORT, Gate
from reconciler.core.desired import Approval
from reconciler.core.report import PassReport
from reconciler.report.log import Log

_STALE = 2  # as of a saved plan


def approve(options: Namespace) -> int:
    """Exit status 0: it is approved, or shown and waits; 2: nothing waits under that id, or not any more."""
    agent, host = agent_of(options), this_host()
    report = Pass(agent, Log(colour=likes_colour()), host=host).look()
    if report.problems and not report.deployments:  # what waits cannot be told
        raise InvalidInput(report.problems)
    if options.id is None:
        return _list(agent.site, report, options)
    found = approving.find(agent, report, options.id)
    if found is None:
        return _unknown(agent.site, report, options)
    if found.stale or options.show:
        return _show(agent.site, found, options)
    if found.gate is not None and found.gate.approval is None:
        record = approving.approve(agent, host, report, found, options.reason)
        found = found._replace(record=record, gate=found.gate._replace(approval=record.approval))
    if hasattr(options, "json"):
        print_json(_data(agent.site, found))
    else:
        print("\n".join((*_shown(agent.site, found), "The next pass carries it out; at once: reconcile --once")))
    return 0


def _list(site: str, report: PassReport, options: Namespace) -> int:
    gates = approving.waiting(report)
    if hasattr(options, "json"):
        from reconciler.report.data import gate_data

        print_json({"site": site, "waiting": [{"environment": name, **gate_data(one)} for name, one in gates.items()]})
        return 0
    lines = [line for name, gate in gates.items() for line in _listed(site, name, gate)]
    print("\n".join(lines or ["nothing waits for approval"]))
    return 0


def _listed(site: str, environment: str, gate: Gate) -> Iterator[str]:
    heading = style().paint(f"{site} {environment}", "bold") + f": plan {gate.id} " + _state(gate.approval)
    yield from style().fold(heading, indent="    ")
    yield from _indented(gate.waiting.lines)
    if gate.approval is None:
        yield f"  here: reconcile approve {gate.id[:SHORT]}"
        yield f'  in git: {gate.id}: "why"   in approvals/{site}.{environment}.yaml'


def _state(approval: Approval | None) -> str:
    from reconciler.report.text.remarks import approver

    return f"is approved{approver(approval)}" if approval else "waits for approval"


def _unknown(site: str, report: PassReport, options: Namespace) -> int:
    message = f"no plan {options.id} waits, or is remembered, here"
    if hasattr(options, "json"):
        print_json({"site": site, "error": message})
    else:
        print(f"{style().paint('error', 'red')}: {message}")
        _list(site, report, options)
    return _STALE


def _show(site: str, found: Found, options: Namespace) -> int:
    if hasattr(options, "json"):
        print_json(_data(site, found))
    else:
        print("\n".join(_shown(site, found)))
        if found.stale and not options.show:
            print(f"{style().paint('error', 'red')}: it is stale, so nothing was approved; see `reconcile approve`")
    return _STALE if found.stale else 0


def _shown(site: str, found: Found) -> Iterator[str]:
    record = found.record
    approval = found.gate.approval if found.gate and not found.stale else record.approval
    state = _state(approval) if approval or not found.stale else "was never approved"
    heading = style().paint(f"{site} {found.environment}", "bold") + f": plan {record.id} {state}"
    yield from style().fold(heading, indent="    ")
    yield f"  made at {_time(record.at)} from commit {record.commit[:8]}"
    yield from _indented(record.lines)
    for change in found.stale:
        yield from style().fold(f"  {style().paint('since then', 'yellow')}: {change}", indent="      ")


def _indented(lines: tuple[str, ...]) -> Iterator[str]:
    for line in lines:
        yield from style().fold(f"  {line}", indent="      ")


def _data(site: str, found: Found) -> dict[str, Any]:
    record = found.record
    approval = found.gate.approval if found.gate and not found.stale else record.approval
    return {
        "site": site,
        "environment": found.environment,
        "plan": record.id,
        "commit": record.commit,
        "at": record.at,
        "lines": list(record.lines),
        "stale": bool(found.stale),
        "since": list(found.stale),
        "approved": {key: value or None for key, value in approval._asdict().items()} if approval else None,
    }


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
