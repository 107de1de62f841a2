"""Programs that a pass starts and does not wait for: their output goes to a file, and their end is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic, sleep

# by number: the signal module costs 5 ms, and POSIX fixes these
_SIGKILL, _SIGPIPE, _SIGTERM = 9, 13, 15
_GRACE = 2.0  # seconds between SIGTERM and SIGKILL
_POLL = 0.005
SERVICE_PATH = "/usr/local/bin:/usr/bin:/bin"  # of every service, whatever the account's own search path is
_UMASK = 0o022  # what services have under the launchers that are daemons, too


def environment() -> dict[str, str]:
    """What a program begins with that outlives the pass: the same from cron and from a login."""
    import pwd

    try:
        account = pwd.getpwuid(os.getuid())
        name, home, shell = account.pw_name, account.pw_dir, account.pw_shell or "/bin/sh"
    except KeyError:  # an account that the directory service does not know just now
        name, home, shell = os.environ.get("USER", str(os.getuid())), os.environ.get("HOME", "/"), "/bin/sh"
    return {"HOME": home, "LOGNAME": name, "USER": name, "SHELL": shell, "PATH": SERVICE_PATH, "LANG": "C.UTF-8"}


def start(argv: list[str], env: Mapping[str, str], output: str) -> int:
    """Start a program in a session of its own, with all that it prints in the file `output`; its pid.

    Whoever starts one must call `ended` until it has. Raises `OSError`.
    """
    actions = (
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inherited()),
    )
    before = os.umask(_UMASK)
    try:
        # python ignores SIGPIPE and a caller may block signals: neither is for a service to inherit
        return os.posix_spawn(
            argv[0], argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=(_SIGPIPE,)
        )
    finally:
        os.umask(before)


def ended(pid: int) -> int | None:
    """The exit status, negative for a signal; None while it runs. Once it was told it is not known any more."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def end(pids: list[int]) -> None:
    """SIGTERM, and after two seconds SIGKILL, to programs that have not ended, and to their children."""
    left = pids
    for number in (_SIGTERM, _SIGKILL):
        for pid in left:
            with suppress(ProcessLookupError):
                os.killpg(pid, number)
        until = monotonic() + _GRACE
        while left and monotonic() < until:
            left = [pid for pid in left if ended(pid) is None]
            sleep(_POLL)


def _inherited() -> list[int]:
    """Descriptors that whoever started us has left open, such as the lock of `flock FILE reconcile --once`: what
    outlives the pass would hold it as long."""
    kept = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that read the folder
            if int(name) > 2 and os.get_inheritable(int(name)):
                kept.append(int(name))
    return kept
