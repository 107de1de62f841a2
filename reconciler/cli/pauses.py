"""`reconcile pause` and `resume`: something is left as it is on this host, for a time."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from reconciler.agent.config import InvalidInput
from reconciler.agent.here import this_host
from reconciler.agent.holding.pausing import Changed
from reconciler.agent.holding.pausing import pause as pause_it
from reconciler.agent.holding.pausing import resume as resume_it
from reconciler.cli.options import agent_of
from reconciler.cli.terminal import print_json, style
from reconciler.core.observed import Pause
from reconciler.core.problem import Origin, Problem


def pause(options: Namespace) -> int:
    """Exit status 0: it is paused."""
    agent = agent_of(options)
    if options.service == "":
        raise InvalidInput([Problem(Origin("SERVICE", 0, 0), "has no value", "leave it out or give one")])
    changed = pause_it(agent, this_host(), options.service or "", options.span, options.reason)
    return _tell(agent.site, "paused", changed, options)


def resume(options: Namespace) -> int:
    """Exit status 0: nothing of what was named is paused any more."""
    agent = agent_of(options)
    return _tell(agent.site, "resumed", resume_it(agent, options.service or ""), options)


def _tell(site: str, word: str, changed: Changed, options: Namespace) -> int:
    from reconciler.report.data import pause_data

    work = f"a pass is at work and goes on to its end: {changed.at_work}" if changed.at_work else ""
    damage = f"what was paused could not be told, and nothing is any more: {changed.damage}" if changed.damage else ""
    if hasattr(options, "json"):
        listed = {word: list(map(pause_data, changed.changed)), "pauses": list(map(pause_data, changed.paused))}
        print_json({**listed, "warnings": list(filter(None, (changed.unknown, work, damage)))})
        return 0
    _print(site, word, changed.changed)
    if not changed.changed and not damage:
        print("nothing is paused" if not changed.paused else "nothing of that is paused")
    _print(site, "still paused", [one for one in changed.paused if one not in changed.changed])
    for warning in filter(None, (changed.unknown, work, damage)):
        print(f"{style().paint('warning', 'yellow')}: {warning}")
    return 0


def _print(site: str, word: str, pauses: Sequence[Pause]) -> None:
    from reconciler.report.text.remarks import by_whom

    for one in pauses:
        what = f"{one.service or 'all'} of {' '.join(filter(None, (site, one.environment)))}"
        for line in style().fold(f"{style().paint(word, 'bold')}: {what}, {by_whom(one)}", indent="    "):
            print(line)
