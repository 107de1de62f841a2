"""`reconcile cleanup`: what the rules for scratch folders would remove, and removing it now."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterable

from reconciler.agent.cleaning import ByHand, Listed, Now
from reconciler.agent.cleanup.scratch import not_there, so_nothing_goes
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
    """0: all went, or with --dry-run nothing would; 1: something could not be; 2: something would go, or is held.

    Who names no rule sees which there are. No question is asked instead: to walk through what an answer would be about
    may take hours, and a pipe answers nothing.
    """
    if options.rule == "":
        raise InvalidInput([Problem(Origin("RULE", 0, 0), "has no value", "leave it out or give one")])
    if options.rule and options.all:
        raise InvalidInput([Problem(Origin("--all", 0, 0), "names a rule and all of them", "leave one of them out")])
    one = Pass(agent_of(options), Log(colour=likes_colour()))
    hand = ByHand(one, options.rule or "")
    if options.dry_run:
        return _look(hand, options)
    if not (options.rule or options.all):
        return _times(hand, options)
    with interrupts(one):
        found = _told(hand.carry_out(_progress, one.asked_to_stop), hand.no_rules, options)
    _left(hand, options)
    failed = any(now.error or (now.scratch.cleaned and now.scratch.cleaned.failed) for now in found)
    stopped = any(now.held or (now.scratch.cleaned and now.scratch.cleaned.stopped) for now in found)
    return 1 if failed else 2 if stopped else 0


def _times(hand: ByHand, options: Namespace) -> int:
    found = list(hand.times())
    if hasattr(options, "json"):
        print_json({"rules": [_data(now) for now in found]})
        return 0
    for now in found:
        _heading(now)
        print(f"  {_when(now)}")
    told = "`reconcile cleanup RULE` or `--all` removes now, due or not; `--dry-run` lists what would go."
    for line in style().fold(told if found else hand.no_rules, indent=""):
        print(line)
    _left(hand, options)
    return 0


def _when(now: Now) -> str:
    last = f"; last at {_moment(now.last, now.rule.zone)}" if now.last else ""
    if not now.due:
        return f"the next pass reckons when it comes{last}"
    if now.due <= time.time():
        return f"is due: `reconcile plan` tells what the next pass removes, or why it cannot{last}"
    return f"next at {_moment(now.due, now.rule.zone)}{last}"


def _moment(instant: float, zone: str) -> str:
    """By the clocks that the rule goes by, and whose these are."""
    from reconciler.host.calendar import offset_of

    there = time.gmtime(instant + offset_of(zone)(instant))
    return f"{time.strftime('%Y-%m-%d %H:%M', there)} {zone or time.strftime('%Z', time.localtime(instant))}"


def _look(hand: ByHand, options: Namespace) -> int:
    as_json = hasattr(options, "json")
    if as_json:
        print('{\n  "entries": [', end="")
    before = "\n"

    def told(one: Listed) -> None:
        nonlocal before
        if as_json:  # one by one: there may be millions
            print(f"{before}    {json_line(one._asdict())}", end="")
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
        print(f"  {paint('warning', 'yellow')}: {not_there(now.rule)}")
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
            print(f"  comes by itself at {_moment(now.due, now.rule.zone)}")
    sys.stdout.flush()


def _data(now: Now) -> dict[str, object]:
    times = {"due": now.due or None, "last": now.last or None}
    more = {"held": now.held, "error": now.error, "missing": now.missing}
    return {**scratch_data(now.scratch), "environment": now.environment, **times, **more}


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(line, file=sys.stderr)
