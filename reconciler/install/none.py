"""Nothing is installed: the program is on the host already, or comes with a module that the prologue loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reconciler.core.desired import Install
from reconciler.install.base import ComponentSpec, never


class _None:
    """No component of this method has an `Install`; the other verbs answer for completeness."""

    name: str = "none"
    keys: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    is_image: bool = False

    def check(self, spec: ComponentSpec) -> str:  # noqa: ARG002
        return ""

    def describe(self, spec: ComponentSpec, paths: Mapping[str, str]) -> Install | None:  # noqa: ARG002
        return None

    def exports(self, install: Install) -> tuple[str, ...]:  # noqa: ARG002
        return ()

    def complete(self, install: Install) -> bool:  # noqa: ARG002
        return True

    def build(
        self, install: Install, progress: Callable[[str], None], asked_to_stop: Callable[[], bool] = never
    ) -> None:
        pass

    def outdated(self, install: Install, pid: int, parent: int) -> str:  # noqa: ARG002
        return ""

    def find_program(self, install: Install, program: str) -> str:  # noqa: ARG002
        return ""

    def programs(self, install: Install, component: str, version: str) -> str:  # noqa: ARG002
        return ""


METHOD = _None()
