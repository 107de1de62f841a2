"""Real backends as fixtures. Each ends with its test; import it where it is used."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from tests.backends.account import ordinary
from tests.backends.cluster import VERSIONS, Cluster, place
from tests.backends.images import Registry, registry
from tests.backends.manager import Manager, runs
from tests.backends.shared import shared
from tests.scenarios.world import World

_JOURNALD = "/lib/systemd/systemd-journald"
_JOURNAL = Path("/run/systemd/journal")
_PID = _JOURNAL / "reconcile-test.pid"
_BEFORE = _JOURNAL / "reconcile-test.before"  # what lay where it writes: the machine's own


@pytest.fixture(name="manager")
def a_manager(short_folder: Path) -> Iterator[Manager]:
    """A `systemd --user` of an ordinary user, running. Mark the test `systemd`."""
    made = Manager(short_folder, ordinary())
    try:
        made.boot()
        yield made
    finally:
        made.end()


@pytest.fixture(name="users_world")
def a_users_world(short_folder: Path) -> Iterator[World]:
    """A world of an ordinary user's. Its `boot()` starts a `systemd --user` for it. Mark the test `systemd`,
    `apptainer` or both.
    """
    made = World(short_folder, account=ordinary())
    yield made
    made.end()


@pytest.fixture(name="registry")
def a_registry() -> Iterator[Registry]:
    """For `apptainer pull --no-https docker://HOST/NAME:TAG`, and `oras://`."""
    with registry() as made:
        yield made


# ---------------------------------------------------------------- Slurm


@pytest.fixture(name="clusters")
def all_clusters(short_folder: Path) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters of one ordinary user, running: `clusters(24, nodes=["n2"])`. Mark the test `slurm`."""
    made: list[Cluster] = []

    def make(version: int = 24, **how: Any) -> Cluster:
        if not (place(version) / "sbin/munged").exists():
            pytest.skip(f"no Slurm {VERSIONS[version]} (scripts/setup unpacks it)")
        account = ordinary()
        account.own(short_folder)
        made.append(Cluster(short_folder / f"slurm{len(made)}", version, account, **how))
        made[-1].boot()
        return made[-1]

    try:
        yield make
    finally:
        for cluster in made:
            cluster.end()


@pytest.fixture(name="cluster")
def a_cluster(clusters: Callable[..., Cluster]) -> Cluster:
    """A Slurm 24.11 of one node, with scrontab. Mark the test `slurm`."""
    return clusters(24)


# ---------------------------------------------------------------- the journal


@pytest.fixture(name="journal", scope="session")
def a_journal() -> Iterator[None]:
    """A real journald for the whole machine, where none runs: units print to it and `journalctl` reads it.

    It keeps one file per ordinary user, as on a machine that booted with it: `journalctl --user -u UNIT`
    finds that user's lines. Root has no such file: its own are found by `journalctl --user-unit UNIT`.
    """
    with ExitStack() as held:
        if not _listens():
            if os.getuid():
                pytest.skip("no journald, and only root can start one")
            held.enter_context(shared("journal", _listens, _start_journald, _end_journald))
        yield


def _listens() -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(_JOURNAL / "stdout"))
        except OSError:
            return False
    return True


def _start_journald() -> None:
    """`flushed` says that the disk is there: users have files of their own only on disk."""
    note_before()
    (_JOURNAL / "flushed").touch()
    Path("/var/log/journal").mkdir(exist_ok=True)
    # A child of nobody's: it may outlive this worker, for another one.
    start = f"setsid {_JOURNALD} </dev/null >/dev/null 2>&1 & echo $! >{_PID}"
    subprocess.run(["/bin/sh", "-c", start], env={"PATH": "/usr/bin:/bin"}, cwd="/", check=True)
    end = monotonic() + 10
    while not _listens():
        assert runs(int(_PID.read_text())), "journald ended"
        assert monotonic() < end, "journald does not listen"
        sleep(0.01)


def _end_journald() -> None:
    pid = int(_PID.read_text())
    os.kill(pid, signal.SIGTERM)
    end = monotonic() + 10
    while runs(pid) and monotonic() < end:
        sleep(0.01)
    remove_made()


def _logs() -> Path:
    return Path("/var/log/journal") / Path("/etc/machine-id").read_text().strip()


def note_before() -> None:
    """Journals that the machine has of its own."""
    own = [str(path) for folder in (_JOURNAL, _logs()) if folder.exists() for path in (folder, *folder.iterdir())]
    _JOURNAL.mkdir(parents=True, exist_ok=True)
    _BEFORE.write_text("\n".join(own))


def remove_made() -> None:
    """What the daemon has made, and nothing of the machine's own; nothing at all where that was not noted."""
    if not _BEFORE.exists():
        return
    before = _BEFORE.read_text().splitlines()
    for folder in (_JOURNAL, _logs()):
        for path in folder.iterdir() if folder.exists() else ():
            if str(path) not in before:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        if folder.exists() and str(folder) not in before:
            folder.rmdir()
