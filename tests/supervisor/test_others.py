"""Another deployment's supervisord at our socket is neither asked, nor taken for ours, nor stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.observed import State
from reconciler.host import proc
from reconciler.launchers.base import BackendError
from reconciler.launchers.supervisor import LAUNCHER
from reconciler.launchers.supervisor.backend import SupervisorBackend
from tests.supervisor.deployment import Make, Site, place, service, until

pytestmark = pytest.mark.supervisor


@pytest.fixture
def shared(make_site: Make, short_folder: Path) -> Site:
    """One that runs, at a socket that another deployment names too."""
    site = make_site("one", settings={"socket": str(short_folder / "one/run/s")})
    site.up(service("rpc"))
    site.await_state("rpc", State.RUNNING)
    return site


@pytest.fixture
def other(shared: Site, short_folder: Path) -> Iterator[SupervisorBackend]:
    there = place(short_folder / "two", {"socket": str(shared.root / "run/s")})._replace(environment="prod")
    daemon = LAUNCHER.render(there, []).manager
    assert daemon
    backend = SupervisorBackend(daemon)
    yield backend
    backend.close()


def test_it_is_a_gap(shared: Site, other: SupervisorBackend) -> None:
    other.ask()
    look = other.answer({})
    assert (look.units, look.daemon.running) == ({}, False)
    who, where = f"pid {shared.daemon().pid}", f"{shared.root}/run/s"
    message = f"supervisord ({who}) at {where}: it belongs to deployment dori/dev in {shared.root}; "
    assert [gap.message.partition("give ")[0] for gap in look.gaps] == [message]


def test_it_is_not_taken_for_a_daemon_that_was_started(shared: Site, other: SupervisorBackend) -> None:
    with pytest.raises(BackendError, match="belongs to deployment dori/dev"):
        other.start_daemon(lambda _: None)
    assert until(lambda: shared.process("rpc"))


def test_it_is_not_stopped(shared: Site, other: SupervisorBackend) -> None:
    with pytest.raises(BackendError, match="was left alone"):
        other.stop_daemon(shared.daemon().pid, 5)
    assert until(lambda: shared.process("rpc"))


def test_one_that_is_ours_by_an_earlier_root_is_ours(shared: Site, short_folder: Path) -> None:
    """A moved root whose socket stays where it was: its daemon is found, and ended for the new one."""
    moved = LAUNCHER.render(place(short_folder / "three", {"socket": str(shared.root / "run/s")}), []).manager
    assert moved
    backend = SupervisorBackend(moved)
    backend.ask()
    daemon = shared.daemon()
    look = backend.answer(proc.scan("dori/dev")[0])
    assert (look.gaps, look.daemon.pid) == ((), daemon.pid)
    backend.stop_daemon(daemon.pid, 10)
    assert shared.processes() == {}


def test_one_of_a_root_that_nobody_knows_is_not(shared: Site, short_folder: Path) -> None:
    """The same site and environment, applied elsewhere by somebody else."""
    elsewhere = LAUNCHER.render(place(short_folder / "four", {"socket": str(shared.root / "run/s")}), []).manager
    assert elsewhere
    backend = SupervisorBackend(elsewhere)
    backend.ask()
    (gap,) = backend.answer({}).gaps
    assert f"it belongs to deployment dori/dev in {shared.root}" in gap.message
    with pytest.raises(BackendError, match="was left alone"):
        backend.start_daemon(lambda _: None)
