"""How a manager of systemd is reached, the account's own or the host's, and whether it outlives a login.

Nothing here starts a process but `begin` and `order`.
"""

from __future__ import annotations

import os
from contextlib import suppress

from reconciler.host.background import Background
from reconciler.host.detached import SERVICE_PATH

LINGER = "/var/lib/systemd/linger"  # a file for each account that lingers
_PRIVATE = "systemd/private"  # the manager's socket, below the runtime folder


class ManagerError(Exception):
    """systemctl could not be run, or no manager answered. The text says what was asked and why not."""


class Reach:
    """One manager. `runtime` stands for /run/user/UID, and `linger` for `LINGER`."""

    def __init__(self, scope: str, seconds: float, runtime: str = "", linger: str = LINGER) -> None:
        self.is_system = scope == "system"
        self._seconds = seconds
        self._linger = linger
        self._usual = runtime or f"/run/user/{os.getuid()}"
        self.runtime = "/run" if self.is_system else self._runtime()

    def _runtime(self) -> str:
        """The runtime folder of this account.

        cron sets no XDG_RUNTIME_DIR; a terminal may have one that is gone, and `su` leaves the one of the account
        before, whose manager answers nobody else.
        """
        given = os.environ.get("XDG_RUNTIME_DIR", "")
        with suppress(OSError):
            if given and os.stat(f"{given}/{_PRIVATE}").st_uid == os.getuid():
                return given
        return self._usual

    @property
    def word(self) -> str:
        """What systemctl and journalctl are told."""
        return "--system" if self.is_system else "--user"

    def problem(self) -> str:
        """Why there is no manager that could be asked, as far as that is seen without a process; or nothing."""
        if self.is_system or os.path.exists(f"{self.runtime}/{_PRIVATE}"):
            return ""
        there = "is not there" if os.path.isdir(self.runtime) else f"{self.runtime} does not exist"
        return self._none_runs(f"{self.runtime}/{_PRIVATE}: {there}")

    def unreachable(self, said: str) -> str:
        """Why no manager could be asked, where that is what systemctl says; or nothing."""
        if not said.startswith("Failed to connect to"):
            return ""
        return f"the host's systemd cannot be asked: {said}" if self.is_system else self._none_runs(said)

    def _none_runs(self, why: str) -> str:
        who = account()
        return (
            f"no `systemd --user` runs for {who} ({why}); "
            f"`loginctl enable-linger {who}` makes one run from boot to shutdown, also without a login"
        )

    def lingers(self) -> bool | None:
        """Whether the account's manager outlives its logins; None where that is not told in files."""
        if not os.path.isdir(self._linger):
            return None
        return os.path.exists(f"{self._linger}/{account()}")

    # ------------------------------------------------------------ asking

    def begin(self, argv: list[str]) -> Background:
        """Raises `OSError` where systemctl cannot be started."""
        return Background(argv, self.env())

    def order(self, verb: str, *words: str) -> str:
        """Have systemctl do something; what it said where it failed, or nothing. Raises `ManagerError`."""
        from reconciler.host.run import CommandFailed, run, tail

        problem = self.problem()
        if problem:
            raise ManagerError(problem)
        argv = self.argv(verb, *words)
        try:
            finished = run(argv, timeout=self._seconds, env=self.env(), check=False)
        except CommandFailed as error:
            raise ManagerError(str(error)) from error
        if finished.code == 0:
            return ""
        said = tail(finished.err) or tail(finished.out) or f"exit status {finished.code}"
        if unreachable := self.unreachable(said):
            raise ManagerError(f"{' '.join(argv)}: {unreachable}")
        return said

    def argv(self, verb: str, *words: str) -> list[str]:
        return ["systemctl", self.word, "--no-pager", "--no-ask-password", "--full", verb, *words]

    def env(self) -> dict[str, str]:
        """The same from cron and from a login; systemctl asks nothing and paints nothing."""
        path = os.environ.get("PATH") or SERVICE_PATH
        kept = {"PATH": path, "LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
        return kept if self.is_system else {**kept, "XDG_RUNTIME_DIR": self.runtime}


def account() -> str:
    """The name of this account; its number where it has none just now."""
    import pwd

    with suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return str(os.getuid())
