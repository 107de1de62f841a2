"""`reconcile cleanup`: what the rules for scratch folders would remove, and removing it now."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterable

from reconciler.agent.cleaning import ByHand, Listed, Now
from reconciler.agent.cleanup import so_nothing_goes
from reconciler.agent.config import InvalidInput
from reconciler.agent.run import Pass
from reconciler.cli.options import agent_of
from reconciler.cli.passes import interrupts
from reconciler.cli.terminal import json_line, likes_colour, print_json, style
from reconciler.core.cleanup import bytes_in_words, in_words
from reconciler.core.problem import Origin, Problem
from reconciler.report.cleanup import figure_lines, scratch_data, shown
from reconciler.report.log import Log


def cleanup(options: Namespace) -> int:
    """0: all went, or with --dry-run nothing would; 1: something could not be; 2: something would go, or is held."""
    if options.rule == "":
        raise InvalidInput([Problem(Origin("RULE", 0, 0), "has no value", "leave it out or give one")])
    one = Pass(agent_of(options), Log(colour=likes_colour()))
    hand = ByHand(one, options.rule or "")
    if options.dry_run:
        return _look(hand, options)
    with interrupts(one):
        found = _told(hand.carry_out(_progress, one.asked_to_stop), hand.no_rules, options)
    _left(hand, options)
    failed = any(now.error or (now.scratch.cleaned and now.scratch.cleaned.failed) for now in found)
    stopped = any(now.held or (now.scratch.cleaned and now.scratch.cleaned.stopped) for now in found)
    return 1 if failed else 2 if stopped else 0


def _look(hand: ByHand, options: Namespace) -> int:
    as_json = hasattr(options, "json")
    if as_json:
        print('{\n  "entries": [', end="")
    before = "\n"

    def told(one: Listed) -> None:
        nonlocal before
        if as_json:  # one by one: there may be millions
            print(f"{before}    {json_line({**one._asdict(), 'path': shown(one.path)})}", end="")
            before = ",\n"
        else:
            date = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.date)) if one.date else "being removed"
            print(f"  {date:<16}  {bytes_in_words(one.size):>8}  {shown(one.path)}")

    def begun(now: Now) -> None:
        if not as_json:
            _heading(now)

    found = []
    for now in hand.look(begun, told):
        found.append(now)
        if not as_json:
            _outcome(now)
    if as_json:
        rules = ",\n".join(f"    {json_line(_data(now))}" for now in found)
        print(f'\n  ],\n  "rules": [\n{rules}\n  ]\n}}')
    elif not found:
        print(hand.no_rules)
    _left(hand, options)
    if any(now.error or now.scratch.troubles for now in found):
        return 1
    return 2 if any(now.scratch.figures and now.scratch.figures.entries for now in found) else 0


def _told(rules: Iterable[Now], no_rules: str, options: Namespace) -> list[Now]:
    """Each as soon as it is through. `no_rules`: what is told where there are none."""
    found = []
    for now in rules:
        found.append(now)
        if not hasattr(options, "json"):
            _heading(now)
            _outcome(now)
    if hasattr(options, "json"):
        print_json({"rules": [_data(now) for now in found]})
    elif not found:
        print(no_rules)
    return found


def _left(hand: ByHand, options: Namespace) -> None:
    for line in hand.left() if not hasattr(options, "json") else ():
        print("\n".join(style().fold(f"{style().paint('warning', 'yellow')}: {line}", indent="    ")))


def _heading(now: Now) -> None:
    print(f"{style().paint(f'{now.environment} cleanup.{now.rule.name}', 'bold')} below {now.rule.root}")


def _outcome(now: Now) -> None:
    paint, done = style().paint, now.scratch.cleaned
    if now.missing:
        print(f"  {paint('warning', 'yellow')}: {now.rule.root} is not there: nothing is removed until it is")
    elif now.error:
        print(f"  {paint('error', 'red')}: {so_nothing_goes(now.error)}")
    elif now.held and done is None:
        print(f"  {now.held}")
    elif done is not None:
        stopped = "; it was stopped before it was through" if done.stopped else ""
        print(f"  removed: {in_words(done.entries, done.size)}{stopped}")
        if now.held:
            print(f"  {now.held}")
        for trouble in done.troubles:
            print(f"  {paint('failed', 'red')}: {shown(trouble)}")
        if done.failed > len(done.troubles):
            print(f"  and {done.failed - len(done.troubles)} more")
    else:
        for line in figure_lines(now.scratch, style()):
            print(line)
        if 0 < now.due <= time.time():
            print("  is due: the next pass removes it")
        elif now.due:
            print(f"  comes by itself at {time.strftime('%Y-%m-%d %H:%M', time.localtime(now.due))}")
    sys.stdout.flush()


def _data(now: Now) -> dict[str, object]:
    more = {"environment": now.environment, "due": now.due or None, "held": now.held, "error": now.error}
    return {**scratch_data(now.scratch), **more, "missing": now.missing}


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(line, file=sys.stderr)
