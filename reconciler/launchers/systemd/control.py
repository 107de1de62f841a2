"""Runs `systemctl` for one manager: the account's own, or the host's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress

from reconciler.host.background import Background
from reconciler.host.detached import SERVICE_PATH
from reconciler.launchers.base import BackendError, Outcome
from reconciler.launchers.systemd.show import PROPERTIES, Block, by_name, parse, untold

LINGER = "/var/lib/systemd/linger"  # a file for each account that lingers
_PRIVATE = "systemd/private"  # the manager's socket, below the runtime folder


class Control:
    """How a manager is reached. `runtime` stands for /run/user/UID, and `linger` for `LINGER`."""

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

    def linger_warning(self) -> str:
        """What will happen to the services when their account logs out, or nothing. Starts no process."""
        if self.is_system or not os.path.isdir(self._linger):
            return ""
        who = account()
        if os.path.exists(f"{self._linger}/{who}"):
            return ""
        return (
            f"{who} does not linger, so its systemd services end when it logs out and do not start at boot: "
            f"run `loginctl enable-linger {who}`"
        )

    # ------------------------------------------------------------ asking

    def show_argv(self, names: Sequence[str], properties: Sequence[str] = PROPERTIES) -> list[str]:
        return self._argv("show", f"--property={','.join(properties)}", "--", *names)

    def begin(self, argv: list[str]) -> Background:
        """Raises `OSError` where systemctl cannot be started."""
        return Background(argv, self._env())

    def show(self, names: Sequence[str], properties: Sequence[str] = PROPERTIES) -> dict[str, Block]:
        """The properties of these units, by name. Raises `BackendError`."""
        if not names:
            return {}
        from reconciler.host.run import CommandFailed, run

        self._refuse_without_manager()
        argv = self.show_argv(names, properties)
        try:
            printed = run(argv, timeout=self._seconds, env=self._env()).out
        except CommandFailed as error:
            raise BackendError(str(error)) from error
        blocks = blocks_of(printed, names)
        if missing := untold(blocks, names, properties):
            raise BackendError(incomplete(missing))
        return blocks

    # ------------------------------------------------------------ driving

    def order(self, verb: str, *words: str) -> str:
        """Have systemctl do something; what it said where it failed, or nothing. Raises `BackendError`."""
        from reconciler.host.run import CommandFailed, run, tail

        self._refuse_without_manager()
        argv = self._argv(verb, *words)
        try:
            finished = run(argv, timeout=self._seconds, env=self._env(), check=False)
        except CommandFailed as error:
            raise BackendError(str(error)) from error
        if finished.code == 0:
            return ""
        said = tail(finished.err) or tail(finished.out) or f"exit status {finished.code}"
        if unreachable := self.unreachable(said):
            raise BackendError(f"{' '.join(argv)}: {unreachable}")
        return said

    def each(self, verb: str, options: Sequence[str], units: Sequence[str], fine: str = "\0") -> list[Outcome]:
        """One order for several units. An error with the words `fine` in it is none. Raises `BackendError`."""
        if not units:
            return []
        said = self.order(verb, *options, "--", *units)
        errors = {name: _error_of(name, said) for name in units}
        if said and not any(errors.values()):  # one that names no unit: nothing of the order was done
            if len(units) == 1:
                errors = {units[0]: said}
            else:
                return [outcome for name in units for outcome in self.each(verb, options, [name], fine)]
        return [Outcome(name, "" if fine in error else error) for name, error in errors.items()]

    def _refuse_without_manager(self) -> None:
        problem = self.problem()
        if problem:
            raise BackendError(problem)

    def _argv(self, verb: str, *words: str) -> list[str]:
        return ["systemctl", self.word, "--no-pager", "--no-ask-password", "--full", verb, *words]

    def _env(self) -> dict[str, str]:
        """The same from cron and from a login; systemctl asks nothing and paints nothing."""
        path = os.environ.get("PATH") or SERVICE_PATH
        kept = {"PATH": path, "LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
        return kept if self.is_system else {**kept, "XDG_RUNTIME_DIR": self.runtime}


def blocks_of(printed: bytes, names: Iterable[str]) -> dict[str, Block]:
    return by_name(parse(printed.decode(errors="surrogateescape")), names)


def incomplete(missing: str) -> str:
    return f"systemctl show did not tell {missing}, although it reported success"


def _error_of(unit: str, said: str) -> str:
    """What systemctl said of this unit: it prints one line for each that it could not serve."""
    return "; ".join(line for line in said.splitlines() if line.startswith("Failed to") and f" {unit}:" in line)


def account() -> str:
    """The name of this account; its number where it has none just now."""
    import pwd

    with suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return str(os.getuid())
