"""The machine as root's tests see it: read-only, but for where tests write.

A test that points something that removes at a folder of the system, and a guard that fails, then cost nothing. The view
is a mount namespace of this process and all that it starts; it goes with the last of them, and so does what tests have
mounted and forgot.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from ctypes import CDLL, get_errno
from pathlib import Path

_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS of unshare(2); os.unshare comes with Python 3.12
_KERNEL = ("/proc", "/sys", "/dev")  # tests make control groups, and use /dev/shm
_WRITTEN = ("/tmp", "/run", "/var/tmp", "/var/log", "/var/cache", "/var/lib/apptainer")
_CRONTABS = "/var/spool/cron"  # crontab(1) writes there to check a table; it sees an empty one
_SHUT = f"""
set -e
mount --make-rprivate /
for path; do mount --rbind "$path" "$path"; done
if [ -d {_CRONTABS}/crontabs ]; then
    mount -t tmpfs -o mode=755 none {_CRONTABS}
    mkdir -m 1730 {_CRONTABS}/crontabs
fi
"""


def shut_in(tester: str) -> str:
    """Let this process see the machine so; why it does not, where it cannot. `tester`: whom root's tests become."""
    if CDLL(None, use_errno=True).unshare(_NEW_MOUNTS):
        return os.strerror(get_errno())
    written = [path for path in _written(tester) if os.path.isdir(path)]
    done = subprocess.run(["sh", "-c", _SHUT, "sh", *written], capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip()
    os.chdir(os.getcwd())  # the same folder as it is seen now
    open_ = (*_KERNEL, _CRONTABS, *written)
    for point in _mounts():
        if not any(point == path or point.startswith(f"{path}/") for path in open_):
            argv = ["mount", "-o", "remount,bind,ro", point]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode:
                return done.stderr.strip()
    return ""


def _written(tester: str) -> Iterator[str]:
    """Where tests, and the programs that they call, write."""
    yield from _WRITTEN
    yield str(Path(__file__).resolve().parents[2])
    yield os.path.expanduser("~/.cache")
    with suppress(KeyError):
        yield pwd.getpwnam(tester).pw_dir


def _mounts() -> list[str]:
    listed = Path("/proc/self/mountinfo").read_bytes().splitlines()
    return sorted({os.fsdecode(line.split(b" ")[4].decode("unicode_escape").encode("latin-1")) for line in listed})
