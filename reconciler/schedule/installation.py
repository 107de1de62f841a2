"""The schedule of one agent: installs it, tells whether it stands, mends it, takes it away.

What was installed is noted in a record once it is there: where that was cut off, or is lost, the lines and units are
found by their marks. What is written is only ever the agent's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import NamedTuple

from reconciler import schedule
from reconciler.host import files
from reconciler.schedule import times
from reconciler.schedule.base import Asked, Entry, Finding, Job, Kind, Look, ScheduleError, Trouble
from reconciler.schedule.record import Record, load, save

_ANSWER = 10.0  # seconds that a pass waits for a table to be printed


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
    if former and not _is_here(former, request.host):
        raise ScheduleError(
            f"it is installed on {former.host} ({former.kind}): take it away there with `schedule remove`, "
            f"or remove {path} where that host is gone"
        )
    name, chosen = (request.kind, "") if request.kind else _chosen(former)
    kind = _usable(name)
    record = _wanted(name, kind, request, former)
    standing = bool(former) and former == record and not _troubles(record, kind) and not kind.ask(record.entry).findings
    if not standing:
        kind.install(record.entry)
        if former and _is_elsewhere(former, record):
            schedule.kind(former.kind, former.program).remove(former.entry)
        save(path, record)
    return Installed(record, not standing, chosen, _remarks(record))


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
    return Record(name, request.host, program, seed, request.config, job, dict(kind.entry(job).texts))


def _remarks(record: Record) -> tuple[str, ...]:
    """What keeps a schedule that was just written from being of use, such as lingering that is off."""
    return tuple(finding.message for finding in _troubles(record, schedule.kind(record.kind, record.program)))


# ---------------------------------------------------------------- looking


def _is_here(record: Record, host: str) -> bool:
    """Whether this host can tell. Slurm's tables are the same on every node."""
    return record.kind == "scrontab" or record.host == host


def _troubles(record: Record, kind: Kind) -> tuple[Finding, ...]:
    return kind.look(record.entry).finish(monotonic() + _ANSWER)


class Check:
    """Asked when a pass begins and answered at its end, so that it takes no time of its own.

    Whoever makes one must call `findings` or `close`.
    """

    def __init__(self, path: str, host: str) -> None:
        self.record: Record | None = None
        self._look: Look | None = None
        self._known: list[Finding] = []
        try:
            self.record = load(path)
        except ScheduleError as error:
            self._known.append(Finding(Trouble.UNTOLD, str(error)))
        if self.record:
            self._begin(self.record, host)
        self._until = monotonic() + _ANSWER

    def _begin(self, record: Record, host: str) -> None:
        if not _is_here(record, host):
            self._known.append(Finding(Trouble.UNTOLD, f"it is installed on {record.host}, and this is {host}"))
            return
        self._known += _gone(record)
        self._look = schedule.kind(record.kind, record.program).look(record.entry)

    def findings(self) -> tuple[Finding, ...]:
        look, self._look = self._look, None
        return (*(look.finish(self._until) if look else ()), *self._known)

    def close(self) -> None:
        if self._look:
            self._look.close()
        self._look = None


def _gone(record: Record) -> Iterator[Finding]:
    program = record.job.argv[0]
    if not os.access(program, os.X_OK):
        yield Finding(Trouble.PROGRAM_GONE, f"the program that it calls is gone: {program}")
    if record.config and not os.path.exists(record.config):
        yield Finding(Trouble.CONFIG_GONE, f"the agent's file that it names is gone: {record.config}")


def status(path: str, request: Request) -> Standing:
    """With what the scheduler itself says."""
    check = Check(path, request.host)
    findings = check.findings()
    if check.record is None:
        return Standing(None, findings, left=() if findings else tuple(_left(request)))
    if not _is_here(check.record, request.host):
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


# ---------------------------------------------------------------- mending and removing


def mend(record: Record, findings: Sequence[Finding]) -> None:
    """Write again what was written; and have the account linger where it must. Raises `ScheduleError`."""
    if any(finding.trouble is not Trouble.LINGER_OFF for finding in findings):
        schedule.kind(record.kind, record.program).install(record.entry)
    if any(finding.trouble is Trouble.LINGER_OFF for finding in findings):
        from reconciler.host.run import CommandFailed, run

        try:
            run(["loginctl", "enable-linger"], timeout=_ANSWER)
        except CommandFailed as error:
            raise ScheduleError(str(error)) from error


def remove(path: str, request: Request) -> tuple[str, ...]:
    """Take the agent's own away; the kinds in which there was something. Raises `ScheduleError`.

    Where nothing is noted, all kinds that are here are looked through.
    """
    former = _former(path)
    if former and not _is_here(former, request.host):
        raise ScheduleError(f"it is installed on {former.host} ({former.kind}): only there it can be taken away")
    if former:
        kind = schedule.kind(former.kind, former.program)
        found = [former.kind] if kind.remove(former.entry) else []
    else:
        found = [name for name, kind in _all_usable() if kind.remove(Entry(_bare(request), {}))]
    files.remove(path)
    return tuple(found)


def trim(path: str, most: int) -> None:
    """Put a log of more than so many bytes aside; the one that was aside before goes. Raises `OSError`."""
    if path and os.path.exists(path) and os.stat(path).st_size > most:
        os.replace(path, f"{path}.1")
