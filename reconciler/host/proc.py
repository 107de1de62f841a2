"""Processes of this account, as /proc tells them: what runs, what it was started from, how to end it.

The environment in /proc is the one that a program began with: a shell's later exports do not show
there, but those of the program that it becomes with `exec` do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress

from reconciler.core.observed import Process
from reconciler.core.problem import Gap
from reconciler.host import marks, procfs

FOREIGN = marks.FOREIGN
SAME_START = 0.5  # seconds; a pid is not used again so quickly, and a clock may be set a little
_YOUNG = 5.0  # seconds in which a start script should have come to its marks
_RETRIES, _RETRY = 5, 0.003
_POLL = 0.01
_GENERATIONS = 20  # of parents that are looked at


# ---------------------------------------------------------------- reading


def scan(deployment: str) -> tuple[dict[int, Process], tuple[Gap, ...]]:
    """The main processes and daemons of this account that carry this deployment's mark, by pid.

    Processes whose environment is closed to us cannot be found this way; `look` tells of a known pid
    that its mark is unreadable. A main process whose start script has not got to its marks is looked at
    again for some milliseconds; after that its `spec` is empty.
    """
    wanted = marks.wanted(deployment)
    boot, found, gaps, user = procfs.boot(), {}, [], os.getuid()
    try:
        names = os.listdir("/proc")
    except OSError as error:
        return {}, (Gap("process", "", f"/proc cannot be listed: {error.strerror}"),)
    for name in names:
        if not name.isdigit():
            continue
        try:
            environ = procfs.environ(name)
            if not wanted(environ) or (user == 0 and os.stat(f"/proc/{name}").st_uid != 0):
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
    """While one program takes the place of another, there is no environment for an instant: it is looked at again."""
    process = None
    for _ in range(_RETRIES):
        environ: bytes | None = None
        try:
            with suppress(PermissionError):
                environ = procfs.environ(str(pid))
            process = _process(pid, environ, procfs.boot())
        except (FileNotFoundError, ProcessLookupError):
            return None
        if process is None or environ is None or len(environ) > 1:
            break
        time.sleep(_RETRY)
    return process


def search(wanted: Sequence[tuple[str, int | None]]) -> list[list[Process]]:
    """For each pattern, the processes whose command line it is found in, oldest first; of one account, by its uid,
    or of any. The words of a command line have a blank between them. What hides or has just ended is none.
    """
    import re

    patterns = [(re.compile(pattern), uid) for pattern, uid in wanted]
    found: list[list[Process]] = [[] for _ in wanted]
    boot, names = procfs.boot(), os.listdir("/proc")
    for pid in sorted(int(name) for name in names if name.isdigit() and int(name) != os.getpid()):
        with suppress(OSError):
            line = procfs.arguments(pid).rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
            if not line:
                continue  # a thread of the kernel, or what is left of a process
            owner = os.stat(f"/proc/{pid}").st_uid
            for (pattern, uid), processes in zip(patterns, found, strict=True):
                if uid in (None, owner) and pattern.search(line):
                    stat = procfs.read_stat(pid)
                    processes.append(Process(pid, stat.started(boot), None, stat.parent))
    return [sorted(processes, key=lambda process: (process.started, process.pid)) for processes in found]


def others_are_hidden() -> bool:
    """Whether this host shows an account its own processes only (/proc mounted with `hidepid`)."""
    return not os.access("/proc/1/cmdline", os.R_OK)


def alive(pid: int, started: float) -> bool:
    """Whether the process that began then still runs under this pid."""
    try:
        stat = procfs.read_stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.runs and abs(stat.started(procfs.boot()) - started) < SAME_START


def descends(pid: int, ours: Container[int]) -> bool:
    """It is one of these processes, or one of them has started it."""
    for _ in range(_GENERATIONS):
        if pid in ours or pid <= 1:
            return pid in ours
        try:
            pid = procfs.read_stat(pid).parent
        except (OSError, ValueError, IndexError):
            return False
    return False


def instance(pid: int) -> marks.Instance | None:
    """What Apptainer was told of the instance whose first process this is; None where it is no such process.

    It has no name where that cannot be read or understood.
    """
    unknown = marks.Instance("", {})
    try:
        stat = procfs.read_stat(pid)
        if stat.name != marks.INIT or not stat.runs:  # one that has ended keeps its name until it is collected
            return None
        return marks.read_instance(procfs.environ(str(pid))) or unknown
    except PermissionError:
        return unknown
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_empty(pid: int) -> bool:
    """Whether nothing is left in the instance whose first process this is, which outlives the service."""
    return not procfs.has_children(pid)


def keeper(pid: int) -> tuple[int, float] | None:
    """The process that Apptainer leaves in front of an instance, and its start. When it has ended, the name is free."""
    with suppress(FileNotFoundError, ProcessLookupError):
        parent = procfs.read_stat(pid).parent
        stat = procfs.read_stat(parent)
        if stat.name.startswith(b"starter"):
            return parent, stat.started(procfs.boot())
    return None


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
    if mark == FOREIGN:
        return _has_not_begun(process)
    return not mark.spec if mark.service else mark.pid == process.parent != 0


def _has_not_begun(process: Process) -> bool:
    """Between fork and exec, which takes its time on a busy host: it still has its parent's arguments.

    systemd, whose environment has no mark, then calls its child by the program that follows, in parentheses.
    """
    if process.mark is None or (process.mark != FOREIGN and process.mark.pid != process.parent):
        return False
    try:
        own = procfs.arguments(process.pid)
        if process.mark == FOREIGN and own[:1] == b"(" and own.rstrip(b"\0")[-1:] == b")":
            return procfs.read_stat(process.parent).name == b"systemd"
        return own == procfs.arguments(process.parent)
    except OSError:
        return False


def _is_main(process: Process) -> bool:
    return process.mark is not None and process.mark.pid == process.pid


def _process(pid: int, environ: bytes | None, boot: float) -> Process | None:
    stat = procfs.read_stat(pid)
    if not stat.runs:
        return None
    mark = None if environ is None else marks.read_mark(environ, pid, stat.name, leads=stat.group == pid)
    return Process(pid, stat.started(boot), mark, stat.parent)


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

    An Apptainer instance ends whole, and its signal is the one that it is marked with. True when it is gone.
    Raises `PermissionError`.
    """
    import signal

    if not alive(pid, started):
        return True
    box = instance(pid)
    if box is not None:
        return _end_instance(pid, started, marks.stop_signal(box), seconds)
    leads = _leads(pid)
    _send(pid, started, signal.SIGTERM, as_group=leads)
    gone = wait_gone([(pid, started)], seconds)
    # Members of its group may outlive it. As long as one does, the number is not given to another process.
    if not gone or (leads and not _runs(pid)):
        _send(pid, started, signal.SIGKILL, as_group=leads)
    return gone or wait_gone([(pid, started)], 5.0)


def _end_instance(pid: int, started: float, number: int, seconds: float) -> bool:
    """Its first process hands a signal on to the service, and outlives it: SIGKILL ends it and all that is inside."""
    import signal

    until, front = time.monotonic() + seconds, keeper(pid)
    signal_process(pid, started, number)
    while alive(pid, started) and not is_empty(pid) and time.monotonic() < until:
        time.sleep(_POLL)
    signal_process(pid, started, signal.SIGKILL)
    return wait_gone([(pid, started), *([front] if front else ())], 5.0)


def _leads(pid: int) -> bool:
    try:
        return procfs.read_stat(pid).group == pid
    except (FileNotFoundError, ProcessLookupError):
        return False


def _runs(pid: int) -> bool:
    try:
        return procfs.read_stat(pid).runs
    except (FileNotFoundError, ProcessLookupError):
        return False


def _send(pid: int, started: float, number: int, *, as_group: bool) -> None:
    if not as_group:
        signal_process(pid, started, number)
        return
    with suppress(ProcessLookupError):
        os.killpg(pid, number)
