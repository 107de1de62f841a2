"""What an install method is: one module that says what a version looks like on the host, and builds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from reconciler.core.desired import Install


class ComponentSpec(NamedTuple):
    """A component in one version, as an install method sees it."""

    component: str
    version: str
    requirement: str
    image: str
    source: str
    python: str
    prologue: str
    program: str = ""  # Apptainer, for what it builds
    sha256: str = ""


class InstallError(Exception):
    """A build failed. The text has what was run, what it printed, and what to do."""


class BuildStopped(InstallError):  # noqa: N818 - the word that callers read
    """It was ended because the pass was asked to stop. Nothing of it is left."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} was not built: the pass was asked to stop")


def never() -> bool:
    """Nobody asks to stop."""
    return False


class Method(Protocol):
    name: str
    keys: tuple[str, ...]  # of a component, that this method goes by
    required: tuple[str, ...]  # those of them that it cannot do without
    is_image: bool  # its services run inside of it, in a container

    def check(self, spec: ComponentSpec) -> str:
        """Pure: what stands against installing it, without any secret in it; or nothing."""

    def describe(self, spec: ComponentSpec, paths: Mapping[str, str]) -> Install | None:
        """Pure: what the finished thing is and where it will be. None where nothing is installed."""

    def exports(self, install: Install) -> tuple[str, ...]:
        """Pure: shell lines that a shim puts before the command."""

    def complete(self, install: Install) -> bool:
        """Whether this very build is in place and finished. Starts no process. Raises `OSError`: it cannot be told."""

    def build(
        self, install: Install, progress: Callable[[str], None], asked_to_stop: Callable[[], bool] = never
    ) -> None:
        """Build it aside and move it into place, whole or not at all. Raises `InstallError`, and soon after
        `asked_to_stop` has become true: a build takes minutes, and whoever asks kills what does not end."""

    def outdated(self, install: Install, pid: int, parent: int) -> str:
        """Why a process does not run from what stands in the install's place now, in words that follow the
        service's name; empty where it does, or where nothing shows that. Starts no process. Raises `OSError`."""

    def find_program(self, install: Install, program: str) -> str:
        """Where a bare command name is found inside the finished thing; empty where it is not there."""

    def programs(self, install: Install, component: str, version: str) -> str:
        """The folder with the programs of that version of a component, beside this install; empty where there is
        none on the host."""
