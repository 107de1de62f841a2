"""The commands that look at this host: once, loop, plan, apply, status."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler.agent.run import Pass
from reconciler.cli.options import agent_of
from reconciler.cli.terminal import likes_colour, print_json, style
from reconciler.core.report import DeploymentReport, PassReport
from reconciler.report.log import Log

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.core.change import Change

_ENDING = (signal.SIGTERM, signal.SIGINT)


def once(options: Namespace) -> int:
    """One pass."""
    log = Log(colour=likes_colour())
    one = Pass(agent_of(options), log, ignore_windows=options.ignore_windows)
    with _interrupts(one):
        report = one.run(accept_rewind=options.accept_rewind)
    log.flush()
    return _tell(report, options)


def plan(options: Namespace) -> int:
    agent = agent_of(options)
    one = Pass(agent, Log(colour=likes_colour()), ignore_windows=options.ignore_windows)
    report = one.plan(accept_rewind=options.accept_rewind)
    if options.out:
        from reconciler.agent.saved import save

        save(options.out, report, agent)
    return _tell(report, options, always=True)


def apply(options: Namespace) -> int:
    if not options.file:
        return once(options)
    from reconciler.agent.saved import load

    log = Log(colour=likes_colour())
    one = Pass(agent_of(options), log, ignore_windows=options.ignore_windows)
    with _interrupts(one):
        report = one.run_saved(load(options.file, one.agent), accept_rewind=options.accept_rewind)
    log.flush()
    return _tell(report, options, always=True)


def status(options: Namespace) -> int:
    from reconciler.report.data import status_data

    report = Pass(agent_of(options), Log(colour=likes_colour())).look()
    if hasattr(options, "json"):
        print_json(status_data(report))
    else:
        from reconciler.report.text.status import status_text

        print(status_text(report, style()), end="")
    return _standing(report)


def _standing(report: PassReport) -> int:
    """Of what runs: 1 where something is down, wrong or cannot be told, 2 where it is not what git wants."""
    if report.problems or report.is_misplaced:
        return 3
    wrong = any(notice.failed for notice in report.notices) or any(d.findings for d in report.deployments)
    changes = [(deployment, change) for deployment in report.deployments for change in deployment.plan.diff.changes]
    if wrong or any(_is_down(change, deployment) for deployment, change in changes if change.wanted):
        return 1
    told = [verdict for deployment in report.deployments for verdict in deployment.health.values()]
    differs = any(verdict.word.is_on_its_way for verdict in told)
    return 2 if differs or any(d.plan.steps or d.plan.waits for d in report.deployments) else 0


def _is_down(change: Change, deployment: DeploymentReport) -> bool:
    """What may still become healthy by itself differs, and is not down."""
    from reconciler.report.data import is_healthy

    told = deployment.health.get(change.service)
    return not (told and told.word.is_on_its_way) and not is_healthy(change, deployment.health)


def loop(options: Namespace) -> int:
    from reconciler.agent.loop import Loop

    log = Log(colour=likes_colour())

    def told(report: PassReport) -> None:
        log.flush()
        _tell(report, options)
        sys.stdout.flush()

    return Loop(agent_of(options), log, told).run()


def _tell(report: PassReport, options: Namespace, *, always: bool = False) -> int:
    """Print the answer. A pass that found nothing to do is silent unless somebody asks."""
    if hasattr(options, "json"):
        from reconciler.report.data import pass_data

        print_json(pass_data(report))
    elif always or not report.idle or sys.stdout.isatty():
        from reconciler.report.text.page import pass_text

        print(pass_text(report, style()), end="")
    return report.exit_code


@contextmanager
def _interrupts(one: Pass) -> Iterator[None]:
    """SIGTERM and SIGINT end a pass between two steps, not within one."""
    asked: list[int] = []
    one.asked_to_stop = lambda: bool(asked)
    before = {number: signal.signal(number, lambda received, _: asked.append(received)) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
