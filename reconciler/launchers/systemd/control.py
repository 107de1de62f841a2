"""Runs `systemctl` for one manager: the account's own, or the host's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.host.manager import LINGER, ManagerError, Reach, account
from reconciler.launchers.base import BackendError, Outcome
from reconciler.launchers.systemd.show import PROPERTIES, Block, by_name, parse, untold

__all__ = ["LINGER", "Control", "account", "blocks_of", "incomplete"]


class Control(Reach):
    """A manager that is asked for units, and driven."""

    def linger_warning(self) -> str:
        """What will happen to the services when their account logs out, or nothing. Starts no process."""
        if self.is_system or self.lingers() is not False:
            return ""
        who = account()
        return (
            f"{who} does not linger, so its systemd services end when it logs out and do not start at boot: "
            f"run `loginctl enable-linger {who}`"
        )

    # ------------------------------------------------------------ asking

    def show_argv(self, names: Sequence[str], properties: Sequence[str] = PROPERTIES) -> list[str]:
        return self.argv("show", f"--property={','.join(properties)}", "--", *names)

    def show(self, names: Sequence[str], properties: Sequence[str] = PROPERTIES) -> dict[str, Block]:
        """The properties of these units, by name. Raises `BackendError`."""
        if not names:
            return {}
        from reconciler.host.run import CommandFailed, run

        self._refuse_without_manager()
        argv = self.show_argv(names, properties)
        try:
            printed = run(argv, timeout=self._seconds, env=self.env()).out
        except CommandFailed as error:
            raise BackendError(str(error)) from error
        blocks = blocks_of(printed, names)
        if missing := untold(blocks, names, properties):
            raise BackendError(incomplete(missing))
        return blocks

    # ------------------------------------------------------------ driving

    def order(self, verb: str, *words: str) -> str:
        """Have systemctl do something; what it said where it failed, or nothing. Raises `BackendError`."""
        try:
            return super().order(verb, *words)
        except ManagerError as error:
            raise BackendError(str(error)) from error

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


def blocks_of(printed: bytes, names: Iterable[str]) -> dict[str, Block]:
    return by_name(parse(printed.decode(errors="surrogateescape")), names)


def incomplete(missing: str) -> str:
    return f"systemctl show did not tell {missing}, although it reported success"


def _error_of(unit: str, said: str) -> str:
    """What systemctl said of this unit: it prints one line for each that it could not serve."""
    return "; ".join(line for line in said.splitlines() if line.startswith("Failed to") and f" {unit}:" in line)
