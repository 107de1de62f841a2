"""Slurm's ways to write a time limit. Pure."""

from __future__ import annotations

import re

_FORMS = (
    r"(?P<minutes>\d+)",
    r"(?P<minutes>\d+):(?P<seconds>\d+)",
    r"(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)",
    r"(?P<days>\d+)-(?P<hours>\d+)(:(?P<minutes>\d+)(:(?P<seconds>\d+))?)?",
)  # as in sbatch(1)
_SECONDS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


def parse(text: str) -> int | None:
    """Seconds; None for no limit. Raises ValueError."""
    if text.lower() in ("infinite", "unlimited"):
        return None
    for form in _FORMS:
        found = re.fullmatch(form, text)
        if found:
            total = sum(int(value) * _SECONDS[unit] for unit, value in found.groupdict().items() if value)
            if total > 0:
                return total
    raise ValueError(f"{text!r} is no time limit of Slurm's; write minutes, HH:MM:SS or DAYS-HH:MM:SS")


def write(seconds: int | None) -> str:
    """As every version reads it, in whole minutes: Slurm has no smaller unit. None: no limit."""
    if seconds is None:
        return "UNLIMITED"
    minutes = -(-seconds // 60)
    return f"{minutes // 1440}-{minutes % 1440 // 60:02}:{minutes % 60:02}:00"
