from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from reconciler.core.desired import Install
from reconciler.install.base import ComponentSpec
from reconciler.install.venv import METHOD
from tests.install.packages import Describe, Index, write_wheel


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with the wheels of hello 1.0 and 2.0."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for version in ("1.0", "2.0"):
        write_wheel(folder, "hello", version)
    return folder


@pytest.fixture
def describe(tmp_path: Path) -> Describe:
    """The install of component hello in a version, below `tmp_path / "venvs"`."""

    def describe(version: str, requirement: str, python: str = "", prologue: str = "") -> Install:
        spec = ComponentSpec("hello", version, requirement, "", "", python, prologue)
        found = METHOD.describe(spec, {"venvs": str(tmp_path / "venvs")})
        assert found is not None
        return found

    return describe


@pytest.fixture
def index(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Index(wheels)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join()
