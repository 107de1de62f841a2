"""Every state, as a real systemd has it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from reconciler.core.observed import State
from reconciler.launchers.base import Outcome
from tests.systemd.deployment import service
from tests.systemd.host import Host, until

pytestmark = pytest.mark.systemd

UNIT = "rpc-dev.service"
SLOW = "sh -c 'trap \"sleep 1; exit 3\" TERM; while :; do sleep 0.05; done'"


def test_a_service_comes_and_goes(host: Host) -> None:
    rendering = host.render(service("rpc"))
    assert (host.seen().state, host.look().claimed) == (State.STOPPED, {("systemd", UNIT): str(host.file(rendering))})
    host.up(service("rpc"))
    unit = host.await_state(UNIT, State.RUNNING)
    process = until(lambda: host.processes().get(unit.pid))
    assert process.mark
    assert (process.mark.spec, process.mark.launch) == ("spec-1", rendering.launch["rpc"])
    assert abs(unit.since - process.started) < 0.5
    assert host.seen()._replace(since=unit.since) == unit
    assert list(host.backend.stop([UNIT])) == [Outcome(UNIT)]
    stopped = host.await_state(UNIT, State.STOPPED)
    assert (stopped.pid, host.processes()) == (0, {})
    assert list(host.backend.remove([UNIT])) == [Outcome(UNIT)]
    assert host.manager.systemctl("is-enabled", UNIT, code=1) == "disabled\n"


def test_what_is_neither_on_disk_nor_known_is_absent(host: Host) -> None:
    rendering = host.render(service("rpc"))
    host.file(rendering).unlink()
    look = host.look()
    assert (look.units, look.claimed, look.gaps) == ({}, {}, ())
    assert host.unit().state is State.ABSENT


def test_it_is_starting_until_it_has_stayed_up(host: Host) -> None:
    host.up(service("rpc", options={"start_seconds": 2}))
    assert host.unit().state is State.STARTING
    assert host.seen().state is State.STARTING
    assert host.unit().pid
    host.await_state(UNIT, State.RUNNING)


def test_one_that_waits_for_its_next_start(host: Host) -> None:
    host.up(service("rpc", "sh -c 'exit 3'", options={"restart_sec": 100}))
    unit = host.await_state(UNIT, State.BACKOFF)
    assert (unit.pid, unit.detail) == (0, "exit status 3")
    host.backend.stop([UNIT])
    assert until(lambda: host.unit().state.down)


def test_one_that_ended_too_often(host: Host) -> None:
    host.up(service("rpc", "sh -c 'exit 3'", options={"restart_sec": 0}))
    unit = host.await_state(UNIT, State.FATAL)
    assert unit.detail == "start-limit-hit: ended too often, last with exit status 3"
    assert host.seen().state is State.FATAL
    host.up(service("rpc", options={"start_seconds": 0}))
    host.await_state(UNIT, State.RUNNING)


@pytest.mark.parametrize(
    ("command", "state", "detail"),
    [
        ("true", State.EXITED, "exit status 0"),
        ("sh -c 'exit 3'", State.FATAL, "exit status 3"),
        ("sh -c 'kill -9 $$'", State.FATAL, "killed by signal 9"),
    ],
)
def test_one_that_ended_by_itself(host: Host, command: str, state: State, detail: str) -> None:
    host.up(service("rpc", command, options={"restart": "no"}))
    assert host.await_state(UNIT, state).detail == detail


def test_a_program_that_cannot_be_executed(host: Host) -> None:
    rendering = host.render(service("rpc", options={"restart": "no"}))
    Path(f"{host.root}/bin/rpc-dev").unlink()
    host.backend.reload()
    assert host.file(rendering).exists()
    host.backend.add([UNIT])
    host.backend.start([UNIT])
    assert host.await_state(UNIT, State.FATAL).detail == "exit status 203 (its program could not be executed)"


def test_one_that_is_stopping(host: Host) -> None:
    host.run(command=SLOW)
    until(host.processes)
    host.backend.stop([UNIT])
    stopping = host.unit()
    assert (stopping.state, stopping.pid > 0) == (State.STOPPING, True)
    (outcome,) = host.backend.start([UNIT])
    assert outcome.error
    stopped = host.await_state(UNIT, State.STOPPED)
    assert stopped.detail == "exit status 3"
    assert list(host.backend.start([UNIT])) == [Outcome(UNIT)]
    host.await_state(UNIT, State.RUNNING)


def test_one_that_does_not_stop_in_time(host: Host) -> None:
    host.up(service("rpc", "sh -c 'trap \"\" TERM; while :; do sleep 0.05; done'", stop_seconds=0.5))
    pid = host.await_state(UNIT, State.RUNNING).pid
    until(host.processes)
    host.backend.stop([UNIT])
    assert host.await_state(UNIT, State.STOPPED).detail == "took too long and was killed"
    assert not os.path.exists(f"/proc/{pid}")


def test_no_child_outlives_a_stop(host: Host) -> None:
    host.run(command="sh -c 'sleep 1000 & sleep 1000 & wait'")
    until(lambda: len(host.manager.pids()) >= 4)
    host.backend.stop([UNIT])
    host.await_state(UNIT, State.STOPPED)
    assert host.manager.pids() == {host.manager.pid, *host.manager.pids() & _children(host.manager.pid)}


def _children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_one_whose_file_cannot_be_read(host: Host) -> None:
    rendering = host.render(service("rpc"))
    path = host.file(rendering)
    path.write_text(path.read_text().replace("ExecStart=", "ExecStart=relative"))
    host.manager.systemctl("daemon-reload")
    unit = host.seen()
    assert (unit.state, unit.detail) == (State.FATAL, "Unit rpc-dev.service has a bad unit file setting.")


def test_one_that_runs_without_a_file(host: Host) -> None:
    """It is not absent while it runs."""
    before = host.run()
    (host.manager.units / UNIT).unlink()
    assert (host.seen().state, host.seen().pid) == (State.RUNNING, before.pid)
    host.manager.systemctl("daemon-reload")
    assert host.manager.show(UNIT, "LoadState")["LoadState"] == "not-found"
    assert (host.seen().state, host.seen().pid) == (State.RUNNING, before.pid)
    host.backend.stop([UNIT])
    host.await_state(UNIT, State.ABSENT)


def test_one_that_git_does_not_know_and_that_has_no_file(host: Host) -> None:
    """Its process tells its unit."""
    host.up(service("rpc", unit="other.service"))
    pid = host.await_state("other.service", State.RUNNING).pid
    until(host.processes)
    (host.manager.units / "other.service").unlink()
    host.render()
    assert host.seen("other.service").pid == pid
    host.manager.systemctl("daemon-reload")
    assert host.seen("other.service").pid == pid
    assert list(host.backend.stop(["other.service"])) == [Outcome("other.service")]
    host.await_state("other.service", State.ABSENT)


def test_a_process_of_ours_in_somebody_elses_unit_makes_it_not_ours(host: Host) -> None:
    """Such as the one that runs our passes."""
    rendering = host.render(service("rpc"))
    marks = "RECONCILE_DEPLOYMENT=dori/dev RECONCILE_SERVICE=rpc RECONCILE_SPEC=x"
    inner = host.root / "inner"
    inner.write_text(f"#!/bin/sh\nexec env {marks} RECONCILE_ROOT={host.root} RECONCILE_PID=$$ sleep 1000\n")
    inner.chmod(0o755)
    host.manager.write("pass.service", f"[Service]\nExecStart=/bin/sh -c '(setsid {inner} &); exec sleep 1000'\n")
    host.manager.systemctl("start", "pass.service")
    (process,) = until(host.processes).values()
    assert process.parent == host.manager.pid
    assert host.file(rendering).exists()
    assert list(host.look().units) == [("systemd", UNIT)]


def test_one_that_is_down_and_whose_file_is_gone_is_absent(host: Host) -> None:
    """systemd knows it still, because its target wants it."""
    host.run()
    host.manager.systemctl("daemon-reload")
    host.backend.stop([UNIT])
    host.await_state(UNIT, State.STOPPED)
    (host.manager.units / UNIT).unlink()
    assert host.manager.show(UNIT, "LoadState")["LoadState"] == "loaded"
    assert host.seen().state is State.ABSENT


def test_it_is_started_again_when_it_ends(host: Host) -> None:
    first = host.run(restart_sec=0)
    os.kill(first.pid, signal.SIGKILL)
    assert until(lambda: (unit := host.unit()).state is State.RUNNING and unit.pid != first.pid)


def test_starts_of_passes_do_not_count_as_failures(host: Host) -> None:
    host.up(service("rpc", options={"start_seconds": 0}))
    for _ in range(6):
        assert list(host.backend.start([UNIT])) == [Outcome(UNIT)]
        host.await_state(UNIT, State.RUNNING)
        assert list(host.backend.stop([UNIT])) == [Outcome(UNIT)]
        host.await_state(UNIT, State.STOPPED)


def test_what_runs_already_is_left_alone(host: Host) -> None:
    pid = host.run().pid
    assert list(host.backend.start([UNIT])) == [Outcome(UNIT)]
    assert host.unit().pid == pid
    host.up(service("rpc", options={"start_seconds": 0}))
    assert host.unit().pid == pid


def test_a_reboot_brings_back_what_was_added(host: Host) -> None:
    host.run()
    host.manager.power_cut()
    host.manager.boot()
    assert host.await_state(UNIT, State.RUNNING).drift == ()
    assert host.drift() == ()
