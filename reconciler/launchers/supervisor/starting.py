"""Starting supervisord: its environment, its own session, and what it says when it fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress

from reconciler.host import detached, files

SECONDS = 15.0  # for supervisord to come up


def errors_path(address: Mapping[str, str]) -> str:
    """Where its standard error goes, which is all that tells of a configuration that it does not read."""
    return f"{address['logs']}/supervisord.err"


def private_folder(path: str) -> None:
    """Make a folder that only this account may enter, and refuse one that another has prepared. Raises `OSError`."""
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    info = os.lstat(path)
    if info.st_uid != os.geteuid() or info.st_mode & 0o170022 != 0o040000:
        raise PermissionError(1, "is not a folder that only this account may write to", path)


def environment(address: Mapping[str, str], spec: str) -> dict[str, str]:
    """Everything that supervisord, and so each service, begins with."""
    return {
        **detached.environment(),
        "RECONCILE_DEPLOYMENT": address["deployment"],
        "RECONCILE_ROOT": address["root"],
        "RECONCILE_SERVICE": "",
        "RECONCILE_DAEMON": "supervisor",
        "RECONCILE_SPEC": spec,
    }


# $1: umask, $2: where errors go, then the program. The outer shell ends at once, so that init is the
# parent of what it leaves behind and a loop that runs for weeks collects no remains.
_DETACH = """
umask "$1" || exit
rm -f "$2" && set -C && : >"$2" && errors=$2
set +C
shift 2
/bin/sh -c 'export RECONCILE_PID=$$; exec "$@"' sh "$@" </dev/null >/dev/null 2>>"${errors:-/dev/null}" &
echo "$!"
"""


def spawn(address: Mapping[str, str], spec: str) -> int:
    """Start supervisord in a session of its own; its pid. Raises `CommandFailed`."""
    from reconciler.host.run import run

    # -P: a module in the current folder must not stand in for one of supervisor's.
    argv = [sys.executable, "-P", "-m", "supervisor.supervisord", "-n", "-c", address["conf"]]
    shell = ["/bin/sh", "-c", _DETACH, "sh", address["umask"], errors_path(address), *argv]
    finished = run(shell, timeout=SECONDS, env=environment(address, spec), cwd=address["root"])
    return int(finished.out)


def last_lines(path: str) -> str:
    """What a file ends with; nothing where it cannot be read."""
    try:
        return "\n".join(files.tail(path, 4096).decode(errors="replace").splitlines()[-15:])
    except OSError:
        return ""
