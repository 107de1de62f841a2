"""Where a program can do the machine no harm, whatever it does: what is tried with its guards taken out runs here.

Bubblewrap shows it all of the machine read-only, as root too, with a /tmp, a /dev and a /proc of its own: nothing
outside can be written, moved or removed, and no process outside can be seen or ended. It holds against mistakes, not
against a program of root's that mounts the root file system anew on purpose.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
_MEND = (
    "install bubblewrap (scripts/setup does so as root on Debian); where user namespaces are closed, run it as root, "
    "and in a container, start that so that it may mount (docker run --privileged)"
)


def within(folder: Path, argv: Sequence[str], at: str = "/tmp") -> list[str]:
    """The arguments of `subprocess` that run a program there, in the working directory `at`.

    `folder` is its /tmp, and all that it can write; its home is /tmp/home. Of what lies below the real /tmp it sees
    the checkout and the Python that runs this, and can write neither.
    """
    (folder / "home").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o1777)  # others than root need it too
    shown = sorted({os.path.abspath(path) for path in (CHECKOUT, sys.prefix, sys.base_prefix)})
    seen = [word for path in shown if path.startswith("/tmp/") for word in ("--ro-bind", path, path)]
    return [
        *("bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"),
        *("--tmpfs", "/run", "--bind", str(folder), "/tmp", *seen),
        *("--setenv", "HOME", "/tmp/home", "--setenv", "TMPDIR", "/tmp", "--unsetenv", "XDG_RUNTIME_DIR"),
        *("--chdir", at, "--", *argv),
    ]


def why_not(folder: Path) -> str:
    """Why nothing can be run there, and how to mend it; empty where it can. `folder` is one to try it with."""
    if not shutil.which("bwrap"):
        return f"there is no bwrap: {_MEND}"
    done = subprocess.run(within(folder, ["true"]), capture_output=True, text=True, timeout=60, check=False)
    said = done.stderr.strip() or f"bwrap ended with {done.returncode}"
    return f"{said}: {_MEND}" if done.returncode else ""

