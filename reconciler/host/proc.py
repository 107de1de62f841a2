"""Processes of this account, as /proc tells them: what runs, what it was started from, how to end it.

The environment in /proc is the one that a program began with: a shell's later exports do not show
there, but those of the program that it becomes with `exec` do.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from reconciler.core.model import Gap, Mark, Process

SAME_START = 0.5  # seconds; a pid is not used again so quickly, and a clock may be set a little
_READ = 1 << 13  # most environments are smaller, and a larger buffer costs more than a second read
_MARKS = re.compile(rb"\0RECONCILE_([A-Z]+)=([^\0]*)")
_TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds
_YOUNG = 5.0  # seconds in which a start script should have come to its marks
_RETRIES, _RETRY = 5, 0.003
_POLL = 0.01

FOREIGN = Mark("", "", "", "", "", "", "", 0)  # its environment could be read and has no mark of ours


# ---------------------------------------------------------------- reading


def scan(deployment: str) -> tuple[dict[int, Process], tuple[Gap, ...]]:
    """The main processes and daemons of this account that carry this deployment's mark, by pid.

    Processes whose environment is closed to us cannot be found this way; `look` tells of a known pid
    that its mark is unreadable. A main process whose start script has not got to its marks is looked at
    again for some milliseconds; after that its `spec` is empty.
    """
    wanted = b"\0RECONCILE_DEPLOYMENT=" + os.fsencode(deployment) + b"\0"
    boot, found, gaps, user = _boot(), {}, [], os.getuid()
    try:
        names = os.listdir("/proc")
    except OSError as error:
        return {}, (Gap("process", "", f"/proc cannot be listed: {error.strerror}"),)
    for name in names:
        if not name.isdigit():
            continue
        try:
            environ = _environ(name)
            if wanted not in environ or (user == 0 and os.stat(f"/proc/{name}").st_uid != 0):
                continue
            process = _process(int(name), environ, boot)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or it is somebody else's
        except OSError as error:
            gaps.append(Gap("process", name, f"process {name} cannot be read: {error.strerror}"))
            continue
        if process is not None and _is_main(process):
            found[process.pid] = process
    return _settled(found), tuple(gaps)


def look(pid: int) -> Process | None:
    """One process, main or not; None where there is none, or only its remains wait to be collected.

    Its `mark` is None where the environment cannot be read or was overwritten (setproctitle), and
    `FOREIGN` where it was read and nothing in it is ours. One that has only just begun is waited for
    some milliseconds, as in `scan`, and one that a launcher has forked until its program begins.
    Raises `OSError` where nothing can be told.
    """
    process, tries, waited = _look(pid), 0, False
    while process is not None and _is_unsettled(process):
        waits = _has_not_begun(process)
        if tries >= _RETRIES and not waits and not waited:
            break
        # One that has begun since its environment was read is read once more.
        waited = waits
        time.sleep(_RETRY)
        process, tries = _look(pid), tries + 1
    return process


def _look(pid: int) -> Process | None:
    try:
        environ: bytes | None = _environ(str(pid))
    except PermissionError:
        environ = None
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        return _process(pid, environ, _boot())
    except (FileNotFoundError, ProcessLookupError):
        return None


def alive(pid: int, started: float) -> bool:
    """Whether the process that began then still runs under this pid."""
    try:
        stat = _stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.runs and abs(stat.started(_boot()) - started) < SAME_START


def boot_id() -> str:
    """Another one after every boot of this host. Raises `OSError`."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _settled(found: dict[int, Process]) -> dict[int, Process]:
    for _ in range(_RETRIES):
        unsettled = [pid for pid, process in found.items() if _is_unsettled(process)]
        if not unsettled:
            break
        time.sleep(_RETRY)
        for pid in unsettled:
            again = _look(pid)
            if again is None:
                del found[pid]
            elif again.mark is not None and _is_main(again):
                found[pid] = again
    return found


def _is_unsettled(process: Process) -> bool:
    """Whether it may soon carry other marks: its start script has not come to them, or has not even begun.

    Between its fork and its exec, a launcher's child still shows the environment of the launcher.
    """
    mark = process.mark
    if mark is None or time.time() - process.started > _YOUNG:
        return False
    return not mark.spec if mark.service else mark.pid == process.parent != 0


def _has_not_begun(process: Process) -> bool:
    """Between fork and exec, which takes its time on a busy host: it still has its parent's arguments."""
    if process.mark is None or process.mark.pid != process.parent:
        return False
    try:
        return _arguments(process.pid) == _arguments(process.parent)
    except OSError:
        return False


def _arguments(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def _is_main(process: Process) -> bool:
    return process.mark is not None and process.mark.pid == process.pid


def _environ(name: str) -> bytes:
    """An environment, with a NUL before each entry."""
    descriptor = os.open(f"/proc/{name}/environ", os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = chunk = os.read(descriptor, _READ)
        while len(chunk) == _READ:
            chunk = os.read(descriptor, _READ)
            content += chunk
        return b"\0" + content
    finally:
        os.close(descriptor)


class _Stat:
    """The fields of /proc/PID/stat that matter. Raises `OSError`."""

    __slots__ = ("group", "parent", "runs", "ticks")

    def __init__(self, content: bytes) -> None:
        # The name in parentheses may contain anything; fields count from the last one.
        fields = content[content.rindex(b")") + 2 :].split()
        self.runs = fields[0] not in (b"Z", b"X")
        self.parent, self.group, self.ticks = int(fields[1]), int(fields[2]), int(fields[19])

    def started(self, boot: float) -> float:
        return round(boot + self.ticks * _TICK, 3)


def _stat(pid: int) -> _Stat:
    descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _Stat(os.read(descriptor, 4096))
    finally:
        os.close(descriptor)


def _boot() -> float:
    """When this host booted, in seconds since the epoch. Being interrupted between the clocks makes it earlier."""
    return max(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) for _ in range(3))


def _process(pid: int, environ: bytes | None, boot: float) -> Process | None:
    stat = _stat(pid)
    if not stat.runs:
        return None
    mark = None if environ is None else _mark(environ, leads=pid if stat.group == pid else 0)
    return Process(pid, stat.started(boot), mark, stat.parent)


def _mark(environ: bytes, leads: int) -> Mark | None:
    """The mark in an environment, or None where it is no environment any more.

    `leads`: the process's pid where it leads its process group. A launcher makes every service's main
    process such a leader, which tells it from its children until the start script has set its pid.
    """
    if len(environ) < 2 or b"\0\0" in environ or b"=" not in environ[1:].split(b"\0", 1)[0]:
        return None
    values = {key: value.decode(errors="surrogateescape") for key, value in _MARKS.findall(environ)}
    if not values.get(b"DEPLOYMENT"):
        return FOREIGN
    get = values.get
    service, pid = get(b"SERVICE", ""), get(b"PID", "")
    return Mark(
        deployment=values[b"DEPLOYMENT"],
        root=get(b"ROOT", ""),
        service=service,
        spec=get(b"SPEC", ""),
        launch=get(b"LAUNCH", ""),
        version=get(b"VERSION", ""),
        component=get(b"COMPONENT", ""),
        pid=int(pid) if pid.isdecimal() else leads if service and not pid else 0,
    )


# ---------------------------------------------------------------- ending


def signal_process(pid: int, started: float, number: int) -> bool:
    """Signal this very process; False where it is gone or the pid is another's by now. Raises `PermissionError`."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except OSError:  # before Linux 5.3: the pid could change hands between the look and the signal
        return _signal(pid, started, lambda: os.kill(pid, number))
    import signal

    try:
        return _signal(pid, started, lambda: signal.pidfd_send_signal(descriptor, number))
    finally:
        os.close(descriptor)


def _signal(pid: int, started: float, send: Callable[[], None]) -> bool:
    if not alive(pid, started):
        return False
    try:
        send()
    except ProcessLookupError:
        return False
    return True


def wait_gone(processes: Iterable[tuple[int, float]], seconds: float) -> bool:
    """Wait until none of these (pid, started) is alive; False where some are when the time is over."""
    left, until = list(processes), time.monotonic() + seconds
    while True:
        left = [(pid, started) for pid, started in left if alive(pid, started)]
        if not left or time.monotonic() >= until:
            return not left
        time.sleep(_POLL)


def kill_group(pid: int, started: float, seconds: float) -> bool:
    """End a stray process, with its process group where it leads one: SIGTERM, then after some seconds SIGKILL.

    True when it is gone. Raises `PermissionError`.
    """
    import signal

    if not alive(pid, started):
        return True
    leads = _leads(pid)
    _send(pid, started, signal.SIGTERM, as_group=leads)
    gone = wait_gone([(pid, started)], seconds)
    # Members of its group may outlive it. As long as one does, the number is not given to another process.
    if not gone or (leads and not _runs(pid)):
        _send(pid, started, signal.SIGKILL, as_group=leads)
    return gone or wait_gone([(pid, started)], 5.0)


def _leads(pid: int) -> bool:
    try:
        return _stat(pid).group == pid
    except (FileNotFoundError, ProcessLookupError):
        return False


def _runs(pid: int) -> bool:
    try:
        return _stat(pid).runs
    except (FileNotFoundError, ProcessLookupError):
        return False


def _send(pid: int, started: float, number: int, *, as_group: bool) -> None:
    if not as_group:
        signal_process(pid, started, number)
        return
    with suppress(ProcessLookupError):
        os.killpg(pid, number)
