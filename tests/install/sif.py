"""Files that look like Apptainer's images from the outside, and components that want them."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from reconciler.core.desired import Install
from reconciler.install import method
from reconciler.install.base import ComponentSpec, Method

_HEADER = "<32s10s3s3s16s8q"


def write_sif(path: Path, content: bytes = b"1") -> Path:
    """An image with this in it. Nothing can be run in it."""
    begin = struct.calcsize(_HEADER)
    numbers = (0, 0, 0, 0, 0, 0, begin, len(content))
    path.write_bytes(
        struct.pack(_HEADER, b"#!/usr/bin/env run-singularity\n", b"SIF_MAGIC", b"01", b"02", b"", *numbers)
    )
    with path.open("ab") as file:
        file.write(content)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Wanted(NamedTuple):
    """A component, and what stands in its place."""

    install: Install

    @property
    def method(self) -> Method:
        return method(self.install.method)

    @property
    def path(self) -> Path:
        return Path(self.install.path)

    @property
    def marker(self) -> Path:
        return self.path.with_name(f".{self.path.name}.complete")

    def complete(self) -> bool:
        return self.method.complete(self.install)

    def build(
        self, progress: Callable[[str], None] = lambda _: None, asked_to_stop: Callable[[], bool] = lambda: False
    ) -> None:
        self.method.build(self.install, progress, asked_to_stop)

    def outdated(self, pid: int, parent: int = 0) -> str:
        return self.method.outdated(self.install, pid, parent)

    def others(self) -> list[str]:
        """What lies beside the image, without its marker and its lock."""
        usual = {self.path.name, self.marker.name, f".{self.path.name}.lock"}
        return sorted(set(os.listdir(self.path.parent)) - usual)


def wanted(
    images: Path,
    source: str | Path = "",
    *,
    image: str = "site.sif",
    sha256: str = "",
    name: str = "apptainer-sif",
    program: str = "",
    prologue: str = "",
) -> Wanted:
    spec = ComponentSpec("site", "1.0", "", image, str(source), "", prologue, program, sha256)
    assert method(name).check(spec) == ""
    install = method(name).describe(spec, {"images": str(images)})
    assert install is not None
    return Wanted(install)
