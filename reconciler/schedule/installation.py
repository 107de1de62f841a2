"""The schedule of one agent: installs it, tells whether it stands, mends it, takes it away.

What was installed is noted in a record once it is there: where that was cut off, or is lost, the lines and units are
found by their marks. What is written is only ever the agent's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import NamedTuple

from reconciler import schedule
from reconciler.host import files
from reconciler.schedule import times
from reconciler.schedule.base import Asked, Entry, Finding, Job, Kind, ScheduleError, Trouble
from reconciler.schedule.check import ANSWER, Check, is_here
from reconciler.schedule.record import Record, load, save


class Request(NamedTuple):
    """What is to be installed. What is None stays as it is installed, or is the usual."""

    site: str
    state_dir: str
    argv: tuple[str, ...]
    config: str
    units: str  # the folder for units of systemd
    host: str
    account: str
    log: str
    usual_minutes: int
    kind: str | None = None
    minutes: int | None = None
    options: tuple[str, ...] | None = None


class Installed(NamedTuple):
    record: Record
    changed: bool
    chosen: str  # why this kind, where nobody said which; else empty
    remarks: tuple[str, ...] = ()


class Standing(NamedTuple):
    """Whether a schedule stands. Without a record none was ever installed."""

    record: Record | None
    findings: tuple[Finding, ...] = ()
    asked: Asked = Asked()
    left: tuple[str, ...] = ()  # kinds in which lines or units of the agent stand that nothing is noted of


# ---------------------------------------------------------------- installing


def install(path: str, request: Request) -> Installed:
    """`path` is the record's. Raises `ScheduleError`; then what was installed before still is."""
    former = _former(path)
    if former and not is_here(former, request.host):
        raise ScheduleError(
            f"it is installed on {former.host} ({former.kind}): take it away there with `schedule remove`, "
            f"or remove {path} where that host is gone"
        )
    name, chosen = (request.kind, "") if request.kind else _chosen(former)
    kind = _usable(name)
    record = _wanted(name, kind, request, former)
    standing = former == record and not _troubles(record, kind) and not _to_mend(kind.ask(record.entry))
    if not standing:
        kind.install(record.entry)
        if former and _is_elsewhere(former, record):
            schedule.kind(former.kind, former.program).remove(former.entry)
        save(path, record)
    return Installed(record, not standing, chosen, _remarks(record))


def _to_mend(asked: Asked) -> bool:
    return any(finding.trouble.can_be_mended for finding in asked.findings)


def _former(path: str) -> Record | None:
    """What is noted; a record that is damaged is made anew."""
    try:
        return load(path)
    except ScheduleError:
        return None


def _is_elsewhere(former: Record, record: Record) -> bool:
    """Whether writing the new one has not already replaced the former."""
    return former.kind != record.kind or (former.kind == "systemd" and former.texts.keys() != record.texts.keys())


def _chosen(former: Record | None) -> tuple[str, str]:
    """The kind that is installed, or the first that can be used; and why."""
    if former:
        return former.kind, f"{former.kind} is what is installed"
    refused: list[str] = []
    for name in schedule.NAMES:
        why = _program(name).why_rather_not()
        if not why:
            return name, "; ".join([*refused, f"{name} can be used"])
        refused.append(f"not {name}, since {why}")
    raise ScheduleError("nothing here can run it again and again: " + "; ".join(refused))


def _usable(name: str) -> Kind:
    """Raises `ScheduleError` where it is not to be had."""
    kind = _program(name)
    why = kind.why_not()
    if why:
        raise ScheduleError(f"{name} cannot be used: {why}")
    return kind


def _program(name: str) -> Kind:
    """The kind, with the whole path of its program as it is found now."""
    from shutil import which

    usual = getattr(schedule.kind(name), "usual", "")
    return schedule.kind(name, which(usual) or "" if usual else "")


def _wanted(name: str, kind: Kind, request: Request, former: Record | None) -> Record:
    """Raises `UnfitError`."""
    seed = former.seed if former else times.seed(request.host, request.site, request.account)
    minutes = request.minutes or (former.job.minutes if former else request.usual_minutes)
    options = request.options if request.options is not None else former.job.options if former else ()
    job = Job(
        request.site, request.state_dir, minutes, times.offset(seed, minutes), request.argv,
        options, request.units, request.log,
    )  # fmt: skip
    program: str = getattr(kind, "program", "")
    # Slurm's tables are the same from each login node, and so is what is noted of them.
    host = former.host if former and former.kind == name == "scrontab" else request.host
    return Record(name, host, program, seed, request.config, job, dict(kind.entry(job).texts))


def _remarks(record: Record) -> tuple[str, ...]:
    """What keeps a schedule that was just written from being of use, such as lingering that is off."""
    return tuple(finding.message for finding in _troubles(record, schedule.kind(record.kind, record.program)))


# ---------------------------------------------------------------- looking


def _troubles(record: Record, kind: Kind) -> tuple[Finding, ...]:
    return kind.look(record.entry).finish(monotonic() + ANSWER)


def status(path: str, request: Request) -> Standing:
    """With what the scheduler itself says."""
    check = Check(path, request.host)
    findings = check.findings()
    if check.record is None:
        return Standing(None, findings, left=() if findings else tuple(_left(request)))
    if not is_here(check.record, request.host):
        return Standing(check.record, findings)
    kind = schedule.kind(check.record.kind, check.record.program)
    asked = kind.ask(check.record.entry) if _is_there(findings) else Asked()
    return Standing(check.record, findings, asked)


def _is_there(findings: tuple[Finding, ...]) -> bool:
    """Whether there is anything that the scheduler could be asked about."""
    return all(f.trouble not in (Trouble.MISSING, Trouble.DISABLED, Trouble.UNTOLD, Trouble.MASKED) for f in findings)


def _left(request: Request) -> Iterator[str]:
    """Kinds in which something of this agent's stands although nothing is noted of it."""
    for name, kind in _all_usable():
        if kind.has(_bare(request)):
            yield name


def _all_usable() -> Iterator[tuple[str, Kind]]:
    for name in schedule.NAMES:
        kind = _program(name)
        if name == "systemd" or not kind.why_not():
            yield name, kind


def _bare(request: Request) -> Job:
    return Job(request.site, request.state_dir, request.usual_minutes, 0, request.argv, units=request.units)


# ---------------------------------------------------------------- removing


def remove(path: str, request: Request) -> tuple[str, ...]:
    """Take the agent's own away; the kinds in which there was something. Raises `ScheduleError`.

    Where nothing is noted, all kinds that are here are looked through.
    """
    former = _former(path)
    if former and not is_here(former, request.host):
        raise ScheduleError(f"it is installed on {former.host} ({former.kind}): only there it can be taken away")
    if former:
        kind = schedule.kind(former.kind, former.program)
        found = [former.kind] if kind.remove(former.entry) else []
    else:
        found = [name for name, kind in _all_usable() if kind.remove(Entry(_bare(request), {}))]
    files.remove(path)
    return tuple(found)
