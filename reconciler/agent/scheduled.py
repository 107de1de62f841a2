"""Whether what starts the passes still stands: told with every pass where it was installed by `schedule install`.

A schedule that has gone makes no noise by itself: it is a pass begun otherwise, by a person, the loop or another
host, that finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from reconciler.agent.here import Host
from reconciler.core.report import Notice, PassReport
from reconciler.schedule.base import Finding, ScheduleError
from reconciler.schedule.check import Check, mend, trim
from reconciler.schedule.record import Record

_MOST = 1 << 20  # bytes of a log that Slurm's jobs write


def scheduled(path: str, host: Host, go: Callable[[], PassReport], *, mend: bool) -> PassReport:
    """The report of a pass with what is wrong with its schedule. `path` is the record's.

    With `mend` it is put right where the desired state says so.
    """
    check = Check(path, host.name)
    try:
        report = go()
        findings = check.findings()
    finally:
        check.close()
    record = check.record
    if mend and record:
        with suppress(OSError):  # it grows on
            trim(record.job.log, _MOST)
    if not findings:
        return report
    keeps = mend and any(deployment.desired.policy.keep_schedule for deployment in report.deployments)
    return report._replace(notices=(*report.notices, *_notices(record, findings, keeps=keeps)))


def _notices(record: Record | None, findings: Sequence[Finding], *, keeps: bool) -> Iterator[Notice]:
    if record is None:
        yield from (Notice(f"whether the schedule stands cannot be told: {f.message}", failed=False) for f in findings)
        return
    mendable = [finding for finding in findings if finding.trouble.can_be_mended]
    said = _mended(record, mendable) if keeps and mendable else ""
    for finding in findings:
        yield Notice(_told(record, finding, said if finding in mendable else ""), failed=False)


def _mended(record: Record, findings: Sequence[Finding]) -> str:
    """What became of it."""
    try:
        mend(record, findings)
    except (ScheduleError, OSError) as error:
        return f"it could not be mended: {error}"
    return "it was mended, since policy.keep_schedule is set"


def _told(record: Record, finding: Finding, said: str) -> str:
    if said:
        return f"the schedule did not stand any more: {finding.message}; {said}"
    if finding.trouble.can_be_mended:
        return f"the schedule does not stand any more: {finding.message}; `{record.command}` mends it"
    if finding.trouble.is_gone:
        return f"the schedule is of no use: {finding.message}; install it again with `reconcile schedule install`"
    return f"whether the schedule stands cannot be told: {finding.message}"
