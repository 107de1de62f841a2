"""A crontab as its program gives and takes it: cron's own, or Slurm's, which speaks the same language."""

from __future__ import annotations

import os
from time import monotonic

from reconciler.host.background import Background
from reconciler.host.child import Ended
from reconciler.schedule import table
from reconciler.schedule.base import Entry, Finding, Job, ScheduleError, Trouble

ANSWER = 10.0  # seconds to wait for a crontab; Slurm's controller may be busy
_NONE = b"no crontab for "


class Crontab:
    """The half that cron and scrontab share. Whoever derives from it says how a job is written.

    `program` is where `crontab` or `scrontab` was found when the schedule was installed: what a pass finds on its
    own PATH may be another.
    """

    name = ""
    usual = ""  # the name of its program
    first = False  # whether a new block comes to the beginning of the table

    def __init__(self, program: str = "") -> None:
        self.program = program or self.usual

    def lines(self, job: Job) -> list[str]:
        raise NotImplementedError

    def entry(self, job: Job) -> Entry:
        """Raises `UnfitError`."""
        block = table.block(os.fsencode(job.label), [os.fsencode(line) for line in self.lines(job)])
        return Entry(job, {self.usual: os.fsdecode(block)})

    def why_not(self) -> str:
        from shutil import which

        if not which(self.program):
            return f"there is no {self.program}"
        try:
            self.read()
        except ScheduleError as error:
            return str(error)
        return ""

    def why_rather_not(self) -> str:
        return self.why_not()

    # ------------------------------------------------------------ writing

    def install(self, entry: Entry) -> None:
        """Also where it reads the same already: Slurm makes its jobs anew then. Raises `ScheduleError`."""
        block = _block(entry)
        self._write(table.put(self.exact(), entry.label, block, first=self.first))
        if table.trouble(self.read(), entry.label, block):
            raise ScheduleError(f"`{self.program}` took the table and does not give it back as it was written")

    def remove(self, entry: Entry) -> bool:
        """Raises `ScheduleError`."""
        before = self.exact()
        after = table.take(before, entry.label, _block(entry))
        if after != before:
            self._write(after)
        return after != before

    def has(self, job: Job) -> bool:
        """Raises `ScheduleError`."""
        return table.has(self.read(), os.fsencode(job.label))

    def _write(self, content: bytes) -> None:
        """A table with nothing in it is taken away: there was none before either. Raises `ScheduleError`."""
        from reconciler.host.run import CommandFailed, run

        argv = [self.program, "-"] if content else [self.program, "-r"]
        try:
            run(argv, timeout=ANSWER * 3, env=environment(), stdin=content)
        except CommandFailed as error:
            raise ScheduleError(str(error)) from error

    # ------------------------------------------------------------ reading

    def look(self, entry: Entry) -> TableLook:
        return TableLook(self, entry)

    def begin(self) -> Background:
        """Raises `ScheduleError`."""
        try:
            return Background([self.program, "-l"], environment())
        except OSError as error:
            raise ScheduleError(f"`{self.program}` cannot be started: {error.strerror or error}") from error

    def content(self, ended: Ended) -> bytes:
        """The table; empty where there is none, which scrontab says on standard output. Raises `ScheduleError`."""
        said = ended.err.decode(errors="replace").strip()
        if ended.late:
            raise ScheduleError(f"`{self.program} -l` did not answer in time" + (f": {said}" if said else ""))
        if ended.code == 0:
            return ended.out
        if ended.code == 1 and (ended.out + ended.err).startswith(_NONE):
            return b""
        raise ScheduleError(f"`{self.program} -l` failed: {said or f'exit status {ended.code}'}")

    def exact(self) -> bytes:
        """The table byte for byte, to be written again. Raises `ScheduleError`."""
        return self.read()

    def read(self) -> bytes:
        """The table as it is shown. Raises `ScheduleError`."""
        return self.content(self.begin().finish(monotonic() + ANSWER))


class TableLook:
    """The table is printed while the pass goes on."""

    def __init__(self, crontab: Crontab, entry: Entry) -> None:
        self._crontab, self._entry = crontab, entry
        self._question: Background | None = None
        self._refused = ""
        try:
            self._question = crontab.begin()
        except ScheduleError as error:
            self._refused = str(error)

    def finish(self, deadline: float) -> tuple[Finding, ...]:
        question, self._question = self._question, None
        if question is None:
            return (Finding(Trouble.UNTOLD, self._refused),)
        try:
            content = self._crontab.content(question.finish(deadline))
            found = table.trouble(content, self._entry.label, _block(self._entry))
        except ScheduleError as error:
            return (Finding(Trouble.UNTOLD, str(error)),)
        return (Finding(found, f"its lines in the {self._crontab.usual} are {found.value}"),) if found else ()

    def close(self) -> None:
        if self._question is not None:
            self._question.end()
        self._question = None


def _block(entry: Entry) -> bytes:
    """The one text of a table; nothing where it is not known."""
    return b"".join(os.fsencode(text) for text in entry.texts.values())


def environment() -> dict[str, str]:
    """The pass's own, since it may say where Slurm's controller is; messages in English, to be understood."""
    return {**os.environ, "LC_ALL": "C"}
