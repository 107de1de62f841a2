"""A timer of `systemd --user`: two unit files.

`KillMode=process` lets the services that a pass has started outlive it, and a pass that meets another one at work is no
failed unit. The timer goes by the calendar, as cron does, so that it keeps its offset; at boot a pass begins at once.
What people lay beside the units, a drop-in with a proxy say, is theirs and stays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from reconciler.core.digest import digest
from reconciler.host import files
from reconciler.host.manager import LINGER, ManagerError, Reach, account
from reconciler.schedule import times
from reconciler.schedule.base import Asked, Entry, Finding, Job, ScheduleError, Trouble, UnfitError

_MARK = "# reconcile schedule: "
_ANSWER = 30.0  # seconds to wait for systemctl; a daemon-reload runs every generator
_NULL = "/dev/null"
_TOLD = ("ActiveState", "UnitFileState", "NextElapseUSecRealtime")


class Timer:
    """See `base.Kind`. `linger` is there for tests."""

    name = "systemd"

    def __init__(self, linger: str = LINGER) -> None:
        self._reach = Reach("user", _ANSWER, linger=linger)

    def why_not(self) -> str:
        return self._reach.problem()

    def why_rather_not(self) -> str:
        """Without lingering it can be installed, and ends with the last login."""
        return self.why_not() or ("" if self._reach.lingers() else _fleeting())

    def entry(self, job: Job) -> Entry:
        """Raises `UnfitError`."""
        base = f"{job.units}/{_name(job)}"
        return Entry(job, {f"{base}.service": _service(job), f"{base}.timer": _timer(job)})

    # ------------------------------------------------------------ writing

    def install(self, entry: Entry) -> None:
        """Raises `ScheduleError`."""
        texts, timer = entry.texts, _timer_of(entry.texts)
        changed = [path for path, text in texts.items() if _content(path) != text]
        try:
            for path in changed:
                files.make_folder(os.path.dirname(path), 0o755)
                files.write(path, os.fsencode(texts[path]), 0o644)
            for path in self._masks(texts):
                os.unlink(path)
        except OSError as error:
            raise ScheduleError(f"{error.filename}: {error.strerror}") from error
        self._order("daemon-reload")
        self._order("enable", timer)
        self._order("restart" if changed else "start", timer)

    def remove(self, entry: Entry) -> bool:
        """Raises `ScheduleError`. Without a manager the files go all the same: it has nothing to run then."""
        found = [path for path in entry.texts or self._places(entry.job) if _is_own(path, entry.job)]
        if not found:
            return False
        timer = _timer_of(found)
        with suppress(ManagerError):
            self._reach.order("disable", "--now", timer)
        try:
            for path in (*found, _link(found, timer)):
                files.remove(path)
        except OSError as error:
            raise ScheduleError(f"{error.filename}: {error.strerror}") from error
        with suppress(ManagerError):
            self._reach.order("daemon-reload")
        return True

    def has(self, job: Job) -> bool:
        return any(_is_own(path, job) for path in self._places(job))

    def _places(self, job: Job) -> list[str]:
        """Where units of this agent may be."""
        names = (_plain_name(job), _long_name(job))
        return [f"{job.units}/{name}.{kind}" for name in names for kind in ("service", "timer")]

    def _order(self, verb: str, *words: str) -> None:
        try:
            said = self._reach.order(verb, *words)
        except ManagerError as error:
            raise ScheduleError(str(error)) from error
        if said:
            raise ScheduleError(f"{' '.join(self._reach.argv(verb, *words))}: {said}")

    # ------------------------------------------------------------ reading

    def look(self, entry: Entry) -> TimerLook:
        return TimerLook(self, entry.texts)

    def findings(self, texts: Mapping[str, str]) -> list[Finding]:
        """By files alone, since a pass must not wait for systemctl: a timer that was only stopped is not seen so."""
        try:
            found = [Finding(Trouble.MASKED, f"{path} masks it") for path in self._masks(texts)]
            found += [one for path, text in texts.items() if (one := _state(path, text))]
        except OSError as error:
            return [Finding(Trouble.UNTOLD, f"{error.filename} cannot be read: {error.strerror}")]
        timer = _timer_of(texts)
        if not found and not os.path.lexists(_link(texts, timer)):
            found.append(Finding(Trouble.NOT_ENABLED, f"{timer} is not enabled, so no boot starts it"))
        if self._reach.lingers() is False:
            found.append(Finding(Trouble.LINGER_OFF, _fleeting()))
        elif problem := self._reach.problem():
            found.append(Finding(Trouble.INACTIVE, problem))
        return found

    def _masks(self, texts: Mapping[str, str]) -> list[str]:
        """Links that hide a unit, in the place of its file or before it."""
        names = [os.path.basename(path) for path in texts]
        paths = [*texts, *(f"{self._reach.runtime}/systemd/user/{name}" for name in names)]
        return [path for path in paths if _is_mask(path)]

    def ask(self, entry: Entry) -> Asked:
        from time import monotonic

        if self._reach.problem():
            return Asked()  # it was found by files
        timer = _timer_of(entry.texts)
        try:
            ended = self._reach.begin(self._reach.argv("show", f"--property={','.join(_TOLD)}", "--", timer)).finish(
                monotonic() + _ANSWER
            )
        except OSError as error:
            return Asked((Finding(Trouble.UNTOLD, f"systemctl cannot be started: {error.strerror or error}"),))
        if ended.late or ended.code:
            said = ended.err.decode(errors="replace").strip()
            return Asked((Finding(Trouble.UNTOLD, f"systemctl does not tell of {timer}: {said}"),))
        told = dict(line.partition("=")[::2] for line in ended.out.decode(errors="replace").splitlines())
        return Asked(_told(timer, told), told.get("NextElapseUSecRealtime", ""))


class TimerLook:
    """There is nothing to wait for."""

    def __init__(self, timer: Timer, texts: Mapping[str, str]) -> None:
        self._timer, self._texts = timer, texts

    def finish(self, _deadline: float, /) -> tuple[Finding, ...]:
        return tuple(self._timer.findings(self._texts))

    def close(self) -> None: ...


def _fleeting() -> str:
    who = account()
    return (
        f"{who} does not linger, so its timers end with its last login; `loginctl enable-linger {who}` lets them stay"
    )


def _told(timer: str, told: Mapping[str, str]) -> tuple[Finding, ...]:
    if told.get("ActiveState") == "active":
        return ()
    return (Finding(Trouble.INACTIVE, f"{timer} is {told.get('ActiveState') or 'unknown to systemd'}"),)


# ---------------------------------------------------------------- names and files


def _plain_name(job: Job) -> str:
    return f"reconcile-{job.site}"


def _long_name(job: Job) -> str:
    return f"{_plain_name(job)}-{digest(os.fsencode(job.label))[:8]}"


def _name(job: Job) -> str:
    """Without the file's ending. Another agent of the same site has a name of its own, and so has what is not ours."""
    for kind in ("service", "timer"):
        path = f"{job.units}/{_plain_name(job)}.{kind}"
        if os.path.lexists(path) and not _is_own(path, job) and not _is_mask(path):
            return _long_name(job)
    return _plain_name(job)


def _is_own(path: str, job: Job) -> bool:
    """Whether it says that it is this agent's; what cannot be read is not."""
    return (_content(path) or "").startswith(f"{_MARK}{job.label}\n")


def _content(path: str) -> str | None:
    """None where there is no file that could be read; a link is none."""
    try:
        return None if os.path.islink(path) else os.fsdecode(files.read(path))
    except OSError:
        return None


def _is_mask(path: str) -> bool:
    try:
        return os.readlink(path) == _NULL
    except OSError:
        return False


def _state(path: str, text: str) -> Finding | None:
    """Raises `OSError` where it cannot be told."""
    if _is_mask(path):
        return None  # told already
    try:
        found = os.fsdecode(files.read(path))
    except (FileNotFoundError, NotADirectoryError):
        return Finding(Trouble.MISSING, f"{path} is missing")
    return None if found == text else Finding(Trouble.CHANGED, f"{path} was changed by hand")


def _timer_of(paths: Mapping[str, str] | list[str]) -> str:
    """The name of the timer, by the path of either unit."""
    base = os.path.basename(next(iter(paths)))
    return base.rpartition(".")[0] + ".timer"


def _link(paths: Mapping[str, str] | list[str], timer: str) -> str:
    """What makes a boot start it."""
    return os.path.join(os.path.dirname(next(iter(paths))), "timers.target.wants", timer)


# ---------------------------------------------------------------- texts


def _service(job: Job) -> str:
    from reconciler.launchers.systemd import unit_file

    wrong = unit_file.check_program(job.argv[0]) or next(filter(None, map(unit_file.check_text, job.argv)), "")
    if wrong:
        raise UnfitError(f"what is to be run {wrong}: {' '.join(job.argv)}")
    command = " ".join((unit_file.word(job.argv[0]), *map(unit_file.argument, job.argv[1:])))
    sections = {
        "Unit": (("Description", unit_file.escape(f"reconcile: keeps {job.site} at what git says")),),
        "Service": (
            ("Type", "oneshot"),
            ("ExecStart", command),
            ("SuccessExitStatus", "75"),
            ("KillMode", "process"),
            ("TimeoutStartSec", "1h"),
        ),
    }
    return f"{_MARK}{job.label}\n" + unit_file.write(sections)


def _timer(job: Job) -> str:
    from reconciler.launchers.systemd import unit_file

    sections = {
        "Unit": (("Description", unit_file.escape(f"reconcile: {job.site} every {times.spelled(job.minutes)}")),),
        "Timer": (
            ("OnCalendar", times.calendar(job.minutes, job.offset)),
            ("OnStartupSec", f"{30 + job.offset % 60}s"),
            ("AccuracySec", "1s"),
        ),
        "Install": (("WantedBy", "timers.target"),),
    }
    return f"{_MARK}{job.label}\n" + unit_file.write(sections)
