"""Reads what `scontrol show reservation -o` prints. Pure.

One line for each reservation, `Key=value` after `Key=value`. Values may hold blanks (a comment) and equals signs
(`Flags=PURGE_COMP=00:05:00`). Times are asked for in seconds (`TIME_FORMAT`): the words that Slurm prints otherwise are
local time, of which one hour a year comes twice.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.reservations import Reservation
from reconciler.launchers.slurm.hostlist import expand

ARGV = ("scontrol", "show", "reservation", "-o")
TIME_FORMAT = {"SLURM_TIME_FORMAT": "%s"}  # for its environment; 22.05 and 24.11 go by it

_NONE = "No reservations in the system"
_NULL = ("", "(null)", "N/A", "n/a")


def parse(printed: str) -> tuple[Reservation, ...]:
    """In the order in which they are listed. Raises ValueError for what cannot be understood: that is not "none"."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    if not lines:
        raise ValueError("scontrol printed nothing about reservations")
    if lines == [_NONE]:
        return ()
    return tuple(_reservation(line) for line in lines)


def _reservation(line: str) -> Reservation:
    if not line.startswith("ReservationName="):
        raise ValueError(f"scontrol printed what is not a reservation: {line[:200]!r}")
    fields = _fields(line)
    try:
        return Reservation(
            name=_value(fields, "ReservationName"),
            start=_seconds(fields, "StartTime"),
            end=_seconds(fields, "EndTime"),
            nodes=_nodes(_value(fields, "Nodes")),
            partition=_value(fields, "PartitionName"),
            flags=frozenset(flag.partition("=")[0] for flag in _list(fields, "Flags")),
            users=_list(fields, "Users"),
            accounts=_list(fields, "Accounts"),
        )
    except KeyError as missing:
        raise ValueError(f"scontrol printed a reservation without {missing}: {line[:200]!r}") from None


def _fields(line: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    key = ""
    for word in line.split(" "):
        name, equals, value = word.partition("=")
        if not (equals and name.isalpha() and name[0].isupper()):
            found[key] += f" {word}"  # the first word of a line is a name
        elif name in found:
            key = "Comment"  # it stands at the end, and may look like anything
            found[key] = found.get(key, "") + f" {word}"
        else:
            key = name
            found[key] = value
    return found


def _value(fields: Mapping[str, str], key: str) -> str:
    return "" if fields[key] in _NULL else fields[key]


def _list(fields: Mapping[str, str], key: str) -> frozenset[str]:
    return frozenset(word for word in _value(fields, key).split(",") if word)


def _seconds(fields: Mapping[str, str], key: str) -> float:
    if not fields[key].isdecimal():
        raise ValueError(f"{key}={fields[key]} of {fields['ReservationName']} is not a time in seconds")
    return float(fields[key])


def _nodes(text: str) -> frozenset[str] | None:
    return None if text == "ALL" else frozenset(expand(text)) if text else frozenset()
