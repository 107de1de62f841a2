"""A real `systemd --user` for one test, on a machine whose own first process may be anything.

It has a home and a runtime folder of its own, and control groups of its own, so that any number of
them run side by side and nothing of them outlives the test. The groups are named as those of a real
user manager: journald takes from these names which user's unit a line is of.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic, sleep

from tests.backends.account import Account, current
from tests.backends.shared import shared

SYSTEMD = "/lib/systemd/systemd"
_GROUPS = Path("/sys/fs/cgroup")
_BOOTED = Path("/run/systemd/system")  # sd_booted(3): systemctl looks whether it is there
_POLL = 0.01


class Manager:
    """Nothing runs before `boot`. What it starts lies in its groups, wherever it hides."""

    def __init__(
        self,
        folder: Path,
        account: Account | None = None,
        home: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.account = account or current()
        self.account.folder(folder)
        self.home = self.account.folder(home or folder / "home")
        self.units = self.home / ".config/systemd/user"
        self.runtime = folder / "x"
        self.log = folder / "manager.log"
        self.env = {
            "HOME": str(self.home),
            "USER": self.account.name,
            "LOGNAME": self.account.name,
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(self.runtime),
            **(env or {}),
        }
        self._slice = re.sub(r"[^A-Za-z0-9]", "_", str(folder)).strip("_") + ".slice"
        self._process: subprocess.Popen[bytes] | None = None
        self._held = ExitStack()
        self.account.folder(self.units)

    # ------------------------------------------------------------ its life

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def boot(self, *, wait: bool = True) -> None:
        """Start it, as logging in or a boot of the host with lingering does; wait for its enabled units.

        The host's own boot id stays what it is.
        """
        assert self._process is None
        self._held.enter_context(shared("systemd", _BOOTED.is_dir, _pretend_booted, _pretend_no_more))
        shutil.rmtree(self.runtime, ignore_errors=True)
        self.account.folder(self.runtime, 0o700)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", self._enter(), "sh", *self._command()],
                cwd="/", env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._await((self.runtime / "systemd/private").is_socket)
        if wait:
            asked = "is-system-running", "--wait"
            self._await(lambda: self.systemctl(*asked, code=None).strip() in ("running", "degraded"))

    def stop(self, seconds: float = 20.0) -> None:
        """End it as logging out does: every unit is stopped, then the runtime folder goes."""
        assert self._process
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.power_cut()

    def power_cut(self) -> None:
        """Whatever runs in it is gone at once, and so is what lay in memory. `boot` makes it a reboot."""
        self._kill()
        if self._process:
            self._process.wait()
        self._process = None
        shutil.rmtree(self.runtime, ignore_errors=True)
        self._remove_groups()
        self._held.close()

    def end(self) -> None:
        self.power_cut()

    # ------------------------------------------------------------ using it

    def systemctl(self, *words: str, code: int | None = 0) -> str:
        """`systemctl --user`, as its user; standard output. `code` is the exit status that is due, None for any."""
        argv = ["systemctl", "--user", "--no-pager", *words]
        done: subprocess.CompletedProcess[str] = subprocess.run(
            argv, cwd="/", env=self.env, capture_output=True, text=True, timeout=60, check=False, **self.account.become
        )
        assert code in (None, done.returncode), f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        found = self.systemctl("show", unit, *(f"--property={name}" for name in properties))
        return dict(line.partition("=")[::2] for line in found.splitlines())

    def write(self, unit: str, text: str) -> None:
        """A unit's file; the manager is told nothing of it."""
        path = self.units / unit
        self.account.folder(path.parent)
        path.write_text(text)
        self.account.own(path)

    def journal(self, unit: str) -> list[str]:
        """What a unit has printed, from the journal; wants the fixture `journal`."""
        subprocess.run(["journalctl", "--sync"], check=True, timeout=30)
        argv = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"_SYSTEMD_USER_UNIT={unit}"]
        argv += [f"_SYSTEMD_SLICE={self._slice}"]  # another manager's unit may have this name too
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()

    def pids(self) -> set[int]:
        """All that runs in its control groups, itself included."""
        found = set()
        for folder in self._folders():
            for path in folder.rglob("cgroup.procs"):
                with suppress(OSError):
                    found |= {int(pid) for pid in path.read_text().split() if runs(int(pid))}
        return found

    # ------------------------------------------------------------ its control groups

    def _enter(self) -> str:
        """Only root may move a process into a group below another: it does so, then becomes the user."""
        lines = []
        for hierarchy in _hierarchies():
            group = hierarchy / self._slice / f"user@{self.account.uid}.service"
            group.mkdir(parents=True, exist_ok=True)
            self.account.own_all(hierarchy / self._slice)
            lines.append(f"echo $$ > {shlex.quote(str(group / 'cgroup.procs'))}")
        return "\n".join([*lines, 'exec "$@"'])

    def _command(self) -> list[str]:
        if not self.account.become:
            return [SYSTEMD, "--user"]
        ids = [f"--reuid={self.account.uid}", f"--regid={self.account.gid}", "--clear-groups"]
        return ["setpriv", *ids, SYSTEMD, "--user"]

    def _folders(self) -> list[Path]:
        """Root's manager uses the controllers' hierarchies as well."""
        return [path for path in (*_GROUPS.glob(f"*/{self._slice}"), _GROUPS / self._slice) if path.is_dir()]

    def _kill(self) -> None:
        for folder in self._folders():
            with suppress(OSError):  # version 2 of Linux 5.14 and later: all at once
                (folder / "cgroup.kill").write_text("1")
        while pids := self.pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            sleep(_POLL)

    def _remove_groups(self) -> None:
        end = monotonic() + 5
        while (folders := self._folders()) and monotonic() < end:
            for folder in folders:
                for below in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
                    with suppress(OSError):
                        below.rmdir()
                with suppress(OSError):  # one that was killed is not quite gone yet
                    folder.rmdir()
            sleep(0 if not self._folders() else _POLL)

    def _await(self, what: Callable[[], bool]) -> None:
        end = monotonic() + 30
        while not what():
            assert self._process
            assert self._process.poll() is None, f"systemd --user ended: {self.log.read_text()}"
            assert monotonic() < end, f"systemd --user is not ready: {self.log.read_text()}"
            sleep(_POLL)


def _pretend_booted() -> None:
    _BOOTED.mkdir(parents=True)


def _pretend_no_more() -> None:
    """Otherwise packages that are installed later would look for a systemd that is not there."""
    with suppress(OSError):  # somebody else has put something into it
        _BOOTED.rmdir()


def _hierarchies() -> list[Path]:
    """Where systemd keeps its groups: in the one hierarchy of version 2, or beside those of version 1."""
    named = [path for name in ("systemd", "unified") if (path := _GROUPS / name).is_dir()]
    return named or [_GROUPS]


def runs(pid: int) -> bool:
    """Whether it is there, and not only its remains."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False
