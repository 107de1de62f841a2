"""The install methods of images: one class, with the kinds of source that each takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from reconciler.core.desired import Install
from reconciler.core.digest import digest
from reconciler.install.apptainer.place import Standing, standing
from reconciler.install.base import ComponentSpec, never


class Image:
    """An image that is fetched as it is (`apptainer-sif`), or made from one of Docker's (`apptainer-docker`)."""

    keys: tuple[str, ...] = ("source", "image", "sha256")
    required: tuple[str, ...] = ("image",)
    is_image: bool = True

    def __init__(self, name: str) -> None:
        self.name = name

    def check(self, spec: ComponentSpec) -> str:
        from reconciler.install.apptainer.source import check, shown

        wrong = _check_image(spec.image) or self._check_sha256(spec.sha256.lower())
        if wrong or not spec.source:
            return wrong
        wrong = check(self.name, spec.source, spec.sha256)
        return f"its source is {shown(spec.source)!r}, but {wrong}" if wrong else ""

    def _check_sha256(self, sha256: str) -> str:
        if sha256 and self.name == "apptainer-docker":
            return (
                "an image that is converted here is another file each time, so no `sha256` can be said for it; "
                "pin what it is made from instead: `source: docker://HOST/NAME@sha256:...`"
            )
        if sha256 and (len(sha256) != 64 or set(sha256) - set("0123456789abcdef")):
            return "its `sha256` is not one: 64 hexadecimal digits, as `sha256sum FILE` prints them"
        return ""

    def describe(self, spec: ComponentSpec, paths: Mapping[str, str]) -> Install | None:
        from reconciler.install.requirement import redact

        path, sha256 = os.path.normpath(os.path.join(paths["images"], spec.image)), spec.sha256.lower()
        # Another password is not another image.
        parts = (self.name, path, redact(spec.source), sha256)
        return Install(
            id=f"{spec.component}-{spec.version}",
            component=spec.component,
            version=spec.version,
            method=self.name,
            digest=digest("\0".join(parts).encode("utf-8", "surrogatepass")),
            path=path,
            source=spec.source,
            tool=spec.program or "apptainer",
            prologue=spec.prologue,
            sha256=sha256,
        )

    def exports(self, install: Install) -> tuple[str, ...]:  # noqa: ARG002
        return ()

    def complete(self, install: Install) -> bool:
        return standing(install) is Standing.RIGHT

    def build(
        self, install: Install, progress: Callable[[str], None], asked_to_stop: Callable[[], bool] = never
    ) -> None:
        from reconciler.install.apptainer.making import make

        make(install, progress, asked_to_stop)

    def outdated(self, install: Install, pid: int, parent: int) -> str:
        from reconciler.install.apptainer.held import outdated

        return outdated(install, pid, parent)

    def find_program(self, install: Install, program: str) -> str:  # noqa: ARG002
        return ""  # it is inside of the image

    def programs(self, install: Install, component: str, version: str) -> str:  # noqa: ARG002
        return ""


def _check_image(image: str) -> str:
    """What stands against this name of a file below `paths.images`, or nothing."""
    shown = f"its image is {image!r}, but "
    if not image.isprintable():
        return f"{shown}a file name here has printable characters alone"
    if image.startswith("/") or image.endswith("/") or ".." in image.split("/"):
        return f"{shown}it must be a file below `paths.images`: a relative path without `..`"
    if os.path.basename(image).startswith(".") or not image:
        return f"{shown}it must have a name that does not begin with a dot: those are reconcile's own there"
    return ""
