"""Fixtures: hosts that end with their test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.account import ordinary
from tests.backends.beds import a_journal
from tests.systemd.host import Host

__all__ = ["a_journal"]


@pytest.fixture(autouse=True)
def _as_from_cron(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing tells where the manager is; each test says it."""
    for name in ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def down(short_folder: Path) -> Iterator[Host]:
    """One whose manager does not run."""
    made = Host(short_folder)
    yield made
    made.end()


@pytest.fixture
def host(down: Host) -> Host:
    down.manager.boot()
    return down


@pytest.fixture
def users_host(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """One of an ordinary user's, who can have instances. Its manager answers nobody else, not even root."""
    made = Host(short_folder, ordinary())
    if made.account.become:
        program = made.account.folder(short_folder / "bin") / "systemctl"
        become = f"setpriv --reuid={made.account.uid} --regid={made.account.gid} --clear-groups"
        program.write_text(f'#!/bin/sh\nexec {become} /usr/bin/systemctl "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    try:
        made.manager.boot()
        yield made
    finally:
        made.end()
