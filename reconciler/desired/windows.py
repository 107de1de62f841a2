"""`policy.windows`: read, checked, and ready to be asked whether it is the time."""

from __future__ import annotations

import re
from collections.abc import Callable

from reconciler.core.cron import CronError, parse
from reconciler.core.desired import Opens, Window
from reconciler.desired.ground import Ground
from reconciler.desired.nodes import Entries
from reconciler.desired.problems import suggest
from reconciler.desired.read import Reader
from reconciler.desired.schema import LAYER, SPAN, Key
from reconciler.desired.scope import Got
from reconciler.launchers.slurm.hostlist import expand

_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BUFFER = "2h"
_KINDS = tuple(opens.value for opens in Opens)
_OF_A_TIME, _OF_SLURM = ("for", "zone"), ("buffer", "nodes", "partition")


def windows(ground: Ground) -> tuple[Window, ...]:
    """Those of a deployment, by name. What is wrong with one is told, and the deployment is not compiled."""
    policy = ground.merged.get("policy")
    node = policy.get("windows") if isinstance(policy, Entries) else None
    if not isinstance(node, Entries):
        return ()
    found = []
    for name, entry in sorted(node.entries.items()):
        if isinstance(entry, Entries) and not entry.entries.keys() - _key().keys.keys():
            window = _window(ground, name, entry)
            found += [window] if window is not None else []
    return tuple(found)


def _key() -> Key:
    each = LAYER.keys["policy"].keys["windows"].each
    assert each is not None  # noqa: S101 - windows are a mapping by names
    return each


def _window(ground: Ground, name: str, node: Entries) -> Window | None:
    reader = Reader(node, f"window `{name}`", ground.scope, ground.evaluator, ground.problems)
    opens = _opens(reader)
    if opens is None:
        return None
    for key in _OF_SLURM if opens is not Opens.MAINTENANCE else _OF_A_TIME:
        if key in node.entries:
            what = "a maintenance of Slurm" if opens is Opens.MAINTENANCE else f"a window that opens by `{opens.value}`"
            reader.tell(node.places[key], f"`{key}` means nothing to {what}", "take it out")
    holds = reader.word("holds", _key().keys["holds"], "changes")
    named = (one for got in reader.names("services") for one in ground.sets.named(got))
    services = tuple(got.text for got in named if _is_service(reader, ground, got))
    window = Window(name, opens, 0, holds_all=holds.text == "all", services=services)
    window = _maintenance(reader, window) if opens is Opens.MAINTENANCE else _timed(reader, window)
    return window if reader.sound else None


def _opens(reader: Reader) -> Opens | None:
    """Which of the three kinds it is: exactly one has to be there."""
    given = [kind for kind in _KINDS if kind in reader.node.entries]
    if "slurm_reservation" in given and not reader.flag("slurm_reservation", default=False).value:
        given.remove("slurm_reservation")
    if len(given) == 1:
        return Opens(given[0])
    if given:
        message = f"{reader.label} has {' and '.join(f'`{kind}`' for kind in given)}"
        reader.tell(reader.node.places[given[1]], message, "make two windows of it")
    else:
        hint = f"say one of {', '.join(_KINDS)}"
        reader.tell(reader.node.origin, f"{reader.label} does not say when it opens", hint)
    return None


def _is_service(reader: Reader, ground: Ground, got: Got) -> bool:
    known = ground.merged.section("services")
    if got.text in known:
        return True
    reader.tell(
        got.origin, f"{reader.label} names a service that is not there: `{got.text[:80]}`", suggest(got.text, known)
    )
    return False


def _timed(reader: Reader, window: Window) -> Window:
    cron, zone = reader.text(window.opens.value), reader.text("zone")
    if "for" not in reader.node.entries:
        reader.tell(
            reader.place(window.opens.value), f"{reader.label} does not say how long it stays open", "add `for: 8h`"
        )
    check(reader, cron, parse, "deny and allow take a cron expression")
    if zone.text:
        check(reader, zone, check_zone, "such as Europe/Berlin")
    return window._replace(cron=cron.text, zone=zone.text, seconds=span(reader, "for", "1h"))


def _maintenance(reader: Reader, window: Window) -> Window:
    nodes = reader.text("nodes")
    if nodes.text:
        check(reader, nodes, expand, "such as nid[001-100],login01")
    partition = reader.text("partition").text
    return window._replace(nodes=nodes.text, partition=partition, seconds=span(reader, "buffer", _BUFFER))


def check(reader: Reader, got: Got, understands: Callable[[str], object], hint: str) -> None:
    """Tell where a text was written that means nothing."""
    if not reader.sound:
        return
    try:
        understands(got.text)
    except ValueError as error:
        better = error.hint if isinstance(error, CronError) else ""
        reader.tell(got.origin, f"{reader.label}: {error}", better or hint)


def check_zone(zone: str) -> None:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise ValueError(f"there is no time zone `{zone[:80]}`") from error


def span(reader: Reader, key: str, default: str) -> int:
    """A length of time, in seconds; 0 where it is none."""
    got = reader.text(key, default)
    if not re.fullmatch(SPAN, got.text):
        node = reader.node.entries.get(key)
        # in the words of `shape`, which has told of one that is no template
        message = f"`{key}` must be a length of time, this is {node.kind if node else 'text'}"
        reader.tell(got.origin, message, "write 90s, 30m, 8h or 2d")
        return 0
    seconds = int(got.text[:-1]) * _UNIT[got.text[-1]]
    if seconds == 0 and key == "for":
        reader.tell(got.origin, f"{reader.label} stays open for no time", "write 90s, 30m, 8h or 2d")
    return seconds
