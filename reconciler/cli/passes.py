"""The commands that look at this host: once, loop, plan, apply, status."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from reconciler.agent.memory.printed import Printed
from reconciler.agent.memory.store import Store
from reconciler.agent.run import Pass
from reconciler.cli.forms import form_of, is_file, show
from reconciler.cli.options import agent_of
from reconciler.cli.terminal import likes_colour, print_json, style
from reconciler.core.report import DeploymentReport, PassReport
from reconciler.report.log import Log

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.agent.config import Agent
    from reconciler.core.change import Change

_ENDING = (signal.SIGTERM, signal.SIGINT)


def once(options: Namespace) -> int:
    """One pass."""
    log = Log(colour=likes_colour())
    explains = is_file(form_of(options))
    one = Pass(agent_of(options), log, ignore_windows=options.ignore_windows, explains=explains)
    unwatched = None if options.command else _unwatched(options, one.agent)
    log.holds = unwatched is not None and unwatched.is_there
    with interrupts(one):
        report = one.run(accept_rewind=options.accept_rewind)
    if unwatched:
        return _tell_once(report, log, unwatched)
    log.flush()
    return _tell(report, options)


def plan(options: Namespace) -> int:
    agent = agent_of(options)
    one = Pass(agent, Log(colour=likes_colour()), ignore_windows=options.ignore_windows, explains=True)
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
    explains = is_file(form_of(options))
    one = Pass(agent_of(options), log, ignore_windows=options.ignore_windows, explains=explains)
    with interrupts(one):
        report = one.run_saved(load(options.file, one.agent), accept_rewind=options.accept_rewind)
    log.flush()
    return _tell(report, options, always=True)


def status(options: Namespace) -> int:
    from reconciler.report.data import status_data

    report = Pass(agent_of(options), Log(colour=likes_colour())).look()
    form = form_of(options)
    if form == "json":
        print_json(status_data(report))
    elif is_file(form):
        from reconciler.report.review import of_pass

        show(of_pass(report, "status", _standing(report)), form)
    else:
        from reconciler.report.text.status import status_text

        print(status_text(report, style()), end="")
    return _standing(report)


def _standing(report: PassReport) -> int:
    """Of what runs: 1 where something is down, wrong or cannot be told, 2 where it is not what git wants."""
    if report.problems or report.is_misplaced:
        return 3
    wrong = any(notice.failed for notice in report.notices)
    wrong = wrong or any(d.findings or d.rolled_back for d in report.deployments)
    changes = [(deployment, change) for deployment in report.deployments for change in deployment.plan.diff.changes]
    if wrong or any(_is_down(change, deployment) for deployment, change in changes if change.wanted):
        return 1
    told = [verdict for deployment in report.deployments for verdict in deployment.health.values()]
    differs = any(verdict.word.is_on_its_way for verdict in told) or any(_starts(change) for _, change in changes)
    return 2 if differs or any(d.plan.steps or d.plan.waits for d in report.deployments) else 0


def _is_down(change: Change, deployment: DeploymentReport) -> bool:
    """What may still become healthy by itself differs, and is not down."""
    from reconciler.report.data import is_healthy

    told = deployment.health.get(change.service)
    on_its_way = told.word.is_on_its_way if told else _starts(change)
    return not on_its_way and not is_healthy(change, deployment.health)


def _starts(change: Change) -> bool:
    """As its launcher says: the health of one that nothing else is known of is `progressing` then."""
    from reconciler.core.observed import State

    return bool(change.wanted) and change.state is State.STARTING


def loop(options: Namespace) -> int:
    from reconciler.agent.loop import Loop

    log = Log(colour=likes_colour())

    agent = agent_of(options)
    unwatched = _unwatched(options, agent)

    def told(report: PassReport) -> None:
        try:
            if unwatched:
                _tell_once(report, log, unwatched)
                log.holds = unwatched.is_there
            else:
                log.flush()
                _tell(report, options)
            sys.stdout.flush()
        except BrokenPipeError:
            raise  # nobody listens any more
        except OSError as error:  # a log on a full disk, which must not end the loop
            log.event("error", "the report could not be printed", error=str(error))

    return Loop(agent, log, told).run()


def _unwatched(options: Namespace, agent: Agent) -> Printed | None:
    """What was told before, where nobody looks and no program reads: cron would mail the same at each run."""
    if form_of(options) != "text" or sys.stdout.isatty():
        return None
    return Printed(Store(agent.state_dir, agent.site).folder)


def _tell(report: PassReport, options: Namespace, *, always: bool = False) -> int:
    """Print the answer. A pass that found nothing to do is silent unless somebody asks."""
    form = form_of(options)
    with suppress(BrokenPipeError):  # whoever reads it has seen enough; the exit status is the pass's all the same
        if form == "json":
            from reconciler.report.data import pass_data

            print_json(pass_data(report))
        elif is_file(form):
            from reconciler.report.review import of_pass

            show(of_pass(report, options.command or "apply"), form)
        elif always or not report.idle or sys.stdout.isatty():
            print(_page(report), end="")
    return report.exit_code


def _tell_once(report: PassReport, log: Log, printed: Printed) -> int:
    """The same, but silent too where nothing was changed and the last report said the same."""
    text = "" if report.idle else _page(report)
    if not printed.is_new(report, text):
        log.forget_steps()
        return report.exit_code
    log.flush()
    with suppress(BrokenPipeError):
        print(text, end="")
        with suppress(OSError):  # what nobody got is no more than tried: the end of the command tells
            sys.stdout.flush()
            printed.note(report, text)
    return report.exit_code


def _page(report: PassReport) -> str:
    from reconciler.report.text.page import pass_text

    return pass_text(report, style())


@contextmanager
def interrupts(one: Pass) -> Iterator[None]:
    """SIGTERM and SIGINT end a pass between two steps, not within one."""
    asked: list[int] = []
    one.asked_to_stop = lambda: bool(asked)
    before = {number: signal.signal(number, lambda received, _: asked.append(received)) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
